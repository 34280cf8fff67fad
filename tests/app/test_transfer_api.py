"""Exports and imports over HTTP and on the command line."""

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.cards_data import V2
from tests.app.command_line import perdure
from tests.app.service import StartService, until
from tests.app.test_documents import added, pieces
from tests.app.test_facts import append as tell
from tests.app.test_facts import facts, new_session, wait_for_values
from tests.app.test_history import append, contents, listed, regenerate, say, window
from tests.app.test_recall_api import new_chat, search
from tests.app.test_summaries import imported as summarised_chat
from tests.app.test_summaries import summaries
from tests.app.test_transfer_formats import CONVERSATION, TAVERN_HEAD, line, lines
from tests.app.transfer_parts import normalised

pytestmark = pytest.mark.stand_in

Json = dict[str, Any]


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def export(client: httpx.Client, session_id: str, **params: Any) -> bytes:
    answer = client.get(f"/v1/sessions/{session_id}/export", params=params)
    assert answer.status_code == 200, answer.text
    return answer.content


def take_in(client: httpx.Client, file: bytes, path: str = "sessions/import", **params: Any) -> Json:
    answer = client.post(f"/v1/{path}", content=file, params=params)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def sessions(client: httpx.Client) -> int:
    return len(client.get("/v1/sessions", params={"limit": 200}).json()["data"])


def test_a_chat_comes_back_with_its_window_contexts_and_alternatives(client: httpx.Client) -> None:
    persona = client.post("/v1/personas/import", content=json.dumps(V2).encode()).json()
    body = {"persona_id": persona["id"], "user_id": "maker", "user_name": "Dad", "title": "Boats"}
    session_id = client.post("/v1/sessions", json=body).json()["id"]
    first = say(client, session_id, "What is a boat?", note="Be brief.")["message"]["id"]
    client.patch(f"/v1/personas/{persona['id']}", json={"facts": ["You can swim."]})
    other = regenerate(client, first, seed=7, temperature=1.5)["message"]["id"]
    say(client, session_id, "And a ship?")
    client.put(f"/v1/messages/{other}/pin")
    entry = {"keys": ["boat"], "content": "Boats float."}
    client.post(f"/v1/sessions/{session_id}/lorebook/entries", json=entry)

    file = export(client, session_id)
    made = take_in(client, file)
    [session] = made["sessions"]
    assert session["imported_from"] == session_id
    assert session["messages"] == len(listed(client, session_id)) + 1
    assert normalised(export(client, session["id"])) == normalised(file)

    before, after = window(client, session_id), window(client, session["id"])
    assert spoken(after) == spoken(before)
    assert contents(client, session["id"]) == contents(client, session_id)
    replies = [listed(client, each)[-1]["id"] for each in (session_id, session["id"])]
    records = [client.get(f"/v1/messages/{reply}/context").json() for reply in replies]
    assert records[1]["persona"]["id"] == made["personas"][0]["id"] != records[0]["persona"]["id"]
    texts = [
        [message["content"] for segment in record["segments"] for message in segment["messages"]]
        for record in records
    ]
    assert texts[0] == texts[1] != []
    card = client.get(f"/v1/personas/{made['personas'][0]['id']}/card").json()
    assert card == client.get(f"/v1/personas/{persona['id']}/card").json()
    say(client, session["id"], "Thank you.")
    assert contents(client, session_id) == contents(client, session["id"])[:-2]


def test_a_summarised_chat_comes_back_with_its_window_and_its_summaries(client: httpx.Client) -> None:
    session_id = summarised_chat(client)
    text = "User: My brother Zebulon keeps 77 owls in Reykjavik."
    client.put(f"/v1/sessions/{session_id}/summary", json={"text": text}).raise_for_status()
    # The one for the next cut, made anew from the edited one, is the last that upkeep has to make.
    until(lambda: text in summaries(client, session_id)[0]["text"] != text)
    file = export(client, session_id)
    [session] = take_in(client, file)["sessions"]
    assert normalised(export(client, session["id"])) == normalised(file)
    before, after = window(client, session_id), window(client, session["id"])
    assert spoken(after) == spoken(before)
    assert text in str(spoken(after))
    told = [
        [each | {"id": "", "session_id": ""} for each in summaries(client, one)]
        for one in (session_id, session["id"])
    ]
    assert told[0] == told[1] != []


def test_facts_come_back_with_their_chat_and_those_deleted_stay_away(client: httpx.Client) -> None:
    session_id = new_session(client)
    path = f"/v1/sessions/{session_id}/facts"
    tell(client, session_id, "I live in Ghent. I like tea.", "I moved to Oslo.", *["It rains."] * 12)
    wait_for_values(client, session_id, {"home": "Oslo", "likes": "tea"})
    [tea] = [fact for fact in facts(client, session_id) if fact["key"] == "likes"]
    client.delete(f"{path}/{tea['id']}").raise_for_status()
    client.post(path, json={"key": "name", "value": "Ann"}).raise_for_status()
    reply = say(client, session_id, "Hello.")["message"]["id"]
    newest = len(listed(client, session_id)) - 1
    until(lambda: f'"facts_watermark": {newest}'.encode() in export(client, session_id))
    file = export(client, session_id)
    copied = take_in(client, file)["sessions"][0]["id"]
    assert normalised(export(client, copied)) == normalised(file)

    known = [
        [fact | {"id": "", "session_id": "", "message_id": "", "superseded_by": ""} for fact in told]
        for told in (facts(client, one, include_superseded=True) for one in (session_id, copied))
    ]
    assert known[0] == known[1] != []
    assert spoken(window(client, copied)) == spoken(window(client, session_id))
    replies = [reply, listed(client, copied)[-1]["id"]]
    records = [client.get(f"/v1/messages/{each}/context").json() for each in replies]
    assert "Oslo" in str(spoken(records[0]))
    assert spoken(records[1]) == spoken(records[0])

    first = listed(client, copied)[0]["id"]
    client.put(f"/v1/messages/{first}", json={"content": "Hi."}).raise_for_status()
    client.post(f"/v1/messages/{first}/activate").raise_for_status()
    tell(client, copied, "I like cake.")
    wait_for_values(client, copied, {"home": "Oslo", "name": "Ann", "likes": "cake"})
    assert len(facts(client, copied, include_superseded=True)) == len(known[0]) + 1


def spoken(context: Json) -> list[Any]:
    """What a context says, and how much that is, without the ids of messages."""
    names = ("kind", "turn", "tokens", "through_turn")
    return [
        ([segment[name] for name in names], [(each["role"], each["content"]) for each in segment["messages"]])
        for segment in context["segments"]
    ] + [context["left_out"], context["prompt_tokens"]]


def test_many_chats_come_in_at_once_and_can_be_used(client: httpx.Client) -> None:
    said = [{"role": role, "content": f"{role}?"} for role in ("user", "assistant")]
    file = "\n".join(json.dumps({"messages": said}) for _ in range(60)).encode()
    memory = json.dumps({"strategy": "summary_buffer", "token_budget": 300})
    made = take_in(client, file, "import", memory=memory)["sessions"]
    assert len(made) == 60
    assert say(client, made[30]["id"], "And?")["usage"]["prompt_tokens"] > 2


def test_a_persona_and_everything_come_back(client: httpx.Client) -> None:
    persona = client.post("/v1/personas/import", content=json.dumps(V2).encode()).json()
    client.patch(f"/v1/personas/{persona['id']}", json={"facts": ["You can swim."]})
    file = client.get(f"/v1/personas/{persona['id']}/export").content
    made = take_in(client, file, "import")
    [again] = made["personas"]
    assert (made["sessions"], again["imported_from"]) == ([], persona["id"])
    assert normalised(client.get(f"/v1/personas/{again['id']}/export").content) == normalised(file)
    seen = [client.get(f"/v1/personas/{each['id']}").json() for each in (persona, again)]
    assert seen[0] | {"id": ""} == seen[1] | {"id": ""}
    assert client.get("/v1/personas/per_none/export").status_code == 404

    everything = client.get("/v1/export").content
    records = [json.loads(each) for each in everything.splitlines()]
    assert {persona["id"], again["id"]} <= {record.get("id") for record in records}
    assert len([record for record in records if record.get("type") == "session"]) == sessions(client)


def test_all_of_a_user_comes_back_with_what_its_sessions_share(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json={"name": "Anne"}).json()["id"]
    for title in ("one", "two"):
        body = {"persona_id": persona, "user_id": "a/b?c", "title": title}
        append(client, client.post("/v1/sessions", json=body).json()["id"], 2)
    file = client.get("/v1/users/a%2Fb%3Fc/export").content
    made = take_in(client, file, "import")
    assert [session["title"] for session in made["sessions"]] == ["one", "two"]
    assert len(made["personas"]) == 1
    refused = client.post("/v1/sessions/import", content=file)
    assert refused.status_code == 422
    assert "/v1/import" in refused.json()["detail"]
    assert client.get("/v1/users/nobody/export").status_code == 404


def test_what_was_said_in_imported_chats_is_found_soon(client: httpx.Client) -> None:
    told = new_chat(client, "My parrot is called Captain Flint.", "Aye!", user="silver")
    file = client.get("/v1/users/silver/export").content
    client.delete(f"/v1/sessions/{told}").raise_for_status()
    made = take_in(client, file, "import")["sessions"]
    chats = [json.dumps({"messages": [{"role": "user", "content": f"Gull {n}."}]}) for n in range(3)]
    gulls = take_in(client, "\n".join(chats).encode(), "import")["sessions"]
    asked = {"query": "What is the parrot called?", "user_id": "silver"}
    until(lambda: client.post("/v1/search", json=asked).json()["data"])
    hit = client.post("/v1/search", json=asked).json()["data"][0]
    assert (hit["text"], hit["session_id"]) == ("My parrot is called Captain Flint.", made[0]["id"])
    for chat in gulls:
        until(partial(search, client, "gull", session_id=chat["id"]))


def test_documents_come_back_once_and_are_found(client: httpx.Client) -> None:
    mine = added(client, "map.md", "# Island\n\nThe treasure lies under the third palm.", user_id="flint")
    public = added(client, "knots.txt", "A bowline holds and is easily untied.")
    another = added(client, "log.txt", "Nothing happened at sea.", user_id="gunn")
    new_chat(client, "Where is the map?", user="flint")
    of_user, everything = (client.get(path).content for path in ("/v1/users/flint/export", "/v1/export"))
    held = [document_ids(file) for file in (of_user, everything)]
    assert held[0] == [mine["id"]]
    assert {mine["id"], public["id"], another["id"]} <= set(held[1])

    [again] = take_in(client, of_user, "import")["documents"]
    assert (again["id"], again["was_there"], again["name"]) == (mine["id"], True, "map.md")
    for document in (mine, public):
        client.delete(f"/v1/documents/{document['id']}").raise_for_status()
    with ThreadPoolExecutor() as threads:
        both = list(threads.map(lambda _: take_in(client, everything, "import")["documents"], range(2)))
    new = [{each["imported_from"]: each for each in made} for made in both]
    for document in (mine, public):
        first, second = (made[document["id"]] for made in new)
        assert first["id"] == second["id"] != document["id"]
        assert {first["was_there"], second["was_there"]} == {False, True}
        kept = client.get(f"/v1/documents/{first['id']}").json()
        assert kept == document | {"id": first["id"]}
    assert new[0][another["id"]]["was_there"]
    assert pieces(client, {"id": new[0][mine["id"]]["id"]})[0]["citation"] == "map.md, Island, line 3"

    def found() -> bool:
        asked = {"query": "Where lies the treasure?", "user_id": "flint"}
        data = client.post("/v1/documents/search", json=asked).json()["data"]
        return [each["document_id"] for each in data][:1] == [new[0][mine["id"]]["id"]]

    until(found)
    only_documents = client.get("/v1/users/gunn/export").content
    assert take_in(client, only_documents, "import")["documents"][0]["id"] == another["id"]


def document_ids(file: bytes) -> list[str]:
    records = [json.loads(each) for each in file.splitlines()]
    return [record["id"] for record in records if record.get("type") == "document"]


def test_memory_settings_may_be_given_for_what_is_imported(client: httpx.Client) -> None:
    file = json.dumps([{"role": "user", "content": "Hi"}]).encode()
    memory = {"strategy": "sliding_window", "turns": 3}
    [session] = take_in(client, file, memory=json.dumps(memory))["sessions"]
    stored = client.get(f"/v1/sessions/{session['id']}").json()["memory"]
    assert stored == stored | memory
    count = sessions(client)
    for wrong in ("{", "[]", '{"strategy": "none"}', '{"strategy": "sliding_window", "turns": 0}'):
        answer = client.post("/v1/import", content=file, params={"memory": wrong})
        assert answer.status_code == 422, wrong
    assert sessions(client) == count


def test_what_was_left_out_is_counted_in_the_answer(client: httpx.Client) -> None:
    made = take_in(client, json.dumps([CONVERSATION, CONVERSATION]).encode(), "import")
    assert made["format"] == "chatgpt"
    assert made["left_out"] == {"a message of type code": 2, "a message of role tool": 2}
    assert [session["imported_from"] for session in made["sessions"]] == ["abc", "abc"]


def test_swipes_go_through_a_session_and_come_back(client: httpx.Client) -> None:
    swipes = {"swipe_id": 0, "swipes": ["Hello", "Hey"]}
    file = lines(TAVERN_HEAD, line("Hello", **swipes), line("gone", is_system=True))
    [session] = take_in(client, file)["sessions"]
    [head, greeting, hidden] = map(
        json.loads, export(client, session["id"], format="sillytavern").splitlines()
    )
    assert head["user_name"] == "Dad"
    assert (greeting["swipes"], greeting["swipe_id"], greeting["mes"]) == (["Hello", "Hey"], 0, "Hello")
    assert hidden["is_system"] is True
    [message, _] = listed(client, session["id"])
    other = client.get(f"/v1/messages/{message['id']}/alternatives").json()["data"][1]
    client.post(f"/v1/messages/{other['id']}/activate")
    assert contents(client, session["id"]) == ["Hey"]


@pytest.mark.parametrize(
    ("file", "field"),
    [
        (b"", "body"),
        (b"nonsense", "body"),
        (b'{"messages": [{"role": "user", "content": "a\\u0000"}]}', "messages.0.content"),
        (b'{"messages": [{"role": "user", "content": "a"}, {"role": "x"}]}', "messages.1.role"),
    ],
)
def test_a_file_that_cannot_be_taken_in_leaves_nothing_behind(
    client: httpx.Client, file: bytes, field: str
) -> None:
    count = sessions(client)
    answer = client.post("/v1/import", content=file)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert sessions(client) == count


def test_a_file_cut_off_anywhere_or_of_impossible_tokens_leaves_nothing_behind(client: httpx.Client) -> None:
    session_id = client.post("/v1/sessions", json={}).json()["id"]
    say(client, session_id, "Hi")
    file, count = export(client, session_id), sessions(client)
    ends = [0, 1, len(file) // 2, len(file) - 5, *(at + 1 for at, byte in enumerate(file[:-1]) if byte == 10)]
    for end in ends:
        assert client.post("/v1/import", content=file[:end]).status_code == 422, end
    records = [json.loads(each) for each in file.splitlines()]
    records[-2]["sampled"]["token_ids"][0] = 2**31 - 1
    refused = client.post("/v1/import", content=lines(*records))
    assert "larger than the vocabulary" in refused.json()["detail"]
    assert sessions(client) == count


def test_a_persona_that_leaves_no_room_is_not_imported(
    client: httpx.Client, start_service: StartService
) -> None:
    persona = client.post("/v1/personas", json={"name": "Anne", "instructions": "word " * 3000}).json()
    session_id = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()["id"]
    small = start_service(context_window=2048)
    refused = small.post("/v1/import", content=export(client, session_id))
    assert refused.json()["type"].endswith("persona-too-large")
    assert sessions(small) == 0


def test_a_file_larger_than_a_body_may_be_is_refused(start_service: StartService) -> None:
    client = start_service(max_body_mb=1)
    assert client.post("/v1/import", content=b" " * (2**20 + 1)).status_code == 413


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/sessions/ses_none/export", 404),
        ("GET", "/v1/sessions/ses_none/export?format=chatgpt", 422),
        ("POST", "/v1/sessions/import?format=docx", 422),
        ("POST", "/v1/import?lossy=perhaps", 422),
    ],
)
def test_what_cannot_be_exported_or_imported_is_said_so(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    assert client.request(method, path).status_code == status


def test_the_command_line_exports_and_imports(client: httpx.Client, tmp_path: Path) -> None:
    url = str(client.base_url)
    session_id = client.post("/v1/sessions", json={"user_id": "cli", "title": "[b]"}).json()["id"]
    append(client, session_id, 2)
    one, user = tmp_path / "one.jsonl", tmp_path / "user.jsonl"
    done = perdure("export", session_id, str(one), "--url", url)
    assert done.returncode == 0, done.stderr
    assert one.read_bytes() == export(client, session_id)
    assert perdure("export", "--user", "cli", str(user), "--url", url).returncode == 0
    made = perdure("import", str(user), "--memory", "sliding_window turns=2", "--url", url)
    assert made.returncode == 0, made.stderr
    assert "4 messages  [b]" in made.stdout
    memory = client.get(f"/v1/sessions/{made.stdout.split()[0]}").json()["memory"]
    assert (memory["strategy"], memory["turns"]) == ("sliding_window", 2)
    persona = client.post("/v1/personas", json={"name": "Anne"}).json()["id"]
    assert perdure("export", persona, str(user), "--url", url).returncode == 0
    assert user.read_bytes() == client.get(f"/v1/personas/{persona}/export").content
    missing = perdure("export", "ses_none", str(one), "--url", url)
    assert (missing.returncode, "does not exist" in missing.stderr) == (1, True)
    assert one.read_bytes() == export(client, session_id), "a file that was there stays as it was"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.jsonl", "user.jsonl"]
    assert perdure("export", str(one), "--url", url).returncode == 2
