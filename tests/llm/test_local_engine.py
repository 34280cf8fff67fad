"""The local engine: what it computes, with the real model, keeps, refuses, and survives."""

import asyncio
import random
import threading
import time
from typing import Any

import pytest
import torch

from llm.engine.admission import LEAST_COST
from llm.engine.interface import (
    Delta,
    Event,
    Failed,
    Finished,
    Generation,
    GenerationRequest,
    SamplingParameters,
    ScoreRequest,
    Started,
)
from llm.engine.local_engine import LocalEngine
from llm.errors import EngineClosedError, PromptTooLongError, QueueFullError
from llm.text.chat_format import ChatTokenizer
from tests.llm.engines import StartLocal

LONG_TASK = "Write a very long story about a whale and a ship, with many chapters."


@pytest.fixture
def engine(start_local: StartLocal) -> LocalEngine:
    return start_local()


def prompt_of(tokenizer: ChatTokenizer, *contents: str) -> tuple[int, ...]:
    """A chat in which the user says `contents`, with replies between."""
    ids = [*tokenizer.encode_preamble("You are Pippa.")]
    for content in contents[:-1]:
        ids += tokenizer.encode_message("user", content)
        ids += tokenizer.encode_message("assistant", "I see.")
    return (*ids, *tokenizer.encode_message("user", contents[-1]), *tokenizer.generation_prompt)


def request(prompt: tuple[int, ...], *, owner: str = "", chat: str | None = None, **sampling: Any) -> Any:
    parameters = SamplingParameters(**({"max_tokens": 16, "temperature": 0} | sampling))
    return GenerationRequest(prompt, parameters, owner, chat)


def run(generation: Generation) -> tuple[Started, str, Finished]:
    """The first event, the text of the deltas, the last event."""
    started, *deltas, finished = generation
    assert isinstance(started, Started)
    assert isinstance(finished, Finished), finished
    return started, "".join(delta.text for delta in deltas if isinstance(delta, Delta)), finished


def test_a_reply_from_the_cache_is_the_reply_computed_anew(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    first = prompt_of(chat_tokenizer, "Tell me of whales.")
    _, _, reply = run(engine.submit(request(first, chat="a")))
    ids = (
        *first,
        *chat_tokenizer.encode_reply(reply.token_ids)[len(chat_tokenizer.generation_prompt) :],
        *chat_tokenizer.encode_message("user", "And of ants?"),
        *chat_tokenizer.generation_prompt,
    )
    cached, _, from_cache = run(engine.submit(request(ids, chat="a", max_tokens=32)))
    assert len(first) + len(reply.token_ids) - 1 <= cached.cached_tokens < len(ids)
    anew, _, from_scratch = run(engine.submit(request(ids, owner="another", max_tokens=32)))
    assert anew.cached_tokens == 0
    assert from_cache == from_scratch


@pytest.mark.stand_in
def test_streamed_text_and_ids_are_those_of_the_end(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    prompt = prompt_of(chat_tokenizer, "Repeat after me: 안녕하세요 🌞 Grüße")
    for seed in range(3):
        _, text, finished = run(engine.submit(request(prompt, max_tokens=24, temperature=1.0, seed=seed)))
        assert text == finished.text == chat_tokenizer.decode(finished.token_ids)


@pytest.mark.stand_in
def test_the_same_seed_gives_the_same_text_and_another_seed_another(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    prompt = prompt_of(chat_tokenizer, "Invent a name.")

    def text(seed: int) -> str:
        return run(engine.submit(request(prompt, temperature=1.5, max_tokens=8, seed=seed)))[1]

    assert text(3) == text(3)
    assert len({text(seed) for seed in range(4)}) > 1


@pytest.mark.stand_in
def test_a_reply_ends_before_a_stop_string_and_its_ids_say_the_same(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    prompt = prompt_of(chat_tokenizer, LONG_TASK)
    _, whole, _ = run(engine.submit(request(prompt, max_tokens=40)))
    for start in range(5, 40, 12):
        stop = whole[start : start + 6]
        _, text, finished = run(engine.submit(request(prompt, max_tokens=40, stop=(stop,))))
        assert text == finished.text == whole[: whole.index(stop)]
        assert finished.reason == "stop"
        assert chat_tokenizer.decode(finished.token_ids) == text


def test_a_reply_has_at_most_max_tokens_and_says_why_it_ended(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    _, _, cut = run(engine.submit(request(prompt_of(chat_tokenizer, LONG_TASK), max_tokens=7)))
    assert (cut.reason, cut.completion_tokens, len(cut.token_ids)) == ("length", 7, 7)
    question = (
        *chat_tokenizer.encode_preamble(None),
        *chat_tokenizer.encode_message("user", "What is the capital of France?"),
        *chat_tokenizer.generation_prompt,
    )
    _, _, ended = run(engine.submit(request(question, max_tokens=50)))
    assert ended.reason == "stop"
    assert ended.completion_tokens == len(ended.token_ids) + 1


def test_a_cancelled_generation_ends_within_a_token_and_is_kept(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    prompt = prompt_of(chat_tokenizer, LONG_TASK)
    generation = engine.submit(request(prompt, max_tokens=1000, chat="a"))
    events: list[Event] = []
    for event in generation:
        events.append(event)
        if len(events) == 6:
            generation.cancel()
            at_cancel = len(events)
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"
    assert last.completion_tokens <= at_cancel + 1
    assert engine.cached_tokens((*prompt, *last.token_ids, 0), "") >= len(prompt) + len(last.token_ids) - 1


def test_a_request_cancelled_while_it_waits_ends_at_once(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    prompt = prompt_of(chat_tokenizer, LONG_TASK)
    running = engine.submit(request(prompt, max_tokens=1000))
    next(iter(running))
    waiting = engine.submit(request(prompt))
    waiting.cancel()
    assert list(waiting) == [Finished("cancelled", "", (), 0)]
    running.cancel()
    last = list(running)[-1]
    assert isinstance(last, Finished)
    assert last.reason == "cancelled"


def test_past_its_bound_the_queue_refuses_and_a_freed_place_is_taken_again(
    start_local: StartLocal, chat_tokenizer: ChatTokenizer
) -> None:
    prompt = prompt_of(chat_tokenizer, LONG_TASK)
    places = 3
    engine = start_local(max_running=1, max_waiting_tokens=places * LEAST_COST)
    assert len(prompt) < LEAST_COST
    running = engine.submit(request(prompt, max_tokens=500))
    next(iter(running))
    while engine.stats.waiting_tokens:  # its place is free when its prompt has been computed
        time.sleep(0.01)
    reserved = [engine.reserve(request(prompt)) for _ in range(2)]
    waiting = [engine.submit(request(prompt))]
    with pytest.raises(QueueFullError) as refused:
        engine.submit(request(prompt))
    assert refused.value.waiting_tokens == places * LEAST_COST
    assert refused.value.retry_after_s >= 1
    reserved[0].release()
    reserved[0].release()
    waiting += [engine.submit(request(prompt)), reserved[1].submit()]
    with pytest.raises(QueueFullError):
        engine.reserve(request(prompt))
    for generation in (running, *waiting):
        generation.cancel()
        assert isinstance(list(generation)[-1], Finished)
    assert engine.stats.waiting_tokens == 0
    for _ in range(places):
        engine.reserve(request(prompt))


def test_a_prompt_larger_than_the_queue_has_a_place_in_an_empty_one(
    start_local: StartLocal, chat_tokenizer: ChatTokenizer
) -> None:
    engine = start_local(max_waiting_tokens=10)
    assert run(engine.submit(request(prompt_of(chat_tokenizer, LONG_TASK), max_tokens=2)))[2].text


def test_a_request_whose_turn_does_not_come_in_time_is_given_up(
    start_local: StartLocal, chat_tokenizer: ChatTokenizer
) -> None:
    engine = start_local(max_running=1, queue_timeout_s=0.3)
    prompt = prompt_of(chat_tokenizer, LONG_TASK)
    running = engine.submit(request(prompt, max_tokens=1000))
    next(iter(running))
    [last] = engine.submit(request(prompt))
    assert isinstance(last, Failed)
    assert last.reason == "timeout"
    running.cancel()
    assert isinstance(list(running)[-1], Finished)
    assert engine.stats.waiting_tokens == 0


def test_what_cannot_fit_the_window_is_refused_before_it_is_queued(engine: LocalEngine) -> None:
    with pytest.raises(PromptTooLongError) as refused:
        engine.submit(request(tuple(range(17, 2000)), max_tokens=66))
    assert (refused.value.prompt_tokens, refused.value.max_tokens) == (1983, 66)
    with pytest.raises(PromptTooLongError):
        engine.score(ScoreRequest(tuple(range(17, 2000)), ((1,), tuple(range(17, 83)))))


@pytest.mark.stand_in
def test_owners_share_no_cached_tokens(engine: LocalEngine, chat_tokenizer: ChatTokenizer) -> None:
    prompt = prompt_of(chat_tokenizer, "A secret.")
    run(engine.submit(request(prompt, owner="ann", chat="a")))
    assert engine.cached_tokens(prompt, "ann") == len(prompt) - 1
    assert engine.cached_tokens(prompt, "bob") == 0
    assert run(engine.submit(request(prompt, owner="bob")))[0].cached_tokens == 0


@pytest.mark.stand_in
def test_another_chat_of_the_owner_shares_the_persona_and_voids_nothing(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    persona = len(chat_tokenizer.encode_preamble("You are Pippa."))
    first, second = prompt_of(chat_tokenizer, "Tell me of whales."), prompt_of(chat_tokenizer, "Hello!")
    run(engine.submit(request(first, chat="a")))
    assert persona <= run(engine.submit(request(second, chat="b")))[0].cached_tokens < len(second)
    assert engine.cached_tokens(first, "") == len(first) - 1
    assert engine.cached_tokens(second, "") == len(second) - 1


@pytest.mark.stand_in
def test_a_forgotten_conversation_is_not_cached(engine: LocalEngine, chat_tokenizer: ChatTokenizer) -> None:
    prompt = prompt_of(chat_tokenizer, "Forget me.")
    run(engine.submit(request(prompt, chat="a")))
    engine.forget("a")
    assert engine.cached_tokens(prompt, "") == 0


@pytest.mark.stand_in
def test_a_fault_ends_its_own_request_alone_and_nothing_of_it_is_kept(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = prompt_of(chat_tokenizer, "Hello!")
    with monkeypatch.context() as broken:
        broken.setattr(engine.decoder.norm, "forward", _fail)
        *_, last = engine.submit(request(prompt, chat="a"))
    assert isinstance(last, Failed)
    assert "broken" in last.error
    assert engine.cached_tokens(prompt, "") == 0
    assert run(engine.submit(request(prompt, chat="a")))[2].text


def _fail(_x: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("broken")


def test_a_closed_engine_refuses_and_ends_what_runs_and_what_waits(
    start_local: StartLocal, chat_tokenizer: ChatTokenizer
) -> None:
    engine = start_local(max_running=1)
    prompt = prompt_of(chat_tokenizer, LONG_TASK)
    running, waiting = (engine.submit(request(prompt, max_tokens=1000)) for _ in range(2))
    next(iter(running))
    engine.close()
    engine.close()
    assert isinstance(list(waiting)[-1], Failed)
    assert isinstance(list(running)[-1], Finished)
    with pytest.raises(EngineClosedError):
        engine.submit(request(prompt))
    with pytest.raises(EngineClosedError):
        engine.score(ScoreRequest(prompt, (prompt,)))


def test_events_reach_an_event_loop_that_goes_on_meanwhile(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    async def listen() -> tuple[list[Event], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0.005)
                ticks += 1

        ticking = asyncio.create_task(tick())
        generation = engine.submit(request(prompt_of(chat_tokenizer, LONG_TASK), max_tokens=20))
        events = [event async for event in generation]
        ticking.cancel()
        return events, ticks

    events, ticks = asyncio.run(listen())
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished)
    assert ticks > 20


@pytest.mark.stand_in
def test_many_threads_that_submit_and_cancel_at_random_all_see_the_end(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    ended: list[Event] = []

    def client(number: int) -> None:
        chance = random.Random(number)
        for _ in range(4):
            prompt = prompt_of(chat_tokenizer, f"Say {chance.random()}")
            try:
                generation = engine.submit(request(prompt, chat=str(number), max_tokens=chance.randint(1, 6)))
            except QueueFullError:
                continue
            if chance.random() < 0.4:
                threading.Timer(chance.random() / 5, generation.cancel).start()
            ended.append(list(generation)[-1])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert ended
    assert all(isinstance(event, Finished) for event in ended)
    stats = engine.stats
    assert (stats.running, stats.waiting, stats.waiting_tokens) == (0, 0, 0)


def test_log_probabilities_are_those_of_scoring_the_reply(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    prompt = prompt_of(chat_tokenizer, "Repeat after me: 안녕하세요 🌞 Grüße, Grüße, Grüße")
    for temperature, penalty in ((0.0, 0.0), (1.3, 1.5)):
        events = list(
            engine.submit(
                request(
                    prompt,
                    max_tokens=24,
                    temperature=temperature,
                    frequency_penalty=penalty,
                    seed=5,
                    logprobs=3,
                )
            )
        )
        finished = events[-1]
        assert isinstance(finished, Finished)
        tokens = [token for event in events if isinstance(event, Delta) for token in event.tokens]
        # The ids may leave out an unfinished character at the end, and the tokens do not.
        assert tuple(token.token_id for token in tokens)[: len(finished.token_ids)] == finished.token_ids
        chosen = tuple(token.token_id for token in tokens)
        [scores] = engine.score(ScoreRequest(prompt, (chosen,))).result().logprobs
        assert [token.logprob for token in tokens] == pytest.approx(scores, abs=1e-3)
        for token in tokens:
            values = [logprob for _, logprob in token.likeliest]
            assert len(values) == 3
            assert values == sorted(values, reverse=True)
            assert token.logprob <= values[0]
            if temperature == 0:
                assert token.likeliest[0][0] == token.token_id


@pytest.mark.stand_in
def test_log_probabilities_end_with_the_text_before_a_stop_string(
    engine: LocalEngine, chat_tokenizer: ChatTokenizer
) -> None:
    prompt = prompt_of(chat_tokenizer, LONG_TASK)
    _, whole, _ = run(engine.submit(request(prompt, max_tokens=40)))
    stop = whole[20:30]
    events = list(engine.submit(request(prompt, max_tokens=40, stop=(stop,), logprobs=0)))
    text = whole[: whole.index(stop)]
    tokens = [token for event in events if isinstance(event, Delta) for token in event.tokens]
    assert not any(token.likeliest for token in tokens)
    said = chat_tokenizer.decode([token.token_id for token in tokens])
    assert said.startswith(text)
    assert len(chat_tokenizer.decode([token.token_id for token in tokens[:-1]])) < len(text)
