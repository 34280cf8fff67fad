"""The remote engine, against a server with a real engine: what comes back is what the local engine gives."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from llm.engine.blocks import BLOCK_TOKENS
from llm.engine.interface import Delta, Event, Finished, ScoreRequest, Started
from llm.engine.local_engine import LocalEngine
from llm.errors import EngineClosedError, PromptTooLongError, QueueFullError, UnsupportedByEngineError
from llm.remote.discovery import Api
from llm.remote.engine import RemoteEngine
from llm.text.chat_format import ChatTokenizer
from tests.llm.engines import StartLocal
from tests.llm.remote_parts import MESSAGES, prompt_of, remote_engine, request, run
from tests.openai_server import Answer, Dialect, ModelServer, ScriptedServer, serve

LONG_TASK = (("system", "You are Pippa."), ("user", "Write a very long story about a whale and a ship."))

StartEngine = Callable[..., RemoteEngine]


@pytest.fixture
def local(start_local: StartLocal) -> LocalEngine:
    return start_local()


@pytest.fixture
def server(local: LocalEngine, chat_tokenizer: ChatTokenizer) -> ModelServer:
    return ModelServer(local, chat_tokenizer, "vllm")


@pytest.fixture
def start_engine(server: ModelServer, chat_tokenizer: ChatTokenizer) -> Iterator[StartEngine]:
    with ExitStack() as running:
        url = running.enter_context(serve(server.app))

        def start(api: Api = "completions", max_waiting_tokens: int = 4096) -> RemoteEngine:
            return running.enter_context(
                remote_engine(f"{url}/v1/", chat_tokenizer, api=api, max_waiting_tokens=max_waiting_tokens)
            )

        yield start


@pytest.fixture
def engine(start_engine: StartEngine) -> RemoteEngine:
    return start_engine()


def test_greedy_text_and_ids_are_the_local_engines(
    engine: RemoteEngine, local: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    short = (MESSAGES[0], ("user", "Hello!"))
    for messages, max_tokens, reason in ((MESSAGES, 16, "length"), (short, 40, "stop")):
        asked = request(chat_tokenizer, messages, max_tokens=max_tokens)
        _, text, finished = run(engine.submit(asked))
        _, _, expected = run(local.submit(asked))
        assert text == finished.text == expected.text
        assert finished.token_ids == expected.token_ids
        assert finished.reason == expected.reason == reason
        assert finished.completion_tokens == expected.completion_tokens


def test_the_chat_api_gives_the_local_engines_text(
    start_engine: StartEngine, local: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    asked = request(chat_tokenizer, max_tokens=16)
    _, text, finished = run(start_engine(api="chat").submit(asked))
    _, _, expected = run(local.submit(asked))
    assert text == finished.text == expected.text == chat_tokenizer.decode(finished.token_ids)


@pytest.mark.parametrize("api", ["completions", "chat"])
@pytest.mark.stand_in
def test_a_second_turn_reports_the_servers_cached_tokens(
    api: Api, start_engine: StartEngine, chat_tokenizer: ChatTokenizer
) -> None:
    engine = start_engine(api=api)
    _, text, first = run(engine.submit(request(chat_tokenizer, owner="anne")))
    assert first.cached_tokens == 0
    messages = (*MESSAGES, ("assistant", text), ("user", "And of ants?"))
    _, _, second = run(engine.submit(request(chat_tokenizer, messages, owner="anne")))
    assert second.prompt_tokens == len(prompt_of(chat_tokenizer, messages))
    assert second.cached_tokens is not None
    known = len(prompt_of(chat_tokenizer)) + first.completion_tokens
    assert second.cached_tokens > known - 2 - BLOCK_TOKENS, "whole blocks are kept"


@pytest.mark.stand_in
def test_cached_prefixes_are_not_shared_between_owners(
    engine: RemoteEngine, server: ModelServer, chat_tokenizer: ChatTokenizer
) -> None:
    for owner in ("anne", "anne", "bob"):
        run(engine.submit(request(chat_tokenizer, owner=owner, max_tokens=2)))
    first, second, other = (body["cache_salt"] for body in server.requests)
    assert first == second != other
    assert "anne" not in first


@pytest.mark.stand_in
def test_every_sampling_parameter_is_passed_on(
    engine: RemoteEngine, server: ModelServer, chat_tokenizer: ChatTokenizer
) -> None:
    sampling: dict[str, Any] = {
        "temperature": 0.9,
        "top_p": 0.8,
        "top_k": 7,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "seed": 5,
        "max_tokens": 3,
        "stop": ["whale", "\n"],
    }
    run(engine.submit(request(chat_tokenizer, **sampling | {"stop": ("whale", "\n")})))
    [body] = server.requests
    assert sampling.items() <= body.items()
    assert body["repeat_penalty"] == 1.2
    run(engine.submit(request(chat_tokenizer)))
    assert server.requests[1]["top_k"] == -1, "a server's own default must not act"


@pytest.mark.stand_in
def test_a_seed_gives_the_same_text_and_one_that_was_drawn_is_reported(
    engine: RemoteEngine, chat_tokenizer: ChatTokenizer
) -> None:
    def reply(seed: int | None) -> tuple[Started, str, Finished]:
        return run(engine.submit(request(chat_tokenizer, max_tokens=8, temperature=1.5, seed=seed)))

    started, drawn, _ = reply(None)
    again, text, _ = reply(started.seed)
    assert text == drawn
    assert again.seed == started.seed
    assert len({reply(seed)[1] for seed in range(4)}) > 1


@pytest.mark.stand_in
def test_a_reply_ends_before_a_stop_string_and_its_ids_say_the_same(
    engine: RemoteEngine, chat_tokenizer: ChatTokenizer
) -> None:
    _, whole, _ = run(engine.submit(request(chat_tokenizer, LONG_TASK, max_tokens=24)))
    stop = whole[15:21]
    _, text, finished = run(engine.submit(request(chat_tokenizer, LONG_TASK, max_tokens=24, stop=(stop,))))
    assert text == finished.text == whole[: whole.index(stop)]
    assert finished.reason == "stop"
    assert chat_tokenizer.decode(finished.token_ids) == text


@pytest.mark.parametrize("api", ["completions", "chat"])
def test_a_cancelled_reply_ends_here_and_at_the_server(
    api: Api, start_engine: StartEngine, server: ModelServer, chat_tokenizer: ChatTokenizer
) -> None:
    generation = start_engine(api=api).submit(request(chat_tokenizer, LONG_TASK, max_tokens=1500))
    events = iter(generation)
    heard = ""
    while len(heard) < 20:
        event = next(events)
        heard += event.text if isinstance(event, Delta) else ""
    generation.cancel()
    *rest, last = events
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"
    assert last.text.startswith(heard)
    assert last.text == heard + "".join(event.text for event in rest if isinstance(event, Delta))
    assert chat_tokenizer.decode(last.token_ids) == last.text
    assert server.has_ended.wait(60)
    assert not isinstance(server.ended[0], Finished), "the server was still generating"


def test_more_than_the_bound_is_refused_until_what_waits_is_gone(chat_tokenizer: ChatTokenizer) -> None:
    asked = request(chat_tokenizer, max_tokens=2)
    with (
        serve(ScriptedServer(Answer(then="hang")).app) as url,
        remote_engine(url, chat_tokenizer, max_waiting_tokens=2 * len(asked.prompt)) as engine,
    ):
        waiting = [engine.submit(asked), engine.submit(asked)]
        assert (engine.stats.waiting, engine.stats.waiting_tokens) == (2, 2 * len(asked.prompt))
        with pytest.raises(QueueFullError):
            engine.submit(asked)
        with pytest.raises(QueueFullError):
            engine.score(ScoreRequest(asked.prompt, ()))
        for generation in waiting:
            generation.cancel()
            [last] = generation
            assert isinstance(last, Finished)
            assert last.reason == "cancelled"
        place = engine.reserve(asked)
        engine.reserve(asked).release()
        engine.submit(asked).cancel()
        place.release()


def test_a_prompt_beyond_the_bound_is_let_through_alone_and_what_has_begun_does_not_count(
    start_engine: StartEngine, chat_tokenizer: ChatTokenizer
) -> None:
    engine = start_engine(max_waiting_tokens=1)
    long = engine.submit(request(chat_tokenizer, LONG_TASK, max_tokens=1500))
    events = iter(long)
    assert isinstance(next(events), Started)
    assert (engine.stats.running, engine.stats.waiting) == (1, 0)
    _, _, finished = run(engine.submit(request(chat_tokenizer, max_tokens=2)))
    long.cancel()
    assert isinstance(list(events)[-1], Finished)
    stats = engine.stats
    assert (stats.running, stats.waiting, stats.waiting_tokens) == (0, 0, 0)
    assert stats.computed_tokens + stats.found_tokens == finished.prompt_tokens
    assert stats.generated_tokens >= finished.completion_tokens


@pytest.mark.stand_in
def test_what_cannot_fit_the_window_is_refused_and_keeps_no_place(
    start_engine: StartEngine, chat_tokenizer: ChatTokenizer
) -> None:
    engine = start_engine(max_waiting_tokens=1)
    for _ in range(3):
        with pytest.raises(PromptTooLongError):
            engine.submit(request(chat_tokenizer, max_tokens=2048))
        with pytest.raises(PromptTooLongError):
            engine.score(ScoreRequest((1,) * 2000, ((1,), (1,) * 48)))
    run(engine.submit(request(chat_tokenizer, max_tokens=2)))


def test_closing_ends_what_runs_and_refuses_what_comes(
    engine: RemoteEngine, chat_tokenizer: ChatTokenizer
) -> None:
    generation = engine.submit(request(chat_tokenizer, LONG_TASK, max_tokens=1500))
    events = iter(generation)
    next(events)
    place = engine.reserve(request(chat_tokenizer))
    engine.close()
    engine.close()
    *_, last = events
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"
    generation.cancel()
    for refused in (
        place.submit,
        lambda: engine.submit(request(chat_tokenizer)),
        lambda: engine.score(ScoreRequest((1,), ((2,),))),
        engine.check,
    ):
        with pytest.raises(EngineClosedError):
            refused()


def candidates_of(tokenizer: ChatTokenizer) -> tuple[tuple[int, ...], ...]:
    return tuple(map(tokenizer.encode_text, ("Whales sing.", "", "Grüße, 안녕하세요", "No")))


def test_scores_are_the_local_engines(
    engine: RemoteEngine, server: ModelServer, local: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    asked = ScoreRequest(prompt_of(chat_tokenizer), candidates_of(chat_tokenizer), "ann")
    scores, expected = engine.score(asked).result(), local.score(asked).result()
    for each, its in zip(scores.logprobs, expected.logprobs, strict=True):
        assert each == pytest.approx(its, abs=1e-3)
    assert scores.cached_tokens == 1, "as the server says"
    assert len({body["cache_salt"] for body in server.requests}) == 1
    engine.score(replace(asked, owner="bob")).result()
    assert len({body["cache_salt"] for body in server.requests}) == 2
    assert engine.stats.waiting_tokens == 0


def test_scores_end_when_they_are_cancelled_and_when_the_engine_is_closed(
    chat_tokenizer: ChatTokenizer,
) -> None:
    asked = ScoreRequest(prompt_of(chat_tokenizer), candidates_of(chat_tokenizer))
    silent = ScriptedServer(Answer(then="hang"))
    with serve(silent.app) as url, remote_engine(url, chat_tokenizer) as engine:
        cancelled, closed = engine.score(asked), engine.score(asked)
        assert cancelled.cancel()
        assert engine.stats.waiting == 1
        engine.close()
        with pytest.raises(EngineClosedError):
            closed.result()


@pytest.mark.parametrize(
    ("dialect", "api", "reason"),
    [
        ("vllm", "chat", "its chat API"),
        ("llama.cpp", "completions", "gives no log-probabilities of a prompt"),
    ],
)
@pytest.mark.stand_in
def test_a_server_that_gives_no_scores_is_said_so(
    dialect: Dialect, api: Api, reason: str, local: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    server = ModelServer(local, chat_tokenizer, dialect)
    asked = ScoreRequest(prompt_of(chat_tokenizer), candidates_of(chat_tokenizer))
    with (
        serve(server.app) as url,
        remote_engine(url, chat_tokenizer, api=api) as engine,
        pytest.raises(UnsupportedByEngineError, match=reason),
    ):
        engine.score(asked).result()


def test_a_refused_score_is_said_to_be_unsupported(chat_tokenizer: ChatTokenizer) -> None:
    refusal = Answer(('{"error": {"message": "echo is not supported"}}',), status=400)
    with (
        serve(ScriptedServer(refusal).app) as url,
        remote_engine(url, chat_tokenizer) as engine,
        pytest.raises(UnsupportedByEngineError, match="400: echo is not supported"),
    ):
        engine.score(ScoreRequest((1, 2), ((3,),))).result()


@pytest.mark.stand_in
def test_events_reach_an_event_loop(engine: RemoteEngine, chat_tokenizer: ChatTokenizer) -> None:
    async def listen() -> list[Event]:
        generation = engine.submit(request(chat_tokenizer, max_tokens=8))
        return [event async for event in generation]

    events = asyncio.run(listen())
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert len(events) > 4
