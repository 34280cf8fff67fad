"""Owners never meet, nor do users with keys of their own: every route of the OpenAPI document is tried."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.app.conftest import RunningService
from tests.app.keys import new_key, with_key
from tests.app.service import open_stream
from tests.app.standard import CHAT_MODEL, EMBEDDING_MODEL

pytestmark = pytest.mark.stand_in

SAID = "The password of the lighthouse is Biscuit."
EVERYTHING = ("--scope", "read", "--scope", "write", "--scope", "admin")
Ids = dict[str, str]


@dataclass(frozen=True)
class Call:
    """What a route is asked with. `shared`: what users of one owner may read of each other."""

    body: Any = None
    params: dict[str, str] | None = None
    files: Any = None
    shared: bool = False


CHAT: Any = {"model": CHAT_MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
RESPONSE: Any = {"input": "Hi", "max_output_tokens": 1}
ITEM: Any = {"role": "user", "content": "taken"}
NOTHING, REPLY = Call(), Call({"max_tokens": 1})

CALLS: dict[str, Callable[[Ids], Call]] = {
    "GET /v1/strategies": lambda _: NOTHING,
    "GET /v1/models": lambda _: NOTHING,
    "GET /v1/models/{name}": lambda _: NOTHING,
    "POST /v1/chat/completions": lambda _: Call(CHAT),
    "POST /v1/completions": lambda _: Call({"model": CHAT_MODEL, "prompt": "Hello", "max_tokens": 1}),
    "POST /v1/embeddings": lambda _: Call({"model": EMBEDDING_MODEL, "input": "Hello"}),
    "POST /v1/scores": lambda _: Call({"messages": CHAT["messages"], "candidates": ["Hello"]}),
    "POST /v1/responses": lambda _: Call(RESPONSE),
    "GET /v1/responses/{response_id}": lambda _: NOTHING,
    "GET /v1/responses/{response_id}/input_items": lambda _: NOTHING,
    "POST /v1/responses/{response_id}/cancel": lambda _: NOTHING,
    "DELETE /v1/responses/{response_id}": lambda _: NOTHING,
    "POST /v1/conversations": lambda _: Call({"items": [ITEM], "metadata": {"topic": "own"}}),
    "GET /v1/conversations/{conversation_id}": lambda _: NOTHING,
    "POST /v1/conversations/{conversation_id}": lambda _: Call({"metadata": {"topic": "taken"}}),
    "DELETE /v1/conversations/{conversation_id}": lambda _: NOTHING,
    "POST /v1/conversations/{conversation_id}/items": lambda _: Call({"items": [ITEM]}),
    "GET /v1/conversations/{conversation_id}/items": lambda _: NOTHING,
    "GET /v1/conversations/{conversation_id}/items/{item_id}": lambda _: NOTHING,
    "DELETE /v1/conversations/{conversation_id}/items/{item_id}": lambda _: NOTHING,
    "POST /v1/personas": lambda _: Call({"name": "Own", "instructions": "You are another."}),
    "GET /v1/personas": lambda _: Call(shared=True),
    "POST /v1/personas/import": lambda _: Call({"spec": "chara_card_v2", "data": {"name": "Own"}}),
    "GET /v1/personas/{persona_id}": lambda _: Call(shared=True),
    "PATCH /v1/personas/{persona_id}": lambda _: Call({"name": "Taken"}),
    "DELETE /v1/personas/{persona_id}": lambda _: NOTHING,
    "GET /v1/personas/{persona_id}/card": lambda _: Call(shared=True),
    "POST /v1/personas/{persona_id}/card": lambda _: NOTHING,
    "GET /v1/personas/{persona_id}/export": lambda _: Call(shared=True),
    "POST /v1/sessions": lambda _: Call({"title": "own"}),
    "GET /v1/sessions": lambda _: NOTHING,
    "GET /v1/sessions/{session_id}": lambda _: NOTHING,
    "PATCH /v1/sessions/{session_id}": lambda _: Call({"title": "taken"}),
    "DELETE /v1/sessions/{session_id}": lambda _: NOTHING,
    "GET /v1/sessions/{session_id}/lorebook": lambda _: NOTHING,
    "PATCH /v1/sessions/{session_id}/lorebook": lambda _: Call({"scan_depth": 1}),
    "POST /v1/sessions/{session_id}/lorebook/entries": lambda _: Call({"keys": ["x"], "content": "y"}),
    "PATCH /v1/sessions/{session_id}/lorebook/entries/{entry_id}": lambda _: Call({"enabled": False}),
    "DELETE /v1/sessions/{session_id}/lorebook/entries/{entry_id}": lambda _: NOTHING,
    "POST /v1/sessions/{session_id}/messages": lambda _: Call({"content": "Hello?", "max_tokens": 1}),
    "POST /v1/sessions/{session_id}/messages/append": lambda _: Call(
        {"messages": [{"role": "user", "content": "taken"}]}
    ),
    "GET /v1/sessions/{session_id}/messages": lambda _: NOTHING,
    "GET /v1/sessions/{session_id}/context": lambda _: NOTHING,
    "GET /v1/messages/{message_id}": lambda _: NOTHING,
    "GET /v1/messages/{message_id}/context": lambda _: NOTHING,
    "GET /v1/messages/{message_id}/events": lambda _: NOTHING,
    "POST /v1/sessions/{session_id}/reply": lambda _: REPLY,
    "POST /v1/messages/{message_id}/regenerate": lambda _: REPLY,
    "GET /v1/messages/{message_id}/alternatives": lambda _: NOTHING,
    "POST /v1/messages/{message_id}/activate": lambda _: NOTHING,
    "PUT /v1/messages/{message_id}": lambda _: Call({"content": "taken"}),
    "POST /v1/sessions/{session_id}/branch": lambda ids: Call({"message_id": ids["message_id"]}),
    "POST /v1/sessions/{session_id}/forget": lambda ids: Call({"from_message_id": ids["message_id"]}),
    "PUT /v1/messages/{message_id}/pin": lambda _: NOTHING,
    "DELETE /v1/messages/{message_id}/pin": lambda _: NOTHING,
    "PUT /v1/messages/{message_id}/exclude": lambda _: NOTHING,
    "DELETE /v1/messages/{message_id}/exclude": lambda _: NOTHING,
    "GET /v1/sessions/{session_id}/summaries": lambda _: NOTHING,
    "PUT /v1/sessions/{session_id}/summary": lambda _: Call({"text": "taken"}),
    "GET /v1/sessions/{session_id}/facts": lambda _: NOTHING,
    "POST /v1/sessions/{session_id}/facts": lambda _: Call({"key": "name", "value": "taken"}),
    "PUT /v1/sessions/{session_id}/facts/{fact_id}": lambda _: Call({"value": "taken"}),
    "DELETE /v1/sessions/{session_id}/facts/{fact_id}": lambda _: NOTHING,
    "POST /v1/search": lambda ids: Call({"query": "password of the lighthouse", "user_id": ids["own_user"]}),
    "GET /v1/recall/status": lambda _: NOTHING,
    "POST /v1/recall/reindex": lambda _: Call({}),
    "GET /v1/sessions/{session_id}/export": lambda _: NOTHING,
    "GET /v1/export": lambda _: NOTHING,
    "GET /v1/users/{user_id}/export": lambda _: NOTHING,
    "POST /v1/sessions/import": lambda _: Call({"messages": [{"role": "user", "content": "own"}]}),
    "POST /v1/import": lambda _: Call({"messages": [{"role": "user", "content": "own"}]}),
    "DELETE /v1/messages/{message_id}": lambda _: NOTHING,
    "DELETE /v1/users/{user_id}": lambda _: NOTHING,
    "GET /v1/deletions/{deletion_id}": lambda _: NOTHING,
    "POST /v1/documents": lambda _: Call(files={"file": ("own.txt", b"Nothing much.")}),
    "GET /v1/documents": lambda _: NOTHING,
    "POST /v1/documents/search": lambda _: Call({"query": "password of the lighthouse"}),
    "GET /v1/documents/{document_id}": lambda _: NOTHING,
    "GET /v1/documents/{document_id}/pieces": lambda _: NOTHING,
    "DELETE /v1/documents/{document_id}": lambda _: NOTHING,
}
"""How each route is called: one that is new needs its line here."""

REFERENCES: list[tuple[str, str, Callable[[Ids], Call]]] = [
    ("POST", "/v1/sessions", lambda ids: Call({"persona_id": ids["persona_id"]})),
    ("PATCH", "/v1/sessions/{own_session}", lambda ids: Call({"persona_id": ids["persona_id"]})),
    ("POST", "/v1/sessions/{own_session}/branch", lambda ids: Call({"message_id": ids["message_id"]})),
    ("POST", "/v1/sessions/{own_session}/forget", lambda ids: Call({"from_message_id": ids["message_id"]})),
    (
        "POST",
        "/v1/sessions/{own_session}/lorebook/entries",
        lambda ids: Call({"keys": ["x"], "message_id": ids["message_id"]}),
    ),
    ("PUT", "/v1/sessions/{own_session}/facts/{fact_id}", lambda _: Call({"value": "taken"})),
    ("DELETE", "/v1/sessions/{own_session}/facts/{fact_id}", lambda _: NOTHING),
    ("PATCH", "/v1/sessions/{own_session}/lorebook/entries/{entry_id}", lambda _: Call({"enabled": False})),
    ("DELETE", "/v1/sessions/{own_session}/lorebook/entries/{entry_id}", lambda _: NOTHING),
    ("POST", "/v1/search", lambda ids: Call({"query": "password", "session_id": ids["session_id"]})),
    (
        "POST",
        "/v1/chat/completions",
        lambda ids: Call({**CHAT, "metadata": {"session_id": ids["session_id"]}}),
    ),
    ("POST", "/v1/conversations", lambda ids: Call({"metadata": {"persona": ids["persona_id"]}})),
    (
        "POST",
        "/v1/conversations/{own_conversation}",
        lambda ids: Call({"metadata": {"persona": ids["persona_id"]}}),
    ),
    ("GET", "/v1/conversations/{own_conversation}/items", lambda ids: Call(params={"after": ids["item_id"]})),
    ("GET", "/v1/conversations/{own_conversation}/items/{item_id}", lambda _: NOTHING),
    ("DELETE", "/v1/conversations/{own_conversation}/items/{item_id}", lambda _: NOTHING),
    ("POST", "/v1/responses", lambda ids: Call(RESPONSE | {"conversation": ids["conversation_id"]})),
    ("POST", "/v1/responses", lambda ids: Call(RESPONSE | {"previous_response_id": ids["response_id"]})),
    (
        "POST",
        "/v1/responses",
        lambda ids: Call(RESPONSE | {"store": False, "conversation": ids["conversation_id"]}),
    ),
    (
        "POST",
        "/v1/responses",
        lambda ids: Call(RESPONSE | {"store": False, "previous_response_id": ids["response_id"]}),
    ),
    (
        "POST",
        "/v1/search",
        lambda ids: Call({"query": "password", "session_id": ids["session_id"], "scope": "documents"}),
    ),
    (
        "POST",
        "/v1/search",
        lambda ids: Call(
            {
                "query": "password",
                "session_id": ids["own_session"],
                "where": {"session_id": ids["session_id"]},
            }
        ),
    ),
]
"""Ids of another, where they are not what a request is of."""
OPENAIS = ("previous_response_not_found", "metadata.persona", "no item")
"""What is said of such ids with OpenAI's own status, 400."""
OF_NOBODY = {"GET /v1/models/{name}"}
"""Routes of what is no owner's."""
NO_SUCH_ID = "ses_000000000000000000000000"


@dataclass
class House:
    """A service with two owners; one of them, `host`, has a user `mina` with everything there is."""

    public: httpx.Client
    host: httpx.Client
    ids: Ids
    strangers: dict[str, httpx.Client]


@pytest.fixture(scope="module")
def house(running_service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), require_key=True)
    with running_service(settings) as public:
        host = with_key(public, new_key(settings.home, "--tenant", "host", *EVERYTHING))
        others = {
            "owner": with_key(public, new_key(settings.home, "--tenant", "other", *EVERYTHING)),
            "user": with_key(
                public, new_key(settings.home, "--tenant", "host", "--user", "max", *EVERYTHING)
            ),
        }
        yield House(public, host, _fill(host), others)
        for client in (host, *others.values()):
            client.close()


def _fill(client: httpx.Client) -> Ids:
    def made(path: str, body: Any, key: str = "id", **more: Any) -> Any:
        answer = client.post(path, json=body, **more)
        assert answer.is_success, answer.text
        return answer.json()[key]

    persona = made("/v1/personas", {"name": "Pippa", "instructions": "You are Pippa."})
    chat = {"persona_id": persona, "user_id": "mina", "memory": {"strategy": "summary_buffer"}}
    session = made("/v1/sessions", chat)
    gone = made("/v1/sessions", chat)
    reply = made(f"/v1/sessions/{session}/messages", {"content": SAID, "max_tokens": 2}, "message")
    fact = made(f"/v1/sessions/{session}/facts", {"key": "secret", "value": "Biscuit"})
    entry = made(f"/v1/sessions/{session}/lorebook/entries", {"keys": ["x"], "content": SAID})
    deletion = client.delete(f"/v1/sessions/{gone}").json()["id"]
    file = {"file": ("lighthouse.txt", SAID.encode())}
    document = client.post("/v1/documents", files=file, data={"user_id": "mina"}).json()["id"]
    while client.get(f"/v1/documents/{document}").json()["status"] == "processing":
        time.sleep(0.05)
    asked = {"input": SAID, "max_output_tokens": 2, "metadata": {"user": "mina"}}
    response = made("/v1/responses", asked)
    conversation = made("/v1/conversations", {"metadata": {"user": "mina", "persona": persona}})
    item = {"items": [{"role": "user", "content": SAID}]}
    return {
        "persona_id": persona,
        "response_id": response,
        "conversation_id": conversation,
        "item_id": made(f"/v1/conversations/{conversation}/items", item, "first_id"),
        "session_id": session,
        "message_id": reply["id"],
        "fact_id": fact,
        "entry_id": entry,
        "deletion_id": deletion,
        "document_id": document,
        "user_id": "mina",
        "name": CHAT_MODEL,
    }


def _send(client: httpx.Client, method: str, path: str, call: Call) -> httpx.Response:
    return client.request(method, path, json=call.body, params=call.params, files=call.files)


def _routes(client: httpx.Client) -> list[tuple[str, str]]:
    paths = client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


def test_every_route_is_in_the_walk(house: House) -> None:
    routes = {f"{method} {path}" for method, path in _routes(house.public) if path.startswith("/v1/")}
    assert routes == set(CALLS)
    named = {name for route in CALLS for name in re.findall(r"{(\w+)}", route)}
    assert named <= set(house.ids)


def test_the_owner_itself_finds_what_the_walk_asks_for(house: House) -> None:
    for route, call_of in CALLS.items():
        method, path = route.split(" ")
        if method == "GET":
            answer = _send(house.host, method, path.format(**house.ids), call_of(house.ids))
            assert answer.status_code == 200, f"{route}: {answer.text}"


@pytest.mark.parametrize("kind", ["owner", "user"])
def test_no_route_gives_a_stranger_anything_of_another(house: House, kind: str) -> None:
    stranger = house.strangers[kind]
    ids = house.ids | {"own_user": "max"}
    before = _all_of(house.host)
    for route, call_of in CALLS.items():
        method, path = route.split(" ")
        call = call_of(ids)
        if kind == "user" and call.shared:
            continue
        answer = _send(stranger, method, path.format(**ids), call)
        if "{" in path and route not in OF_NOBODY:
            assert answer.status_code == 404, f"{route}: {answer.status_code} {answer.text}"
        else:
            assert answer.is_success or (kind == "user" and answer.status_code == 404), (
                f"{route}: {answer.status_code} {answer.text}"
            )
            for secret in (SAID, "mina", "Pippa", *_random(ids)):
                assert secret not in answer.text, route
    assert _all_of(house.host) ^ before == set()


@pytest.mark.parametrize("kind", ["owner", "user"])
def test_an_id_of_another_in_a_body_or_beside_ones_own_is_as_one_that_does_not_exist(
    house: House, kind: str
) -> None:
    stranger = house.strangers[kind]
    own = stranger.post("/v1/sessions", json={"user_id": "max"}).json()["id"]
    before = _all_of(house.host)
    for method, path, call_of in REFERENCES:
        answers = []
        for others in (house.ids, dict.fromkeys(house.ids, NO_SUCH_ID)):
            ids = others | {"own_session": own, "own_conversation": own.replace("ses_", "conv_")}
            call = call_of(ids)
            if kind == "user" and "persona" in str(call.body):
                continue
            answer = _send(stranger, method, path.format(**ids), call)
            text = answer.text
            for each in _random(ids):
                text = text.replace(each, "ID") if each != own else text
            answers.append((answer.status_code, text))
        assert len(set(answers)) <= 1, f"{method} {path}: {answers}"
        assert all(
            status in (404, 422) or '"data":[]' in text or any(code in text for code in OPENAIS)
            for status, text in answers
        ), answers
    for body in ({"query": "password", "user_id": "mina"}, {"query": "password", "user_id": "nobody"}):
        answer = stranger.post("/v1/search", json=body)
        assert answer.status_code == 404 if kind == "user" else answer.json()["data"] == []
    assert _all_of(house.host) ^ before == set()


def test_what_a_key_of_one_user_makes_is_that_users_and_reaches_it_again(house: House) -> None:
    user = house.strangers["user"]
    session = user.post("/v1/sessions", json={"persona_id": house.ids["persona_id"]}).json()
    assert session["user_id"] == "max"
    path = f"/v1/sessions/{session['id']}"
    said = user.post(f"{path}/messages", json={"content": "I like kites.", "max_tokens": 2}).json()
    assert user.get(f"/v1/messages/{said['message']['id']}/context").status_code == 200
    assert [each["user_id"] for each in user.get("/v1/sessions").json()["data"]].count("mina") == 0
    document = user.post("/v1/documents", files={"file": ("kites.txt", b"Kites fly.")}).json()
    assert document["user_id"] == "max"
    export = user.get("/v1/users/max/export").text
    assert "I like kites." in export
    assert SAID not in export
    assert user.post("/v1/sessions", json={"user_id": "mina"}).status_code == 404
    for route in ("conversations", "responses"):
        body = RESPONSE | {"metadata": {"user": "mina"}}
        assert user.post(f"/v1/{route}", json=body).status_code == 404
        own = user.post(f"/v1/{route}", json=RESPONSE).json()["id"]
        assert user.get(f"/v1/{route}/{own}").status_code == 200
    deletion = user.delete(path)
    assert deletion.status_code == 202
    assert user.get(deletion.headers["Location"]).json()["kind"] == "session"
    assert user.delete(path).is_success
    assert house.strangers["owner"].get(deletion.headers["Location"]).status_code == 404


def test_everybodys_documents_are_read_by_a_key_of_one_user_and_not_deleted(house: House) -> None:
    user = house.strangers["user"]
    shared = house.host.post("/v1/documents", files={"file": ("rules.txt", b"No fishing.")}).json()
    path = f"/v1/documents/{shared['id']}"
    assert user.get(path).json()["name"] == "rules.txt"
    assert user.delete(path).status_code == 404
    assert house.host.get(f"{path}/pieces").json()["data"] != []
    assert house.host.delete(path).status_code == 204


def test_cached_tokens_are_shared_within_an_owner_and_never_between_two(house: House) -> None:
    def cached(client: httpx.Client) -> int:
        instructions = "You are a keeper of secrets. " * 12
        persona = client.post("/v1/personas", json={"name": "Keeper", "instructions": instructions}).json()
        session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()["id"]
        body = {"content": "Who are you?", "max_tokens": 1}
        usage = client.post(f"/v1/sessions/{session}/messages", json=body).json()["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    opening = 16  # a few tokens that all prompts of an owner begin with
    assert cached(house.host) < opening
    assert cached(house.strangers["owner"]) < opening
    assert cached(house.host) > 5 * opening


def _all_of(client: httpx.Client) -> set[str]:
    """All that there is of the user `mina`, line by line."""
    return set(client.get("/v1/users/mina/export").text.splitlines()[1:])


def _random(ids: Ids) -> list[str]:
    return [each for each in ids.values() if "_" in each]


@pytest.mark.parametrize("kind", ["owner", "user"])
def test_that_a_chat_is_busy_is_told_to_nobody_else(house: House, kind: str) -> None:
    session = house.host.post("/v1/sessions", json={"user_id": "mina"}).json()["id"]
    with open_stream(house.host, session, content="Tell me a long story.", max_tokens=100) as stream:
        next(stream)
        body = {"content": "Me too!", "max_tokens": 1}
        asked = [
            client.post(f"/v1/sessions/{session}/messages", json=body).status_code
            for client in (house.strangers[kind], house.host)
        ]
    assert asked == [404, 409]
    house.host.delete(f"/v1/sessions/{session}")
