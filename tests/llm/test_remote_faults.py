"""What a remote server may do wrong, by a script: what is tried again, and what is said of the rest."""

import json
import socket
from base64 import b64encode
from contextvars import ContextVar
from typing import Any

import pytest

from llm.engine.interface import Delta, Started
from llm.errors import RemoteServerError
from llm.remote.discovery import Api
from llm.remote.server import RemoteServer
from llm.text.chat_format import ChatTokenizer
from tests.llm.remote_parts import remote_engine, request, run, run_to_failure
from tests.openai_server import Answer, ScriptedServer, serve, sse

KEY = "sk-very-secret"
DONE = "data: [DONE]\n\n"


def text(piece: str, **more: Any) -> str:
    return sse({"choices": [{"text": piece, **more}]})


WELL = Answer((text("The whale"), text(" sings.", finish_reason="stop"), DONE))
HTML = Answer(("<html><body>Welcome to nginx!</body></html>",), media_type="text/html")


def refused(status: int, message: str = "no", **headers: str) -> Answer:
    body = json.dumps({"error": {"message": message}})
    return Answer((body,), status=status, media_type="application/json", headers=headers)


@pytest.mark.parametrize(
    "fault",
    [
        refused(429, **{"Retry-After": "0"}),
        refused(429, **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        refused(503, **{"Retry-After": "soon"}),
        refused(502),
        refused(504),
        Answer(then="cut"),
        Answer((sse({"choices": [{"text": ""}]}),), then="cut"),
    ],
)
def test_a_fault_before_the_first_token_is_tried_again(fault: Answer, chat_tokenizer: ChatTokenizer) -> None:
    server = ScriptedServer(fault, fault, WELL)
    with serve(server.app) as url, remote_engine(url, chat_tokenizer, retries=2) as engine:
        events = list(engine.submit(request(chat_tokenizer)))
        assert sum(isinstance(event, Started) for event in events) == 1
        _, heard, finished = run(engine.submit(request(chat_tokenizer)))
    assert heard == finished.text == "The whale sings."
    assert len(server.requests) == 4


def test_tries_are_bounded_and_the_last_fault_is_told(chat_tokenizer: ChatTokenizer) -> None:
    server = ScriptedServer(refused(503, "the model is being loaded", **{"Retry-After": "0"}))
    with serve(server.app) as url, remote_engine(url, chat_tokenizer, retries=2) as engine:
        failed = run_to_failure(engine.submit(request(chat_tokenizer)))
        assert failed.error == f"{url}/v1/completions answered 503: the model is being loaded"
        assert len(server.requests) == 3


def test_a_server_that_is_not_there_is_said_so(chat_tokenizer: ChatTokenizer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    with remote_engine(f"http://user:{KEY}@127.0.0.1:{port}", chat_tokenizer, retries=1) as engine:
        failed = run_to_failure(engine.submit(request(chat_tokenizer)))
        assert f"http://127.0.0.1:{port}/v1/completions cannot be reached" in failed.error
        with pytest.raises(RemoteServerError, match="cannot be reached"):
            engine.check()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 500])
def test_a_refusal_is_not_tried_again_and_told_with_url_and_status_but_no_secret(
    status: int, chat_tokenizer: ChatTokenizer
) -> None:
    server = ScriptedServer(refused(status, f"not with the key {KEY}"))
    with serve(server.app) as url, remote_engine(url, chat_tokenizer, key=KEY) as engine:
        failed = run_to_failure(engine.submit(request(chat_tokenizer)))
    assert failed.error == f"{url}/v1/completions answered {status}: not with the key ***"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (HTML, "answered 200, but no event stream (text/html"),
        (Answer(("data: {no json\n\n",)), "sent a malformed event: {no json"),
        (Answer((sse([1, 2]),)), "sent a malformed event"),
        (Answer((sse({"choices": [{}]}),)), "sent a malformed event"),
        (Answer((sse({"choices": [{"text": 5}]}),)), "sent a malformed event"),
        (Answer((sse({"error": {"message": "out of memory"}}),)), "failed within its stream: out of memory"),
        (Answer((sse({"error": "out of memory"}),)), "failed within its stream: out of memory"),
        (Answer(()), "ended its stream before the reply was finished"),
        (Answer((DONE,)), "ended its stream before the reply was finished"),
        (
            Answer((text("", finish_reason="content_filter"), DONE)),
            "ended the reply with finish reason 'content_filter'",
        ),
    ],
)
def test_what_is_no_reply_is_told(answer: Answer, problem: str, chat_tokenizer: ChatTokenizer) -> None:
    with serve(ScriptedServer(answer).app) as url, remote_engine(url, chat_tokenizer, retries=0) as engine:
        failed = run_to_failure(engine.submit(request(chat_tokenizer)))
    assert failed.error.startswith(f"{url}/v1/completions {problem}")
    assert (failed.text, failed.token_ids) == ("", ())


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.parametrize(
    ("end", "then"),
    [
        ("", "end"),
        (DONE, "end"),
        ("", "cut"),
        (sse({"error": {"message": "oh"}}), "end"),
        ("data: {\n\n", "end"),
    ],
)
def test_a_reply_that_breaks_off_is_not_tried_again_and_keeps_its_text_and_ids(
    api: Api, end: str, then: Any, chat_tokenizer: ChatTokenizer
) -> None:
    pieces = ["The whale", " sings of", " Grüße"]
    events = [
        sse({"choices": [{"delta": {"content": piece}}]}) if api == "chat" else text(piece)
        for piece in pieces
    ]
    server = ScriptedServer(Answer((*events, end), then=then))
    with serve(server.app) as url, remote_engine(url, chat_tokenizer, api=api) as engine:
        *events_heard, failed = engine.submit(request(chat_tokenizer))
        failure = run_to_failure(engine.submit(request(chat_tokenizer)))
    assert failed == failure
    assert failure.text == "The whale sings of Grüße"
    assert "".join(event.text for event in events_heard if isinstance(event, Delta)) == failure.text
    assert chat_tokenizer.decode(failure.token_ids) == failure.text
    assert len(server.requests) == 2


@pytest.mark.parametrize("pieces", [(), (text("The whale"),)])
def test_a_server_that_falls_silent_is_given_up_and_not_asked_again(
    pieces: tuple[str, ...], chat_tokenizer: ChatTokenizer
) -> None:
    server = ScriptedServer(Answer(pieces, then="hang"))
    with serve(server.app) as url, remote_engine(url, chat_tokenizer, timeout_s=0.5) as engine:
        failed = run_to_failure(engine.submit(request(chat_tokenizer)))
    assert failed.error == f"{url}/v1/completions sent nothing for 0.5 s"
    assert failed.text == "The whale" * len(pieces)
    assert len(server.requests) == 1


def test_a_stop_string_that_the_server_passes_on_does_not_get_out(chat_tokenizer: ChatTokenizer) -> None:
    answer = Answer((text("The whale\nUs"), text("er: and"), text(" more", finish_reason="length"), DONE))
    with serve(ScriptedServer(answer).app) as url, remote_engine(url, chat_tokenizer) as engine:
        _, heard, finished = run(engine.submit(request(chat_tokenizer, stop=("\nUser:",))))
    assert heard == finished.text == "The whale"
    assert finished.reason == "stop"
    assert chat_tokenizer.decode(finished.token_ids) == "The whale"


def test_without_usage_of_the_server_the_tokens_of_the_reply_are_counted_by_the_tokeniser(
    chat_tokenizer: ChatTokenizer,
) -> None:
    with serve(ScriptedServer(WELL).app) as url, remote_engine(url, chat_tokenizer) as engine:
        _, _, finished = run(engine.submit(request(chat_tokenizer)))
    assert finished.completion_tokens == len(chat_tokenizer.encode_text("The whale sings."))
    assert (finished.prompt_tokens, finished.cached_tokens) == (None, None)


def test_cached_tokens_are_read_from_llama_cpps_timings(chat_tokenizer: ChatTokenizer) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 3}
    last = sse({"choices": [], "usage": usage, "timings": {"cache_n": 12}})
    answer = Answer((text("Aye.", finish_reason="stop"), last, DONE))
    with serve(ScriptedServer(answer).app) as url, remote_engine(url, chat_tokenizer) as engine:
        _, _, finished = run(engine.submit(request(chat_tokenizer)))
    assert (finished.prompt_tokens, finished.completion_tokens, finished.cached_tokens) == (20, 3, 12)


def test_ids_that_the_server_gives_are_kept_only_if_they_say_the_text(chat_tokenizer: ChatTokenizer) -> None:
    # Not as the tokeniser would encode it: what was generated need not be.
    generated = (*chat_tokenizer.encode_text("The wh"), *chat_tokenizer.encode_text("ale"))
    assert generated != chat_tokenizer.encode_text("The whale")
    end = min(chat_tokenizer.end_of_turn_ids)
    for given, kept in (
        ((*generated, end), generated),
        (generated[:1], chat_tokenizer.encode_text("The whale")),
    ):
        answer = Answer((text("The whale", token_ids=given, finish_reason="stop"), DONE))
        with serve(ScriptedServer(answer).app) as url, remote_engine(url, chat_tokenizer) as engine:
            _, _, finished = run(engine.submit(request(chat_tokenizer)))
        assert finished.token_ids == kept


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (HTML, r"answered 200, but no JSON object \(text/html"),
        (Answer(("[1]",), media_type="application/json"), "no JSON object"),
        (Answer(("gone",), status=410, media_type="text/plain"), "answered 410: gone"),
    ],
)
def test_an_answer_that_is_no_json_object_is_told(answer: Answer, problem: str) -> None:
    with serve(ScriptedServer(answer).app) as url:
        server = RemoteServer(url)
        with pytest.raises(RemoteServerError, match=problem):
            server.get("/props")
        server.close()


def test_a_key_or_a_password_goes_to_the_server_and_into_no_message() -> None:
    answering = ScriptedServer(refused(401, f"not with {KEY}"))
    with serve(answering.app) as url:
        for server in (
            RemoteServer(url, key=KEY),
            RemoteServer(url.replace("http://", f"http://anne:{KEY}@")),
        ):
            with pytest.raises(RemoteServerError, match=rf"^{url}/props answered 401: not with \*\*\*$"):
                server.get("/props")
            server.close()
    bearer, basic = (headers["authorization"] for headers in answering.headers)
    assert bearer == f"Bearer {KEY}"
    assert basic == "Basic " + b64encode(f"anne:{KEY}".encode()).decode()


def test_other_headers_are_asked_for_with_each_request_in_the_context_of_who_asks() -> None:
    asking: ContextVar[str] = ContextVar("asking")
    answering = ScriptedServer(Answer(("{}",), media_type="application/json"))
    with serve(answering.app) as url:
        server = RemoteServer(url, headers=lambda: {"asked-by": asking.get()})
        for name in ("anne", "bo"):
            asking.set(name)
            server.get("/props")
        server.close()
    assert [headers["asked-by"] for headers in answering.headers] == ["anne", "bo"]


def test_an_address_that_is_no_url_is_told() -> None:
    with pytest.raises(RemoteServerError, match="is no URL: Invalid port"):
        RemoteServer("http://127.0.0.1:many/v1")
