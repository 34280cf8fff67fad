"""Personas over HTTP."""

import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.app.service import StartService

PIRATE = {
    "name": "Anne",
    "instructions": "You are Anne, a pirate captain.",
    "examples": [{"user": "Who are you?", "assistant": "Captain Anne, at your service!"}],
    "greeting": "Ahoy!",
}


def test_a_created_persona_is_returned_as_it_was_given(client: httpx.Client) -> None:
    created = client.post("/v1/personas", json=PIRATE)
    assert created.status_code == 201
    persona = created.json()
    assert {field: persona[field] for field in PIRATE} == PIRATE
    assert persona["tokens"] > 20
    assert client.get(f"/v1/personas/{persona['id']}").json() == persona


def test_an_update_changes_only_the_fields_given(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json=PIRATE).json()
    updated = client.patch(f"/v1/personas/{persona['id']}", json={"name": "Mary", "greeting": None}).json()
    assert updated["name"] == "Mary"
    assert updated["greeting"] is None
    assert updated["instructions"] == PIRATE["instructions"]
    assert updated["examples"] == PIRATE["examples"]
    assert updated["revision"] == persona["revision"] + 1


def test_updates_at_once_of_different_fields_are_all_kept(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json={"name": "Pippa"}).json()
    changes = [{"name": "Pip"}, {"instructions": "Sings."}, {"greeting": "Hi!"}]
    with ThreadPoolExecutor(len(changes)) as pool:
        answers = list(
            pool.map(lambda body: client.patch(f"/v1/personas/{persona['id']}", json=body), changes)
        )
    assert sorted(answer.json()["revision"] for answer in answers) == [2, 3, 4]
    after = client.get(f"/v1/personas/{persona['id']}").json()
    assert (after["name"], after["instructions"], after["greeting"]) == ("Pip", "Sings.", "Hi!")


def test_personas_are_listed_newest_first_page_by_page(client: httpx.Client) -> None:
    made = [client.post("/v1/personas", json={"name": f"p{n}"}).json()["id"] for n in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get("/v1/personas", params={"limit": 2, **cursor}).json()
        seen += [persona["id"] for persona in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == made[::-1]


def test_a_persona_without_room_for_a_turn_is_refused_with_the_numbers(start_service: StartService) -> None:
    client = start_service(context_window=1024, reply_tokens=256)
    refused = client.post("/v1/personas", json={"name": "Long", "instructions": "word " * 1000})
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["type"] == "urn:perdure:problem:persona-too-large"
    assert problem["persona_tokens"] > problem["max_persona_tokens"]
    assert problem["context_window"] == 1024
    assert client.get("/v1/personas").json()["data"] == []


def test_an_update_that_makes_a_persona_too_large_leaves_it_as_it_was(start_service: StartService) -> None:
    client = start_service(context_window=1024)
    persona = client.post("/v1/personas", json=PIRATE).json()
    refused = client.patch(f"/v1/personas/{persona['id']}", json={"instructions": "word " * 1000})
    assert refused.status_code == 422
    assert client.get(f"/v1/personas/{persona['id']}").json() == persona


def test_a_persona_in_use_cannot_be_deleted_and_one_out_of_use_can(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json=PIRATE).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    refused = client.delete(f"/v1/personas/{persona['id']}")
    assert refused.status_code == 409
    assert refused.json()["type"] == "urn:perdure:problem:persona-in-use"
    assert client.delete(f"/v1/sessions/{session['id']}").status_code == 202
    assert client.delete(f"/v1/personas/{persona['id']}").status_code == 204
    assert client.get(f"/v1/personas/{persona['id']}").status_code == 404


def test_an_empty_persona_speaks_by_its_name(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json={"name": "Pippa", "instructions": "  "}).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    context = client.get(f"/v1/sessions/{session['id']}/context").json()
    assert context["segments"][0]["messages"][0]["content"] == "You are Pippa."


WHOLE = PIRATE | {
    "instructions": "You are {{char}}, captain of {{user}}.",
    "style": "Rough.",
    "facts": ["Has a parrot.", "Fears {{user}}'s cat."],
    "speech_rules": [{"user_id": "tom", "rule": "Call him lad."}, {"user_id": None, "rule": "Be formal."}],
    "greeting": "Ahoy, {{user}}!",
    "forbidden_phrases": ["Paris"],
    "user_name": "Matey",
    "reminder": {"text": "Stay {{char}}.", "depth": 1},
}


def system_text(client: httpx.Client, session_id: str) -> str:
    context = client.get(f"/v1/sessions/{session_id}/context").json()
    return str(context["segments"][0]["messages"][0]["content"])


def test_every_field_of_a_persona_is_kept_and_told_to_the_model_as_its_user_meets_it(
    client: httpx.Client,
) -> None:
    persona = client.post("/v1/personas", json=WHOLE).json()
    assert {field: persona[field] for field in WHOLE} == WHOLE
    body = {"persona_id": persona["id"], "user_id": "tom"}
    session = client.post("/v1/sessions", json=body | {"user_name": "Tom"}).json()
    assert session["user_name"] == "Tom"
    told = "You are Anne, captain of Tom.\n\nRough.\n\n- Has a parrot.\n- Fears Tom's cat.\n\nCall him lad."
    assert system_text(client, session["id"]) == told
    [greeting] = client.get(f"/v1/sessions/{session['id']}/messages").json()["data"]
    assert greeting["content"] == "Ahoy, Tom!"
    nobody = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    assert "captain of Matey" in system_text(client, nobody["id"])
    assert system_text(client, nobody["id"]).endswith("Be formal.")


def test_a_record_names_the_user_as_the_persona_knew_him_then(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json=WHOLE).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"], "user_name": "Tom"}).json()
    path = f"/v1/sessions/{session['id']}"
    reply = client.post(f"{path}/messages", json={"content": "Hi", "max_tokens": 2}).json()["message"]
    assert client.patch(path, json={"user_name": "Jim"}).json()["user_name"] == "Jim"
    assert "captain of Jim" in system_text(client, session["id"])
    record = client.get(f"/v1/messages/{reply['id']}/context").json()
    assert "captain of Tom" in record["segments"][0]["messages"][0]["content"]
    assert client.patch(path, json={"user_name": None}).status_code == 200
    assert "captain of Matey" in system_text(client, session["id"])


def test_a_reply_ends_before_a_forbidden_phrase(client: httpx.Client) -> None:
    asked = {"content": "What is the capital of France?", "temperature": 0, "max_tokens": 30}
    said = []
    for phrases in ([], ["Paris"]):
        persona = client.post("/v1/personas", json={"name": "A", "forbidden_phrases": phrases}).json()
        session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
        reply = client.post(f"/v1/sessions/{session['id']}/messages", json=asked).json()["message"]
        said.append(reply["content"])
    assert "Paris" in said[0]
    assert said[1] == said[0].split("Paris")[0]


def test_a_clock_in_the_pinned_text_is_refused_with_the_reason(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json=PIRATE).json()
    for field, value in {
        "instructions": "Today is {{date}}.",
        "style": "{{TIME}}",
        "facts.0": ["It is {{time}}."],
        "greeting": "{{date}}",
        "examples.0.user": [{"user": "{{date}}?", "assistant": "Aye"}],
        "speech_rules.0.rule": [{"user_id": None, "rule": "{{Date}}"}],
    }.items():
        body = {field.split(".", maxsplit=1)[0]: value}
        for refused in (
            client.post("/v1/personas", json=PIRATE | body),
            client.patch(f"/v1/personas/{persona['id']}", json=body),
        ):
            assert refused.status_code == 422
            [error] = refused.json()["errors"]
            assert error["field"] == field
            assert "void what is cached" in error["problem"]
    assert client.get(f"/v1/personas/{persona['id']}").json() == persona


def test_a_speech_rule_counts_when_a_persona_is_checked_for_its_room(start_service: StartService) -> None:
    client = start_service(context_window=512, reply_tokens=64)
    rules = [{"user_id": "tom", "rule": "word " * 200}]
    many = [{"user_id": None, "rule": "Be formal."}, *rules]
    body = {"name": "Anne", "instructions": "word " * 150, "speech_rules": many}
    refused = client.post("/v1/personas", json=body)
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:perdure:problem:persona-too-large"
    assert client.post("/v1/personas", json=body | {"speech_rules": many[:1]}).status_code == 201


def test_a_name_of_the_user_that_makes_the_persona_too_large_is_refused(start_service: StartService) -> None:
    client = start_service(context_window=512, reply_tokens=64)
    persona = client.post("/v1/personas", json={"name": "Anne", "instructions": "{{user}} " * 20}).json()
    body = {"persona_id": persona["id"], "user_name": "word " * 50}
    refused = client.post("/v1/sessions", json=body)
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    renamed = client.patch(f"/v1/sessions/{session['id']}", json={"user_name": "word " * 50})
    for answer in (refused, renamed):
        assert answer.status_code == 422
        assert answer.json()["type"] == "urn:perdure:problem:persona-too-large"
    assert len(client.get("/v1/sessions").json()["data"]) == 1


def kinds(context: dict[str, Any]) -> list[str]:
    return [segment["kind"] for segment in context["segments"]]


def test_the_reminder_stands_before_the_last_turns_and_is_kept_in_the_record(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json=WHOLE | {"greeting": None}).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    path = f"/v1/sessions/{session['id']}"
    for _ in range(3):
        reply = client.post(f"{path}/messages", json={"content": "Hi", "max_tokens": 2}).json()["message"]
    record = client.get(f"/v1/messages/{reply['id']}/context").json()
    assert kinds(record) == [
        "persona",
        "examples",
        "turn",
        "reminder",
        "turn",
        "message",
        "generation_prompt",
    ]
    assert record["segments"][3]["messages"] == [{"id": None, "role": "system", "content": "Stay Anne."}]
    client.patch(f"/v1/personas/{persona['id']}", json={"reminder": None})
    assert "reminder" not in kinds(client.get(f"{path}/context").json())
    assert client.get(f"/v1/messages/{reply['id']}/context").json() == record


def test_a_reminder_may_tell_the_time_and_the_record_keeps_what_it_said(client: httpx.Client) -> None:
    body = {"name": "Anne", "reminder": {"text": "It is {{date}}, {{time}}."}}
    persona = client.post("/v1/personas", json=body).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    path = f"/v1/sessions/{session['id']}/messages"
    reply = client.post(path, json={"content": "Hi", "max_tokens": 2}).json()["message"]
    record = client.get(f"/v1/messages/{reply['id']}/context").json()
    [said] = record["segments"][1]["messages"]
    assert re.fullmatch(r"It is \d{4}-\d\d-\d\d, \d\d:\d\d\.", said["content"])
