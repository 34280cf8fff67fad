"""Character cards over HTTP and on the command line."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.cards.files import picture_with, read_card
from app.cards.png import find_texts, plain_picture
from tests.app.cards_data import V2, V3, chunk, packed, picture_of
from tests.app.command_line import perdure
from tests.app.service import StartService


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def import_card(client: httpx.Client, file: bytes) -> Any:
    answer = client.post("/v1/personas/import", content=file)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.mark.parametrize("card", [V2, V3])
@pytest.mark.parametrize("as_png", [False, True])
def test_a_card_comes_back_equal_in_each_form(
    client: httpx.Client, card: dict[str, Any], as_png: bool
) -> None:
    file = picture_with(card, plain_picture()) if as_png else json.dumps(card).encode()
    persona = import_card(client, file)
    assert persona["name"] == "Seraphina"
    assert persona["tokens"] > 30
    path = f"/v1/personas/{persona['id']}/card"
    assert client.get(path).json() == card
    picture = client.get(path, params={"format": "png"})
    assert picture.headers["content-type"] == "image/png"
    assert read_card(picture.content) == card


def test_a_changed_persona_changes_its_card_and_nothing_else_of_it(client: httpx.Client) -> None:
    persona = import_card(client, json.dumps(V2).encode())
    client.patch(f"/v1/personas/{persona['id']}", json={"greeting": "Hi!", "name": "Sera"})
    card = client.get(f"/v1/personas/{persona['id']}/card").json()
    assert card == V2 | {"name": "Sera", "data": V2["data"] | {"name": "Sera", "first_mes": "Hi!"}}


def test_a_persona_that_came_from_no_card_has_one(client: httpx.Client) -> None:
    body = {"name": "Anne", "instructions": "A pirate.", "facts": ["One eye."], "greeting": "Ahoy!"}
    persona = client.post("/v1/personas", json=body).json()
    card = client.get(f"/v1/personas/{persona['id']}/card", params={"spec": "v3"}).json()
    assert card["spec"] == "chara_card_v3"
    again = import_card(client, json.dumps(card).encode())
    assert {field: again[field] for field in body} == body


def test_a_card_is_put_into_a_given_picture(client: httpx.Client) -> None:
    persona = import_card(client, json.dumps(V2).encode())
    path = f"/v1/personas/{persona['id']}/card"
    picture = picture_of(chunk(b"tEXt", b"Comment\0mine"), chunk(b"tEXt", b"ccv3\0" + packed(V3)))
    made = client.post(path, content=picture).content
    assert read_card(made) == V2
    assert find_texts(made, ["Comment"], max_bytes=9) == {"Comment": b"mine"}
    for broken in (b"", b"GIF89a", picture[:-3]):
        refused = client.post(path, content=broken)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "body"


def test_a_session_may_begin_with_another_greeting(client: httpx.Client) -> None:
    persona = import_card(client, json.dumps(V2).encode())
    said = []
    for number in (0, 1):
        body = {"persona_id": persona["id"], "greeting": number, "user_name": "Tom"}
        session = client.post("/v1/sessions", json=body).json()
        [greeting] = client.get(f"/v1/sessions/{session['id']}/messages").json()["data"]
        said.append(greeting["content"])
    assert said == ["*She wakes.* Hello, Tom!", "Good evening."]
    for body in ({"persona_id": persona["id"], "greeting": 2}, {"greeting": 1}):
        refused = client.post("/v1/sessions", json=body)
        assert refused.status_code == 422
        assert [error["field"] for error in refused.json()["errors"]] == ["greeting"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "data.name"),
        ({"name": None}, "data.name"),
        ({"description": "It is {{time}}."}, "data.description"),
        ({"first_mes": 3}, "data.first_mes"),
        ({"alternate_greetings": "Hi"}, "data.alternate_greetings"),
        ({"alternate_greetings": ["Hi {{date}}"]}, "data.alternate_greetings"),
        ({"post_history_instructions": ["Stay."]}, "data.post_history_instructions"),
        ({"extensions": []}, "data.extensions"),
        ({"extensions": {"perdure": 1}}, "data.extensions.perdure"),
        ({"extensions": {"perdure": {"facts": "x"}}}, "data.extensions.perdure.facts"),
    ],
)
def test_a_card_that_makes_no_persona_is_refused_by_its_field(
    start_service: StartService, changes: dict[str, Any], field: str
) -> None:
    client = start_service()
    card = V2 | {"data": V2["data"] | changes}
    refused = client.post("/v1/personas/import", content=json.dumps(card).encode())
    assert refused.status_code == 422, refused.text
    assert [error["field"] for error in refused.json()["errors"]] == [field]
    assert client.get("/v1/personas").json()["data"] == []


def test_a_card_too_large_for_a_turn_or_a_request_is_refused(start_service: StartService) -> None:
    client = start_service(context_window=1024, max_body_mb=1)
    long = V2 | {"data": V2["data"] | {"description": "word " * 2000}}
    refused = client.post("/v1/personas/import", content=json.dumps(long).encode())
    assert refused.json()["type"] == "urn:perdure:problem:persona-too-large"
    assert client.post("/v1/personas/import", content=b" " * (2**20 + 1)).status_code == 413
    assert client.get("/v1/personas").json()["data"] == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/personas/per_none/card", 404),
        ("POST", "/v1/personas/per_none/card", 404),
        ("GET", "/v1/personas/{id}/card?format=gif", 422),
        ("GET", "/v1/personas/{id}/card?spec=v1", 422),
    ],
)
def test_what_is_no_card_is_said_so(client: httpx.Client, method: str, path: str, status: int) -> None:
    persona = client.post("/v1/personas", json={"name": "Anne"}).json()
    assert client.request(method, path.format(id=persona["id"])).status_code == status


def test_a_deleted_persona_takes_its_card_with_it(client: httpx.Client) -> None:
    persona = import_card(client, json.dumps(V2).encode())
    assert client.delete(f"/v1/personas/{persona['id']}").status_code == 204
    assert client.get(f"/v1/personas/{persona['id']}/card").status_code == 404


def test_the_command_line_imports_and_exports(client: httpx.Client, tmp_path: Path) -> None:
    url = str(client.base_url)
    source, target, picture = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.png"
    source.write_text(json.dumps(V3), encoding="utf-8")
    done = perdure("personas", "import", str(source), "--url", url)
    assert done.returncode == 0, done.stderr
    persona_id = done.stdout.split()[0]
    assert "Seraphina" in done.stdout
    assert perdure("personas", "export", persona_id, str(target), "--url", url).returncode == 0
    assert json.loads(target.read_text(encoding="utf-8")) == V3
    picture.write_bytes(plain_picture())
    again = ("personas", "export", persona_id, str(picture), "--picture", str(picture), "--spec", "v2")
    assert perdure(*again, "--url", url).returncode == 0
    assert read_card(picture.read_bytes())["spec"] == "chara_card_v2"
    wrong = perdure("personas", "export", persona_id, str(tmp_path / "d.gif"), "--url", url)
    assert wrong.returncode == 2
    assert ".json or .png" in wrong.stderr
    broken = tmp_path / "e.png"
    broken.write_bytes(plain_picture()[:-1])
    refused = perdure("personas", "import", str(broken), "--url", url)
    assert refused.returncode == 1
    assert "cut off" in refused.stderr
