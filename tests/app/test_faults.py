"""Faults on real processes: killed, stopped, started twice."""

import signal
import time
from pathlib import Path
from typing import Any

import httpx

from tests.app.processes import perdure_process, service_process
from tests.app.service import open_stream

LONG_TASK = "Write a very long story about a whale and a ship, with many chapters."


def chat(client: httpx.Client, session_id: str, content: str) -> dict[str, Any]:
    answer = client.post(
        f"/v1/sessions/{session_id}/messages", json={"content": content, "max_tokens": 8, "temperature": 0}
    )
    answer.raise_for_status()
    reply: dict[str, Any] = answer.json()
    return reply


def messages(client: httpx.Client, session_id: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = client.get(f"/v1/sessions/{session_id}/messages").json()["data"]
    return listed


def test_a_service_killed_in_a_reply_keeps_every_message_and_goes_on(tmp_path: Path) -> None:
    with service_process(tmp_path) as (process, client):
        session_id = client.post("/v1/sessions", json={}).json()["id"]
        first = chat(client, session_id, "Hello!")
        heard = ""
        with open_stream(client, session_id, content=LONG_TASK, max_tokens=2000, temperature=0) as stream:
            began = time.monotonic()
            for event, data in stream:
                if event == "delta":
                    heard += data["text"]
                if time.monotonic() - began > 2 and len(heard) > 100:
                    break
            process.send_signal(signal.SIGKILL)
            process.wait()

    with service_process(tmp_path) as (_, client):
        before, reply, asked, partial = messages(client, session_id)
        assert [before, reply] == [first["user_message"], first["message"]]
        assert (asked["role"], asked["content"], asked["status"]) == ("user", LONG_TASK, "complete")
        assert (partial["role"], partial["status"]) == ("assistant", "interrupted")
        assert len(partial["content"]) > 50, "the reply was checkpointed while it was generated"
        assert heard.startswith(partial["content"]) or partial["content"].startswith(heard)
        after = chat(client, session_id, "Where were we?")
        assert after["message"]["turn"] == 2
        context = client.get(f"/v1/messages/{after['message']['id']}/context").json()
        assert context["turns"] == [0, 1]


def test_a_service_told_to_stop_stores_what_it_was_saying(tmp_path: Path) -> None:
    with service_process(tmp_path) as (process, client):
        session_id = client.post("/v1/sessions", json={}).json()["id"]
        with open_stream(client, session_id, content=LONG_TASK, max_tokens=2000, temperature=0) as stream:
            next(stream)
            heard = "".join(next(stream)[1]["text"] for _ in range(20))
            process.send_signal(signal.SIGTERM)
            *_, (event, last) = stream
            assert (event, last["message"]["status"]) == ("finished", "interrupted")
        process.wait(30)
    with service_process(tmp_path) as (_, client):
        assert messages(client, session_id)[-1] == last["message"]
        assert last["message"]["content"].startswith(heard)


def test_a_second_process_on_the_same_home_is_refused_with_the_reason(tmp_path: Path) -> None:
    with service_process(tmp_path) as (_, client):
        second = perdure_process("serve", "--port", "0", PERDURE_HOME=str(tmp_path))
        assert second.returncode == 1
        assert "another Perdure process uses" in second.stderr
        assert "Traceback" not in second.stderr
        assert client.get("/readyz").status_code == 200
