"""Public personas: what is cached of their text serves other owners too, and nothing else does."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.app.cards_data import V2
from tests.app.conftest import RunningService
from tests.app.keys import new_key, with_key
from tests.app.test_next_window import let_it_prepare

pytestmark = pytest.mark.stand_in

BLOCK = 16
"""Tokens that are shared or not together; fewer all prompts of one owner may begin with."""
EVERYTHING = ("--scope", "read", "--scope", "write", "--scope", "admin")


@dataclass
class Owners:
    first: httpx.Client
    second: httpx.Client


@pytest.fixture(scope="module")
def owners(running_service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Owners]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), require_key=True)
    with running_service(settings) as client:
        first, second = (
            with_key(client, new_key(settings.home, "--tenant", tenant, *EVERYTHING))
            for tenant in ("first", "second")
        )
        with first, second:
            yield Owners(first, second)


def text_of(name: str) -> str:
    """Instructions that no other test has, nor their beginning."""
    return f"{name} is who you are. " + "You keep the lighthouse and count the ships. " * 12


def session_with(client: httpx.Client, persona: dict[str, Any], **settings: Any) -> str:
    made = client.post("/v1/personas", json=persona)
    assert made.status_code == 201, made.text
    session = client.post("/v1/sessions", json={"persona_id": made.json()["id"], **settings})
    return str(session.json()["id"])


def said(client: httpx.Client, session_id: str, content: str = "Who are you?") -> int:
    """How many tokens of the turn's prompt were cached."""
    answer = client.post(f"/v1/sessions/{session_id}/messages", json={"content": content, "max_tokens": 1})
    return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


def dry_run(client: httpx.Client, session_id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/sessions/{session_id}/context", params={"content": "Who are you?"})
    context: dict[str, Any] = answer.json()
    return context


def persona_tokens(context: dict[str, Any]) -> int:
    return sum(
        segment["tokens"] for segment in context["segments"] if segment["kind"] in ("persona", "examples")
    )


def test_a_public_persona_is_computed_once_for_two_owners_and_nothing_behind_it_is_shared(
    owners: Owners,
) -> None:
    exchanges = [{"user": "What is out there?", "assistant": "Ships, and the sea behind them, always."}]
    persona = {"name": "P", "instructions": text_of("Both"), "examples": exchanges, "public": True}
    first, second = session_with(owners.first, persona), session_with(owners.second, persona)
    assert dry_run(owners.second, second)["cached_tokens"] < BLOCK
    assert said(owners.first, first) < BLOCK
    context = dry_run(owners.second, second)
    shared = persona_tokens(context) // BLOCK * BLOCK
    assert context["cached_tokens"] == shared > 5 * BLOCK
    assert said(owners.second, second) == shared, "though the message is the same"


@pytest.mark.parametrize("public", [(False, False), (True, False), (False, True)])
def test_unless_both_owners_marked_it_nothing_is_shared(owners: Owners, public: tuple[bool, bool]) -> None:
    clients = (owners.first, owners.second)
    persona = {"name": "P", "instructions": text_of(f"Marked {public}")}
    chats = [
        session_with(client, persona | {"public": mark}) for client, mark in zip(clients, public, strict=True)
    ]
    assert all(said(client, chat) < BLOCK for client, chat in zip(clients, chats, strict=True))


def test_a_persona_is_private_unless_it_is_marked_and_a_mark_counts_from_the_next_turn_on(
    owners: Owners,
) -> None:
    persona = {"name": "P", "instructions": text_of("Later")}
    first, second = session_with(owners.first, persona), session_with(owners.second, persona)
    paths = []
    for client, chat in ((owners.first, first), (owners.second, second)):
        made = client.get(f"/v1/sessions/{chat}").json()["persona_id"]
        paths.append(f"/v1/personas/{made}")
        assert client.get(paths[-1]).json()["public"] is False
        marked = client.patch(paths[-1], json={"public": True}).json()
        assert marked["public"] is True
        assert marked["instructions"] == persona["instructions"]
    assert owners.second.patch(paths[1], json={"style": ""}).json()["public"] is True
    assert said(owners.first, first) < BLOCK
    assert dry_run(owners.second, second)["cached_tokens"] > 5 * BLOCK
    owners.second.patch(paths[1], json={"public": False})
    assert said(owners.second, second) < BLOCK


def test_of_a_changed_persona_only_what_is_still_the_same_is_shared(owners: Owners) -> None:
    head = text_of("Changed")
    persona = {"name": "P", "instructions": head, "style": "Rough. " * 40, "public": True}
    first, second = session_with(owners.first, persona), session_with(owners.second, persona)
    made = owners.second.get(f"/v1/sessions/{second}").json()["persona_id"]
    owners.second.patch(f"/v1/personas/{made}", json={"style": "Gentle. " * 40})
    said(owners.first, first)
    alone = owners.first.post("/v1/personas", json={"name": "P", "instructions": head}).json()["tokens"]
    assert alone - 2 * BLOCK < said(owners.second, second) < alone


@pytest.mark.parametrize(
    "both",
    [{"user_name": "Mina"}, {"user_id": "mina"}],
    ids=["a name of the session's", "a rule of the user's"],
)
def test_what_is_told_of_the_user_is_not_shared_nor_anything_behind_it(
    owners: Owners, both: dict[str, str]
) -> None:
    [[field, _]] = both.items()
    head = text_of(f"Told of by {field}")
    persona = {
        "name": "P",
        "instructions": head,
        "style": "You serve {{user}}. " if field == "user_name" else "",
        "speech_rules": [{"user_id": "mina", "rule": "Call her captain."}],
        "examples": [{"user": "Ships?", "assistant": "Ships. " * 40}],
        "public": True,
    }
    first, second = session_with(owners.first, persona, **both), session_with(owners.second, persona, **both)
    said(owners.first, first)
    alone = owners.first.post("/v1/personas", json={"name": "P", "instructions": head}).json()["tokens"]
    assert alone - 2 * BLOCK < said(owners.second, second) < alone + BLOCK
    said(owners.first, session_with(owners.first, persona))
    nobody = session_with(owners.second, persona)
    assert said(owners.second, nobody) > alone + BLOCK, "to whom it says nothing of the user"


def test_instructions_of_a_chats_own_are_not_shared_though_its_persona_is_public(owners: Owners) -> None:
    persona = {"name": "P", "instructions": "You are P.", "public": True}
    own = {"instructions": text_of("Own")}
    first, second = session_with(owners.first, persona), session_with(owners.second, persona)
    for client, chat in ((owners.first, first), (owners.second, second)):
        assert client.patch(f"/v1/sessions/{chat}", json=own).status_code == 200
    assert max(said(owners.first, first), said(owners.second, second)) < BLOCK


def test_a_window_that_is_prepared_shares_the_public_persona_and_not_the_chat(owners: Owners) -> None:
    persona = {"name": "P", "instructions": text_of("Prepared"), "public": True}
    first, second = session_with(owners.first, persona), session_with(owners.second, persona)
    messages = [{"role": role, "content": "The sea was grey. " * 8} for role in ("user", "assistant")]
    for client, chat in ((owners.first, first), (owners.second, second)):
        assert client.post(f"/v1/sessions/{chat}/messages/append", json={"messages": messages}).is_success
        if client is owners.first:
            let_it_prepare(client, chat)
            other = session_with(owners.second, persona)
            context = dry_run(owners.second, other)
            assert context["cached_tokens"] == persona_tokens(context) // BLOCK * BLOCK
    let_it_prepare(owners.second, second)
    assert said(owners.second, second) > 8 * BLOCK


def test_another_owner_cannot_see_or_use_a_public_persona(owners: Owners) -> None:
    made = owners.first.post("/v1/personas", json={"name": "P", "public": True}).json()
    assert owners.second.get(f"/v1/personas/{made['id']}").status_code == 404
    assert owners.second.post("/v1/sessions", json={"persona_id": made["id"]}).status_code == 422
    assert made["id"] not in owners.second.get("/v1/personas").text


def test_no_file_makes_what_it_brings_public(owners: Owners) -> None:
    made = owners.first.post("/v1/personas", json={"name": "P", "public": True}).json()
    exported = owners.first.get(f"/v1/personas/{made['id']}/export").text
    assert "public" not in exported
    [imported] = owners.second.post("/v1/import", content=exported).json()["personas"]
    assert owners.second.get(f"/v1/personas/{imported['id']}").json()["public"] is False
    claims = exported.replace('"name": "P"', '"name": "P", "public": true')
    assert owners.second.post("/v1/import", content=claims).status_code == 422
    extensions = {"perdure": {"public": True}}
    card = V2 | {"data": V2["data"] | {"extensions": extensions}, "public": True}
    assert owners.second.post("/v1/personas/import", json=card).json()["public"] is False


@pytest.mark.parametrize("wrong", [None, "yes", 1, []])
def test_whether_a_persona_is_public_is_yes_or_no(owners: Owners, wrong: Any) -> None:
    refused = owners.first.post("/v1/personas", json={"name": "P", "public": wrong})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "public"
