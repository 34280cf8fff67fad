"""Working with history over HTTP: other replies, edits, branches, pins, exclusions, forgetting."""

from typing import Any

import httpx
import pytest
import torch

from llm.loading import LoadedModel
from tests.app.service import StartService, open_stream
from tests.app.test_turns import LONG_TASK

pytestmark = pytest.mark.stand_in

Json = dict[str, Any]


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def say(client: httpx.Client, session_id: str, content: str, **options: Any) -> Json:
    answer = client.post(
        f"/v1/sessions/{session_id}/messages", json={"content": content, "max_tokens": 6, **options}
    )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def append(client: httpx.Client, session_id: str, turns: int, words: int = 1) -> list[Json]:
    said = [
        {"role": role, "content": f"{role} {turn}" + " word" * words}
        for turn in range(turns)
        for role in ("user", "assistant")
    ]
    answer = client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": said})
    return list(answer.json()["data"])


def listed(client: httpx.Client, session_id: str) -> list[Json]:
    return list(client.get(f"/v1/sessions/{session_id}/messages", params={"limit": 200}).json()["data"])


def contents(client: httpx.Client, session_id: str) -> list[str]:
    return [message["content"] for message in listed(client, session_id)]


def window(client: httpx.Client, session_id: str) -> Json:
    return dict(client.get(f"/v1/sessions/{session_id}/context").json())


def alternatives(client: httpx.Client, message_id: str) -> list[tuple[str, bool]]:
    data = client.get(f"/v1/messages/{message_id}/alternatives").json()["data"]
    return [(message["id"], message["is_active"]) for message in data]


def regenerate(client: httpx.Client, message_id: str, **options: Any) -> Json:
    answer = client.post(f"/v1/messages/{message_id}/regenerate", json={"max_tokens": 6, **options})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:perdure:problem:")


def test_a_regenerated_reply_takes_the_place_and_computes_nothing_but_itself(
    client: httpx.Client, session_id: str
) -> None:
    say(client, session_id, "Tell me of whales and of the ships that hunt them.", max_tokens=24)
    first = say(client, session_id, "And of ants?", max_tokens=12, seed=1)
    second = regenerate(client, first["message"]["id"], max_tokens=12, seed=2, temperature=1.5)
    assert second["user_message"] == first["user_message"]
    assert second["usage"]["prompt_tokens"] == first["usage"]["prompt_tokens"]
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= first["usage"]["prompt_tokens"] - 1
    assert alternatives(client, first["message"]["id"]) == [
        (first["message"]["id"], False),
        (second["message"]["id"], True),
    ]
    assert [message["id"] for message in listed(client, session_id)][2:] == [
        first["user_message"]["id"],
        second["message"]["id"],
    ]
    record = client.get(f"/v1/messages/{first['message']['id']}/context").json()
    assert record["prompt_tokens"] == first["usage"]["prompt_tokens"]
    told = [each for segment in window(client, session_id)["segments"] for each in segment["message_ids"]]
    assert told == [message["id"] for message in listed(client, session_id)]


def test_the_same_seed_regenerates_the_same_reply_deep_in_a_window_that_moves(
    client: httpx.Client, session_id: str
) -> None:
    memory = {"strategy": "sliding_window", "turns": 2, "retention_ratio": 0.5}
    client.patch(f"/v1/sessions/{session_id}", json={"memory": memory})
    said = [say(client, session_id, f"What is {n} plus {n}?", seed=n) for n in range(6)]
    again = regenerate(client, said[3]["message"]["id"], seed=3)
    assert again["message"]["content"] == said[3]["message"]["content"]
    records = [
        client.get(f"/v1/messages/{answer['message']['id']}/context").json() for answer in (said[3], again)
    ]
    assert records[0]["turns"] == records[1]["turns"]
    assert [s["message_ids"] for s in records[0]["segments"]] == [
        s["message_ids"] for s in records[1]["segments"]
    ]
    assert len(listed(client, session_id)) == 8


def test_what_followed_a_regenerated_reply_comes_back_with_it(client: httpx.Client, session_id: str) -> None:
    first = say(client, session_id, "One")["message"]["id"]
    say(client, session_id, "Two")
    before = listed(client, session_id)
    other = regenerate(client, first)["message"]["id"]
    assert len(listed(client, session_id)) == 2
    assert client.post(f"/v1/messages/{first}/activate").json()["is_active"] is True
    assert listed(client, session_id) == before
    client.post(f"/v1/messages/{other}/activate")
    assert [message["id"] for message in listed(client, session_id)][1:] == [other]
    assert client.post(f"/v1/messages/{before[3]['id']}/activate").status_code == 200
    assert listed(client, session_id) == before
    context = window(client, session_id)
    assert context["prompt_tokens"] - context["cached_tokens"] < 16, "the old reply's own ids are kept"


def test_a_reply_survives_a_regeneration_that_fails(
    client: httpx.Client, session_id: str, served_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    say(client, session_id, "One")
    before = listed(client, session_id)

    def fail(_x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken")

    with monkeypatch.context() as broken:
        broken.setattr(served_model.decoder.norm, "forward", fail)
        failed = client.post(f"/v1/messages/{before[1]['id']}/regenerate", json={})
    assert problem(failed) == (500, "generation-failed")
    assert listed(client, session_id) == before
    assert regenerate(client, before[1]["id"])["message"]["is_active"] is True


def test_a_reply_survives_a_regeneration_that_is_cut_off(client: httpx.Client, session_id: str) -> None:
    reply = say(client, session_id, LONG_TASK)["message"]
    path = f"/v1/messages/{reply['id']}/regenerate"
    with client.stream("POST", path, json={"stream": True, "max_tokens": 2000, "temperature": 0}) as stream:
        for line in stream.iter_lines():
            if line.startswith("event: delta"):
                break
    wait = {"messages": [{"role": "user", "content": "Well?"}], "if_busy": "wait"}
    client.post(f"/v1/sessions/{session_id}/messages/append", json=wait)
    assert [message["content"] for message in listed(client, session_id)][1:] == [reply["content"], "Well?"]
    others = client.get(f"/v1/messages/{reply['id']}/alternatives").json()["data"][1:]
    assert [(other["status"], other["is_active"]) for other in others] == [("interrupted", False)]


def test_only_a_reply_to_a_users_message_is_regenerated(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json={"name": "Anne", "greeting": "Ahoy!"}).json()
    session_id = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()["id"]
    answer = say(client, session_id, "Hi")
    greeting = listed(client, session_id)[0]
    for message in (greeting, answer["user_message"]):
        refused = client.post(f"/v1/messages/{message['id']}/regenerate", json={})
        assert problem(refused) == (409, "nothing-to-answer")
    refused = client.post(f"/v1/sessions/{session_id}/reply", json={})
    assert problem(refused) == (409, "nothing-to-answer")
    old = answer["message"]["id"]
    regenerate(client, old)
    assert problem(client.post(f"/v1/messages/{old}/regenerate", json={})) == (409, "message-not-active")


def test_an_edited_message_is_the_last_and_can_be_replied_to(client: httpx.Client, session_id: str) -> None:
    first = say(client, session_id, "My name is Ann. Please remember it well, will you?", max_tokens=20)
    say(client, session_id, "Two")
    old = first["user_message"]["id"]
    edited = client.put(f"/v1/messages/{old}", json={"content": "My name is Bob."}).json()
    assert (edited["role"], edited["turn"], edited["parent_id"]) == ("user", 0, None)
    assert contents(client, session_id) == ["My name is Bob."]
    assert alternatives(client, edited["id"]) == [(old, False), (edited["id"], True)]
    with open_stream(client, session_id, path="reply", max_tokens=6) as events:
        kinds = [event for event, _ in events]
    assert (kinds[0], kinds[-1]) == ("started", "finished")
    messages = listed(client, session_id)
    assert [message["role"] for message in messages] == ["user", "assistant"]
    assert messages[1]["parent_id"] == edited["id"]
    context = client.get(f"/v1/messages/{messages[1]['id']}/context").json()
    assert "Ann" not in str(context["segments"])
    client.post(f"/v1/messages/{old}/activate")
    assert contents(client, session_id)[0].startswith("My name is Ann")
    assert len(listed(client, session_id)) == 4


def test_a_correction_in_place_keeps_what_followed(client: httpx.Client, session_id: str) -> None:
    said = append(client, session_id, 3)
    client.put(f"/v1/messages/{said[4]['id']}/pin")
    body = {"content": "corrected", "keep_following": True}
    edited = client.put(f"/v1/messages/{said[1]['id']}", json=body).json()
    now = listed(client, session_id)
    assert [m["content"] for m in now] == [
        "corrected" if message is said[1] else message["content"] for message in said
    ]
    assert [m["copied_from"] for m in now] == [None, None, *(message["id"] for message in said[2:])]
    assert [m["created_at"] for m in now] == [message["created_at"] for message in said]
    assert [m["pinned"] for m in now] == [False, False, False, False, True, False]
    assert now[2]["parent_id"] == edited["id"]
    client.post(f"/v1/messages/{said[1]['id']}/activate")
    assert [m["id"] for m in listed(client, session_id)] == [message["id"] for message in said]


def test_an_edit_that_changes_nothing_does_nothing(client: httpx.Client, session_id: str) -> None:
    said = append(client, session_id, 2)
    same = client.put(f"/v1/messages/{said[0]['id']}", json={"content": said[0]["content"]})
    assert same.json() == said[0]
    assert listed(client, session_id) == said


def test_a_branch_has_the_settings_and_the_messages_and_shares_the_cache(start_service: StartService) -> None:
    client = start_service()
    persona = client.post("/v1/personas", json={"name": "Anne", "instructions": "You are Anne."}).json()
    given = {"persona_id": persona["id"], "user_id": "u", "title": "T", "memory": {"strategy": "buffer"}}
    session_id = client.post("/v1/sessions", json=given).json()["id"]
    said = [say(client, session_id, f"Tell me of {what}.", max_tokens=20) for what in ("ships", "ants", "me")]
    client.put(f"/v1/messages/{said[0]['message']['id']}/pin")
    at = said[1]["message"]["id"]
    answer = client.post(f"/v1/sessions/{session_id}/branch", json={"message_id": at})
    branch = answer.json()
    assert answer.status_code == 201
    assert {name: branch[name] for name in given} == given
    assert branch["branched_from"] == {"session_id": session_id, "message_id": at}
    before, copies = listed(client, session_id)[:4], listed(client, branch["id"])
    assert [copy["copied_from"] for copy in copies] == [message["id"] for message in before]
    for name in ("role", "content", "turn", "status", "usage", "created_at", "pinned", "model"):
        assert [copy[name] for copy in copies] == [message[name] for message in before]
    context = window(client, branch["id"])
    assert context["prompt_tokens"] - context["cached_tokens"] < 16
    assert client.delete(f"/v1/sessions/{session_id}").status_code == 202
    record = client.get(f"/v1/messages/{copies[3]['id']}/context").json()
    assert [m["content"] for s in record["segments"] for m in s["messages"]][-1] == "Tell me of ants."
    assert record["session_id"] == branch["id"]
    assert say(client, branch["id"], "And now?")["message"]["turn"] == 2


def test_a_branch_takes_summaries_lore_and_names_along(start_service: StartService) -> None:
    client = start_service()
    persona = client.post("/v1/personas", json={"name": "Anne", "instructions": "You are Anne."}).json()
    memory = {"strategy": "summary_buffer", "token_budget": 200, "max_summary_tokens": 64}
    given = {"persona_id": persona["id"], "user_name": "Ann", "memory": memory}
    session_id = client.post("/v1/sessions", json=given).json()["id"]
    for number in range(8):
        said = say(client, session_id, f"My aunt number {number} lives in Ghent, by the water.", max_tokens=8)
    entry = {"keys": ["aunt"], "message_id": said["user_message"]["id"]}
    client.post(f"/v1/sessions/{session_id}/lorebook/entries", json=entry).raise_for_status()
    before = client.get(f"/v1/sessions/{session_id}/summaries").json()["data"]
    body = {"message_id": said["message"]["id"]}
    branch = client.post(f"/v1/sessions/{session_id}/branch", json=body).json()
    assert branch["user_name"] == "Ann"
    after = client.get(f"/v1/sessions/{branch['id']}/summaries").json()["data"]
    # Newest first; upkeep may have made another meanwhile.
    assert [each["text"] for each in after[-len(before) :]] == [each["text"] for each in before] != []
    records = [
        client.get(f"/v1/messages/{listed(client, branch['id'])[-1]['id']}/context").json(),
        client.get(f"/v1/messages/{said['message']['id']}/context").json(),
    ]
    assert records[0]["persona_since_turn"] == records[1]["persona_since_turn"] == 0
    assert client.delete(f"/v1/sessions/{session_id}").status_code == 202
    kept = client.get(f"/v1/messages/{listed(client, branch['id'])[-1]['id']}/context").json()
    assert kept["segments"] == records[0]["segments"], "the record outlives the session that it came from"
    [lore] = client.get(f"/v1/sessions/{branch['id']}/lorebook").json()["entries"]
    assert lore["content"] == "My aunt number 7 lives in Ghent, by the water."


def test_a_branch_may_start_at_a_message_that_has_left_the_chat(
    client: httpx.Client, session_id: str
) -> None:
    said = append(client, session_id, 2)
    client.put(f"/v1/messages/{said[1]['id']}", json={"content": "else"})
    body = {"message_id": said[2]["id"], "title": "Other"}
    branch = client.post(f"/v1/sessions/{session_id}/branch", json=body).json()
    assert branch["title"] == "Other"
    assert contents(client, branch["id"]) == [message["content"] for message in said[:3]]


def test_a_pinned_turn_stays_in_the_window(client: httpx.Client, session_id: str) -> None:
    memory = {"strategy": "sliding_window", "turns": 2, "retention_ratio": 1.0}
    client.patch(f"/v1/sessions/{session_id}", json={"memory": memory})
    said = append(client, session_id, 6)
    pinned = client.put(f"/v1/messages/{said[3]['id']}/pin").json()
    assert pinned["pinned"] is True
    assert client.put(f"/v1/messages/{said[3]['id']}/pin").json() == pinned
    client.put(f"/v1/messages/{said[-1]['id']}/pin")
    context = window(client, session_id)
    assert context["turns"] == [1, 4, 5]
    kinds = [(segment["kind"], segment["turn"]) for segment in context["segments"]]
    assert kinds == [
        ("persona", None),
        ("pinned", 1),
        ("turn", 4),
        ("turn", 5),
        ("generation_prompt", None),
    ]
    assert context["segments"][1]["message_ids"] == [said[2]["id"], said[3]["id"]]
    assert [(left["first_turn"], left["last_turn"]) for left in context["left_out"]] == [(0, 0), (2, 3)]
    assert client.delete(f"/v1/messages/{said[3]['id']}/pin").json()["pinned"] is False
    assert client.delete(f"/v1/messages/{said[3]['id']}/pin").status_code == 200
    assert window(client, session_id)["turns"] == [4, 5]


def test_pins_that_leave_no_room_are_refused_with_the_numbers(start_service: StartService) -> None:
    client = start_service(context_window=1024, reply_tokens=64)
    session_id = client.post("/v1/sessions", json={}).json()["id"]
    said = append(client, session_id, 3, words=150)
    assert client.put(f"/v1/messages/{said[0]['id']}/pin").status_code == 200
    assert client.put(f"/v1/messages/{said[2]['id']}/pin").status_code == 200
    refused = client.put(f"/v1/messages/{said[4]['id']}/pin")
    assert problem(refused) == (422, "pins-too-large")
    assert refused.json()["pinned_tokens"] > refused.json()["max_pinned_tokens"] > 0
    assert [message["pinned"] for message in listed(client, session_id)] == [True, False] * 2 + [False, False]
    assert say(client, session_id, "Hello")["message"]["status"] == "complete"


def test_an_excluded_turn_is_listed_and_never_in_the_window(client: httpx.Client, session_id: str) -> None:
    said = append(client, session_id, 4)
    before = window(client, session_id)
    excluded = client.put(f"/v1/messages/{said[3]['id']}/exclude").json()
    assert excluded["excluded"] is True
    client.put(f"/v1/messages/{said[2]['id']}/pin")
    context = window(client, session_id)
    assert context["turns"] == [0, 2, 3]
    [left_out] = context["left_out"]
    assert (left_out["first_turn"], left_out["last_turn"]) == (1, 1)
    assert "excluded" in left_out["reason"]
    assert context["prompt_tokens"] == before["prompt_tokens"] - left_out["tokens"]
    assert contents(client, session_id) == [message["content"] for message in said]
    assert client.delete(f"/v1/messages/{said[3]['id']}/exclude").json()["excluded"] is False
    client.delete(f"/v1/messages/{said[2]['id']}/pin")
    again = window(client, session_id)
    assert (again["prompt_tokens"], again["turns"]) == (before["prompt_tokens"], before["turns"])


def test_a_message_of_an_excluded_turn_is_not_replied_to(client: httpx.Client, session_id: str) -> None:
    answer = say(client, session_id, "Hi")
    client.put(f"/v1/messages/{answer['user_message']['id']}/exclude")
    refused = client.post(f"/v1/messages/{answer['message']['id']}/regenerate", json={})
    assert problem(refused) == (409, "nothing-to-answer")
    after = say(client, session_id, "Next")["message"]["id"]
    assert "'Hi'" not in str(client.get(f"/v1/messages/{after}/context").json())
    assert window(client, session_id)["turns"] == [1]


def test_what_is_forgotten_is_gone_for_good_with_its_alternatives(
    client: httpx.Client, session_id: str
) -> None:
    answers = [say(client, session_id, content) for content in ("One", "Two")]
    other = regenerate(client, answers[1]["message"]["id"])["message"]["id"]
    start = answers[1]["user_message"]["id"]
    path = f"/v1/sessions/{session_id}/forget"
    assert client.post(path, json={"from_message_id": start}).json() == {"messages": 3}
    assert len(listed(client, session_id)) == 2
    for message_id in (start, other, answers[1]["message"]["id"]):
        for gone in (
            client.get(f"/v1/messages/{message_id}"),
            client.get(f"/v1/messages/{message_id}/context"),
            client.get(f"/v1/messages/{message_id}/alternatives"),
            client.post(f"/v1/messages/{message_id}/activate"),
        ):
            assert problem(gone) == (404, "not-found")
    again = client.post(path, json={"from_message_id": start})
    assert problem(again) == (422, "invalid-request")
    assert say(client, session_id, "Three")["message"]["turn"] == 1
    first = answers[0]["user_message"]["id"]
    assert client.post(path, json={"from_message_id": first}).json() == {"messages": 4}
    assert listed(client, session_id) == []
    assert say(client, session_id, "Anew")["message"]["turn"] == 0


def test_a_chat_that_is_being_answered_is_not_changed(client: httpx.Client, session_id: str) -> None:
    said = append(client, session_id, 1)
    user, reply = (f"/v1/messages/{message['id']}" for message in said)
    session = f"/v1/sessions/{session_id}"
    with open_stream(client, session_id, content=LONG_TASK, max_tokens=2000, temperature=0) as stream:
        next(stream)
        for refused in (
            client.post(f"{reply}/regenerate", json={}),
            client.post(f"{reply}/activate"),
            client.put(user, json={"content": "x"}),
            client.put(f"{user}/pin"),
            client.put(f"{user}/exclude"),
            client.delete(f"{user}/pin"),
            client.post(f"{session}/reply", json={}),
            client.post(f"{session}/branch", json={"message_id": said[0]["id"]}),
            client.post(f"{session}/forget", json={"from_message_id": said[0]["id"]}),
        ):
            assert problem(refused) == (409, "session-busy")
    wait = {"messages": [{"role": "user", "content": "Well?"}], "if_busy": "wait"}
    assert client.post(f"{session}/messages/append", json=wait).status_code == 201
    assert contents(client, session_id)[:2] == [message["content"] for message in said]


def test_what_does_not_exist_is_not_found(client: httpx.Client, session_id: str) -> None:
    said = append(client, session_id, 1)
    other = client.post("/v1/sessions", json={}).json()["id"]
    for gone in (
        client.post("/v1/messages/msg_none/regenerate", json={}),
        client.get("/v1/messages/msg_none/alternatives"),
        client.post("/v1/messages/msg_none/activate"),
        client.put("/v1/messages/msg_none", json={"content": "x"}),
        client.put("/v1/messages/msg_none/pin"),
        client.delete("/v1/messages/msg_none/exclude"),
        client.post("/v1/sessions/ses_none/reply", json={}),
        client.post("/v1/sessions/ses_none/branch", json={"message_id": said[0]["id"]}),
    ):
        assert problem(gone) == (404, "not-found")
    for body in ({}, {"content": ""}, {"content": 3}, {"content": "x", "keep_following": "yes"}):
        assert client.put(f"/v1/messages/{said[0]['id']}", json=body).status_code == 422
    for wrong in (
        client.post(f"/v1/sessions/{other}/branch", json={"message_id": said[0]["id"]}),
        client.post(f"/v1/sessions/{other}/forget", json={"from_message_id": said[0]["id"]}),
    ):
        assert problem(wrong) == (422, "invalid-request")
