"""A disk without room: what cannot be stored is refused whole, what is stored can be read, and it goes on."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.app.service import StartService, open_stream

DISK = "24m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all room that is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (2**20, 2**12):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                pass
    return filler


def test_a_full_disk_refuses_what_is_new_and_loses_nothing(
    small_disk: Path, start_service: StartService
) -> None:
    client = start_service(home=small_disk / "home")
    session_id = client.post("/v1/sessions", json={}).json()["id"]
    path = f"/v1/sessions/{session_id}/messages"
    kept = client.post(path, json={"content": "I live in Gent.", "max_tokens": 4}).json()
    filler = fill(small_disk)

    stored, refused = [kept["user_message"], kept["message"]], 0
    while refused < 3:  # what the log of the database has room for is still stored
        said = {"messages": [{"role": "user", "content": f"{len(stored)} " * 3000}]}
        answer = client.post(f"{path}/append", json=said)
        if answer.is_success:
            stored += answer.json()["data"]
        else:
            refused += 1
            assert (answer.status_code, answer.json()["type"]) == (507, "urn:perdure:problem:storage-full")
    assert client.post(path, json={"content": "Where do I live?" * 300, "max_tokens": 4}).status_code == 507
    assert client.get("/readyz").json()["parts"]["disk"]["status"] == "failed"
    assert client.get(path, params={"limit": 200}).json()["data"] == stored
    upload = client.post("/v1/documents", files={"file": ("a.txt", b"whale " * 400_000)})
    assert upload.status_code == 507, upload.text

    filler.unlink()
    after = client.post(path, json={"content": "Where do I live?", "max_tokens": 4})
    assert after.is_success, after.text
    assert client.get(path, params={"limit": 200}).json()["data"][:-2] == stored


def test_a_stream_says_that_the_disk_is_full_and_the_chat_goes_on_when_it_is_not(
    small_disk: Path, start_service: StartService
) -> None:
    client = start_service(home=small_disk / "home", checkpoint_s=0.1)
    talking, other = (client.post("/v1/sessions", json={}).json()["id"] for _ in range(2))
    said = {"messages": [{"role": "user", "content": "whale " * 3000}]}
    content = "Write a very long story about a whale, with many chapters."
    with open_stream(client, talking, content=content, max_tokens=4000) as events:
        while next(events)[0] != "delta":
            pass
        filler = fill(small_disk)
        while client.post(f"/v1/sessions/{other}/messages/append", json=said).is_success:
            pass
        name, problem = list(events)[-1]
    assert (name, problem["type"]) == ("error", "urn:perdure:problem:storage-full")
    path = f"/v1/sessions/{talking}/messages"
    asked = client.get(path).json()["data"][0]
    assert (asked["id"], asked["content"]) == (problem["user_message_id"], content)

    filler.unlink()
    assert client.post(path, json={"content": "Stop.", "max_tokens": 4}).is_success
    statuses = [message["status"] for message in client.get(path).json()["data"]]
    assert "generating" not in statuses
