"""The command line, as a user types it."""

from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from rich.console import Console

from app.cli.chat import parse_memory, show_sources
from app.cli.client import ServiceClient, ServiceError, service_client
from app.cli.context_bar import _cells
from app.cli.doctor import CheckFailedError, _embedding_model
from app.settings import Settings
from llm.catalog import EMBEDDING_MODEL
from tests.app.command_line import perdure
from tests.app.processes import perdure_process


def test_a_terminal_chat_against_a_service_streams_and_obeys_commands(client: httpx.Client) -> None:
    typed = "\n".join(
        [
            "What is the capital of France?",
            "/context",
            "/memory",
            "/memory sliding_window turns=3 retention_ratio=1.0",
            "/facts",
            "/memory no_such",
            "/persona You are Anne, a pirate.",
            "ci: ordinary",
            "/prefixes perhaps",
            "/prefixes on",
            "ci: You are Bo, a cook.",
            "/persona",
            "qa: What do you cook?",
            "/prefixes off",
            "/wrong",
            "/help",
            "/quit",
        ]
    )
    url = str(client.base_url)
    done = perdure("chat", "--url", url, "--temperature", "0", "--max-tokens", "20", typed=typed)
    assert done.returncode == 0, done.stderr
    for expected in (
        "Paris",
        "tokens in (",
        "first word after",
        "█",
        "asks the model to reply",
        "token_budget",
        "nothing is known yet",
        "unknown strategy 'no_such'; known are buffer, sliding_window, token_buffer",
        "You are Anne, a pirate.",
        "on or off?",
        "prefixes are on",
        "From the next turn on this chat has these instructions.",
        "You are Bo, a cook.",
        "no document tells anything",
        "prefixes are off",
        "no command /wrong",
        "leave (also Ctrl-D)",
    ):
        assert expected in done.stdout, expected
    [session] = client.get("/v1/sessions").json()["data"]
    assert session["memory"] == {"strategy": "sliding_window", "turns": 3, "retention_ratio": 1.0}
    messages = client.get(f"/v1/sessions/{session['id']}/messages").json()["data"]
    assert [message["content"] for message in messages if message["role"] == "user"] == [
        "What is the capital of France?",
        "ci: ordinary",
        "What do you cook?",
    ]
    assert session["instructions"] == "You are Bo, a cook."


def test_sources_are_shown_with_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    show_sources(Console(), [{"name": "[a].md", "place": "line 3"}, {"name": "b.txt", "place": ""}])
    assert capsys.readouterr().out == "source: [a].md, line 3\nsource: b.txt\n"


def test_a_terminal_chat_works_on_its_history(client: httpx.Client) -> None:
    typed = ["/regenerate", "My name is Ann.", "/regenerate", "/edit My name is Bob.", "/edit", "/pin"]
    typed += ["/branch", "Another time.", "/forget", "/exclude"]
    done = perdure("chat", "--url", str(client.base_url), "--max-tokens", "4", typed="\n".join(typed))
    assert done.returncode == 0, done.stderr
    assert "nothing has been said yet" in done.stdout
    assert "what should it say?" in done.stdout
    assert "2 messages forgotten" in done.stdout
    branch, session = client.get("/v1/sessions").json()["data"]
    assert branch["branched_from"]["session_id"] == session["id"]
    for one, marks in ((session, (True, False)), (branch, (True, True))):
        messages = client.get(f"/v1/sessions/{one['id']}/messages").json()["data"]
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert messages[0]["content"] == "My name is Bob."
        assert (messages[0]["pinned"], messages[0]["excluded"]) == marks
    before = client.get(f"/v1/messages/{messages[0]['copied_from']}/alternatives").json()["data"][0]
    assert before["content"] == "My name is Ann."


def test_a_terminal_chat_goes_on_with_an_old_session(client: httpx.Client, session_id: str) -> None:
    client.post(
        f"/v1/sessions/{session_id}/messages/append",
        json={"messages": [{"role": "user", "content": "Remember [the] whale."}]},
    )
    url = str(client.base_url)
    done = perdure("chat", "--url", url, "--session", session_id, "--max-tokens", "3", typed="Hi\n")
    assert "Remember [the] whale." in done.stdout
    assert len(client.get(f"/v1/sessions/{session_id}/messages").json()["data"]) == 3
    unknown = perdure("chat", "--url", url, "--session", "ses_none")
    assert unknown.returncode == 1
    assert "session ses_none does not exist" in unknown.stderr


def test_a_terminal_chat_without_a_service_runs_one_itself() -> None:
    done = perdure_process(
        "chat",
        "--persona",
        "You are Pippa.",
        "--memory",
        "buffer",
        "--max-tokens",
        "3",
        typed="Hello!\n/memory\n",
        PERDURE_PORT="1",
    )
    assert done.returncode == 0, done.stderr
    assert "served by this process" in done.stdout
    assert "POST" not in done.stdout + done.stderr, "the log stays out of the chat"
    assert "first word after" in done.stdout
    assert "buffer" in done.stdout


def test_a_service_that_is_not_there_is_said_so() -> None:
    done = perdure("chat", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "no service is ready at http://127.0.0.1:1" in done.stderr


class _Ailing(BaseHTTPRequestHandler):
    """Ready, but closes the connection on whatever else it is asked."""

    def do_GET(self) -> None:
        if self.path == "/readyz":
            self.send_response(HTTPStatus.OK)
            self.end_headers()

    def do_POST(self) -> None:
        """Say nothing."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_service_that_goes_away_is_said_so(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Ailing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        asked: list[Callable[[ServiceClient], object]] = [
            lambda client: client.get("/v1/documents"),
            lambda client: client.save("/v1/export", {}, tmp_path / "file"),
            lambda client: list(client.stream_reply("/v1/sessions/ses_1/messages", {})),
        ]
        with service_client(url) as client:
            for ask in asked:
                with pytest.raises(ServiceError, match="connection to the service broke off"):
                    ask(client)
        server.shutdown()
    assert not list(tmp_path.iterdir())


def test_models_are_listed_with_where_they_are(models_folder: Path) -> None:
    done = perdure("models", COLUMNS="200")
    assert done.returncode == 0, done.stderr
    assert "smollm2-135m-instruct (in use)" in done.stdout
    assert "all-minilm-l6-v2" in done.stdout
    assert str(models_folder) in done.stdout


def test_a_model_that_does_not_exist_is_said_so_in_a_line() -> None:
    done = perdure("serve", "--port", "0", PERDURE_MODEL="no-such-model")
    assert done.returncode == 1
    assert "no model 'no-such-model'" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_that_the_model_leaves_no_room_for_are_said_so_in_a_line() -> None:
    done = perdure("serve", "--port", "0", PERDURE_CONTEXT_WINDOW="300", PERDURE_REPLY_TOKENS="256")
    assert done.returncode == 1
    assert "PERDURE_REPLY_TOKENS is 256: a context window of 300 tokens" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_setting_is_named() -> None:
    done = perdure("doctor", PERDURE_PORT="many", PERDURE_MEMORY='{"strategy": "no_such"}')
    assert done.returncode == 1
    assert "PERDURE_PORT" in done.stderr
    assert "PERDURE_MEMORY" in done.stderr
    assert "no_such" in done.stderr


def test_the_doctor_finds_a_whole_installation_well_and_a_broken_one_not(tmp_path: Path) -> None:
    well = perdure("doctor", COLUMNS="200")
    assert well.returncode == 0, well.stdout
    assert well.stdout.count("ok ") == 8
    assert "384 numbers" in well.stdout
    broken = perdure("doctor", COLUMNS="200", PERDURE_MODELS=str(tmp_path / "none"))
    assert broken.returncode == 1
    assert "perdure models fetch" in broken.stdout


def test_the_doctor_looks_at_the_embedding_model_in_use(models_folder: Path) -> None:
    own = str(models_folder / EMBEDDING_MODEL)
    assert _embedding_model(Settings(embedding_model=own)) == f"{own}, 384 numbers to a text"
    with pytest.raises(CheckFailedError, match="nobody/nothing is not here"):
        _embedding_model(Settings(embedding_model="nobody/nothing"))


@pytest.mark.parametrize(
    ("text", "memory"),
    [
        ("buffer", {"strategy": "buffer"}),
        ("sliding_window turns=5", {"strategy": "sliding_window", "turns": 5}),
        (
            "token_buffer retention_ratio=0.5 x=a",
            {"strategy": "token_buffer", "retention_ratio": 0.5, "x": "a"},
        ),
    ],
)
def test_memory_is_read_as_it_is_typed(text: str, memory: dict[str, Any]) -> None:
    assert parse_memory(text) == memory


@pytest.mark.parametrize("amounts", [[1, 1, 1], [1, 0, 9999], [5000, 1, 1, 1], [0, 0, 1]])
def test_a_bar_is_as_wide_as_asked_and_shows_whatever_is_there(amounts: list[int]) -> None:
    cells = _cells(amounts, 40)
    assert sum(cells) == 40
    assert all((cell > 0) == (amount > 0) for cell, amount in zip(cells, amounts, strict=True))
