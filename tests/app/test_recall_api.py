"""Search over the API: what was said in any chat of a user is found, and nothing of anybody else."""

import subprocess
import time
from pathlib import Path
from shutil import rmtree
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app as cli
from app.settings import Settings
from tests.app.conftest import RunningService
from tests.app.service import StartService

pytestmark = pytest.mark.stand_in

NOBODY = "http://127.0.0.1:9"


def wait_until_indexed(client: httpx.Client) -> dict[str, Any]:
    for _ in range(600):
        status: dict[str, Any] = client.get("/v1/recall/status").json()
        if not status["waiting"] + status["behind"]:
            return status
        time.sleep(0.02)
    raise AssertionError(status)


def new_chat(client: httpx.Client, *said: str, user: str | None = None, persona: str | None = None) -> str:
    """A chat in which user and assistant said these things in turn."""
    body = {"user_id": user, "persona_id": persona}
    created = client.post("/v1/sessions", json={key: value for key, value in body.items() if value})
    session_id = str(created.json()["id"])
    append(client, session_id, *said)
    return session_id


def append(client: httpx.Client, session_id: str, *said: str) -> None:
    if said:
        messages = [
            {
                "role": "assistant" if number % 2 else "user",
                "content": text,
                "created_at": f"2026-05-{number + 1:02}T12:00:00Z",
            }
            for number, text in enumerate(said)
        ]
        path = f"/v1/sessions/{session_id}/messages/append"
        assert client.post(path, json={"messages": messages}).status_code == 201


def search(client: httpx.Client, query: str, **body: Any) -> list[str]:
    answer = client.post("/v1/search", json={"query": query, **body})
    assert answer.status_code == 200, answer.text
    return [hit["text"] for hit in answer.json()["data"]]


def new_persona(client: httpx.Client, name: str) -> str:
    body = {"name": name, "instructions": f"You are {name}."}
    return str(client.post("/v1/personas", json=body).json()["id"])


def test_a_fresh_chat_finds_what_its_user_told_this_persona_and_nobody_else(
    used_client: httpx.Client,
) -> None:
    client = used_client
    pippa, other = new_persona(client, "Pippa"), new_persona(client, "Otto")
    told = new_chat(client, "My rabbit is called Clover.", "What a name!", user="mia", persona=pippa)
    new_chat(client, "My rabbit is called Bandit.", "Oh!", user="mia", persona=other)
    new_chat(client, "My rabbit is called Snow.", "Oh!", user="noa", persona=pippa)
    nameless = new_chat(client, "My rabbit is called Dusk.", "Oh!", persona=pippa)
    fresh = new_chat(client, user="mia", persona=pippa)
    wait_until_indexed(client)

    asked = "What is my rabbit called?"
    assert search(client, asked, session_id=fresh) == ["My rabbit is called Clover.", "What a name!"]
    everything = search(client, asked, session_id=fresh, scope="user")
    assert {"My rabbit is called Clover.", "My rabbit is called Bandit."} <= set(everything)
    assert not {"My rabbit is called Snow.", "My rabbit is called Dusk."} & set(everything)
    assert search(client, asked, session_id=fresh, scope="chat") == []
    assert search(client, asked, session_id=nameless, scope="user")[0] == "My rabbit is called Dusk."
    assert set(search(client, asked, user_id="mia")) == set(everything)
    assert search(client, asked, user_id="mia", persona_id=other)[0] == "My rabbit is called Bandit."
    assert search(client, asked, user_id="nobody") == []

    [hit, _] = client.post("/v1/search", json={"query": asked, "session_id": fresh}).json()["data"]
    messages = client.get(f"/v1/sessions/{told}/messages").json()["data"]
    assert hit["message_id"] == messages[0]["id"]
    assert (hit["session_id"], hit["turn"], hit["role"]) == (told, 0, "user")
    assert hit["said_at"] == "2026-05-01T12:00:00Z"
    assert hit["why"]


def test_filters_hold_for_all_that_is_found_its_neighbours_too(used_client: httpx.Client) -> None:
    said = [f"Remark {number} on the lighthouse." for number in range(6)]
    chat = new_chat(used_client, *said, user="filter")
    new_chat(used_client, "Another lighthouse.", user="filter")
    wait_until_indexed(used_client)

    def found(**where: Any) -> set[str]:
        return set(search(used_client, "the lighthouse", user_id="filter", where=where))

    assert found(session_id=chat) == set(said)
    assert found(session_id=chat, role="assistant") == set(said[1::2])
    assert found(session_id=chat, speaker="ASSISTANT") == set(said[1::2])
    since, until = "2026-05-02T00:00:00Z", "2026-05-04T12:00:00Z"
    assert found(session_id=chat, since=since, until=until) == set(said[1:3])


def test_what_leaves_a_chat_is_found_no_more(used_client: httpx.Client) -> None:
    chat = new_chat(used_client, "I love quaggas.", "Good.", "I fear zeppelins.", "Why?", user="leaving")
    wait_until_indexed(used_client)
    messages = used_client.get(f"/v1/sessions/{chat}/messages").json()["data"]
    used_client.put(f"/v1/messages/{messages[0]['id']}/exclude")
    assert "I love quaggas." not in search(used_client, "quaggas", user_id="leaving")
    used_client.delete(f"/v1/messages/{messages[0]['id']}/exclude")
    wait_until_indexed(used_client)
    assert search(used_client, "quaggas", user_id="leaving")[0] == "I love quaggas."
    used_client.post(f"/v1/sessions/{chat}/forget", json={"from_message_id": messages[2]["id"]})
    assert "I fear zeppelins." not in search(used_client, "zeppelins", user_id="leaving")
    assert used_client.delete(f"/v1/sessions/{chat}").status_code == 202
    assert search(used_client, "quaggas", user_id="leaving") == []


def test_a_branched_chat_is_not_found_twice(used_client: httpx.Client) -> None:
    chat = new_chat(used_client, "The safe is behind the mirror.", "Noted.", user="brancher")
    messages = used_client.get(f"/v1/sessions/{chat}/messages").json()["data"]
    branch = used_client.post(f"/v1/sessions/{chat}/branch", json={"message_id": messages[-1]["id"]}).json()[
        "id"
    ]
    wait_until_indexed(used_client)
    body = {"query": "Where is the safe?", "session_id": branch}
    hits = used_client.post("/v1/search", json=body).json()["data"]
    assert [hit["text"] for hit in hits] == ["The safe is behind the mirror.", "Noted."]
    assert {hit["session_id"] for hit in hits} == {branch}


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({"query": "x"}, "either session_id or user_id"),
        ({"query": "x", "session_id": "ses_1", "user_id": "mia"}, "either session_id or user_id"),
        ({"query": "x", "user_id": "mia", "scope": "chat"}, "scope goes with session_id"),
        ({"query": "x", "session_id": "ses_1", "persona_id": "per_1"}, "persona_id goes with user_id"),
        ({"query": " ", "user_id": "mia"}, "blank"),
        ({"query": "x", "user_id": "mia", "limit": 0}, "limit"),
        ({"query": "x", "user_id": "mia", "where": {"since": "2026-05-02"}}, "since"),
        (
            {
                "query": "x",
                "user_id": "mia",
                "where": {"since": "2026-05-02T00:00:00Z", "until": "2026-05-01T00:00:00Z"},
            },
            "until must be later",
        ),
    ],
)
def test_a_search_that_makes_no_sense_is_refused(
    used_client: httpx.Client, body: dict[str, Any], problem: str
) -> None:
    answer = used_client.post("/v1/search", json=body)
    assert answer.status_code == 422
    assert problem in answer.json()["detail"]


def test_searches_without_words_or_of_unknown_chats(used_client: httpx.Client) -> None:
    assert search(used_client, "?!", user_id="mia") == []
    answer = used_client.post("/v1/search", json={"query": "x", "session_id": "ses_none"})
    assert answer.status_code == 404


def test_without_the_chroma_server_words_are_found_and_it_is_said(start_service: StartService) -> None:
    client = start_service(chroma_url=NOBODY)
    chat = new_chat(client, "The safe is behind the mirror.", "Noted.", user="mia")
    for _ in range(600):
        answer = client.post("/v1/search", json={"query": "mirror", "session_id": chat}).json()
        if answer["data"]:
            break
        time.sleep(0.02)
    assert answer["data"][0]["text"] == "The safe is behind the mirror."
    assert "Chroma" in answer["degraded"]
    assert client.get("/v1/recall/status").json()["behind"] == 2
    refused = client.post("/v1/recall/reindex", json={})
    assert refused.status_code == 503
    assert refused.json()["type"] == "urn:perdure:problem:index-unavailable"


def test_at_the_start_what_is_not_indexed_is_made_up_for(
    running_service: RunningService, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path / "home")
    with running_service(settings) as client:
        chat = new_chat(client, "The safe is behind the mirror.", "Noted.", user="mia")
        wait_until_indexed(client)
    rmtree(tmp_path / "home" / "recall")
    with running_service(settings) as client:
        wait_until_indexed(client)
        assert search(client, "mirror", session_id=chat)[0] == "The safe is behind the mirror."


def test_indexes_are_made_anew_with_and_without_a_service(
    start_service: StartService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("PERDURE_PORT", "9")  # nobody is there
    client = start_service()
    chat = new_chat(client, "The safe is behind the mirror.", "Noted.", user="mia")
    before = wait_until_indexed(client)
    assert before["passages"] == 2
    assert client.post("/v1/recall/reindex", json={"user_id": "mia"}).json()["waiting"] == 2
    assert wait_until_indexed(client)["passages"] == 2
    asked = CliRunner().invoke(cli, ["reindex", "--url", str(client.base_url)])
    assert "2 passages are indexed" in asked.output
    assert search(client, "mirror", session_id=chat)[0] == "The safe is behind the mirror."
    figures = client.get("/metrics").text
    assert "perdure_recall_passages 2.0" in figures
    assert "perdure_recall_behind_messages 0.0" in figures
    assert "perdure_recall_query_seconds_count 1.0" in figures

    in_use = CliRunner().invoke(cli, ["reindex"])
    assert "another Perdure process" in str(in_use.exception)
    monkeypatch.setenv("PERDURE_HOME", str(tmp_path / "elsewhere"))
    copied = tmp_path / "elsewhere"
    copied.mkdir()
    for name in ("perdure.sqlite3", "perdure.sqlite3-wal"):
        subprocess.run(["cp", home / name, copied], check=True)  # a reader of our own would drop the locks
    alone = CliRunner().invoke(cli, ["reindex", "--user", "mia"])
    assert "2 passages are indexed" in alone.output
    damaged = copied / "recall" / "chroma" / "chroma.sqlite3"
    damaged.write_bytes(b"damaged" * 1000)
    assert "Chroma" in str(CliRunner().invoke(cli, ["reindex", "--user", "mia"]).exception)
    assert "2 passages are indexed" in CliRunner().invoke(cli, ["reindex"]).output
    assert damaged.read_bytes().startswith(b"SQLite format 3")
    assert list((copied / "recall" / "lexical").glob("shf_*"))
    assert not (copied / "recall" / "reindexing").exists()
