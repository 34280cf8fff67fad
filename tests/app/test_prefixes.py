"""Prefixes of messages: a note for one reply, instructions from here on, a question to documents."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.chat.prefixes import PrefixError, Typed, read_typed
from app.settings import Settings
from tests.app.conftest import RunningService
from tests.app.service import open_stream
from tests.app.test_documents import added, settled

pytestmark = pytest.mark.stand_in

Json = dict[str, Any]


@pytest.fixture(scope="module")
def client(
    running_service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, context_window=1024, reply_tokens=64)
    with running_service(settings) as client:
        yield client


def new_session(client: httpx.Client, **fields: Any) -> str:
    answer = client.post("/v1/sessions", json={"prefixes": True, **fields})
    assert answer.status_code == 201, answer.text
    return f"/v1/sessions/{answer.json()['id']}"


def new_persona(client: httpx.Client, **fields: Any) -> str:
    persona = {"name": "Anne", "instructions": "You are {{char}}.", "style": "Short.", **fields}
    return str(client.post("/v1/personas", json=persona).json()["id"])


def say(client: httpx.Client, path: str, content: str, **fields: Any) -> Json:
    answer = client.post(f"{path}/messages", json={"content": content, "max_tokens": 2, **fields})
    assert answer.status_code == 200, answer.text
    said: Json = answer.json()
    return said


def window(client: httpx.Client, reply: Json) -> list[tuple[str, list[tuple[str, str]]]]:
    """What stood in the window of a reply: kinds, and who said what."""
    record = client.get(f"/v1/messages/{reply['message']['id']}/context").json()
    return [
        (each["kind"], [(said["role"], said["content"]) for said in each["messages"]])
        for each in record["segments"]
    ]


def listed(client: httpx.Client, path: str) -> list[tuple[str, str | None, str]]:
    messages = client.get(f"{path}/messages").json()["data"]
    return [(each["role"], each["prefix"], each["content"]) for each in messages]


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("Hello", Typed("Hello")),
        (" system: a", Typed(" system: a")),
        ("systems: a", Typed("systems: a")),
        ("SyStEm:be brief", Typed("be brief", "system", "SyStEm:")),
        ("system: be brief\n ", Typed("be brief\n ", "system", "system: ")),
        ("system: brief\r\n\r\nHi\nyou", Typed("Hi\nyou", "system", "system: brief\r\n\r\n", "brief")),
        ("system:\nbrief\nHi", Typed("Hi", "system", "system:\nbrief\n", "brief")),
        ("ci: You are\nBo.", Typed("You are\nBo.", "ci", "ci: ")),
        ("QA:  what?", Typed(" what?", "qa", "QA: ")),
        ("qa:\r\nwhat?", Typed("what?", "qa", "qa:\r\n")),
    ],
)
def test_a_prefix_is_read_at_the_very_beginning_only(typed: str, read: Typed) -> None:
    assert read_typed(typed) == read
    assert read.role == ("system" if read.kind == "system" and read.note is None else "user")


@pytest.mark.parametrize("typed", ["system:", "system: \nHi", "ci: \n ", "qa:", "Qa:\n"])
def test_a_prefix_with_nothing_behind_it_is_refused(typed: str) -> None:
    with pytest.raises(PrefixError, match=f"`{typed[: typed.index(':')].lower()}:` wants"):
        read_typed(typed)


@given(st.sampled_from(["system:", "ci:", "qa:", "CI: ", ""]), st.text("ab: \r\n"))
def test_what_was_typed_is_kept_whole_and_read_again_alike(prefix: str, rest: str) -> None:
    try:
        typed = read_typed(prefix + rest)
    except PrefixError:
        return
    assert (typed.prefix or "") + typed.content == prefix + rest
    assert typed.content.strip() or typed.kind is None


def test_without_the_setting_a_prefix_is_ordinary_text(client: httpx.Client) -> None:
    path = new_session(client, prefixes=False)
    reply = say(client, path, "system: Be sad.")
    assert window(client, reply)[-2] == ("message", [("user", "system: Be sad.")])
    assert reply["user_message"]["prefix"] is None
    assert reply["message"]["sources"] is None
    assert client.patch(path, json={"prefixes": True}).json()["prefixes"] is True
    assert window(client, say(client, path, "system: Be sad."))[-2][0] == "note"


@pytest.mark.parametrize("content", ["system:", "ci: ", "qa:\n"])
def test_an_empty_prefix_is_a_problem_of_the_content_and_nothing_is_stored(
    client: httpx.Client, content: str
) -> None:
    path = new_session(client)
    for answer in (
        client.post(f"{path}/messages", json={"content": content}),
        client.get(f"{path}/context", params={"content": content}),
    ):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "content"
    assert listed(client, path) == []


def test_a_system_note_before_a_message_is_in_no_later_window(client: httpx.Client) -> None:
    path = new_session(client, persona_id=new_persona(client))
    asked = "system: Be sad.\n\nHi"
    preview = client.get(f"{path}/context", params={"content": asked, "max_tokens": 2}).json()
    reply = say(client, path, asked)
    assert reply["usage"]["prompt_tokens"] == preview["prompt_tokens"]
    head = ("persona", [("system", "You are Anne.\n\nShort.")])
    assert window(client, reply) == [
        head,
        ("note", [("system", "Be sad.")]),
        ("message", [("user", "Hi")]),
        ("generation_prompt", []),
    ]
    following = say(client, path, "And?")
    text = reply["message"]["content"]
    assert window(client, following)[:2] == [head, ("turn", [("user", "Hi"), ("assistant", text)])]
    assert listed(client, path)[0] == ("user", "system: Be sad.\n\n", "Hi")


def test_a_system_note_alone_is_answered_and_only_its_reply_stays_in_the_window(
    client: httpx.Client,
) -> None:
    path = new_session(client, memory={"strategy": "sliding_window", "turns": 2})
    first = say(client, path, "Hi")
    noted = say(client, path, "system: Say more.")
    assert noted["user_message"]["role"] == "system"
    assert window(client, noted)[-2:] == [("note", [("system", "Say more.")]), ("generation_prompt", [])]
    following = say(client, path, "And?")
    assert [said for kind, said in window(client, following) if kind == "turn"] == [
        [("user", "Hi"), ("assistant", first["message"]["content"])],
        [("assistant", noted["message"]["content"])],
    ]
    body = {"max_tokens": 2, "seed": 1}
    again = client.post(f"/v1/messages/{noted['message']['id']}/regenerate", json=body).json()
    assert window(client, again) == window(client, noted)
    edited = client.put(f"/v1/messages/{noted['user_message']['id']}", json={"content": "Who?"}).json()
    assert (edited["role"], edited["prefix"], edited["turn"]) == ("user", None, 1)
    assert client.post(f"{path}/reply", json={"max_tokens": 2}).status_code == 200


def test_ci_replaces_the_instructions_of_this_chat_from_the_next_turn_on(client: httpx.Client) -> None:
    persona_id = new_persona(client)
    path, other = (new_session(client, persona_id=persona_id) for _ in range(2))
    before = say(client, path, "Hi")
    answer = client.post(f"{path}/messages", json={"content": "ci: You are Bo,\nnot {{char}}."})
    assert answer.status_code == 200
    assert answer.json()["session"]["instructions"] == "You are Bo,\nnot {{char}}."
    assert "instructions" in answer.json()["notice"]
    after = say(client, path, "And?")
    told = ("persona", [("system", "You are Bo,\nnot Anne.\n\nShort.")])
    assert window(client, after)[0] == told
    record = client.get(f"/v1/messages/{after['message']['id']}/context").json()
    assert (record["segments"][0]["since_turn"], record["persona_since_turn"]) == (1, 0)
    assert record["turns"] == [0]
    assert client.get(f"/v1/personas/{persona_id}").json()["instructions"] == "You are {{char}}."
    anne = ("persona", [("system", "You are Anne.\n\nShort.")])
    assert window(client, say(client, other, "Hi"))[0] == anne

    last = after["message"]["id"]
    branch = client.post(f"{path}/branch", json={"message_id": last}).json()
    assert (branch["prefixes"], branch["instructions"]) == (True, "You are Bo,\nnot {{char}}.")
    assert window(client, say(client, f"/v1/sessions/{branch['id']}", "So?"))[0] == told

    with open_stream(client, path.rsplit("/", 1)[1], content="CI: Default") as events:
        [(event, data)] = list(events)
    assert (event, data["session"]["instructions"]) == ("notice", None)
    assert window(client, say(client, path, "Who?"))[0] == anne
    assert window(client, after)[0] == told, "what was in a window stays told"
    assert window(client, before)[0] == anne
    assert len(listed(client, path)) == 6


def test_ci_works_in_a_chat_without_a_persona_and_another_persona_ends_it(client: httpx.Client) -> None:
    path = new_session(client)
    client.post(f"{path}/messages", json={"content": "ci: You are Bo."})
    bo = say(client, path, "Hi")
    assert window(client, bo)[0] == ("persona", [("system", "You are Bo.")])
    assert client.get(f"/v1/messages/{bo['message']['id']}/context").json()["persona"] is None
    session = client.patch(path, json={"persona_id": new_persona(client)}).json()
    assert session["instructions"] is None
    assert window(client, say(client, path, "Hi"))[0][1] == [("system", "You are Anne.\n\nShort.")]


@pytest.mark.parametrize(
    ("content", "problem"),
    [("ci: " + "word " * 1000, "persona-too-large"), ("ci: It is {{time}}.", "invalid-request")],
)
def test_instructions_that_cannot_be_told_are_refused_and_nothing_changes(
    client: httpx.Client, content: str, problem: str
) -> None:
    path = new_session(client)
    before = client.get(path).json()
    answer = client.post(f"{path}/messages", json={"content": content})
    assert answer.status_code == 422
    assert answer.json()["type"] == f"urn:perdure:problem:{problem}"
    assert client.get(path).json() == before


def test_ci_goes_with_no_note_no_edit_and_no_dry_run(client: httpx.Client) -> None:
    path = new_session(client)
    said = say(client, path, "Hi")["user_message"]["id"]
    for answer, field in (
        (client.post(f"{path}/messages", json={"content": "ci: Be.", "note": "Now."}), "note"),
        (client.get(f"{path}/context", params={"content": "ci: Be."}), "content"),
        (client.put(f"/v1/messages/{said}", json={"content": "ci: Be."}), "content"),
    ):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field
    assert client.get(path).json()["instructions"] is None


def test_qa_without_documents_is_told_that_nothing_was_found(used_client: httpx.Client) -> None:
    path = new_session(used_client)
    reply = say(used_client, path, "qa: What do I wear?")
    assert reply["message"]["sources"] == []
    [(_, note)] = window(used_client, reply)[-3][1]
    assert "No document tells anything" in note


@pytest.fixture(scope="module")
def library(client: httpx.Client) -> httpx.Client:
    """Ann's document on fires, Bob's on boats, and everybody's on bread; all are indexed."""
    fire, boat = "# Fire\n\nIn a fire wear the red vest.\n", "# Boats\n\nThe boat is called Maverick.\n"
    settled(client, added(client, "fire.md", fire, user_id="ann"))
    settled(client, added(client, "boat.md", boat, user_id="bob"))
    settled(client, added(client, "bread.md", "# Bread\n\nBread wants warm water and salt.\n"))
    for user_id, count in (("ann", 2), ("bob", 2)):
        search = {"query": "vest boat bread", "scope": "documents", "user_id": user_id}
        deadline = time.monotonic() + 60
        while len((found := client.post("/v1/search", json=search).json())["data"]) < count:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
    return client


FIRE = {"name": "fire.md", "place": "Fire, line 3"}


@pytest.mark.parametrize("strategy", ["buffer", "token_buffer", "vector", "summary"])
def test_qa_answers_from_documents_with_sources_under_every_strategy(
    library: httpx.Client, strategy: str
) -> None:
    path = new_session(library, user_id="ann", memory={"strategy": strategy})
    say(library, path, "The vest is blue, is it not?")
    reply = say(library, path, "qa: What do I wear in a fire?")
    sources = reply["message"]["sources"]
    assert FIRE in [{name: each[name] for name in FIRE} for each in sources]
    assert "boat.md" not in [each["name"] for each in sources]
    segments = window(library, reply)
    assert [kind for kind, _ in segments][-4:] == ["recalled", "note", "message", "generation_prompt"]
    [(_, quotes)] = segments[-4][1]
    assert quotes.startswith("From documents,")
    assert "wear the red vest" in quotes
    assert "blue" not in quotes
    assert segments[-2][1] == [("user", "What do I wear in a fire?")]
    record = library.get(f"/v1/messages/{reply['message']['id']}/context").json()
    assert record["recall"]["scope"] == "documents"
    assert listed(library, path)[2] == ("user", "qa: ", "What do I wear in a fire?")
    again = library.post(f"/v1/messages/{reply['message']['id']}/regenerate", json={"max_tokens": 2}).json()
    assert again["message"]["sources"] == sources
    following = window(library, say(library, path, "Thanks."))
    assert not any("From documents" in text for _, said in following for _, text in said)


def test_qa_of_nobody_sees_everybodys_documents_only(library: httpx.Client) -> None:
    path = new_session(library)
    reply = say(library, path, "qa: What do I wear in a fire?")
    assert [each["name"] for each in reply["message"]["sources"]] == ["bread.md"]
    assert library.get(f"{path}/messages").json()["data"][1]["sources"] == reply["message"]["sources"]


def test_documents_are_searched_beside_what_was_said(library: httpx.Client) -> None:
    session_id = new_session(library, user_id="ann").rsplit("/", 1)[1]
    search = {"query": "What do I wear in a fire?", "scope": "documents", "limit": 1}
    of_session = library.post("/v1/search", json=search | {"session_id": session_id}).json()
    of_user = library.post("/v1/search", json=search | {"user_id": "ann"}).json()
    assert of_session == of_user
    [hit] = of_session["data"]
    assert hit["citation"] == "fire.md, Fire, line 3"
    assert hit["document_id"].startswith("doc_")
    assert hit["session_id"] is None
    [everybodys] = library.post("/v1/search", json=search).json()["data"]
    assert everybodys["citation"].startswith("bread.md")


@pytest.mark.parametrize(
    "wrong",
    [
        {"session_id": "ses_1", "user_id": "ann"},
        {"persona_id": "per_1"},
        {"where": {"role": "user"}},
    ],
)
def test_a_search_of_documents_takes_only_what_goes_with_them(client: httpx.Client, wrong: Json) -> None:
    answer = client.post("/v1/search", json={"query": "a", "scope": "documents", **wrong})
    assert answer.status_code == 422
    missing = client.post("/v1/search", json={"query": "a", "scope": "documents", "session_id": "ses_no"})
    assert missing.status_code == 404
