"""Personas over HTTP."""

from concurrent.futures import ThreadPoolExecutor

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
    assert client.delete(f"/v1/sessions/{session['id']}").status_code == 204
    assert client.delete(f"/v1/personas/{persona['id']}").status_code == 204
    assert client.get(f"/v1/personas/{persona['id']}").status_code == 404


def test_an_empty_persona_speaks_by_its_name(client: httpx.Client) -> None:
    persona = client.post("/v1/personas", json={"name": "Pippa", "instructions": "  "}).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    context = client.get(f"/v1/sessions/{session['id']}/context").json()
    assert context["segments"][0]["messages"][0]["content"] == "You are Pippa."
