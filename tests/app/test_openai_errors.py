"""Errors on the addresses of OpenAI's API have its form; elsewhere they are problem documents."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from tests.app.service import StartService
from tests.app.standard import CHAT_MODEL, EMBEDDING_MODEL

pytestmark = pytest.mark.stand_in

HI: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
CHAT: dict[str, Any] = {"model": CHAT_MODEL, "messages": HI, "max_tokens": 2}
BAD_CHATS: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "x" * 300_000}]}, "messages[0].content"),
    ({"messages": [*HI, {"role": "tool", "content": "42"}]}, "messages[1].role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["hi"]}]}, "messages[0].content"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 2.5}, "max_tokens"),
    ({"max_completion_tokens": "many"}, "max_completion_tokens"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"top_p": -0.1}, "top_p"),
    ({"frequency_penalty": 3}, "frequency_penalty"),
    ({"presence_penalty": -3}, "presence_penalty"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"seed": 2**63}, "seed"),
    ({"stop": [""]}, "stop[0]"),
    ({"stop": ["x"] * 17}, "stop"),
    ({"stop": 3}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logit_bias": {"5": 100}}, "logit_bias"),
    ({"metadata": {"session_id": 3}}, "metadata.session_id"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"modalities": ["audio"]}, "modalities"),
]


@pytest.fixture(scope="module")
def client(used_client: httpx.Client) -> httpx.Client:
    return used_client


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"]
    return error


@pytest.mark.parametrize(("changes", "param"), BAD_CHATS)
def test_a_bad_request_is_400_and_names_the_parameter(
    client: httpx.Client, changes: dict[str, Any], param: str
) -> None:
    body = {name: value for name, value in {**CHAT, **changes}.items() if value is not None}
    error = error_of(client.post("/v1/chat/completions", json=body), 400)
    assert error["param"] == param
    assert error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"hi"',
        b"\xff\xfe",
        b'{"model": "\\ud800", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "x", "messages": ' + b"[" * 100_000,
        b'{"temperature": NaN}',
        b'{"seed": 1' + b"0" * 5000 + b"}",
    ],
)
def test_a_body_that_is_no_proper_json_is_400(client: httpx.Client, raw: bytes) -> None:
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
        answer = client.post(path, content=raw, headers={"content-type": "application/json"})
        error_of(answer, 400)


def test_nulls_are_the_defaults(client: httpx.Client) -> None:
    names = "stream n temperature top_p seed stop logprobs top_logprobs metadata tool_choice logit_bias tools"
    body = {**CHAT, **dict.fromkeys(names.split())}
    assert client.post("/v1/chat/completions", json=body).status_code == 200


def test_an_unknown_model_is_404(standard: OpenAI) -> None:
    def refused(call: Any) -> None:
        with pytest.raises(openai.NotFoundError) as error:
            call()
        assert error.value.code == "model_not_found"
        assert error.value.param == "model"

    hi: Any = HI
    refused(lambda: standard.chat.completions.create(model="gpt-9", messages=hi))
    refused(lambda: standard.completions.create(model="gpt-9", prompt="Hi"))
    refused(lambda: standard.embeddings.create(model=CHAT_MODEL, input="Hi"))
    refused(lambda: standard.models.retrieve("meta/gpt-9"))


def test_a_prompt_or_a_reply_past_the_window_is_context_length_exceeded(standard: OpenAI) -> None:
    def refused(call: Any) -> str:
        with pytest.raises(openai.BadRequestError) as error:
            call()
        assert error.value.code == "context_length_exceeded"
        return error.value.message

    def chat(content: str, **asked: Any) -> Any:
        messages: Any = [{"role": "user", "content": content}] * 3
        return standard.chat.completions.create(model=CHAT_MODEL, messages=messages, **asked)

    assert "8192" in refused(lambda: chat("word " * 5000))
    assert "8192" in refused(lambda: chat("Hi", max_tokens=8192))
    assert "8192" in refused(lambda: standard.completions.create(model=CHAT_MODEL, prompt="word " * 9000))
    refused(lambda: standard.completions.create(model=CHAT_MODEL, prompt="Hi", max_tokens=10**30))
    refused(lambda: standard.embeddings.create(model=EMBEDDING_MODEL, input=["Hi", "word " * 600]))


def test_addresses_methods_and_large_bodies_are_refused_in_the_same_form(
    client: httpx.Client, start_service: StartService
) -> None:
    assert error_of(client.get("/v1/models/none"), 404)["code"] == "model_not_found"
    assert error_of(client.get("/v1/chat/completions/chatcmpl_1"), 404)["code"] == "not_found"
    wrong_method = client.get("/v1/chat/completions")
    assert error_of(wrong_method, 405)["code"] == "method_not_allowed"
    assert wrong_method.headers["allow"] == "POST"
    small = start_service(max_body_mb=1)
    big = b'{"content": "' + b"x" * (2 * 2**20) + b'"}'
    pieces = (big[start : start + 65536] for start in range(0, len(big), 65536))
    for content in (big, pieces):
        refused = small.post(
            "/v1/chat/completions", content=content, headers={"content-type": "application/json"}
        )
        assert error_of(refused, 413)["code"] == "body_too_large"
    native = client.get("/v1/sessions/ses_none")
    assert native.headers["content-type"] == "application/problem+json"


def test_past_the_queue_a_request_is_429_with_retry_after(start_service: StartService) -> None:
    client = start_service(max_waiting_tokens=1)
    gate = threading.Barrier(6)

    def send(index: int) -> httpx.Response:
        gate.wait()
        messages = [{"role": "user", "content": f"Tell me story number {index}."}]
        return client.post("/v1/chat/completions", json={**CHAT, "messages": messages, "max_tokens": 12})

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    refused = [answer for answer in answers if answer.status_code != 200]
    assert 1 <= len(refused) <= 5
    for answer in refused:
        error = error_of(answer, 429)
        assert error["type"] == "rate_limit_error"
        assert error["code"] == "rate_limit_exceeded"
        assert int(answer.headers["retry-after"]) >= 1
