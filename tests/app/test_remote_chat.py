"""The service with its model on a remote server: chats, counts, health, and what is said at the start."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from app.models.chat import open_chat_model
from app.models.embedding import SentenceEmbedder
from app.server import create_app
from app.settings import Settings, SettingsError
from app.web_server import serve_in_thread
from llm.engine.local_engine import LocalEngine
from llm.loading import LoadedModel
from llm.text.chat_format import ChatTokenizer
from tests.app.command_line import perdure
from tests.app.conftest import RunningService
from tests.app.service import open_stream
from tests.openai_server import MODEL, Answer, Dialect, ModelServer, ScriptedServer, serve, sse

pytestmark = pytest.mark.stand_in

TOKENIZER = "smollm2-135m-instruct"
QUESTIONS = ("Tell me of whales.", "And of ants?", "And who are you?")

StartRemote = Callable[..., httpx.Client]
"""Starts a service on a server of a dialect, with settings that differ from the defaults."""


@pytest.fixture
def start_server(
    served_model: LoadedModel, chat_tokenizer: ChatTokenizer
) -> Iterator[Callable[[Dialect], str]]:
    with ExitStack() as running:

        def start(dialect: Dialect) -> str:
            engine = LocalEngine(served_model, chat_tokenizer, context_window=2048, kv_cache_bytes=2**28)
            running.callback(engine.close)
            return running.enter_context(serve(ModelServer(engine, chat_tokenizer, dialect).app))

        yield start


@pytest.fixture
def start_remote(start_server: Callable[[Dialect], str], embedder: SentenceEmbedder) -> Iterator[StartRemote]:
    with ExitStack() as running:

        def start(dialect: Dialect, **changes: Any) -> httpx.Client:
            settings = Settings(remote_url=f"{start_server(dialect)}/v1", remote_retries=1, **changes)
            app = create_app(settings, open_chat_model(settings), embedder)
            url = running.enter_context(serve_in_thread(app))
            return running.enter_context(httpx.Client(base_url=url, timeout=120))

        yield start


def talk(client: httpx.Client) -> list[dict[str, Any]]:
    """A greedy chat of some turns, with a persona."""
    persona = client.post(
        "/v1/personas",
        json={
            "name": "Pippa",
            "instructions": "You are Pippa, a pirate.",
            "examples": [{"user": "Who are you?", "assistant": "Captain Pippa, at your service!"}],
        },
    ).json()
    session = client.post("/v1/sessions", json={"persona_id": persona["id"]}).json()
    path = f"/v1/sessions/{session['id']}/messages"
    answers = [
        client.post(path, json={"content": content, "temperature": 0, "max_tokens": 12})
        for content in QUESTIONS
    ]
    return [answer.raise_for_status().json() for answer in answers]


def texts(answers: list[dict[str, Any]]) -> list[str]:
    return [answer["message"]["content"] for answer in answers]


@pytest.fixture(scope="module")
def said_locally(
    running_service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What the local engine answers and reports. No persona is held: no server does that."""
    home = tmp_path_factory.mktemp("home")
    with running_service(Settings(context_window=2048, persona_share=0, home=home)) as client:
        return talk(client)


@pytest.mark.parametrize(
    ("dialect", "changes"),
    [
        ("vllm", {"remote_tokenizer": TOKENIZER}),
        ("vllm", {"persona_share": 0}),
        ("llama.cpp", {}),
        ("ollama", {"remote_tokenizer": TOKENIZER, "context_window": 2048}),
    ],
)
def test_a_greedy_chat_says_what_the_local_engine_says_and_reports_cached_tokens(
    dialect: Dialect,
    changes: dict[str, Any],
    said_locally: list[dict[str, Any]],
    start_remote: StartRemote,
) -> None:
    client = start_remote(dialect, **changes)
    answers = talk(client)
    assert texts(answers) == texts(said_locally)
    for answer, other in zip(answers, said_locally, strict=True):
        usage, other_usage = answer["usage"], other["usage"]
        assert usage["completion_tokens"] == other_usage["completion_tokens"]
        assert usage["prompt_tokens"] == other_usage["prompt_tokens"]
        assert usage["token_counts"] == "exact", "the server said how many they were"
    cached = [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in answers]
    assert cached == [answer["usage"]["prompt_tokens_details"]["cached_tokens"] for answer in said_locally]
    assert cached[1] > 0
    context = client.get(f"/v1/messages/{answers[1]['message']['id']}/context").json()
    assert context["cached_tokens"] == cached[1]
    assert context["token_counts"] == ("estimated" if dialect == "ollama" else "exact")
    assert context["context_window"] == 2048


def test_counts_are_estimated_where_the_server_renders_the_messages(start_remote: StartRemote) -> None:
    client = start_remote("ollama", remote_tokenizer=TOKENIZER, context_window=1000)
    model, _ = client.get("/v1/models").json()["data"]
    assert (model["token_counts"], model["context_window"]) == ("estimated", 1000)
    session = client.post("/v1/sessions", json={}).json()["id"]
    preview = client.get(f"/v1/sessions/{session}/context", params={"content": "Hello?"}).json()
    assert preview["token_counts"] == "estimated"


def test_a_named_api_is_used_and_its_model_is_shown(start_remote: StartRemote) -> None:
    client = start_remote("vllm", remote_api="chat", remote_model=MODEL)
    model, _ = client.get("/v1/models").json()["data"]
    assert (model["id"], model["device"], model["token_counts"]) == (MODEL, "remote", "estimated")
    assert model["parameters"] is None
    assert model["context_window"] == 2048
    assert texts(talk(client))[0]


def test_a_reply_is_streamed_from_the_server(start_remote: StartRemote) -> None:
    client = start_remote("vllm")
    session = client.post("/v1/sessions", json={}).json()["id"]
    with open_stream(client, session, content="Tell me a story.", max_tokens=16, temperature=0) as stream:
        events = list(stream)
    deltas = [data["text"] for event, data in events if event == "delta"]
    assert len(deltas) > 3
    event, finished = events[-1]
    assert event == "finished"
    assert "".join(deltas) == finished["message"]["content"]


@pytest.fixture
def start_scripted() -> Iterator[Callable[..., httpx.Client]]:
    """Starts a service whose chat server gives the answers of a script, and has nothing but that."""
    with ExitStack() as running:

        def start(*script: Answer) -> httpx.Client:
            nothing_else = [Answer(status=404)] * 4  # no models, no properties, no /tokenize of either kind
            server = ScriptedServer(*nothing_else, *script)
            settings = Settings(
                remote_url=running.enter_context(serve(server.app)),
                remote_api="chat",
                remote_model=MODEL,
                remote_tokenizer=TOKENIZER,
                remote_retries=0,
                context_window=2048,
            )
            model = open_chat_model(settings)
            assert len(server.requests) == len(nothing_else)
            url = running.enter_context(serve_in_thread(create_app(settings, model)))
            return running.enter_context(httpx.Client(base_url=url, timeout=60))

        yield start


def piece(text: str, **more: Any) -> str:
    return sse({"choices": [{"delta": {"content": text}, **more}]})


def test_a_reply_that_breaks_off_is_stored_and_the_chat_goes_on(
    start_scripted: Callable[..., httpx.Client],
) -> None:
    cut = Answer((piece("The"), piece(" whale")), then="cut")
    client = start_scripted(cut, Answer((piece("Aye.", finish_reason="stop"),)))
    session = client.post("/v1/sessions", json={}).json()["id"]
    path = f"/v1/sessions/{session}/messages"
    failed = client.post(path, json={"content": "Tell me of whales."})
    problem = failed.json()
    assert (failed.status_code, problem["type"]) == (500, "urn:perdure:problem:generation-failed")
    assert "/v1/chat/completions broke the connection" in problem["detail"]
    reply = client.get(f"/v1/messages/{problem['reply_message_id']}").json()
    assert (reply["content"], reply["status"], reply["finish_reason"]) == (
        "The whale",
        "interrupted",
        "error",
    )
    after = client.post(path, json={"content": "Go on."}).json()
    assert after["message"]["content"] == "Aye."
    assert after["usage"]["token_counts"] == "estimated", "the server reported none"
    context = client.get(f"/v1/messages/{after['message']['id']}/context").json()
    said = [message["content"] for segment in context["segments"] for message in segment["messages"]]
    assert said == ["Tell me of whales.", "The whale", "Go on."]


def test_a_server_that_goes_away_is_reported_and_nothing_is_stored(
    served_model: LoadedModel, chat_tokenizer: ChatTokenizer
) -> None:
    engine = LocalEngine(served_model, chat_tokenizer, context_window=2048, kv_cache_bytes=2**28)
    with ExitStack() as running, ExitStack() as serving:
        running.callback(engine.close)
        remote = serving.enter_context(serve(ModelServer(engine, chat_tokenizer, "vllm").app))
        settings = Settings(remote_url=remote, remote_retries=0)
        url = running.enter_context(serve_in_thread(create_app(settings, open_chat_model(settings))))
        client = running.enter_context(httpx.Client(base_url=url, timeout=60))
        session = client.post("/v1/sessions", json={}).json()["id"]
        assert client.get("/readyz").status_code == 200
        serving.close()
        unready = client.get("/readyz")
        assert (unready.status_code, unready.json()["type"]) == (503, "urn:perdure:problem:not-ready")
        assert f"{remote}/v1/models cannot be reached" in unready.json()["detail"]
        refused = client.post(f"/v1/sessions/{session}/messages", json={"content": "Is anybody there?"})
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:perdure:problem:model-unavailable"
        assert client.get(f"/v1/sessions/{session}/messages").json()["data"] == []


@pytest.mark.parametrize(
    ("dialect", "changes", "advice"),
    [
        (
            "ollama",
            {"context_window": 2048},
            "has no /tokenize to count tokens with: set PERDURE_REMOTE_TOKENIZER",
        ),
        (
            "ollama",
            {"remote_tokenizer": TOKENIZER},
            "how large its context window is: set PERDURE_CONTEXT_WINDOW",
        ),
        ("vllm", {"remote_model": "other"}, "PERDURE_REMOTE_MODEL names no model of the server"),
        ("vllm", {"remote_tokenizer": "all-minilm-l6-v2"}, "gives other token ids than the server's own"),
        ("vllm", {"context_window": 300}, "PERDURE_REPLY_TOKENS is 256: a context window of 300 tokens"),
        ("vllm", {"persona_share": 0.5}, "PERDURE_PERSONA_SHARE is of a model that runs here"),
    ],
)
def test_what_must_be_set_is_said_at_the_start(
    dialect: Dialect, changes: dict[str, Any], advice: str, start_server: Callable[[Dialect], str]
) -> None:
    with pytest.raises(SettingsError, match=advice):
        open_chat_model(Settings(remote_url=start_server(dialect), **changes))


def test_the_command_line_says_in_a_line_that_a_server_is_not_there() -> None:
    environment = {"PERDURE_REMOTE_URL": "http://127.0.0.1:1/v1", "PERDURE_REMOTE_RETRIES": "0"}
    done = perdure("serve", "--port", "0", **environment)
    assert done.returncode == 1
    assert "http://127.0.0.1:1/v1/models cannot be reached" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    wrong = perdure("serve", PERDURE_REMOTE_URL="127.0.0.1:8000")
    assert wrong.returncode == 1
    assert "PERDURE_REMOTE_URL" in wrong.stderr


def test_the_doctor_talks_to_the_remote_model(start_server: Callable[[Dialect], str]) -> None:
    url = start_server("vllm")
    done = perdure("doctor", COLUMNS="250", PERDURE_REMOTE_URL=url, PERDURE_REMOTE_KEY="sk-very-secret")
    assert done.returncode == 0, done.stdout
    assert f"{MODEL} at {url} by its completions API, token counts exact; says" in done.stdout
    assert "sk-very-secret" not in done.stdout + done.stderr


SCORED = {"messages": [{"role": "user", "content": "Hi"}], "candidates": ["Hello!", "Whales"]}


def test_scores_are_had_from_a_server_that_gives_them(start_remote: StartRemote) -> None:
    hello, whales = start_remote("vllm").post("/v1/scores", json=SCORED).json()["candidates"]
    assert hello["log_probability"] > whales["log_probability"]
    assert [each["text"] for each in hello["tokens"]] == ["Hello", "!"]


@pytest.mark.parametrize(
    ("dialect", "changes", "reason"),
    [
        ("llama.cpp", {}, "gives no log-probabilities of a prompt"),
        ("ollama", {"remote_tokenizer": TOKENIZER, "context_window": 2048}, "its chat API"),
    ],
)
def test_scores_of_a_server_that_gives_none_are_refused_with_the_reason(
    dialect: Dialect, changes: dict[str, Any], reason: str, start_remote: StartRemote
) -> None:
    refused = start_remote(dialect, **changes).post("/v1/scores", json=SCORED)
    assert refused.status_code == 422
    assert refused.json()["code"] == "unsupported_parameter"
    assert reason in refused.json()["detail"]
