"""Clients that read or write a byte now and then: they keep what they hold small, and nobody else waits."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import httpx
import pytest

from tests.app.service import StartService

pytestmark = pytest.mark.stand_in

MANY = 20
"""More than there are connections to the database."""


@contextmanager
def connected(client: httpx.Client) -> Iterator[socket.socket]:
    """A connection that takes next to nothing before it is read."""
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.settimeout(30)
        slow.connect((client.base_url.host, client.base_url.port))
        yield slow


def send(slow: socket.socket, head: str, body: str = "") -> None:
    slow.sendall(f"{head} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


@pytest.fixture
def talkative(start_service: StartService) -> httpx.Client:
    """A service with a user who has said more than the buffers of a connection hold."""
    client = start_service()
    session_id = client.post("/v1/sessions", json={"user_id": "tom"}).json()["id"]
    # Large to send, and next to nothing to index.
    said = [{"role": "user", "content": "whale" + "\n" * 150_000} for _ in range(20)]
    for _ in range(2):
        answer = client.post(f"/v1/sessions/{session_id}/messages/append", json={"messages": said})
        assert answer.is_success, answer.text
    return client


def test_many_who_read_slowly_keep_nobody_from_reading_and_writing(talkative: httpx.Client) -> None:
    whole = len(talkative.get("/v1/users/tom/export").content)
    assert whole > 8 * 2**20
    with ExitStack() as stack:
        readers = [stack.enter_context(connected(talkative)) for _ in range(MANY)]
        for reader in readers:
            send(reader, "GET /v1/users/tom/export")
            assert reader.recv(1) == b"H"
        session_id = talkative.post("/v1/sessions", json={}).json()["id"]
        said = {"content": "Hello!", "max_tokens": 2}
        assert talkative.post(f"/v1/sessions/{session_id}/messages", json=said).is_success
        for reader in readers:
            assert reader.recv(1) == b"T"


def test_many_who_write_slowly_keep_nobody_from_reading_and_writing(client: httpx.Client) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            writer = stack.enter_context(connected(client))
            writer.sendall(b"POST /v1/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{")
        session_id = client.post("/v1/sessions", json={}).json()["id"]
        said = {"content": "Hello!", "max_tokens": 2}
        assert client.post(f"/v1/sessions/{session_id}/messages", json=said).is_success
