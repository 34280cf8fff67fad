"""What is deleted is gone: from every answer at once, and from every file when the receipt says so."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.settings import Settings
from tests.app.command_line import perdure
from tests.app.conftest import RunningService
from tests.app.processes import service_process
from tests.app.service import open_stream, until
from tests.traces import files_with

pytestmark = pytest.mark.stand_in

WORD = "Quaggamarker"
STORES = {
    "messages",
    "sampled_tokens",
    "token_index",
    "context_records",
    "responses",
    "lore_entries",
    "marks",
    "summaries",
    "facts",
    "refused_facts",
    "fact_blocks",
    "idempotency_keys",
    "documents",
    "document_pieces",
    "sessions",
    "passages",
    "kv_cache",
    "dense_index",
    "lexical_index",
    "files",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def shared(running_service: RunningService, home: Path) -> Iterator[httpx.Client]:
    with running_service(Settings(home=home)) as client:
        yield client


def new_session(client: httpx.Client, **given: Any) -> str:
    return str(client.post("/v1/sessions", json=given).json()["id"])


def append(client: httpx.Client, session_id: str, *said: str) -> list[dict[str, Any]]:
    """Messages of user and assistant in turn."""
    messages = [
        {"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(said)
    ]
    answer = client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": messages})
    stored: list[dict[str, Any]] = answer.json()["data"]
    return stored


def chat(client: httpx.Client, session_id: str, content: str) -> dict[str, Any]:
    answer = client.post(
        f"/v1/sessions/{session_id}/messages", json={"content": content, "max_tokens": 4, "temperature": 0}
    )
    answer.raise_for_status()
    reply: dict[str, Any] = answer.json()
    return reply


def listed(client: httpx.Client, session_id: str) -> list[dict[str, Any]]:
    data: list[dict[str, Any]] = client.get(f"/v1/sessions/{session_id}/messages").json()["data"]
    return data


def window(client: httpx.Client, session_id: str) -> dict[str, Any]:
    context: dict[str, Any] = client.get(f"/v1/sessions/{session_id}/context").json()
    return context


def indexed(client: httpx.Client) -> None:
    def left() -> int:
        status = client.get("/v1/recall/status").json()
        return int(status["behind"] + status["waiting"])

    until(left, lambda count: count == 0)


def done(client: httpx.Client, answer: httpx.Response) -> dict[str, Any]:
    """The receipt of a deletion that was accepted, when it is done."""
    assert answer.status_code in (200, 202), answer.text
    place = answer.headers["location"]
    receipt: dict[str, Any] = until(lambda: client.get(place).json(), lambda now: now["status"] == "done")
    assert set(receipt["stores"]) == STORES
    assert not any(count["remaining"] for count in receipt["stores"].values()), receipt
    return receipt


def removed(receipt: dict[str, Any], *stores: str) -> list[int]:
    return [receipt["stores"][store]["removed"] for store in stores]


def is_nowhere(client: httpx.Client, home: Path, word: str) -> None:
    assert word not in client.get("/v1/export").text
    assert files_with(home, word) == []


def test_a_deleted_message_is_in_no_answer_and_in_no_file(shared: httpx.Client, home: Path) -> None:
    word = f"{WORD}one"
    session_id = new_session(shared, user_id="tom")
    append(shared, session_id, "Hello.", "Good day.")
    asked = chat(shared, session_id, f"My secret is {word}. Say nothing.")
    lore = {"message_id": asked["user_message"]["id"], "keys": ["secret"]}
    assert shared.post(f"/v1/sessions/{session_id}/lorebook/entries", json=lore).status_code == 201
    shared.put(f"/v1/messages/{asked['user_message']['id']}/pin")
    after = chat(shared, session_id, "Do you know the secret?")
    branch = shared.post(
        f"/v1/sessions/{session_id}/branch", json={"message_id": after["message"]["id"]}
    ).json()["id"]
    indexed(shared)
    assert files_with(home, word)

    answer = shared.delete(f"/v1/messages/{asked['user_message']['id']}")
    for chat_id in (session_id, branch):
        assert word not in shared.get(f"/v1/sessions/{chat_id}/messages").text
        assert word not in shared.get(f"/v1/sessions/{chat_id}/lorebook").text
        assert word not in shared.get(f"/v1/sessions/{chat_id}/context").text
        assert word not in shared.get(f"/v1/sessions/{chat_id}/export").text
        found = shared.post("/v1/search", json={"query": word, "session_id": chat_id}).json()["data"]
        assert not [hit for hit in found if word in hit["text"]]
    receipt = done(shared, answer)
    assert removed(receipt, "messages", "lore_entries", "marks", "dense_index") == [4, 2, 2, 4]
    is_nowhere(shared, home, word)
    for reply in (after["message"]["id"], listed(shared, branch)[-1]["id"]):
        record = shared.get(f"/v1/messages/{reply}/context")
        assert record.status_code == 200
        assert word not in record.text
    for gone in (asked["user_message"]["id"], asked["message"]["id"]):
        assert shared.get(f"/v1/messages/{gone}").status_code == 404
    assert shared.get(f"/v1/messages/{asked['message']['id']}/context").status_code == 404
    again = shared.delete(f"/v1/messages/{asked['user_message']['id']}")
    assert (again.status_code, again.json()["id"]) == (200, receipt["id"])


def test_the_place_of_a_deleted_message_stays_and_its_turn_leaves_the_window(shared: httpx.Client) -> None:
    session_id = new_session(shared, memory={"strategy": "buffer"})
    said = append(shared, session_id, *[f"Message {number}." for number in range(6)])
    done(shared, shared.delete(f"/v1/messages/{said[2]['id']}"))
    assert [m["id"] for m in listed(shared, session_id)] == [said[n]["id"] for n in (0, 1, 4, 5)]
    assert [m["turn"] for m in listed(shared, session_id)] == [0, 0, 2, 2]
    context = window(shared, session_id)
    assert context["turns"] == [0, 2]
    assert [out["first_turn"] for out in context["left_out"]] == [1]

    reply = listed(shared, session_id)[-1]["id"]
    done(shared, shared.delete(f"/v1/messages/{reply}"))
    assert listed(shared, session_id)[-1]["id"] == said[4]["id"]
    assert window(shared, session_id)["turns"] == [0]
    refused = shared.post(f"/v1/sessions/{session_id}/reply", json={})
    assert refused.json()["type"] == "urn:perdure:problem:nothing-to-answer"
    assert chat(shared, session_id, "And now?")["message"]["turn"] == 3
    assert window(shared, session_id)["turns"] == [0, 3]


def test_other_versions_go_with_a_message_and_other_turns_come_through(shared: httpx.Client) -> None:
    session_id = new_session(shared)
    said = append(shared, session_id, *[f"Message {number}." for number in range(6)])
    edited = shared.put(
        f"/v1/messages/{said[2]['id']}", json={"content": "Another.", "keep_following": True}
    ).json()
    done(shared, shared.delete(f"/v1/messages/{said[2]['id']}"))  # it stands no longer: alone
    assert [m["id"] for m in shared.get(f"/v1/messages/{edited['id']}/alternatives").json()["data"]] == [
        edited["id"]
    ]
    now = listed(shared, session_id)
    assert [m["content"] for m in now] == ["Message 0.", "Message 1.", "Another.", "Message 4.", "Message 5."]
    # The way through an empty place is a way.
    shared.post(f"/v1/messages/{said[5]['id']}/activate").raise_for_status()
    assert [m["id"] for m in listed(shared, session_id)] == [said[n]["id"] for n in (0, 1, 4, 5)]
    shared.post(f"/v1/messages/{edited['id']}/activate").raise_for_status()
    assert [m["id"] for m in listed(shared, session_id)] == [m["id"] for m in now]
    done(shared, shared.delete(f"/v1/messages/{edited['id']}"))
    assert [m["content"] for m in listed(shared, session_id)] == [
        "Message 0.",
        "Message 1.",
        "Message 4.",
        "Message 5.",
    ]
    # And it is taken out and in again.
    file = shared.get(f"/v1/sessions/{session_id}/export").content
    copy = shared.post("/v1/sessions/import", content=file).json()["sessions"][0]["id"]
    assert [(m["content"], m["turn"]) for m in listed(shared, copy)] == [
        (m["content"], m["turn"]) for m in listed(shared, session_id)
    ]
    assert window(shared, copy)["turns"] == window(shared, session_id)["turns"] == [0, 2]
    first = listed(shared, copy)[0]["id"]
    shared.post(f"/v1/sessions/{copy}/forget", json={"from_message_id": first}).raise_for_status()
    assert listed(shared, copy) == []
    assert "Message" not in shared.get(f"/v1/sessions/{copy}/export").text


def test_summaries_that_tell_of_a_deleted_message_are_made_anew_without_it(
    shared: httpx.Client, home: Path
) -> None:
    word = f"{WORD}two"
    memory = {"strategy": "summary_buffer", "token_budget": 200, "max_summary_tokens": 64}
    session_id = new_session(shared, memory=memory)
    said = append(
        shared,
        session_id,
        f"The treasure of {word} lies under the old oak, behind the chapel of the village.",
        "I will keep that in mind, and tell nobody of it, whoever comes and asks for it.",
        *[f"Number {number} of the things that I want you to know is a long story." for number in range(16)],
    )
    path = f"/v1/sessions/{session_id}/summaries"
    until(lambda: shared.get(path).json()["data"], bool)
    shared.put(f"/v1/sessions/{session_id}/summary", json={"text": f"There is {word}."}).raise_for_status()
    assert word in shared.get(path).text
    receipt = done(shared, shared.delete(f"/v1/messages/{said[0]['id']}"))
    assert removed(receipt, "summaries")[0] >= 1
    is_nowhere(shared, home, word)
    summaries = until(lambda: shared.get(path).json()["data"], bool)
    assert word not in str(summaries)


def test_a_deleted_session_is_in_no_file_and_its_branch_stays(shared: httpx.Client, home: Path) -> None:
    word = f"{WORD}three"
    session_id = new_session(shared, user_id="tom", title=word)
    said = append(shared, session_id, "Hello.", "Good day.", f"It is {word}.", "I see.")
    chat(shared, session_id, f"Once more: {word}!")
    branch = shared.post(
        f"/v1/sessions/{session_id}/branch", json={"message_id": said[1]["id"], "title": "b"}
    )
    indexed(shared)
    answer = shared.delete(f"/v1/sessions/{session_id}")
    assert shared.get(f"/v1/sessions/{session_id}").status_code == 404
    receipt = done(shared, answer)
    assert removed(receipt, "sessions", "messages", "lexical_index") == [1, 6, 6]
    is_nowhere(shared, home, word)
    assert len(listed(shared, branch.json()["id"])) == 2
    again = shared.delete(f"/v1/sessions/{session_id}")
    assert (again.status_code, again.json()["id"]) == (200, receipt["id"])


def test_a_forgotten_user_is_in_no_file_by_word_or_name(shared: httpx.Client, home: Path) -> None:
    word, name, user_id = f"{WORD}four", f"{WORD}name", f"{WORD}id"
    sessions = [new_session(shared, user_id=user_id, user_name=name) for _ in range(2)]
    other = new_session(shared, user_id="somebody else")
    kept = append(shared, other, "What stays stays.")
    for session_id in sessions:
        append(shared, session_id, f"It is {word}.", "I see.")
        chat(shared, session_id, "And so?")
    fact = {"subject": "user", "key": "secret", "value": word}
    assert shared.post(f"/v1/sessions/{sessions[0]}/facts", json=fact).status_code == 201
    file = {"file": ("notes.md", f"# Notes\n\nAll of it is {word}.".encode())}
    document = shared.post("/v1/documents", data={"user_id": user_id}, files=file)
    assert document.status_code == 201, document.text
    indexed(shared)
    receipt = done(shared, shared.delete(f"/v1/users/{user_id}"))
    assert removed(receipt, "sessions", "messages", "facts", "documents") == [2, 8, 1, 1]
    assert shared.get(f"/v1/documents/{document.json()['id']}").status_code == 404
    for gone in (word, name, user_id):
        is_nowhere(shared, home, gone)
    assert shared.get("/v1/sessions", params={"user_id": user_id}).json()["data"] == []
    assert [m["id"] for m in listed(shared, other)] == [kept[0]["id"]]
    found = shared.post("/v1/search", json={"query": "What stays stays", "user_id": "somebody else"})
    assert found.json()["data"]
    again = shared.delete(f"/v1/users/{user_id}")
    assert (again.status_code, again.json()["id"]) == (200, receipt["id"])
    new_session(shared, user_id=user_id)
    anew = shared.delete(f"/v1/users/{user_id}")
    assert anew.json()["id"] != receipt["id"]
    done(shared, anew)


def test_a_user_of_any_name_can_be_forgotten(shared: httpx.Client) -> None:
    session_id = new_session(shared, user_id="a/b?c")
    done(shared, shared.delete("/v1/users/a%2Fb%3Fc"))
    assert shared.get(f"/v1/sessions/{session_id}").status_code == 404
    assert shared.delete("/v1/users/").status_code == 422


def test_deleting_a_message_waits_for_no_reply_and_deleting_its_chat_ends_it(shared: httpx.Client) -> None:
    session_id = new_session(shared)
    said = append(shared, session_id, "Hello.", "Good day.")
    with open_stream(shared, session_id, content="Count to a thousand.", max_tokens=2000) as stream:
        next(stream)
        refused = shared.delete(f"/v1/messages/{said[0]['id']}")
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:perdure:problem:session-busy")
        accepted = shared.delete(f"/v1/sessions/{session_id}")
        assert list(stream)[-1][0] in ("finished", "error")
    done(shared, accepted)


def test_the_terminal_waits_for_the_receipt_and_shows_it(shared: httpx.Client, home: Path) -> None:
    word = f"{WORD}five"
    append(shared, new_session(shared, user_id="eve"), f"It is {word}.")
    done_by = perdure("forget", "user", "eve", "--url", str(shared.base_url))
    assert done_by.returncode == 0, done_by.stderr
    assert "user deleted" in done_by.stdout
    counts = {line.split()[0]: line.split()[1:] for line in done_by.stdout.splitlines()[1:]}
    assert set(counts) == STORES
    assert counts["messages"] == ["1", "removed", "0", "left"]
    is_nowhere(shared, home, word)
    wrong = perdure("forget", "message", "msg_none", "--url", str(shared.base_url))
    assert (wrong.returncode, wrong.stderr.strip()) == (1, "error: message msg_none does not exist")


def test_what_never_was_cannot_be_deleted(shared: httpx.Client) -> None:
    for path in ("messages/msg_none", "sessions/ses_none", "users/nobody", f"users/{'x' * 256}"):
        answer = shared.delete(f"/v1/{path}")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:perdure:problem:not-found"), path
    assert shared.delete(f"/v1/users/{'x' * 257}").status_code == 422
    assert shared.get("/v1/deletions/del_none").status_code == 404


def test_a_deletion_that_was_killed_is_done_after_the_next_start(tmp_path: Path) -> None:
    words = [f"{WORD}{number}x" for number in range(3)]
    with service_process(tmp_path) as (process, client):
        sessions = [new_session(client, user_id=user) for user in ("tom", "tom", "ann")]
        said = []
        for session_id, word in zip(sessions, words, strict=True):
            said.append(append(client, session_id, f"It is {word}.", "Yes."))
            chat(client, session_id, "And so?")
        indexed(client)
        targets = (f"messages/{said[0][0]['id']}", f"sessions/{sessions[1]}", "users/ann")
        places = [client.delete(f"/v1/{target}").headers["location"] for target in targets]
        process.send_signal(signal.SIGKILL)
        process.wait()
    with service_process(tmp_path) as (_, client):
        for place in places:
            until(lambda place=place: client.get(place).json(), lambda now: now["status"] == "done")
        for word in words:
            assert files_with(tmp_path, word) == []
        assert listed(client, sessions[0])[0]["content"] == "And so?"
