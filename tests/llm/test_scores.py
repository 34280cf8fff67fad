"""Scores of candidates by the local engine: what they are, what is computed for them, and what is kept."""

from collections.abc import Sequence
from concurrent.futures import CancelledError

import pytest
import torch

from llm.engine.interface import Finished, GenerationRequest, SamplingParameters, ScoreRequest
from llm.engine.local_engine import LocalEngine
from llm.engine.scheduler import PREFILL_CHUNK
from llm.errors import EngineClosedError, QueueFullError, QueueTimeoutError
from llm.loading import LoadedModel
from llm.text.chat_format import ChatTokenizer
from tests.llm.engines import StartLocal

Scored = Sequence[Sequence[float]]


@pytest.fixture
def engine(start_local: StartLocal) -> LocalEngine:
    return start_local()


@pytest.fixture(scope="module")
def prompt(chat_tokenizer: ChatTokenizer) -> tuple[int, ...]:
    ids = list(chat_tokenizer.encode_preamble("You are Pippa."))
    for number in range(12):
        ids += chat_tokenizer.encode_message("user", f"This is message number {number}, as it was said.")
        ids += chat_tokenizer.encode_message("assistant", "I see.")
    ids += chat_tokenizer.generation_prompt
    assert len(ids) > PREFILL_CHUNK
    return tuple(ids)


@pytest.fixture(scope="module")
def candidates(chat_tokenizer: ChatTokenizer) -> tuple[tuple[int, ...], ...]:
    long = chat_tokenizer.encode_text("All that was said was a number, and then another. " * 24)
    assert len(long) > PREFILL_CHUNK
    texts = ("I see.", "안녕 🌞", "Yes")
    return (*map(chat_tokenizer.encode_text, texts), (), long)


@pytest.fixture(scope="module")
def expected(
    default_model: LoadedModel, prompt: tuple[int, ...], candidates: tuple[tuple[int, ...], ...]
) -> Scored:
    """By one pass of the decoder over prompt and candidate, for each."""
    decoder, scores = default_model.decoder, []
    for candidate in candidates:
        logits = decoder.extend([*prompt, *candidate], decoder.new_cache(), logits="all")
        rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
        scores.append(rows[range(len(candidate)), list(candidate)].tolist())
    return scores


def assert_close(scores: Scored, expected: Scored) -> None:
    for each, its in zip(scores, expected, strict=True):
        assert len(each) == len(its)
        torch.testing.assert_close(torch.tensor(each), torch.tensor(its), atol=1e-3, rtol=1e-3)


def test_scores_are_those_of_whole_passes_with_a_cache_and_without(
    engine: LocalEngine,
    prompt: tuple[int, ...],
    candidates: tuple[tuple[int, ...], ...],
    expected: Scored,
) -> None:
    request = ScoreRequest(prompt, candidates, "ann")
    anew = engine.score(request).result()
    assert anew.cached_tokens == 0
    assert_close(anew.logprobs, expected)
    again = engine.score(request).result()
    assert again.cached_tokens == len(prompt) - 1
    assert_close(again.logprobs, expected)


@pytest.mark.stand_in
def test_the_prompt_is_computed_once_and_kept_and_nothing_of_candidates_is(
    engine: LocalEngine, prompt: tuple[int, ...], candidates: tuple[tuple[int, ...], ...]
) -> None:
    engine.score(ScoreRequest(prompt, candidates, "ann")).result()
    continued = sum(max(0, len(candidate) - 1) for candidate in candidates)
    assert engine.stats.computed_tokens == len(prompt) + continued
    for candidate in candidates:
        assert engine.cached_tokens((*prompt, *candidate, 1), "ann") == len(prompt)
    assert engine.stats.waiting_tokens == 0


@pytest.mark.stand_in
def test_scores_and_replies_of_an_owner_share_what_is_cached_and_those_of_others_do_not(
    engine: LocalEngine, prompt: tuple[int, ...], candidates: tuple[tuple[int, ...], ...]
) -> None:
    sampling = SamplingParameters(max_tokens=1, temperature=0)
    *_, last = engine.submit(GenerationRequest(prompt, sampling, "ann", "chat"))
    assert isinstance(last, Finished)
    anns = engine.score(ScoreRequest(prompt, candidates, "ann")).result()
    bobs = engine.score(ScoreRequest(prompt, candidates, "bob")).result()
    assert (anns.cached_tokens, bobs.cached_tokens) == (len(prompt) - 1, 0)
    assert_close(anns.logprobs, bobs.logprobs)


def test_scores_beside_a_running_reply_change_neither(
    engine: LocalEngine,
    prompt: tuple[int, ...],
    candidates: tuple[tuple[int, ...], ...],
    expected: Scored,
) -> None:
    request = GenerationRequest(prompt, SamplingParameters(max_tokens=8, temperature=0), "ann")
    *_, alone = engine.submit(request)
    running = engine.submit(GenerationRequest(prompt, request.sampling, "bob"))
    events = iter(running)
    next(events)
    scores = engine.score(ScoreRequest(prompt, candidates, "cat")).result()
    *_, beside = events
    assert isinstance(alone, Finished)
    assert isinstance(beside, Finished)
    assert alone.text == beside.text
    assert_close(scores.logprobs, expected)


@pytest.mark.stand_in
def test_without_candidates_the_prompt_alone_is_computed(
    engine: LocalEngine, prompt: tuple[int, ...]
) -> None:
    assert engine.score(ScoreRequest(prompt, ())).result().logprobs == ()
    assert engine.cached_tokens(prompt, "") == len(prompt) - 1


def test_scores_that_are_cancelled_leave_the_queue_and_the_engine_goes_on(
    start_local: StartLocal, prompt: tuple[int, ...]
) -> None:
    engine = start_local(max_running=1)
    request = ScoreRequest(prompt, (prompt,) * 16)
    running, waiting = engine.score(request), engine.score(request)
    for scores in (waiting, running):
        assert scores.cancel()
        with pytest.raises(CancelledError):
            scores.result()
    engine.score(ScoreRequest(prompt, ((1,),))).result()
    stats = engine.stats
    assert (stats.running, stats.waiting, stats.waiting_tokens) == (0, 0, 0)
    assert stats.computed_tokens < len(prompt) * 16


def test_closing_ends_scores_that_run_and_those_that_wait(
    start_local: StartLocal, prompt: tuple[int, ...]
) -> None:
    engine = start_local(max_running=1)
    request = ScoreRequest(prompt, (prompt,) * 16)
    unfinished = [engine.score(request) for _ in range(2)]
    engine.close()
    for scores in unfinished:
        with pytest.raises(EngineClosedError):
            scores.result()


def test_more_than_the_queue_holds_is_refused_and_what_waits_too_long_ends(
    start_local: StartLocal, prompt: tuple[int, ...]
) -> None:
    engine = start_local(max_running=1, max_waiting_tokens=5 * len(prompt), queue_timeout_s=0)
    running = engine.submit(GenerationRequest(prompt, SamplingParameters(max_tokens=1000)))
    next(iter(running))
    waiting = engine.score(ScoreRequest(prompt, (prompt,) * 3, "ann"))
    with pytest.raises(QueueFullError):
        engine.score(ScoreRequest(prompt, (prompt,) * 3, "ann"))
    with pytest.raises(QueueTimeoutError):
        waiting.result()


@pytest.mark.stand_in
def test_a_candidate_that_cannot_be_computed_fails_its_own_request_alone(
    engine: LocalEngine, prompt: tuple[int, ...]
) -> None:
    wrong = engine.score(ScoreRequest(prompt, ((1, 10**6, 1),)))
    right = engine.score(ScoreRequest(prompt, ((1,),)))
    with pytest.raises((IndexError, RuntimeError)):
        wrong.result()
    assert len(right.result().logprobs[0]) == 1
