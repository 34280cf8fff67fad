"""Prompt lookup: guesses follow from the context alone, and no guess, right or wrong, changes a reply.

Where guesses must be right or wrong as the test wants, they are foretold from a reply known beforehand.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llm.engine import reply as reply_module
from llm.engine.blocks import BLOCK_TOKENS, Sharing
from llm.engine.interface import Event, Finished, GenerationRequest, SamplingParameters, Started
from llm.engine.kv_store import KVStore
from llm.engine.local_engine import LocalEngine
from llm.engine.prompt_lookup import DRAFT_LENGTHS, NGRAM, Drafter
from llm.engine.reply import ReplyJob
from llm.engine.sampler import token_probabilities
from llm.engine.scheduler import DRAFT_ROWS, MOST_WITH_DRAFTS, SMALL_CHUNK
from llm.engine.slots import SlotPool
from llm.loading import LoadedModel, load_model
from llm.model.decoder import Decoder, Span
from llm.text.chat_format import ChatTokenizer
from llm.text.detokenizer import REPLACEMENT
from tests.llm.greedy import assert_greedy, sure_ids
from tests.llm.tiny import save_tiny_llama

VOCABULARY = 512
FIRST_PLAIN_ID = 17
"""Those before it are control tokens."""
GREEDY = SamplingParameters(max_tokens=40, temperature=0, seed=0)
DRAWN = SamplingParameters(max_tokens=40, temperature=0.4, top_k=20, top_p=0.9, min_p=0.01, seed=3)
QUOTED = (
    "The lighthouse at Cape Morrow was built in 1887 by a crew of forty men under the engineer Alda Finch. "
    "Its lamp burned whale oil for the first nine years, then paraffin, and from 1931 onwards electricity."
)

Events = list[Event]
Guess = Callable[[Sequence[int]], list[int]]
Foretell = Callable[[Guess], None]
StartEngine = Callable[..., LocalEngine]


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("small")
    save_tiny_llama(folder, vocab_size=VOCABULARY, max_position_embeddings=1024, tie_word_embeddings=True)
    return load_model(str(folder), folder)


@pytest.fixture
def start_engine(small_model: LoadedModel, chat_tokenizer: ChatTokenizer) -> Iterator[StartEngine]:
    engines: list[LocalEngine] = []

    def start(**changes: Any) -> LocalEngine:
        settings = {"context_window": 1024, "kv_cache_bytes": 2**28} | changes
        engines.append(LocalEngine(small_model, chat_tokenizer, **settings))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()


@pytest.fixture
def foretell(monkeypatch: pytest.MonkeyPatch) -> Foretell:
    """From now on replies are guessed as the function of their ids so far says."""

    def use(guess: Guess) -> None:
        class Foreteller(Drafter):
            def draft(self, limit: int) -> list[int]:
                return guess(self._token_ids[self._prompt_tokens :])[:limit]

        monkeypatch.setattr(reply_module, "Drafter", Foreteller)

    return use


def with_mistakes(known: Sequence[int], every: int) -> Guess:
    """Guesses the known reply, but for one token in `every`."""
    foretold = [token_id ^ 1 if at % every == every - 1 else token_id for at, token_id in enumerate(known)]
    return lambda so_far: foretold[len(so_far) :]


def ids(seed: int, count: int) -> tuple[int, ...]:
    chance = random.Random(seed)
    return tuple(chance.randrange(FIRST_PLAIN_ID, VOCABULARY) for _ in range(count))


def run(engine: LocalEngine, prompt: Sequence[int], sampling: SamplingParameters) -> Events:
    return list(engine.submit(GenerationRequest(tuple(prompt), sampling, "ann", "a")))


def end_of(events: Events) -> Finished:
    assert isinstance(events[0], Started)
    assert isinstance(events[-1], Finished), events[-1]
    return events[-1]


# What is guessed


def naive_source(token_ids: Sequence[int]) -> int | None:
    for end in range(len(token_ids) - 1, NGRAM - 1, -1):
        if token_ids[end - NGRAM : end] == token_ids[-NGRAM:]:
            return end
    return None


def naive_draft(token_ids: Sequence[int], prompt_tokens: int, limit: int) -> list[int]:
    trust = 0
    for length in range(prompt_tokens, len(token_ids)):
        source = naive_source(token_ids[:length])
        if source is not None:
            trust += 1 if token_ids[source] == token_ids[length] else -1
            trust = min(max(trust, 0), len(DRAFT_LENGTHS) - 1)
    source = naive_source(token_ids)
    if source is None:
        return []
    going_on = [*token_ids]
    for place in range(source, source + min(limit, DRAFT_LENGTHS[trust])):
        going_on.append(going_on[place])
    return going_on[len(token_ids) :]


@given(
    token_ids=st.lists(st.integers(0, 3), min_size=1, max_size=60),
    prompt_tokens=st.integers(0, 30),
    asked=st.sets(st.integers(1, 60)),
    limit=st.integers(0, 9),
)
def test_a_draft_is_what_a_naive_search_finds_whenever_it_is_asked_for(
    token_ids: list[int], prompt_tokens: int, asked: Set[int], limit: int
) -> None:
    growing: list[int] = []
    drafter = Drafter(growing, prompt_tokens, frozenset())
    for token_id in token_ids:
        growing.append(token_id)
        if len(growing) in asked:
            assert drafter.draft(limit) == naive_draft(growing, prompt_tokens, limit)


def test_drafts_grow_with_what_was_foreseen_and_shrink_to_none_with_what_was_not() -> None:
    text = list(range(100, 130))
    growing = [*text, *text[:3]]
    drafter = Drafter(growing, len(growing), frozenset())
    lengths = []
    for token_id in text[3:8]:
        growing.append(token_id)
        lengths.append(len(drafter.draft(DRAFT_ROWS - 1)))
    assert lengths == [*DRAFT_LENGTHS[1:], DRAFT_LENGTHS[-1], DRAFT_LENGTHS[-1]]
    for number in range(len(DRAFT_LENGTHS)):
        growing += [*text[10 + number : 10 + number + NGRAM], number]
    growing += text[20 : 20 + NGRAM]
    assert drafter.draft(DRAFT_ROWS - 1) == []


def test_a_draft_ends_with_the_end_of_the_turn() -> None:
    growing = [1, 2, 3, 4, 5, 6, 0, 9, 9, 1, 2, 3, 4]
    drafter = Drafter(growing, 9, frozenset({0}))
    growing += [5]
    assert drafter.draft(7) == [6, 0]


# What comes of guesses, right or wrong


@pytest.mark.parametrize("every", [1, 2, 3, 5, 100])
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN, replace(DRAWN, repetition_penalty=1.3)])
def test_a_reply_is_the_same_with_guesses_and_without(
    start_engine: StartEngine, foretell: Foretell, sampling: SamplingParameters, every: int
) -> None:
    prompt = ids(1, 50)
    plain_engine = start_engine(prompt_lookup=False)
    plain = run(plain_engine, prompt, sampling)
    foretell(with_mistakes(end_of(plain).token_ids, every))
    engine = start_engine()
    assert run(engine, prompt, sampling) == plain
    assert end_of(plain).completion_tokens == engine.stats.generated_tokens
    assert plain_engine.stats.generated_tokens == engine.stats.generated_tokens
    assert plain_engine.stats.drafted_tokens == 0 < engine.stats.drafted_tokens
    assert engine.stats.accepted_tokens <= engine.stats.drafted_tokens
    assert (engine.stats.accepted_tokens > 0) == (every > 1)


@settings(max_examples=15, deadline=None)
@example(phrase=[404, 269, 404], times=2)  # its reply ends inside a character
@given(
    phrase=st.lists(st.integers(FIRST_PLAIN_ID, VOCABULARY - 1), min_size=1, max_size=8),
    times=st.integers(2, 9),
)
def test_greedy_replies_to_repetitive_prompts_are_greedy(
    small_model: LoadedModel, chat_tokenizer: ChatTokenizer, phrase: list[int], times: int
) -> None:
    engine = LocalEngine(small_model, chat_tokenizer, context_window=1024, kv_cache_bytes=2**28)
    prompt = phrase * times
    assert_greedy(small_model.decoder, prompt, sure_ids(end_of(run(engine, prompt, GREEDY))))
    engine.close()


def test_a_reply_that_quotes_its_context_is_guessed_in_good_part(
    default_model: LoadedModel, chat_tokenizer: ChatTokenizer
) -> None:
    prompt = (
        *chat_tokenizer.encode_preamble(None),
        *chat_tokenizer.encode_message("user", "Repeat this text word for word:\n\n" + QUOTED),
        *chat_tokenizer.generation_prompt,
    )
    engine = LocalEngine(default_model, chat_tokenizer, context_window=1024, kv_cache_bytes=2**28)
    last = end_of(run(engine, prompt, replace(GREEDY, max_tokens=60)))
    stats = engine.stats
    engine.close()
    assert QUOTED[:80] in last.text
    assert_greedy(default_model.decoder, prompt, sure_ids(last))
    assert stats.accepted_tokens > last.completion_tokens / 2
    assert stats.accepted_tokens > stats.drafted_tokens / 2


def probabilities_of_replies(
    decoder: Decoder, prompt: Sequence[int], sampling: SamplingParameters, ends: Set[int]
) -> dict[tuple[int, ...], float]:
    """Of all replies of `max_tokens` tokens, or up to the end of the turn, each computed plainly."""
    whole: dict[tuple[int, ...], float] = {}
    begun: dict[tuple[int, ...], float] = {(): 1.0}
    while begun:
        so_far, probability = begun.popitem()
        logits = decoder.extend([*prompt, *so_far], decoder.new_cache())[-1]
        chosen = token_probabilities(logits, sampling)
        for token_id in chosen.nonzero().flatten().tolist():
            reply = so_far if token_id in ends else (*so_far, token_id)
            is_whole = token_id in ends or len(reply) == sampling.max_tokens
            (whole if is_whole else begun)[reply] = probability * float(chosen[token_id])
    return whole


def test_replies_follow_the_distribution_of_the_model_whatever_is_guessed(
    start_engine: StartEngine, foretell: Foretell, small_model: LoadedModel, chat_tokenizer: ChatTokenizer
) -> None:
    sampling = SamplingParameters(max_tokens=4, temperature=1.5, top_k=2)
    prompt, draws = ids(2, 20), 600
    replies = probabilities_of_replies(small_model.decoder, prompt, sampling, chat_tokenizer.end_of_turn_ids)
    expected: defaultdict[str, float] = defaultdict(float)
    for reply, probability in replies.items():
        expected[chat_tokenizer.decode(reply).rstrip(REPLACEMENT)] += probability
    likeliest = max(replies, key=lambda reply: replies[reply])
    foretell(lambda so_far: list(likeliest[len(so_far) :]))
    engine = start_engine()
    seen = Counter(end_of(run(engine, prompt, replace(sampling, seed=seed))).text for seed in range(draws))
    assert set(seen) <= set(expected)
    common = {text: p * draws for text, p in expected.items() if p * draws >= 5}
    chi_square = sum((seen[text] - count) ** 2 / count for text, count in common.items())
    freedom = len(common) - 1
    assert freedom >= 7
    assert chi_square < freedom + 3 * (2 * freedom) ** 0.5
    stats = engine.stats
    assert 0 < stats.accepted_tokens < stats.drafted_tokens


def test_nothing_of_a_wrong_guess_is_kept(
    start_engine: StartEngine, foretell: Foretell, small_model: LoadedModel
) -> None:
    prompt, sampling = ids(3, 37), replace(GREEDY, max_tokens=100)
    known = end_of(run(start_engine(prompt_lookup=False), prompt, sampling)).token_ids
    foretell(with_mistakes(known, 3))
    engine = start_engine()
    whole = [*prompt, *end_of(run(engine, prompt, sampling)).token_ids]
    assert engine.stats.drafted_tokens > engine.stats.accepted_tokens > 20
    kept = engine.cached_tokens([*whole, 0], "ann")
    assert kept == len(whole) - 1
    assert engine.stats.kv_blocks == -(-kept // BLOCK_TOKENS), "nothing but this one path"
    decoder = small_model.decoder
    found, plain = decoder.new_cache(), decoder.new_cache()
    assert engine.store.open(Sharing("ann", "b")).follow(whole, found, kept)
    decoder.extend(whole[:kept], plain)
    torch.testing.assert_close(found.read(0, kept), plain.read(0, kept), atol=1e-4, rtol=1e-4)


# Ends inside a run of right guesses


def test_a_stop_string_ends_a_reply_where_it_would_without_guesses(
    start_engine: StartEngine, foretell: Foretell
) -> None:
    prompt = ids(4, 30)
    whole = end_of(run(start_engine(prompt_lookup=False), prompt, GREEDY))
    foretell(with_mistakes(whole.token_ids, 100))
    for start in range(1, len(whole.text) - 4, 9):
        sampling = replace(GREEDY, stop=(whole.text[start : start + 4],))
        plain = start_engine(prompt_lookup=False)
        engine = start_engine()
        expected = run(plain, prompt, sampling)
        assert run(engine, prompt, sampling) == expected
        assert end_of(expected).reason == "stop"
        assert engine.stats.kv_blocks == plain.stats.kv_blocks
        assert engine.stats.generated_tokens == plain.stats.generated_tokens


def test_a_reply_has_at_most_max_tokens_however_much_is_guessed(
    start_engine: StartEngine, foretell: Foretell
) -> None:
    prompt = ids(5, 30)
    known = end_of(run(start_engine(prompt_lookup=False), prompt, GREEDY)).token_ids
    foretell(with_mistakes(known, 100))
    for most in range(1, 14):
        sampling = replace(GREEDY, max_tokens=most)
        last = end_of(run(start_engine(), prompt, sampling))
        assert (last.reason, last.completion_tokens) == ("length", most)
        assert last == end_of(run(start_engine(prompt_lookup=False), prompt, sampling))


def test_a_reply_may_fill_the_context_window_with_guesses(
    start_engine: StartEngine, foretell: Foretell
) -> None:
    sampling = replace(GREEDY, max_tokens=30)
    prompt = ids(6, 70)
    known = end_of(run(start_engine(prompt_lookup=False), prompt, sampling)).token_ids
    foretell(with_mistakes(known, 100))
    assert end_of(run(start_engine(context_window=100), prompt, sampling)).token_ids == known


def test_the_end_of_the_turn_ends_a_reply_where_it_would_without_guesses(
    start_engine: StartEngine,
    foretell: Foretell,
    chat_tokenizer: ChatTokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prompt = ids(7, 30)
    known = end_of(run(start_engine(prompt_lookup=False), prompt, GREEDY)).token_ids
    foretell(with_mistakes(known, 100))
    for at in range(1, 12):
        end = known[at]
        monkeypatch.setattr(chat_tokenizer, "end_of_turn_ids", frozenset({end}))
        plain, engine = start_engine(prompt_lookup=False), start_engine()
        expected = run(plain, prompt, GREEDY)
        assert run(engine, prompt, GREEDY) == expected
        assert end_of(expected).reason == "stop"
        assert end_of(expected).completion_tokens == known.index(end) + 1
        assert engine.stats.generated_tokens == plain.stats.generated_tokens


def test_a_reply_cancelled_while_guesses_are_checked_gets_one_token_more(
    small_model: LoadedModel, chat_tokenizer: ChatTokenizer, start_engine: StartEngine, foretell: Foretell
) -> None:
    prompt, decoder = ids(8, 30), small_model.decoder
    known = end_of(run(start_engine(prompt_lookup=False), prompt, GREEDY)).token_ids
    foretell(with_mistakes(known, 100))
    store = KVStore("test", 2**28)
    job = ReplyJob(
        GenerationRequest(prompt, GREEDY, "ann", "a"), Sharing("ann", "a"), chat_tokenizer, lambda _: None
    )
    job.begin(SlotPool(decoder.new_cache, max_idle=1), store)
    for is_cancelled in (False, False, True):
        span = job.span(len(prompt) if not job.is_decoding else DRAFT_ROWS)
        [logits] = decoder([span])
        if is_cancelled:
            job.stream.cancel()
        job.take(span, logits)
    assert job.generated_tokens == 1 + DRAFT_ROWS + 1
    assert job.cache.length == len(prompt) + DRAFT_ROWS + 1
    assert job.token_ids == [*prompt, *known[: job.generated_tokens]]
    job.end_cancelled()
    job.close()
    kept = store.cached_tokens([*prompt, *known], Sharing("ann"))
    assert kept == len(prompt) + DRAFT_ROWS + 1


# When guesses are made


def recorded_steps(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> list[list[Span]]:
    steps: list[list[Span]] = []
    forward = engine.decoder.forward

    def recorded(spans: Sequence[Span]) -> list[torch.Tensor]:
        steps.append(list(spans))
        return forward(spans)

    monkeypatch.setattr(engine.decoder, "forward", recorded)
    return steps


def test_guesses_are_made_only_while_few_replies_run_and_prompts_beside_them_stay_small(
    start_engine: StartEngine, foretell: Foretell, monkeypatch: pytest.MonkeyPatch
) -> None:
    foretell(lambda _: [20, 21, 22, 23, 24, 25, 26, 27, 28, 29])
    engine = start_engine()
    steps = recorded_steps(engine, monkeypatch)
    replies = [
        engine.submit(
            GenerationRequest(ids(n, 150 * n), replace(GREEDY, max_tokens=60 - 9 * n), "ann", str(n))
        )
        for n in range(1, 5)
    ]
    for reply in replies:
        end_of(list(reply))
    widths: dict[int, set[int]] = {}
    for step in steps:
        decoding = [len(span.token_ids) for span in step if span.logits == "all"]
        prompts = sum(len(span.token_ids) for span in step if span.logits != "all")
        widths.setdefault(len(decoding), set()).update(decoding)
        assert not decoding or prompts <= SMALL_CHUNK
    assert max(widths) > MOST_WITH_DRAFTS
    for together, rows in widths.items():
        assert max(rows, default=1) <= (DRAFT_ROWS if together <= MOST_WITH_DRAFTS else 1)
    assert DRAFT_ROWS in widths[1]


def test_guesses_can_be_turned_off(
    start_engine: StartEngine, foretell: Foretell, monkeypatch: pytest.MonkeyPatch
) -> None:
    foretell(lambda _: [20, 21, 22])
    engine = start_engine(prompt_lookup=False)
    steps = recorded_steps(engine, monkeypatch)
    end_of(run(engine, ids(9, 10), GREEDY))
    assert all(len(step) == 1 for step in steps)
    assert [len(span.token_ids) for [span] in steps] == [10] + [1] * (len(steps) - 1)
