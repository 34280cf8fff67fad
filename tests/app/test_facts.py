"""Facts over HTTP: extracted after the reply, entering with the window, gone with their message."""

from typing import Any

import httpx
import pytest

from tests.app.service import StartService, until
from tests.app.test_summaries import say

pytestmark = pytest.mark.stand_in

MEMORY = {"strategy": "facts", "token_budget": 300, "max_fact_tokens": 150, "retention_ratio": 0.5}
TALK = (
    "The rain has not stopped for days, and so one sits and looks out of the window, and waits for nothing."
)


def new_session(client: httpx.Client, memory: dict[str, Any] = MEMORY, **fields: Any) -> str:
    session_id: str = client.post("/v1/sessions", json={"memory": memory, **fields}).json()["id"]
    return session_id


def append(client: httpx.Client, session_id: str, *contents: str) -> list[str]:
    """Store user's messages with a reply to each; gives the ids of the user's."""
    said = [
        {"role": role, "content": content if role == "user" else "I see."}
        for content in contents
        for role in ("user", "assistant")
    ]
    answer = client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": said})
    answer.raise_for_status()
    return [message["id"] for message in answer.json()["data"] if message["role"] == "user"]


def facts(client: httpx.Client, session_id: str, **params: Any) -> list[dict[str, Any]]:
    answer = client.get(f"/v1/sessions/{session_id}/facts", params=params)
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def values(client: httpx.Client, session_id: str) -> dict[str, str]:
    return {fact["key"]: fact["value"] for fact in facts(client, session_id)}


def wait_for_values(client: httpx.Client, session_id: str, expected: dict[str, str]) -> None:
    until(lambda: values(client, session_id) == expected)


def told(context: dict[str, Any]) -> str:
    """What the facts of a window say."""
    return "".join(
        message["content"]
        for segment in context["segments"]
        for message in segment["messages"]
        if segment["kind"] == "facts"
    )


def window(client: httpx.Client, session_id: str) -> dict[str, Any]:
    context: dict[str, Any] = client.get(f"/v1/sessions/{session_id}/context").json()
    return context


def generated_tokens(client: httpx.Client) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("perdure_generated_tokens_total"))


def test_a_fact_has_its_quote_and_stands_in_windows_that_its_message_has_left(
    used_client: httpx.Client,
) -> None:
    session_id = new_session(used_client)
    [message_id] = append(used_client, session_id, "Well, I live in Oslo, and I'm allergic to peanuts.")
    wait_for_values(used_client, session_id, {"home": "Oslo", "allergies": "peanuts"})
    fact = next(each for each in facts(used_client, session_id) if each["key"] == "home")
    assert (fact["message_id"], fact["quote"], fact["author"]) == (message_id, "I live in Oslo", "rules")
    assert (fact["quote_start"], fact["quote_end"]) == (6, 20)
    assert told(window(used_client, session_id)) == "", "its turn says it itself"
    append(used_client, session_id, *[TALK] * 8)
    context = until(lambda: told(window(used_client, session_id)) and window(used_client, session_id))
    assert min(context["turns"]) > 0
    assert "Oslo" in told(context)
    assert "peanuts" in told(context)
    assert kinds(context).index("facts") < kinds(context).index("turn")
    until(lambda: "no facts are extracted" not in str(window(used_client, session_id)["left_out"]))


def test_combined_tells_facts_of_what_has_left_its_window_before_the_summary(
    used_client: httpx.Client,
) -> None:
    memory = {"strategy": "combined", "token_budget": 400, "recalled_share": 0.0, "facts_share": 0.3}
    session_id = new_session(used_client, memory)
    append(used_client, session_id, "I live in Oslo, and I'm allergic to peanuts.", *[TALK] * 8)
    until(lambda: {"facts", "summary"} <= set(kinds(window(used_client, session_id))))
    context = window(used_client, session_id)
    assert "Oslo" in told(context)
    assert "peanuts" in told(context)
    assert list(dict.fromkeys(kinds(context)))[1:4] == ["facts", "summary", "turn"]
    off = new_session(used_client, memory | {"facts_share": 0.0})
    append(used_client, off, "I live in Oslo.", *[TALK] * 8)
    until(lambda: "summary" in kinds(window(used_client, off)))
    assert facts(used_client, off) == []


def kinds(context: dict[str, Any]) -> list[str]:
    return [segment["kind"] for segment in context["segments"]]


def test_facts_void_the_prefix_only_with_a_cut_and_the_record_shows_them(used_client: httpx.Client) -> None:
    session_id = new_session(used_client, MEMORY | {"token_budget": 250})
    by_window: dict[int, set[str]] = {}
    for number in range(7):
        body = {"content": f"I like hobby{number}. {TALK}", "max_tokens": 1}
        reply = used_client.post(f"/v1/sessions/{session_id}/messages", json=body).json()
        record = used_client.get(f"/v1/messages/{reply['message']['id']}/context").json()
        by_window.setdefault(min(record["turns"], default=0), set()).add(told(record))
    assert len(by_window) > 2
    assert all(len(texts) == 1 for texts in by_window.values()), by_window
    assert "hobby0" in told(record)


def test_a_newer_fact_takes_the_place_of_the_older_which_is_kept(used_client: httpx.Client) -> None:
    session_id = new_session(used_client)
    append(used_client, session_id, "I live in Ghent.", "I moved to Oslo.", "I live in Oslo now.")
    wait_for_values(used_client, session_id, {"home": "Oslo"})
    [newer] = facts(used_client, session_id)
    every = facts(used_client, session_id, include_superseded=True)
    assert [(fact["value"], fact["superseded_by"]) for fact in every] == [
        ("Oslo", None),
        ("Ghent", newer["id"]),
    ]


def test_edits_exclusions_and_forgetting_leave_no_stale_fact(used_client: httpx.Client) -> None:
    session_id = new_session(used_client)
    ids = append(used_client, session_id, "I live in Ghent.", "I moved to Oslo.", "I'm allergic to nuts.")
    wait_for_values(used_client, session_id, {"home": "Oslo", "allergies": "nuts"})
    used_client.put(f"/v1/messages/{ids[1]}/exclude").raise_for_status()
    assert values(used_client, session_id) == {"home": "Ghent", "allergies": "nuts"}
    used_client.delete(f"/v1/messages/{ids[1]}/exclude").raise_for_status()
    assert values(used_client, session_id) == {"home": "Oslo", "allergies": "nuts"}
    body = {"content": "I moved to Rome.", "keep_following": True}
    used_client.put(f"/v1/messages/{ids[1]}", json=body).raise_for_status()
    wait_for_values(used_client, session_id, {"home": "Rome", "allergies": "nuts"})
    used_client.post(f"/v1/messages/{ids[1]}/activate").raise_for_status()
    wait_for_values(used_client, session_id, {"home": "Oslo", "allergies": "nuts"})
    used_client.post(f"/v1/sessions/{session_id}/forget", json={"from_message_id": ids[1]}).raise_for_status()
    assert values(used_client, session_id) == {"home": "Ghent"}


def test_facts_of_a_reply_go_and_come_with_it(used_client: httpx.Client) -> None:
    session_id = new_session(used_client)
    said = [{"role": "user", "content": "And you?"}, {"role": "assistant", "content": "I live in Oslo."}]
    path = f"/v1/sessions/{session_id}"
    used_client.post(f"{path}/messages/append", json={"messages": said}).raise_for_status()
    wait_for_values(used_client, session_id, {"home": "Oslo"})
    [fact] = facts(used_client, session_id)
    assert fact["subject"] == "persona"
    again = f"/v1/messages/{fact['message_id']}"
    other = used_client.post(f"{again}/regenerate", json={"max_tokens": 1}).json()["message"]
    assert values(used_client, session_id) == {}
    used_client.post(f"{again}/activate").raise_for_status()
    assert facts(used_client, session_id) == [fact]
    used_client.post(f"/v1/messages/{other['id']}/activate").raise_for_status()
    assert values(used_client, session_id) == {}


def test_what_was_excluded_before_it_was_read_tells_its_facts_once_it_is_included(
    used_client: httpx.Client,
) -> None:
    session_id = new_session(used_client, {"strategy": "buffer"})
    ids = append(used_client, session_id, "I live in Ghent.", "I moved to Oslo.")
    used_client.put(f"/v1/messages/{ids[1]}/exclude").raise_for_status()
    used_client.patch(f"/v1/sessions/{session_id}", json={"memory": MEMORY})
    append(used_client, session_id, "My name is Ann.")
    wait_for_values(used_client, session_id, {"home": "Ghent", "name": "Ann"})
    used_client.delete(f"/v1/messages/{ids[1]}/exclude").raise_for_status()
    assert values(used_client, session_id) == {"home": "Oslo", "name": "Ann"}


def test_facts_read_late_are_of_the_persona_that_they_were_told_to(used_client: httpx.Client) -> None:
    pippa, quill = (
        used_client.post("/v1/personas", json={"name": name, "instructions": f"You are {name}."}).json()["id"]
        for name in ("Pippa", "Quill")
    )
    late = new_session(used_client, {"strategy": "buffer"}, user_id="late", persona_id=pippa)
    said = [{"role": "user", "content": "I live in Oslo."}, {"role": "assistant", "content": "I like tea."}]
    path = f"/v1/sessions/{late}"
    used_client.post(f"{path}/messages/append", json={"messages": said}).raise_for_status()
    used_client.patch(path, json={"persona_id": quill, "memory": MEMORY}).raise_for_status()
    append(used_client, late, "I'm allergic to peanuts.")
    wait_for_values(used_client, late, {"home": "Oslo", "allergies": "peanuts"})
    with_pippa, with_quill = (
        new_session(used_client, user_id="late", persona_id=persona_id) for persona_id in (pippa, quill)
    )
    assert values(used_client, with_pippa) == {"home": "Oslo", "likes": "tea"}
    assert values(used_client, with_quill) == {"allergies": "peanuts"}
    [tea] = [fact for fact in facts(used_client, with_pippa) if fact["subject"] == "persona"]
    assert tea["text"] == "Pippa, likes: tea"
    [home] = [fact for fact in facts(used_client, late) if fact["key"] == "home"]
    corrected = used_client.put(f"{path}/facts/{home['id']}", json={"value": "Rome"})
    corrected.raise_for_status()
    assert values(used_client, with_pippa) == {"home": "Rome", "likes": "tea"}, "where the wrong one counts"
    assert values(used_client, with_quill) == {"allergies": "peanuts"}


def test_what_is_forgotten_is_gone_from_the_records_of_later_windows_too(used_client: httpx.Client) -> None:
    first = new_session(used_client, user_id="forgetful")
    [message_id] = append(used_client, first, "I'm allergic to peanuts.")
    wait_for_values(used_client, first, {"allergies": "peanuts"})
    second = new_session(used_client, user_id="forgetful")
    reply = say(used_client, second, "Hello.")
    record = f"/v1/messages/{reply['message']['id']}/context"
    assert "peanuts" in told(used_client.get(record).json())
    used_client.post(f"/v1/sessions/{first}/forget", json={"from_message_id": message_id}).raise_for_status()
    assert "peanuts" not in used_client.get(record).text
    assert "peanuts" not in values(used_client, second).values()


def test_other_chats_know_the_same_user_with_the_same_persona_and_nobody_else(
    used_client: httpx.Client,
) -> None:
    persona_id = used_client.post(
        "/v1/personas", json={"name": "Pippa", "instructions": "You are Pippa."}
    ).json()["id"]
    tom = {"user_id": "tom", "persona_id": persona_id}
    append(used_client, new_session(used_client, **tom), "My name is Tom.")
    other = new_session(used_client, **tom)
    wait_for_values(used_client, other, {"name": "Tom"})
    assert "Tom" in told(window(used_client, other)), "from its first turn on"
    for fields in (
        {"user_id": "ann", "persona_id": persona_id},
        {"user_id": "tom"},
        {"persona_id": persona_id},
    ):
        stranger = new_session(used_client, **fields)
        assert facts(used_client, stranger) == []
        assert told(window(used_client, stranger)) == ""


def test_what_another_chat_learns_does_not_move_the_window_of_this_one(used_client: httpx.Client) -> None:
    here, there = (new_session(used_client, user_id="mover") for _ in range(2))
    append(used_client, here, "Hello.", "Nothing new.")
    before = [segment["tokens"] for segment in window(used_client, here)["segments"]]
    append(used_client, there, "I live in Oslo.")
    wait_for_values(used_client, here, {"home": "Oslo"})
    assert [segment["tokens"] for segment in window(used_client, here)["segments"]] == before


def test_the_owner_adds_corrects_and_deletes_facts_and_none_comes_back(used_client: httpx.Client) -> None:
    session_id = new_session(used_client)
    path = f"/v1/sessions/{session_id}/facts"
    ids = append(used_client, session_id, "My dog Bruno barks.", "I like tea.", "Hello again.")
    wait_for_values(used_client, session_id, {"dog": "Bruno", "likes": "tea"})
    dog, tea = (
        next(f for f in facts(used_client, session_id) if f["key"] == key) for key in ("dog", "likes")
    )

    corrected = used_client.put(f"{path}/{dog['id']}", json={"value": "Brutus"}).json()
    assert (corrected["value"], corrected["author"], corrected["message_id"]) == ("Brutus", "owner", ids[0])
    assert "Brutus" in told(window(used_client, session_id)), "in the next window"
    superseded = next(
        f for f in facts(used_client, session_id, include_superseded=True) if f["id"] == dog["id"]
    )
    assert superseded["superseded_by"] == corrected["id"]

    added = used_client.post(path, json={"key": "Home", "value": "Oslo\n"})
    assert added.status_code == 201
    again = used_client.post(path, json={"key": "home", "value": "oslo"}).json()
    assert again["id"] == added.json()["id"], "the same fact twice is one"

    assert used_client.delete(f"{path}/{tea['id']}").status_code == 204
    assert used_client.delete(f"{path}/{tea['id']}").status_code == 404
    expected = {"dog": "Brutus", "home": "Oslo"}
    assert values(used_client, session_id) == expected
    # The end is said differently: all behind the first message is read again.
    for content in ("I like milk.", "I like cake."):
        used_client.put(f"/v1/messages/{ids[2]}", json={"content": content}).raise_for_status()
        ids[2] = used_client.get(f"/v1/sessions/{session_id}/messages").json()["data"][-1]["id"]
        wait_for_values(used_client, session_id, expected | {"likes": content[7:-1]})
    used_client.put(f"/v1/messages/{ids[0]}", json={"content": "My dog Bruno barks!", "keep_following": True})
    until(lambda: values(used_client, session_id).get("dog") == "Brutus")


def test_a_deleted_fact_is_not_extracted_again_from_the_same_words(used_client: httpx.Client) -> None:
    session_id = new_session(used_client)
    ids = append(used_client, session_id, "Hello.", "I like tea. I live in Oslo.")
    wait_for_values(used_client, session_id, {"likes": "tea", "home": "Oslo"})
    for fact in facts(used_client, session_id):
        used_client.delete(f"/v1/sessions/{session_id}/facts/{fact['id']}").raise_for_status()
    edited = used_client.put(f"/v1/messages/{ids[0]}", json={"content": "My name is Ann."}).json()["id"]
    wait_for_values(used_client, session_id, {"name": "Ann"})
    used_client.post(f"/v1/messages/{ids[1]}/activate").raise_for_status()
    append(used_client, session_id, "I like cake.")
    wait_for_values(used_client, session_id, {"likes": "cake"})
    assert edited != ids[0]


def test_facts_can_be_switched_off_and_what_is_known_stays(used_client: httpx.Client) -> None:
    plain = new_session(used_client, {"strategy": "buffer"})
    off = new_session(used_client, MEMORY | {"extractor": "off"})
    on = new_session(used_client)
    for session_id in (plain, off, on):
        append(used_client, session_id, "I live in Oslo.")
    wait_for_values(used_client, on, {"home": "Oslo"})
    assert facts(used_client, plain) == facts(used_client, off) == []
    used_client.patch(f"/v1/sessions/{on}", json={"memory": MEMORY | {"extractor": "off"}})
    append(used_client, on, "I moved to Rome.")
    used_client.patch(f"/v1/sessions/{off}", json={"memory": MEMORY})
    append(used_client, off, "Hello.")
    wait_for_values(used_client, off, {"home": "Oslo"})
    assert values(used_client, on) == {"home": "Oslo"}


def test_a_branch_knows_what_its_messages_told_and_no_more(used_client: httpx.Client) -> None:
    session_id = new_session(used_client)
    ids = append(used_client, session_id, "I live in Ghent.", "I moved to Oslo.")
    wait_for_values(used_client, session_id, {"home": "Oslo"})
    used_client.post(f"/v1/sessions/{session_id}/facts", json={"key": "name", "value": "Ann"})
    branch = used_client.post(f"/v1/sessions/{session_id}/branch", json={"message_id": ids[0]}).json()["id"]
    assert values(used_client, branch) == {"home": "Ghent", "name": "Ann"}
    used_client.delete(f"/v1/sessions/{session_id}").raise_for_status()
    assert values(used_client, branch) == {"home": "Ghent", "name": "Ann"}


def test_the_model_extracts_where_it_is_asked_to_and_only_what_is_said(used_client: httpx.Client) -> None:
    session_id = new_session(used_client, MEMORY | {"extractor": "llm"})
    before = generated_tokens(used_client)
    append(used_client, session_id, "I live in Oslo.")
    until(lambda: b'"facts_watermark": 1' in used_client.get(f"/v1/sessions/{session_id}/export").content)
    assert generated_tokens(used_client) > before, "the model was asked"
    [fact] = facts(used_client, session_id)
    assert (fact["value"], fact["quote"]) == ("Oslo", "I live in Oslo")
    assert fact["author"] in {"smollm2-135m-instruct", "rules"}, "rules, where its answer is none"


def test_what_was_not_extracted_before_a_restart_is_made_up_for(start_service: StartService) -> None:
    client = start_service()
    session_id = new_session(client, {"strategy": "buffer"})
    append(client, session_id, *["I live in Oslo.", *[TALK] * 8])
    client.patch(f"/v1/sessions/{session_id}", json={"memory": MEMORY})
    left = window(client, session_id)["left_out"]
    assert "no facts are extracted from it yet" in left[-1]["reason"], "a record says so"
    append(client, session_id, "Hello.")
    wait_for_values(client, session_id, {"home": "Oslo"})


def test_what_is_no_fact_of_this_session_is_refused(used_client: httpx.Client) -> None:
    session_id, other = new_session(used_client), new_session(used_client)
    fact = used_client.post(f"/v1/sessions/{other}/facts", json={"key": "name", "value": "Ann"}).json()
    path = f"/v1/sessions/{session_id}/facts"
    assert used_client.put(f"{path}/{fact['id']}", json={"value": "Bob"}).status_code == 404
    assert used_client.delete(f"{path}/{fact['id']}").status_code == 404
    assert used_client.delete(f"{path}/fac_none").status_code == 404
    assert used_client.get("/v1/sessions/ses_none/facts").status_code == 404
    named = {"key": "name", "value": "Ann"}
    assert used_client.post("/v1/sessions/ses_none/facts", json=named).status_code == 404
    for body in (
        {},
        {"key": "name", "value": ""},
        {"key": "name", "value": " \n"},
        {"key": "name", "value": "x" * 301},
        {"key": "k" * 41, "value": "x"},
        {"key": "name", "value": 3},
        {"key": "name", "value": "a\0b"},
        {"key": "name", "value": "x", "more": 1},
    ):
        assert used_client.post(path, json=body).status_code == 422, body
    assert facts(used_client, session_id) == []
