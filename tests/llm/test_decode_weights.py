"""Generated tokens computed with packed weights, beside prompts that are computed exactly."""

from pathlib import Path
from typing import Literal

import pytest
import torch

from llm.engine.interface import Finished, GenerationRequest, SamplingParameters, Started
from llm.engine.local_engine import LocalEngine
from llm.errors import UnsupportedModelError
from llm.loading import LoadedModel, load_model
from llm.model.decoder import Decoder, Span
from llm.model.packed import DecodeForm
from llm.quality import Chat, compare
from llm.text.chat_format import ChatTokenizer
from tests.llm.tiny import CHAT_VOCABULARY, save_tiny_llama

Form = Literal["int8", "int4"]
FORMS: list[Form] = ["int8", "int4"]
PROMPT = tuple(range(20, 60))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_llama(folder, vocab_size=CHAT_VOCABULARY, tie_word_embeddings=True, initializer_range=0.1)
    return folder


@pytest.fixture(scope="module")
def exact(folder: Path) -> Decoder:
    return load_model(str(folder), folder).decoder


@pytest.fixture(scope="module", params=FORMS)
def packed(request: pytest.FixtureRequest, folder: Path) -> LoadedModel:
    return load_model(str(folder), folder, decode_weights=request.param)


def test_prompts_are_computed_exactly_and_generated_tokens_closely(
    exact: Decoder, packed: LoadedModel
) -> None:
    ours, theirs = packed.decoder.new_cache(), exact.new_cache()
    prompt = packed.decoder.extend(PROMPT, ours)
    torch.testing.assert_close(prompt, exact.extend(PROMPT, theirs), atol=1e-4, rtol=1e-4)
    [given] = packed.decoder([Span([7], ours, generated=True)])
    wanted = exact.extend([7], theirs)
    assert not torch.equal(given, wanted)
    assert float((given - wanted).norm() / wanted.norm()) < 0.3


def test_prompts_and_generated_tokens_in_one_step_are_what_they_are_alone(packed: LoadedModel) -> None:
    decoder = packed.decoder
    spans, expected = [], []
    for number, generated in enumerate((True, False, True, False)):
        alone, together = decoder.new_cache(), decoder.new_cache()
        for cache in (alone, together):
            decoder.extend(PROMPT[: 10 + number], cache)
        new = [5] if generated else [5, 6, 7]
        expected += decoder([Span(new, alone, generated=generated)])
        spans.append(Span(new, together, generated=generated))
    torch.testing.assert_close(decoder(spans), expected, atol=2e-2, rtol=2e-2)
    assert [span.cache.length for span in spans] == [11, 14, 13, 16]


def test_a_step_that_fails_in_its_second_pass_leaves_all_caches_as_they_were(packed: LoadedModel) -> None:
    decoder = packed.decoder
    caches = [decoder.new_cache() for _ in range(2)]
    full = [1] * decoder.config.context_window
    decoder.extend(full, caches[1])
    with pytest.raises(ValueError, match="pass the context window"):
        decoder([Span([5], caches[0], generated=True), Span([6], caches[1])])
    assert [cache.length for cache in caches] == [0, len(full)]


def test_every_number_format_has_a_fingerprint_of_its_own(folder: Path) -> None:
    forms: list[DecodeForm] = ["same", *FORMS]
    models = [load_model(str(folder), folder, decode_weights=form) for form in forms]
    assert len({model.fingerprint for model in models}) == 3
    assert [model.number_format for model in models] == ["float32", "float32+int8", "float32+int4"]


def test_an_engine_generates_with_packed_weights_and_says_so(
    packed: LoadedModel, chat_tokenizer: ChatTokenizer
) -> None:
    engine = LocalEngine(packed, chat_tokenizer, context_window=512, kv_cache_bytes=2**26)
    assert engine.model.dtype == packed.number_format
    requests = [
        GenerationRequest(PROMPT[n:], SamplingParameters(max_tokens=12, temperature=0), "ann", str(n))
        for n in range(4)
    ]
    for generation in [engine.submit(request) for request in requests]:
        started, *_, last = generation
        assert isinstance(started, Started)
        assert isinstance(last, Finished)
        assert last.completion_tokens == 12
    engine.close()


def test_a_model_whose_shapes_cannot_be_packed_is_refused_by_name(tmp_path: Path) -> None:
    save_tiny_llama(tmp_path, intermediate_size=100)
    with pytest.raises(UnsupportedModelError, match=r"blocks\.0\.mlp\.gate_up of 200 x 64"):
        load_model(str(tmp_path), tmp_path, decode_weights="int4")


def test_the_quality_of_exact_weights_is_perfect_and_that_of_packed_ones_measured(
    exact: Decoder, packed: LoadedModel
) -> None:
    chats = [Chat(PROMPT[n:], PROMPT[: 20 + n]) for n in range(3)]
    perfect = compare(exact, exact, chats)
    assert (perfect.mean_divergence, perfect.largest_logit_difference) == (0, 0)
    assert (perfect.greedy_agreement, perfect.same_replies, perfect.replies) == (1, 3, 3)
    assert perfect.median_first_difference is None
    assert perfect.tokens == 19 + 20 + 21
    measured = compare(exact, packed.decoder, chats)
    assert 0 < measured.mean_divergence < 1
    assert measured.largest_logit_difference > 0
    assert measured.greedy_agreement <= 1
