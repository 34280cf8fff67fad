"""Many chats on one engine: each gets what it would get alone, and what they share is computed once.

On a tiny random model with the real vocabulary: a step takes a moment. Where a test compares texts, it
compares up to the first token at which the two likeliest are too close to tell apart.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence

import pytest
import torch

from llm.engine import local_engine
from llm.engine.interface import (
    Delta,
    Event,
    Failed,
    Finished,
    Generation,
    GenerationRequest,
    SamplingParameters,
    Started,
)
from llm.engine.local_engine import LocalEngine
from llm.engine.scheduler import DRAFT_ROWS, PREFILL_CHUNK, SMALL_CHUNK
from llm.loading import LoadedModel
from llm.model.decoder import Span
from llm.text.chat_format import ChatTokenizer
from tests.llm.greedy import assert_greedy, sure_ids
from tests.llm.naive_store import NaiveStore
from tests.llm.tiny import random_ids

StartEngine = Callable[..., LocalEngine]


@pytest.fixture
def start_engine(tiny_model: LoadedModel, chat_tokenizer: ChatTokenizer) -> Iterator[StartEngine]:
    engines: list[LocalEngine] = []

    def start(*, max_running: int = 16, kv_cache_bytes: int = 2**28) -> LocalEngine:
        engine = LocalEngine(
            tiny_model,
            chat_tokenizer,
            context_window=2048,
            kv_cache_bytes=kv_cache_bytes,
            max_running=max_running,
        )
        engines.append(engine)
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


def request(
    prompt: Sequence[int], chat: str | None = None, *, owner: str = "ann", tokens: int = 12
) -> GenerationRequest:
    return GenerationRequest(tuple(prompt), SamplingParameters(max_tokens=tokens, temperature=0), owner, chat)


def run(generation: Generation) -> tuple[Started, Finished]:
    started, *_, finished = generation
    assert isinstance(started, Started)
    assert isinstance(finished, Finished), finished
    return started, finished


def ids(seed: int, count: int) -> list[int]:
    return list(random_ids(seed, count))


def test_chats_together_get_the_replies_they_get_alone(
    start_engine: StartEngine, tiny_model: LoadedModel
) -> None:
    engine = start_engine()
    prompts = [ids(seed, 10 + 37 * seed) for seed in range(12)]
    generations = [engine.submit(request(prompt, str(n))) for n, prompt in enumerate(prompts)]
    for prompt, generation in zip(prompts, generations, strict=True):
        assert_greedy(tiny_model.decoder, prompt, sure_ids(run(generation)[1]))


def test_twenty_chats_that_start_on_one_persona_compute_it_once(start_engine: StartEngine) -> None:
    engine = start_engine(max_running=20)
    persona = ids(0, 400)
    generations = [engine.submit(request([*persona, *ids(n, 10)], str(n))) for n in range(1, 21)]
    cached = [run(generation)[0].cached_tokens for generation in generations]
    assert sorted(cached)[0] == 0
    assert all(tokens >= 400 // 16 * 16 for tokens in sorted(cached)[1:])
    assert engine.stats.computed_tokens < 400 + 20 * 30


def test_a_long_prompt_does_not_stop_the_replies_beside_it(
    start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine()
    steps: list[list[int]] = []
    forward = engine.decoder.forward

    def recorded(spans: Sequence[Span]) -> list[torch.Tensor]:
        steps.append([len(span.token_ids) for span in spans])
        return forward(spans)

    monkeypatch.setattr(engine.decoder, "forward", recorded)
    talking = engine.submit(request(ids(1, 20), "a", tokens=200))
    next(iter(talking))
    long = engine.submit(request(ids(2, 1500), "b", tokens=3))
    run(long)
    talking.cancel()
    list(talking)
    beside = [step for step in steps if max(step) > 1 and len(step) == 2]
    assert len(beside) >= 1500 // SMALL_CHUNK - 1
    assert all(step[0] <= DRAFT_ROWS and step[1] <= SMALL_CHUNK for step in beside), "the reply goes on"


def test_a_short_prompt_is_not_kept_waiting_by_a_long_one(start_engine: StartEngine) -> None:
    engine = start_engine()
    ended: list[str] = []
    long = engine.submit(request(ids(1, 2000), "long", tokens=1))
    short = engine.submit(request(ids(2, 20), "short", tokens=1))

    def listen(name: str, generation: Generation) -> None:
        run(generation)
        ended.append(name)

    threads = [threading.Thread(target=listen, args=each) for each in (("long", long), ("short", short))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert ended == ["short", "long"]
    assert 3 * PREFILL_CHUNK < 2000


def test_a_regenerated_reply_computes_one_token_of_its_prompt(start_engine: StartEngine) -> None:
    engine = start_engine()
    prompt = ids(3, 203)
    run(engine.submit(request(prompt, "a")))
    assert run(engine.submit(request(prompt, "a")))[0].cached_tokens == len(prompt) - 1


@pytest.mark.parametrize("kept", [1, 100, 150, 202])
def test_an_edit_or_a_branch_computes_from_where_it_differs(start_engine: StartEngine, kept: int) -> None:
    engine = start_engine()
    prompt = ids(3, 203)
    run(engine.submit(request(prompt, "a")))
    branch = [*prompt[:kept], *ids(99, 30)]
    assert run(engine.submit(request(branch, "b")))[0].cached_tokens == kept
    assert engine.cached_tokens(prompt, "ann") == len(prompt) - 1, "the branch voids nothing"


def test_a_reply_cut_short_is_a_prefix_of_the_next_turn(start_engine: StartEngine) -> None:
    engine = start_engine()
    prompt = ids(4, 50)
    generation = engine.submit(request(prompt, "a", tokens=500))
    events: list[Event] = []
    for event in generation:
        events.append(event)
        if len(events) == 20:
            generation.cancel()
    last = events[-1]
    assert isinstance(last, Finished)
    kept = [*prompt, *last.token_ids]
    started, _ = run(engine.submit(request([*kept, *ids(5, 5)], "a")))
    assert started.cached_tokens >= len(kept) - 1


def test_a_prepared_prefix_is_found_by_the_turn_that_comes(
    start_engine: StartEngine, tiny_model: LoadedModel
) -> None:
    engine = start_engine()
    window = ids(6, 300)
    engine.prepare([window], "ann", "a")
    wait_until(lambda: engine.cached_tokens([*window, 1], "ann") == len(window))
    prompt = [*window, *ids(7, 10)]
    started, finished = run(engine.submit(request(prompt, "a")))
    assert started.cached_tokens == len(window)
    assert_greedy(tiny_model.decoder, prompt, sure_ids(finished))


def test_a_turn_that_comes_first_uses_what_is_prepared_by_then_and_ends_the_rest(
    start_engine: StartEngine,
) -> None:
    engine = start_engine()
    window = ids(8, 1900)
    engine.prepare([window], "ann", "a")
    wait_until(lambda: engine.cached_tokens(window, "ann") >= SMALL_CHUNK)
    other, _ = run(engine.submit(request(ids(9, 30), "b", tokens=2)))
    assert other.cached_tokens == 0
    assert engine.cached_tokens(window, "ann") < len(window) - 1, "the other turn did not wait for it"
    engine.submit(request(window[:200], "a", tokens=1)).cancel()
    run(engine.submit(request(ids(10, 30), "b", tokens=1)))
    known = engine.cached_tokens(window, "ann")
    run(engine.submit(request(ids(11, 30), "b", tokens=5)))
    assert engine.cached_tokens(window, "ann") == known


def test_forgetting_a_chat_ends_what_is_prepared_for_it(start_engine: StartEngine) -> None:
    engine = start_engine()
    engine.prepare([ids(12, 1900)], "ann", "a")
    engine.forget("a")
    run(engine.submit(request(ids(13, 5), "b", tokens=1)))
    engine.forget("b")
    assert engine.stats.kv_blocks == 0


def test_prefixes_of_later_prompts_come_after_the_next_ones_and_leave_the_slots_alone(
    start_engine: StartEngine,
) -> None:
    engine = start_engine()
    for number, name in enumerate("abc"):
        engine.prepare([ids(100 + number, 300), ids(200 + number, 300)], "ann", name)
    wait_until(lambda: all(engine.cached_tokens(ids(200 + n, 300), "ann") == 299 for n in range(3)))
    assert engine.stats.prepared_tokens == 6 * 300
    for number, name in enumerate("abc"):
        started, _ = run(engine.submit(request([*ids(100 + number, 300), 1, 2], name)))
        assert started.cached_tokens == 300


def test_a_prefix_of_a_later_prompt_drives_nothing_out_of_the_cache(
    start_engine: StartEngine, tiny_model: LoadedModel
) -> None:
    per_token = tiny_model.decoder.kv_bytes_per_token
    engine = start_engine(kv_cache_bytes=1000 * per_token)
    other, window, later = ids(1, 200), ids(2, 200), ids(3, 400)
    run(engine.submit(request(other, "b", tokens=1)))
    engine.prepare([window, later], "ann", "a")
    wait_until(lambda: engine.cached_tokens(window, "ann") == len(window) - 1)
    run(engine.submit(request([5], "c", tokens=1)))
    wait_until(lambda: engine.queue.next_prefix() is None)
    assert engine.cached_tokens(later, "ann") == 0
    assert engine.cached_tokens(other, "ann") == len(other) - 1


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    tick = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if holds():
            return
        tick.wait(0.01)
    raise AssertionError("did not happen in time")


def test_what_does_not_fit_the_budget_waits_and_nothing_passes_it(
    start_engine: StartEngine, tiny_model: LoadedModel
) -> None:
    per_token = tiny_model.decoder.kv_bytes_per_token
    engine = start_engine(kv_cache_bytes=1000 * per_token)
    prompts = [ids(20 + n, 400) for n in range(5)]
    generations = [engine.submit(request(prompt, str(n), tokens=50)) for n, prompt in enumerate(prompts)]
    most = 0
    for prompt, generation in zip(prompts, generations, strict=True):
        events: list[Event] = []
        for event in generation:
            events.append(event)
            most = max(most, engine.stats.running)
            assert engine.stats.kv_bytes <= engine.stats.kv_max_bytes
        last = events[-1]
        assert isinstance(last, Finished)
        assert_greedy(tiny_model.decoder, prompt, sure_ids(last))
    assert most == 2
    assert engine.stats.kv_bytes > 0


def test_a_fault_in_one_of_a_batch_ends_that_one_alone(
    start_engine: StartEngine, tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = start_engine()
    forward = engine.decoder.forward
    poison = 4242

    def fails_on_poison(spans: Sequence[Span]) -> list[torch.Tensor]:
        if any(poison in span.token_ids for span in spans):
            raise RuntimeError("poisoned")
        return forward(spans)

    monkeypatch.setattr(engine.decoder, "forward", fails_on_poison)
    prompts = [ids(30 + n, 60) for n in range(4)]
    prompts[2][50] = poison
    generations = [engine.submit(request(prompt, str(n))) for n, prompt in enumerate(prompts)]
    lasts = [list(generation)[-1] for generation in generations]
    assert isinstance(lasts[2], Failed)
    assert "poisoned" in lasts[2].error
    for number in (0, 1, 3):
        last = lasts[number]
        assert isinstance(last, Finished)
        assert_greedy(tiny_model.decoder, prompts[number], sure_ids(last))
    assert engine.stats.running == 0
    assert engine.stats.waiting_tokens == 0


def test_with_the_store_or_without_every_reply_is_the_same(
    tiny_model: LoadedModel, chat_tokenizer: ChatTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replies() -> list[tuple[int, ...]]:
        engine = LocalEngine(tiny_model, chat_tokenizer, context_window=2048, kv_cache_bytes=2**28)
        said: list[tuple[int, ...]] = []
        for turn in range(6):
            prompt = [*ids(40, 100), *ids(41 + turn // 2, 60), *(said[-1] if turn % 2 else ())]
            said.append(run(engine.submit(request(prompt, "a")))[1].token_ids)
        engine.close()
        return said

    with_store = replies()
    monkeypatch.setattr(local_engine, "KVStore", NaiveStore)
    assert replies() == with_store


def test_random_turns_forks_cancels_and_evictions_match_a_plain_recompute_and_leak_nothing(
    start_engine: StartEngine, tiny_model: LoadedModel
) -> None:
    per_token = tiny_model.decoder.kv_bytes_per_token
    engine = start_engine(kv_cache_bytes=3000 * per_token, max_running=6)
    checked: list[tuple[list[int], tuple[int, ...]]] = []
    faults: list[Exception] = []

    def person(number: int) -> None:
        chance = random.Random(number)
        chat: list[int] = ids(number % 2, 150)  # one of two personas
        try:
            for turn in range(12):
                name = f"{number}-{turn // 6}"
                prompt = [*chat, *ids(1000 * number + turn, chance.randint(1, 60))]
                if chance.random() < 0.2:
                    prompt = [*prompt[: chance.randint(1, len(prompt) - 1)], *ids(turn, 5)]
                generation = engine.submit(request(prompt, name, owner=f"owner {number % 3}"))
                stop_at = chance.choice([None, None, None, 1, 5])
                events: list[Event] = []
                for event in generation:
                    events.append(event)
                    if len(events) == stop_at:
                        generation.cancel()
                last = events[-1]
                assert isinstance(last, Finished), last
                assert "".join(event.text for event in events if isinstance(event, Delta)) == last.text
                checked.append((prompt, sure_ids(last)))
                chat = [*prompt, *last.token_ids][-600:]
                if chance.random() < 0.2:
                    engine.forget(name)
                if chance.random() < 0.3:
                    engine.prepare([chat], f"owner {number % 3}", name)
        except Exception as error:
            faults.append(error)

    people = [threading.Thread(target=person, args=(number,)) for number in range(9)]
    for thread in people:
        thread.start()
    for thread in people:
        thread.join(120)
    assert not any(thread.is_alive() for thread in people)
    assert not faults
    for prompt, reply in checked:
        assert_greedy(tiny_model.decoder, prompt, reply)
    assert len(checked) == 9 * 12
    for number in range(9):
        for part in range(2):
            engine.forget(f"{number}-{part}")
    stats = engine.stats
    assert (stats.running, stats.waiting, stats.waiting_tokens) == (0, 0, 0)
    wait_until(lambda: engine.stats.kv_blocks == 0)
