"""Documents over the API: added once, read in the background, shown with their places, deleted whole."""

import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app as cli
from app.settings import Settings
from tests.app.conftest import RunningService
from tests.app.document_files import docx_file, overlapping_zip, pdf, zipped
from tests.app.service import StartService

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers come when a document has been read, on a machine that is busy too."""
    monkeypatch.setattr("app.documents.library.ANSWER_WITHIN_S", 100.0)


def upload(client: httpx.Client, name: str, content: bytes | str, **fields: str) -> httpx.Response:
    body = content.encode() if isinstance(content, str) else content
    return client.post("/v1/documents", files={"file": (name, body)}, data=fields)


def added(client: httpx.Client, name: str, content: bytes | str, **fields: str) -> Json:
    answer = upload(client, name, content, **fields)
    assert answer.is_success, answer.text
    document: Json = answer.json()
    return document


def settled(client: httpx.Client, document: Json) -> Json:
    while document["status"] == "processing":
        assert 0 <= document["progress"] <= 1
        time.sleep(0.05)
        document = client.get(f"/v1/documents/{document['id']}").json()
    return document


def pieces(client: httpx.Client, document: Json) -> list[Json]:
    data: list[Json] = client.get(f"/v1/documents/{document['id']}/pieces?limit=200").json()["data"]
    return data


def files_in(client_home: Path) -> list[Path]:
    return list((client_home / "documents").iterdir())


def test_a_document_is_kept_in_pieces_that_say_where_they_are_from(used_client: httpx.Client) -> None:
    files: dict[str, bytes | str] = {
        "log.pdf": pdf(["The whale.", "The sea."]),
        "guide.docx": docx_file(),
        "notes.md": "# Notes\n\nOf the voyage.\n",
        "code.py": "def sail():\n    return 1\n",
    }
    cited = []
    for name, content in files.items():
        answer = upload(used_client, name, content)
        assert answer.status_code == 201, answer.text
        document = answer.json()
        assert (document["status"], document["progress"], document["error"]) == ("ready", 1, None)
        found = pieces(used_client, document)
        assert [piece["number"] for piece in found] == list(range(document["pieces"]))
        cited += [piece["citation"] for piece in found]
    assert cited == [
        "log.pdf, page 1",
        "log.pdf, page 2",
        "guide.docx, Guide",
        "guide.docx, Guide > Safety",
        "guide.docx, Guide > Safety, rows 2-3",
        "notes.md, Notes, line 3",
        "code.py, lines 1-2",
    ]


def test_the_same_file_twice_is_one(used_client: httpx.Client) -> None:
    first = upload(used_client, "a.txt", "twice the same")
    second = upload(used_client, "b.txt", "twice the same")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    of_user = upload(used_client, "a.txt", "twice the same", user_id="anna")
    assert of_user.status_code == 201
    assert upload(used_client, "a.txt", "twice the same", user_id="anna").json() == of_user.json()


def test_the_same_file_at_once_is_one(used_client: httpx.Client) -> None:
    together = threading.Barrier(4)

    def add(_: int) -> Json:
        together.wait()
        return added(used_client, "once.txt", "at once the same")

    with ThreadPoolExecutor(4) as threads:
        documents = list(threads.map(add, range(4)))
    assert len({document["id"] for document in documents}) == 1
    assert len(pieces(used_client, settled(used_client, documents[0]))) == 1


@pytest.mark.parametrize(
    ("name", "content", "status", "problem"),
    [
        ("broken.pdf", pdf(["Hello"])[:300], 422, "broken.pdf: the PDF cannot be read"),
        ("wrong.pdf", docx_file(), 422, "wrong.pdf: its name says .pdf, but its content is ZIP"),
        ("bomb.docx", zipped({"word/document.xml": bytes(300 * 2**20)}), 422, "bomb.docx: .* unpacks from"),
        ("bomb.xlsx", overlapping_zip("xl/workbook.xml", 99), 422, "bomb.xlsx: .* share bytes"),
        ("empty.txt", b"", 422, "empty.txt: it is empty"),
        ("blank.md", b" \n", 422, "blank.md: it has no text"),
        ("tool.exe", b"MZ\x90\0", 415, "tool.exe: .exe is not read"),
    ],
)
def test_a_hostile_file_is_refused_and_nothing_is_stored(
    used_client: httpx.Client, name: str, content: bytes, status: int, problem: str
) -> None:
    before = used_client.get("/v1/documents").json()
    answer = upload(used_client, name, content)
    assert answer.status_code == status, answer.text
    assert answer.json()["name"] == name
    assert re.search(problem, answer.json()["detail"]), answer.text
    assert used_client.get("/v1/documents").json() == before


def test_a_file_that_is_too_large_is_refused_while_it_is_read(
    start_service: StartService, tmp_path: Path
) -> None:
    client = start_service(document_mb=1)
    assert upload(client, "right.txt", bytes(2**20)).status_code == 422  # for what is in it
    assert upload(client, "large.txt", "x " * 2**20).json()["max_bytes"] == 2**20 + 65536
    assert upload(client, "larger.txt", b"x" * (2**20 + 1)).json()["max_bytes"] == 2**20

    def endless() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        for _ in range(100):
            yield b"x" * 2**16

    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/documents", content=endless(), headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:perdure:problem:body-too-large")
    assert files_in(tmp_path / "home") == []


@pytest.mark.parametrize(
    ("request_body", "status", "field"),
    [
        ({"json": {"file": "x"}}, 422, "file"),
        ({"data": {"user_id": "anna"}}, 422, "file"),
        ({"files": {"file": ("a.txt", b"x"), "more": ("b.txt", b"x")}}, 400, None),
        ({"files": {"file": ("a.txt", b"x")}, "data": {"colour": "red"}}, 422, "colour"),
        ({"files": {"file": ("a.txt", b"x")}, "data": {"user_id": " "}}, 422, "user_id"),
        ({"files": {"file": ("x" * 300 + ".txt", b"x")}}, 422, "file"),
        (
            {"content": b"no form", "headers": {"content-type": "multipart/form-data; boundary=x"}},
            400,
            None,
        ),
    ],
)
def test_a_request_without_a_proper_file_is_refused(
    used_client: httpx.Client, request_body: Json, status: int, field: str | None
) -> None:
    answer = used_client.post("/v1/documents", **request_body)
    assert answer.status_code == status, answer.text
    if field is not None:
        assert answer.json()["errors"][0]["field"] == field


def test_folders_in_the_name_of_a_file_are_left_out(used_client: httpx.Client) -> None:
    for name in ("../../etc/sea.txt", "C:\\Users\\sea.txt"):
        assert added(used_client, name, f"told by {name}")["name"] == "sea.txt"


def test_documents_are_listed_newest_first_and_by_user(client: httpx.Client) -> None:
    names = [
        added(client, f"{n}.txt", f"number {n}", **({"user_id": "tom"} if n == 1 else {}))["name"]
        for n in range(3)
    ]
    first = client.get("/v1/documents?limit=2").json()
    rest = client.get("/v1/documents", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [document["name"] for document in first["data"] + rest["data"]] == names[::-1]
    assert rest["next_cursor"] is None
    assert [document["name"] for document in client.get("/v1/documents?user_id=tom").json()["data"]] == [
        "1.txt"
    ]


def test_pieces_come_in_pages(used_client: httpx.Client) -> None:
    document = added(
        used_client, "long.txt", "\n\n".join(f"Paragraph {n}. " + "sea " * 150 for n in range(5))
    )
    path = f"/v1/documents/{document['id']}/pieces"
    first = used_client.get(path, params={"limit": 3}).json()
    rest = used_client.get(path, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [piece["number"] for piece in first["data"] + rest["data"]] == [0, 1, 2, 3, 4]


def test_what_is_deleted_is_gone_and_can_be_added_again(used_client: httpx.Client) -> None:
    document = added(used_client, "gone.txt", "soon gone")
    path = f"/v1/documents/{document['id']}"
    assert used_client.delete(path).status_code == 204
    for answer in (used_client.get(path), used_client.get(path + "/pieces"), used_client.delete(path)):
        assert answer.status_code == 404
    assert added(used_client, "gone.txt", "soon gone")["id"] != document["id"]


def test_a_long_one_is_read_in_the_background(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.documents.library.ANSWER_WITHIN_S", 0.0)
    answer = upload(client, "long.txt", "The sea is wide.\n" * 2_000)
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    assert upload(client, "long.txt", "The sea is wide.\n" * 2_000).json()["id"] == answer.json()["id"]
    document = settled(client, answer.json())
    assert document["status"] == "ready"
    assert document["pieces"] > 10
    broken = upload(client, "broken.pdf", b"%PDF-1.4 obj").json()
    failed = settled(client, broken)
    assert (failed["status"], failed["pieces"]) == ("failed", 0)
    assert "the PDF cannot be read" in failed["error"]
    again = upload(client, "broken.pdf", b"%PDF-1.4 obj")
    assert (again.status_code, again.json()["status"]) == (202, "processing")
    assert again.json()["id"] != broken["id"]
    settled(client, again.json())
    assert files_in(tmp_path / "home") == []


def test_one_that_is_deleted_while_it_is_read_leaves_nothing(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.documents.library.ANSWER_WITHIN_S", 0.0)
    document = upload(client, "long.txt", "The sea is wide.\n" * 200_000).json()
    assert client.delete(f"/v1/documents/{document['id']}").status_code == 204
    while files_in(tmp_path / "home"):
        time.sleep(0.05)
    assert client.get("/v1/documents").json()["data"] == []


def test_what_was_being_read_when_the_service_ended_is_read_at_its_next_start(
    running_service: RunningService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.documents.library.ANSWER_WITHIN_S", 0.0)
    settings = Settings()
    with running_service(settings) as client:
        documents = [
            upload(client, f"{n}.txt", f"Number {n}.\n" + "The sea is wide.\n" * 2_000).json()
            for n in range(2)
        ]
    kept, lost = documents
    (settings.documents_folder / lost["id"]).unlink()
    (settings.documents_folder / "doc_never_noted").touch()
    with running_service(settings) as client:
        now = [settled(client, client.get(f"/v1/documents/{each['id']}").json()) for each in (kept, lost)]
    assert [document["status"] for document in now] == ["ready", "failed"]
    assert now[1]["error"] == "its file is no longer there; upload it again"
    assert files_in(tmp_path / "home") == []


def test_the_command_line_adds_lists_and_deletes(used_client: httpx.Client, tmp_path: Path) -> None:
    good, bad = tmp_path / "cli.md", tmp_path / "cli.pdf"
    good.write_text("# From the command line\n\nHello.")
    bad.write_text("no pdf")
    url = ["--url", str(used_client.base_url)]
    run = CliRunner()
    done = run.invoke(cli, ["documents", "add", str(good), str(bad), "--user", "cli", *url])
    assert done.exit_code == 1
    assert "cli.md, of cli, 1 pieces" in done.stdout
    assert "refused: cli.pdf: its name says .pdf, but its content is text" in done.stdout.replace("\n", " ")
    listed = run.invoke(cli, ["documents", "list", "--user", "cli", *url])
    [line] = [line for line in listed.stdout.splitlines() if line.startswith("doc_")]
    document_id = line.split()[0]
    assert run.invoke(cli, ["documents", "delete", document_id, *url]).exit_code == 0
    assert used_client.get(f"/v1/documents/{document_id}").status_code == 404
