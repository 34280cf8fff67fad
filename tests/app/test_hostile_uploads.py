"""Uploads that mean harm: names that lead elsewhere, forms that are none, files that are something else."""

from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from tests.app.conftest import RunningService
from tests.app.test_bad_input import assert_problem

NAMES = {
    "../../etc/passwd.txt": "passwd.txt",
    "..\\..\\windows\\win.txt": "win.txt",
    "/etc/cron.d/job.txt": "job.txt",
    "C:\\Users\\a.txt": "a.txt",
    "CON.txt": "CON.txt",
    "gpj.\u202etxt.txt": "gpj.txt.txt",
    "a\u200bb.txt": "ab.txt",
    "%2e%2e%2fa.txt": "%2e%2e%2fa.txt",
    "....//a.txt": "a.txt",
}
REFUSED = ["..", "../", "a" * 300 + ".txt", "a.txt/", "a.txt/..", "\u202e\u200b", ".", "a.exe", "a"]


def form(*parts: bytes, boundary: bytes = b"x") -> bytes:
    return (
        b"".join(b"--" + boundary + b"\r\n" + part + b"\r\n" for part in parts) + b"--" + boundary + b"--\r\n"
    )


def part(
    name: bytes = b"file", filename: bytes = b"a.txt", content: bytes = b"Of the sea.", extra: bytes = b""
) -> bytes:
    return (
        b'Content-Disposition: form-data; name="'
        + name
        + b'"; filename="'
        + filename
        + b'"\r\n'
        + extra
        + b"\r\n"
        + content
    )


def sent(
    client: httpx.Client, body: bytes, kind: str = "multipart/form-data; boundary=x", **headers: str
) -> httpx.Response:
    return client.post("/v1/documents", content=body, headers={"content-type": kind, **headers})


@pytest.fixture
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def test_no_name_of_a_file_leads_out_of_its_folder(running_service: RunningService, tmp_path: Path) -> None:
    with running_service(Settings(home=tmp_path / "home")) as client:
        for number, (name, kept) in enumerate(NAMES.items()):
            made = sent(client, form(part(filename=name.encode(), content=b"Log %d of the sea." % number)))
            assert made.status_code in (201, 202), made.text
            assert made.json()["name"] == kept
        assert {path.name for path in tmp_path.iterdir()} <= {"home", "models"}


@pytest.mark.parametrize("name", REFUSED)
def test_a_name_that_is_none_is_refused(client: httpx.Client, name: str) -> None:
    refused = sent(client, form(part(filename=name.encode())))
    assert refused.status_code in (415, 422), refused.text
    assert_problem(refused, refused.json()["type"].rpartition(":")[2])


FORMS = {
    "no boundary": (form(part()), "multipart/form-data"),
    "another boundary": (form(part()), "multipart/form-data; boundary=y"),
    "empty boundary": (form(part()), "multipart/form-data; boundary="),
    "huge boundary": (form(part()), "multipart/form-data; boundary=" + "y" * 10_000),
    "not ended": (b"--x\r\n" + part(), "multipart/form-data; boundary=x"),
    "nothing": (b"", "multipart/form-data; boundary=x"),
    "two files": (form(part(), part(filename=b"b.txt")), "multipart/form-data; boundary=x"),
    "2,000 fields": (
        form(*[b'Content-Disposition: form-data; name="user_id"\r\n\r\na'] * 2000),
        "multipart/form-data; boundary=x",
    ),
    "a giant header": (form(part(extra=b"X: " + b"a" * 60_000 + b"\r\n")), "multipart/form-data; boundary=x"),
    "many headers": (form(part(extra=b"X: a\r\n" * 5000)), "multipart/form-data; boundary=x"),
    "no disposition": (form(b"\r\nOf the sea."), "multipart/form-data; boundary=x"),
    "no name": (form(b"Content-Disposition: form-data\r\n\r\na"), "multipart/form-data; boundary=x"),
    "another field": (form(part(name=b"other")), "multipart/form-data; boundary=x"),
    "a field for a file": (
        form(b'Content-Disposition: form-data; name="file"\r\n\r\na'),
        "multipart/form-data; boundary=x",
    ),
    "NUL in a name": (form(part(filename=b"\x00")), "multipart/form-data; boundary=x"),
    "an odd charset": (form(part(filename=b"\xff\xfe")), "multipart/form-data; boundary=x; charset=nonsense"),
    "JSON": (b'{"file": "a"}', "application/json"),
    "a plain form": (b"file=a", "application/x-www-form-urlencoded"),
}


@pytest.mark.parametrize("kind", FORMS)
def test_a_form_that_is_none_is_refused_and_stores_nothing(client: httpx.Client, kind: str) -> None:
    before = client.get("/v1/documents?limit=200").json()["data"]
    for headers in ({}, {"idempotency-key": f"upload-{kind.replace(' ', '-')}"}):
        refused = sent(client, FORMS[kind][0], FORMS[kind][1], **headers)
        assert 400 <= refused.status_code < 500, refused.text
        assert_problem(refused, refused.json()["type"].rpartition(":")[2])
    assert client.get("/v1/documents?limit=200").json()["data"] == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pdf", b"MZ\x90\x00" + b"\0" * 100),
        ("a.docx", b"%PDF-1.4\n"),
        ("a.xlsx", b"<html></html>"),
        ("a.txt", b"\x7fELF" + bytes(range(256))),
    ],
)
def test_a_file_that_is_not_what_its_name_says_is_refused(
    client: httpx.Client, name: str, content: bytes
) -> None:
    for kind in (b"text/plain", b"application/pdf", b"image/png"):
        body = form(part(filename=name.encode(), content=content, extra=b"Content-Type: " + kind + b"\r\n"))
        refused = sent(client, body)
        assert refused.status_code == 422, refused.text
        assert_problem(refused, "document-refused")


@pytest.mark.parametrize("path", ["/v1/personas/import", "/v1/import", "/v1/sessions/import"])
@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n",
        b"\x89PNG\r\n\x1a\n" + b"\xff\xff\xff\xffIHDR" + b"\0" * 50,
        b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x05tEXtchara\x00\x00\x00\x00",
        b"GIF89a" + b"\0" * 100,
        b"PK\x03\x04" + b"\0" * 100,
        b"\x1f\x8b" + b"\0" * 100,
        b"\0" * 1000,
        b"",
    ],
)
def test_an_import_goes_by_what_the_file_is_whatever_its_type_says(
    client: httpx.Client, path: str, content: bytes
) -> None:
    for kind in ("application/json", "image/png", "application/jsonl", "text/html", "multipart/form-data"):
        refused = client.post(path, content=content, headers={"content-type": kind})
        assert 400 <= refused.status_code < 500, refused.text
        assert_problem(refused, refused.json()["type"].rpartition(":")[2])
