"""Three service processes on one PostgreSQL database: whatever a client meets is as with one."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from tests.app.keys import with_key
from tests.app.postgres import PostgresServer
from tests.app.processes import PerdureProcess, service_processes
from tests.app.service import open_stream
from tests.app.test_faults import LONG_TASK, messages

COUNT = 3
AT_ONCE = 6
SAID_BY_EACH = 3


@dataclass(frozen=True, slots=True)
class Services:
    """The processes, each with a home of its own, and what they have in common."""

    processes: list[PerdureProcess]
    clients: list[httpx.Client]
    environment: dict[str, str]

    def perdure(self, *arguments: str) -> str:
        """What a command says."""
        done = CliRunner().invoke(app, arguments, env=self.environment)
        assert done.exit_code == 0, done.output
        return done.stdout.strip()

    def waiting_homes(self) -> list[str]:
        """The ids of the homes that a deletion waits for."""
        listed = self.perdure("homes", "list").splitlines()
        return [line.split()[0] for line in listed if "1 deletions wait" in line]

    def with_new_key(self, *limits: str) -> list[httpx.Client]:
        secret = self.perdure("keys", "create", "test", *limits)
        return [with_key(client, secret) for client in self.clients]


@pytest.fixture(scope="module")
def services(
    postgres: PostgresServer, models_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Services]:
    """Started at once on a database without tables."""
    homes = [tmp_path_factory.mktemp("home") for _ in range(COUNT)]
    environment = {
        "PERDURE_DATABASE_URL": postgres.new_database("template1"),
        "PERDURE_MODELS": str(models_folder),
        "PERDURE_THREADS": "1",
    }
    with service_processes(*homes, **environment) as running:
        processes, clients = zip(*running, strict=True)
        yield Services(list(processes), list(clients), environment | {"PERDURE_HOME": str(homes[0])})


def new_chat(client: httpx.Client) -> str:
    return str(client.post("/v1/sessions", json={}).raise_for_status().json()["id"])


def say(client: httpx.Client, chat: str, content: str, key: str | None = None, **body: Any) -> httpx.Response:
    return client.post(
        f"/v1/sessions/{chat}/messages",
        json={"content": content, "max_tokens": 2, "if_busy": "wait", **body},
        headers={"Idempotency-Key": key} if key else {},
    )


def kind_of(answer: httpx.Response) -> str:
    return str(answer.json()["type"]).removeprefix("urn:perdure:problem:")


def test_what_many_say_over_all_processes_is_there_once_and_in_order(services: Services) -> None:
    shared = new_chat(services.clients[0])
    own = [new_chat(services.clients[number % COUNT]) for number in range(AT_ONCE)]

    def speak(number: int) -> list[dict[str, Any]]:
        """In a chat of one's own and in that of all, each time over another process."""
        told = []
        for turn in range(SAID_BY_EACH):
            client = services.clients[(number + turn) % COUNT]
            for chat in (own[number], shared) if turn % 2 else (own[number],):
                answer = say(client, chat, f"{number}: message {turn}")
                assert answer.status_code == 200, answer.text
                told.append(answer.json())
        return told

    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(speak, range(AT_ONCE)))
    acknowledged = {
        chat: [each for heard in told for each in heard if each["message"]["session_id"] == chat]
        for chat in (shared, *own)
    }
    for chat, turns in acknowledged.items():
        rows = messages(services.clients[0], chat)
        assert all(messages(client, chat) == rows for client in services.clients[1:])
        pairs = list(zip(rows[::2], rows[1::2], strict=True))
        assert [row["turn"] for row in rows] == [number // 2 for number in range(len(rows))]
        said = sorted((each["user_message"]["id"], each["message"]["id"]) for each in turns)
        assert sorted((asked["id"], reply["id"]) for asked, reply in pairs) == said
        assert {row["status"] for row in rows} == {"complete"}
    for number, chat in enumerate(own):
        contents = [row["content"] for row in messages(services.clients[0], chat)[::2]]
        assert contents == [f"{number}: message {turn}" for turn in range(SAID_BY_EACH)]


def test_a_context_has_what_was_said_over_other_processes(services: Services) -> None:
    chat = new_chat(services.clients[0])
    for client in services.clients:
        answer = say(client, chat, "Hello").raise_for_status().json()
    record = services.clients[0].get(f"/v1/messages/{answer['message']['id']}/context").json()
    assert record["turns"] == [0, 1]
    at_each = [client.get(f"/v1/sessions/{chat}/context?content=Hello").json() for client in services.clients]
    assert at_each[0]["turns"] == [0, 1, 2]
    assert all(each["prompt_tokens"] == at_each[0]["prompt_tokens"] for each in at_each)


def test_a_request_with_a_key_that_comes_to_all_processes_at_once_speaks_once(services: Services) -> None:
    chat = new_chat(services.clients[0])
    with ThreadPoolExecutor(COUNT) as pool:
        answers = list(pool.map(lambda client: say(client, chat, "Once", key="one"), services.clients))
    assert [answer.status_code for answer in answers] == [200] * COUNT
    assert len({answer.json()["message"]["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == COUNT - 1
    assert len(messages(services.clients[0], chat)) == 2
    assert kind_of(say(services.clients[1], chat, "Twice", key="one")) == "idempotency-key-reused"


def test_the_limits_of_a_key_hold_over_all_processes(services: Services) -> None:
    limited = services.with_new_key("--requests-per-minute", "5")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda number: limited[number % COUNT].get("/v1/sessions"), range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7
    one_at_a_time = services.with_new_key("--concurrent-generations", "1")
    chats = [new_chat(client) for client in one_at_a_time]
    with open_stream(one_at_a_time[0], chats[0], content=LONG_TASK, max_tokens=500) as stream:
        next(stream)
        assert kind_of(say(one_at_a_time[1], chats[1], "Hi")) == "concurrency-limit"
    while say(one_at_a_time[2], chats[2], "Hi").status_code == 429:
        pass


def test_a_chat_that_is_answered_elsewhere_is_busy_and_its_deletion_ends_the_reply_everywhere(
    services: Services,
) -> None:
    one, two, three = services.clients
    chat = new_chat(one)
    say(two, chat, "Remember the quaggamarker.").raise_for_status()
    with open_stream(one, chat, content=LONG_TASK, max_tokens=2000) as stream:
        next(stream)
        assert kind_of(say(two, chat, "Hi", if_busy="reject")) == "session-busy"
        receipt = three.delete(f"/v1/sessions/{chat}").raise_for_status().json()
        *_, (last, _) = stream
        assert last in ("finished", "error")
    while receipt["status"] != "done":
        time.sleep(0.05)
        receipt = two.get(f"/v1/deletions/{receipt['id']}").json()
    assert all(store["remaining"] == 0 for store in receipt["stores"].values())
    assert [client.get(f"/v1/sessions/{chat}").status_code for client in services.clients] == [404] * COUNT


def test_what_a_killed_process_was_saying_is_kept_and_its_chats_go_on_at_another(services: Services) -> None:
    _, two, three = services.clients
    two_at_a_time = services.with_new_key("--concurrent-generations", "2")
    chats = [new_chat(two_at_a_time[0]) for _ in range(2)]
    with ExitStack() as opened:
        streams = [
            opened.enter_context(open_stream(two_at_a_time[0], chat, content=LONG_TASK, max_tokens=2000))
            for chat in chats
        ]
        for chat, stream in zip(chats, streams, strict=True):
            while len(messages(two, chat)) < 2:
                next(stream)
        assert messages(three, chats[0])[-1]["status"] == "generating"
        services.processes[0].kill()
    after = say(two_at_a_time[1], chats[0], "Where were we?")
    assert after.status_code == 200, "the key's places are free again"
    rows = messages(three, chats[0])
    assert [row["status"] for row in rows] == ["complete", "interrupted", "complete", "complete"]
    assert rows[1]["content"]
    assert rows[3] == after.json()["message"]
    while messages(two, chats[1])[-1]["status"] == "generating":  # nobody speaks there
        time.sleep(0.1)
    assert [row["status"] for row in messages(two, chats[1])] == ["complete", "interrupted"]

    receipt = two.delete(f"/v1/sessions/{chats[0]}").raise_for_status().json()
    while not re.search("processes have in their homes: [0-9a-f]+$", receipt["waits_for"] or ""):
        time.sleep(0.05)
        receipt = three.get(f"/v1/deletions/{receipt['id']}").json()
    while len(waiting := services.waiting_homes()) > 1:  # the one that was asked may be at it still
        time.sleep(0.05)
    assert waiting[0] in receipt["waits_for"], "what the killed process had indexed lies on its disk"
    services.perdure("homes", "forget", waiting[0])
    while receipt["status"] != "done":
        time.sleep(0.05)
        receipt = three.get(f"/v1/deletions/{receipt['id']}").json()
