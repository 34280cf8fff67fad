"""How the tests of the remote engine make one, and run requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llm.engine.interface import (
    Delta,
    Failed,
    Finished,
    Generation,
    GenerationRequest,
    ModelInfo,
    SamplingParameters,
    Started,
)
from llm.remote.discovery import Api
from llm.remote.engine import RemoteEngine
from llm.remote.server import RemoteServer
from llm.text.chat_format import ChatEncoding
from tests.openai_server import MODEL

MESSAGES = (("system", "You are Pippa."), ("user", "Tell me of whales."))


@contextmanager
def remote_engine(
    url: str,
    tokenizer: ChatEncoding,
    *,
    api: Api = "completions",
    max_waiting_tokens: int = 4096,
    context_window: int = 2048,
    **connection: Any,
) -> Iterator[RemoteEngine]:
    info = ModelInfo(MODEL, "unknown", None, context_window, "unknown", "remote", "f")
    server = RemoteServer(url, **({"timeout_s": 60, "retries": 2} | connection))
    engine = RemoteEngine(server, tokenizer, info, api=api, max_waiting_tokens=max_waiting_tokens)
    try:
        yield engine
    finally:
        engine.close()


def prompt_of(tokenizer: ChatEncoding, messages: tuple[tuple[str, str], ...] = MESSAGES) -> tuple[int, ...]:
    """The ids of a conversation that begins with a system message and asks for a reply."""
    ids = list(tokenizer.encode_preamble(messages[0][1]))
    for role, content in messages[1:]:
        ids += tokenizer.encode_message(role, content)  # type: ignore[arg-type]
    return (*ids, *tokenizer.generation_prompt)


def request(
    tokenizer: ChatEncoding,
    messages: tuple[tuple[str, str], ...] = MESSAGES,
    *,
    owner: str = "",
    **sampling: Any,
) -> GenerationRequest:
    parameters = SamplingParameters(**({"max_tokens": 16, "temperature": 0} | sampling))
    return GenerationRequest(prompt_of(tokenizer, messages), parameters, owner, messages=messages)


def run(generation: Generation) -> tuple[Started, str, Finished]:
    """The first event, the text of the deltas, the last event."""
    started, *deltas, finished = generation
    assert isinstance(started, Started), started
    assert isinstance(finished, Finished), finished
    return started, "".join(delta.text for delta in deltas if isinstance(delta, Delta)), finished


def run_to_failure(generation: Generation) -> Failed:
    *_, last = generation
    assert isinstance(last, Failed), last
    return last
