"""The decoder agrees with transformers on the same weights, however its work is cut up."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from llm.loading import LoadedModel
from llm.model import decoder as decoder_module
from llm.model.attention import flash_mask
from llm.model.decoder import Decoder, Span, WantedLogits
from llm.text.chat_format import ChatTokenizer
from llm.weights.safetensors_folder import load_decoder
from tests.llm.tiny import TINY, save_tiny_llama

CONVERSATION = [
    "Tell me about the sea, and why sailors of old feared it so much.",
    "Wetter heute? Ja: 25 °C, leichter Wind. 今日はいい天気ですね 🌞",
]


@pytest.fixture(scope="session")
def prompt(chat_tokenizer: ChatTokenizer) -> torch.Tensor:
    ids = [*chat_tokenizer.encode_preamble("You are Pippa, a pirate.")]
    for content in CONVERSATION:
        ids += chat_tokenizer.encode_message("user", content)
        ids += chat_tokenizer.encode_message("assistant", "Aye, I know a tale about that!")
    return torch.tensor([*ids, *chat_tokenizer.generation_prompt])


@pytest.fixture(scope="module")
def transformers_from_gguf(default_model: LoadedModel) -> Any:
    """transformers' own reading of the GGUF file, which shares no code with ours."""
    [gguf] = default_model.folder.parent.glob("*.gguf")
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    return model.eval()


def test_logits_agree_with_transformers_reading_the_same_gguf(
    default_model: LoadedModel, transformers_from_gguf: Any, prompt: torch.Tensor
) -> None:
    decoder = default_model.decoder
    with torch.inference_mode():
        theirs = transformers_from_gguf(prompt.unsqueeze(0)).logits[0]
    ours = decoder.extend(prompt.tolist(), decoder.new_cache(), logits="all")
    torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)


def test_64_greedy_tokens_are_those_of_transformers_with_cache_and_without(
    default_model: LoadedModel, transformers_from_gguf: Any, prompt: torch.Tensor
) -> None:
    with torch.inference_mode():
        generated = transformers_from_gguf.generate(
            prompt.unsqueeze(0), max_new_tokens=64, min_new_tokens=64, do_sample=False
        )
    theirs = generated[0, len(prompt) :]
    assert greedy(default_model.decoder, prompt, 64, suppressed=2) == theirs.tolist()

    # Without a cache the whole sequence is computed anew; each of its tokens follows from those before.
    decoder = default_model.decoder
    sequence = torch.cat((prompt, theirs))
    logits = decoder.extend(sequence[:-1].tolist(), decoder.new_cache(), logits="all").clone()
    logits[:, 2] = float("-inf")
    assert logits[len(prompt) - 1 :].argmax(dim=-1).tolist() == theirs.tolist()


def greedy(decoder: Decoder, prompt: torch.Tensor, tokens: int, *, suppressed: int) -> list[int]:
    """Greedy tokens with a cache, without the token `suppressed` (the end of the turn)."""
    cache = decoder.new_cache()
    chosen: list[int] = []
    given = prompt.tolist()
    for _ in range(tokens):
        logits = decoder.extend(given, cache)[0].clone()
        logits[suppressed] = float("-inf")
        chosen.append(int(logits.argmax()))
        given = chosen[-1:]
    return chosen


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tie_word_embeddings": True},
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1},
        {"head_dim": 32},
        {"rope_theta": 500000.0},
        {"rms_norm_eps": 1e-3},
    ],
)
@pytest.mark.parametrize("attention", ["sdpa", "reference"])
def test_every_shape_of_llama_agrees_with_transformers(
    tmp_path: Path, changes: dict[str, Any], attention: Any
) -> None:
    theirs: Any = save_tiny_llama(tmp_path, **changes)
    decoder = load_decoder(tmp_path, torch.float32, attention)
    ids = torch.arange(100) * 7 % TINY["vocab_size"]
    with torch.inference_mode():
        expected = theirs(ids.unsqueeze(0)).logits[0]
    torch.testing.assert_close(
        decoder.extend(ids.tolist(), decoder.new_cache(), logits="all"), expected, atol=1e-3, rtol=1e-3
    )


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_llama(folder)
    return load_decoder(folder, torch.float32, "sdpa")


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_chunks_truncations_and_copies_give_the_logits_of_one_pass(
    tiny_decoder: Decoder, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(st.integers(0, 255), min_size=2, max_size=400))
    expected = tiny_decoder.extend(ids, tiny_decoder.new_cache())
    cache = tiny_decoder.new_cache()
    done = 0
    while done < len(ids):
        chunk = data.draw(st.integers(1, len(ids) - done))
        logits = tiny_decoder.extend(ids[done : done + chunk], cache)
        done += chunk
        if data.draw(st.booleans()) and done < len(ids):
            wrong = data.draw(st.lists(st.integers(0, 255), min_size=1, max_size=30))
            tiny_decoder.extend(wrong[: 512 - done], cache)
            cache.truncate(done)
        if data.draw(st.booleans()):
            kept, cache = cache.read(0, done), tiny_decoder.new_cache()
            cache.write(kept)
    torch.testing.assert_close(logits, expected, atol=1e-3, rtol=1e-3)


def test_chunks_with_the_masks_for_cuda_give_the_logits_of_one_pass(
    tiny_decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [n * 7 % 256 for n in range(90)]
    expected = tiny_decoder.extend(ids, tiny_decoder.new_cache(), "all")
    monkeypatch.setattr(decoder_module, "mask_for", lambda _path, _device: flash_mask)
    cache = tiny_decoder.new_cache()
    logits = [tiny_decoder.extend(ids[start:end], cache, "all") for start, end in pairwise((0, 40, 41, 90))]
    torch.testing.assert_close(torch.cat(logits), expected, atol=1e-3, rtol=1e-3)


def test_a_sequence_past_the_context_window_is_refused_and_the_cache_kept(tiny_decoder: Decoder) -> None:
    cache = tiny_decoder.new_cache()
    tiny_decoder.extend([0] * 500, cache)
    with pytest.raises(ValueError, match="513 tokens pass the context window of 512"):
        tiny_decoder.extend([0] * 13, cache)
    assert cache.length == 500
    tiny_decoder.extend([0] * 12, cache)
    assert cache.length == 512


@pytest.mark.parametrize("part", ["blocks.2.mlp", "head"])
def test_a_pass_that_fails_leaves_the_cache_as_it_was(
    tiny_decoder: Decoder, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    ids = list(range(50))
    cache = tiny_decoder.new_cache()
    tiny_decoder.extend(ids, cache)
    twin = tiny_decoder.new_cache()
    twin.write(cache.read(0, 50))
    expected = tiny_decoder.extend(ids, twin)
    with monkeypatch.context() as broken:
        broken.setattr(tiny_decoder.get_submodule(part), "forward", _fail)
        with pytest.raises(RuntimeError, match="broken"):
            tiny_decoder.extend([9, 9, 9], cache)
    assert cache.length == 50
    torch.testing.assert_close(tiny_decoder.extend(ids, cache), expected)


def _fail(*_args: object) -> torch.Tensor:
    raise RuntimeError("broken")


def test_a_cache_grows_with_its_sequence_and_no_further_than_the_window(tiny_decoder: Decoder) -> None:
    cache = tiny_decoder.new_cache()
    assert cache.nbytes == 0
    tiny_decoder.extend([0] * 300, cache)
    assert cache.capacity == 512
    assert cache.nbytes == 300 * tiny_decoder.kv_bytes_per_token
    assert tiny_decoder.new_cache(room=10_000).capacity == 512


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_sequences_in_a_batch_have_the_logits_they_have_alone(
    tiny_decoder: Decoder, data: st.DataObject
) -> None:
    token_ids = st.lists(st.integers(0, 255), min_size=1, max_size=60)
    before = data.draw(st.lists(st.one_of(st.just([]), token_ids), min_size=1, max_size=6))
    spans, expected = [], []
    for ids in before:
        alone, together = tiny_decoder.new_cache(), tiny_decoder.new_cache()
        if ids:
            tiny_decoder.extend(ids, alone)
            tiny_decoder.extend(ids, together)
        new: list[int] = data.draw(
            st.one_of(token_ids, st.lists(st.integers(0, 255), min_size=1, max_size=1))
        )
        wanted: WantedLogits = data.draw(st.sampled_from(["none", "last", "all"]))
        spans.append(Span(new, together, wanted))
        expected.append(tiny_decoder.extend(new, alone, wanted))
    torch.testing.assert_close(tiny_decoder(spans), expected, atol=1e-3, rtol=1e-3)
    assert [span.cache.length for span in spans] == [
        len(ids) + len(span.token_ids) for ids, span in zip(before, spans, strict=True)
    ]


def test_one_sequence_past_the_window_leaves_all_of_its_batch_as_it_was(tiny_decoder: Decoder) -> None:
    short, long = tiny_decoder.new_cache(), tiny_decoder.new_cache()
    tiny_decoder.extend([1] * 512, long)
    with pytest.raises(ValueError, match="pass the context window"):
        tiny_decoder([Span([1], short), Span([1], long)])
    assert (short.length, long.length) == (0, 512)
