"""A held preamble counts as often as its share wants, however a sequence is computed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.engine.interface import Finished, GenerationRequest, Preamble, SamplingParameters, ScoreRequest
from llm.loading import LoadedModel
from llm.model.attention import reference_attention
from llm.model.decoder import Span
from llm.model.fixed_step import FixedStep
from llm.model.hold import SINKS, Hold
from llm.text.chat_format import ChatTokenizer
from llm.weights.safetensors_folder import load_decoder
from tests.llm.engines import StartLocal
from tests.llm.test_families import VARIANTS
from tests.llm.tiny import save_tiny

HOLD = Hold(tokens=20, share=0.6)
PERSONA = "You are Pippa, who has two ferrets and a wooden leg."


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 2**32))
def test_a_held_key_counts_as_so_many_copies_of_it(behind: int, copies: int, seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    tokens = SINKS + 3
    length = tokens + behind
    q, k, v = (torch.randn(1, count, 8, generator=made) for count in (1, length, length))
    position = torch.tensor([length - 1])
    hold = Hold(tokens, tokens * copies / (length - 1))
    found = reference_attention(q, k, v, hold.added(position, torch.arange(length)))
    keys, values = (torch.cat([each] + [each[:, SINKS:tokens]] * (copies - 1), dim=1) for each in (k, v))
    torch.testing.assert_close(found, reference_attention(q, keys, values, None), atol=1e-5, rtol=1e-5)


def test_copies_fill_the_share_of_what_is_before_a_token() -> None:
    length, tokens = 4000, 200
    added = Hold(tokens, share=0.5).added(torch.tensor([length]), torch.arange(length))
    weights = added.exp()[0]
    assert weights[SINKS:tokens].sum() == pytest.approx(0.5 * length * (tokens - SINKS) / tokens)
    assert weights[tokens:].sum() == length - tokens


def test_nothing_is_added_within_the_preamble_nor_while_it_has_its_share() -> None:
    positions = torch.arange(60)
    added = HOLD.added(positions, positions)
    has_more = (added > 0).any(dim=1).nonzero().flatten().tolist()
    assert has_more == list(range(34, 60)), "0.6 of what is before a token is more than 20 from there on"
    assert not added[:, :SINKS].any()
    assert not added[:, 20:].any()


@pytest.mark.parametrize("attention", ["sdpa", "reference"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_at_once_in_chunks_or_one_by_one_gives_the_same(tmp_path: Path, variant: str, attention: Any) -> None:
    family, changes = VARIANTS[variant]
    save_tiny(tmp_path, family, **changes)
    decoder = load_decoder(tmp_path, torch.float32, attention)
    ids = [n * 7 % 250 for n in range(70)]
    caches = [decoder.new_cache() for _ in range(4)]
    for cache in caches[1:]:
        cache.hold = HOLD
    free, expected = (decoder.extend(ids, cache, "all") for cache in caches[:2])
    torch.testing.assert_close(expected[:20], free[:20], atol=1e-4, rtol=1e-4)
    if any(kind.window is None for kind in decoder.config.layer_kinds):  # else it is out of sight
        assert not torch.allclose(expected[60:], free[60:], atol=1e-4, rtol=1e-4)
    parts = [decoder.extend(ids[start : start + 16], caches[2], "all") for start in range(0, 70, 16)]
    torch.testing.assert_close(torch.cat(parts), expected, atol=1e-4, rtol=1e-4)
    rows = [decoder.extend([token_id], caches[3]) for token_id in ids]
    torch.testing.assert_close(torch.cat(rows), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_of_fixed_shapes_holds_what_each_of_its_caches_holds(tmp_path: Path, variant: str) -> None:
    family, changes = VARIANTS[variant]
    save_tiny(tmp_path, family, **changes)
    decoder = load_decoder(tmp_path, torch.float32, "sdpa")
    holds = [None, HOLD, Hold(tokens=9, share=0.4)]
    ours, theirs = ([decoder.new_cache() for _ in holds] for _ in range(2))
    for hold, *caches in zip(holds, ours, theirs, strict=True):
        for cache in caches:
            cache.hold = hold
            decoder.extend([n * 7 % 250 for n in range(50)], cache, "none")
    spans = [Span([9 + place], cache) for place, cache in enumerate(ours)]
    for span in spans:
        span.cache.reserve(1)
    step = FixedStep(decoder, spans)
    for cache, other in zip(ours, reversed(holds), strict=True):
        cache.hold = other
    step.load(spans)
    for cache, hold in zip(ours, holds, strict=True):
        cache.hold = hold
    step.load(spans)
    expected = decoder([Span(span.token_ids, cache) for span, cache in zip(spans, theirs, strict=True)])
    with torch.inference_mode():
        torch.testing.assert_close(step(), torch.cat(expected), atol=1e-4, rtol=1e-4)


@pytest.fixture(scope="module")
def prompt(chat_tokenizer: ChatTokenizer) -> list[int]:
    ids = list(chat_tokenizer.encode_preamble(PERSONA))
    for number in range(12):
        ids += chat_tokenizer.encode_message("user", f"This is message number {number}, as it was said.")
        ids += chat_tokenizer.encode_message("assistant", "I see.")
    return [*ids, *chat_tokenizer.encode_message("user", "Who is there?"), *chat_tokenizer.generation_prompt]


@pytest.mark.parametrize(
    ("preamble", "shared"), [(Preamble(), 48), (Preamble(60), 48), (Preamble(60, 40), 0)]
)
def test_what_is_found_in_the_store_gives_the_scores_that_computing_gives(
    start_local: StartLocal,
    prompt: list[int],
    chat_tokenizer: ChatTokenizer,
    default_model: LoadedModel,
    preamble: Preamble,
    shared: int,
) -> None:
    engine = start_local(preamble_share=0.5)
    candidate = chat_tokenizer.encode_text("My ferrets, both of them.")
    engine.score(ScoreRequest(tuple(prompt), (candidate,), "ann", Preamble(50))).result()
    request = ScoreRequest(tuple(prompt), (candidate,), "ann", preamble)
    first, again = (engine.score(request).result() for _ in range(2))
    assert again.cached_tokens == len(prompt) - 1
    assert first.cached_tokens == shared, "whole blocks within both preambles, of which neither is public"
    cache = default_model.decoder.new_cache()
    cache.hold = Hold(preamble.tokens, 0.5) if preamble.tokens else None
    logits = default_model.decoder.extend([*prompt, *candidate], cache, "all")
    rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
    expected = rows[range(len(candidate)), list(candidate)]
    for each in (first, again):
        torch.testing.assert_close(torch.tensor(each.logprobs[0]), expected, atol=1e-3, rtol=1e-3)


def test_replies_of_a_chat_are_those_of_a_cache_of_their_own(
    start_local: StartLocal, prompt: list[int], chat_tokenizer: ChatTokenizer, default_model: LoadedModel
) -> None:
    engine = start_local(preamble_share=0.5)
    sampling = SamplingParameters(max_tokens=12, temperature=0)
    ids, preamble = list(prompt), Preamble(len(chat_tokenizer.encode_preamble(PERSONA)))
    for message in ("And what have you got?", "And then?"):
        request = GenerationRequest(tuple(ids), sampling, "ann", "chat", preamble)
        *_, last = engine.submit(request)
        assert isinstance(last, Finished)
        cache = default_model.decoder.new_cache()
        cache.hold = Hold(preamble.tokens, 0.5)
        logits = default_model.decoder.extend([*ids, *last.token_ids[:-1]], cache, "all")[len(ids) - 1 :]
        chosen = logits.gather(1, torch.tensor(last.token_ids).unsqueeze(1)).squeeze(1)
        torch.testing.assert_close(chosen, logits.amax(dim=1), atol=1e-3, rtol=1e-3)
        ids += [*last.token_ids, *chat_tokenizer.encode_message("user", message)]
        ids += chat_tokenizer.generation_prompt


def test_engines_of_other_shares_take_nothing_from_each_other(start_local: StartLocal) -> None:
    engines = [start_local(), start_local(preamble_share=0.5), start_local(preamble_share=0.4)]
    assert len({engine.store.root.key for engine in engines}) == 3
    assert len({engine.model.fingerprint for engine in engines}) == 3
