"""Each family of models computes what transformers computes, on tiny random ones."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, Gemma3Config, Gemma3ForConditionalGeneration
from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding

from llm.errors import UnsupportedModelError
from llm.model.decoder import Decoder, Span
from llm.model.families import read_hf_config
from llm.model.layers import Embedding
from llm.model.rope import LinearScaling
from llm.weights.safetensors_folder import load_decoder, read_config
from tests.llm.tiny import SHAPES, TINY, save_tiny

IDS = [n * 7 % 250 for n in range(90)]
"""Longer than the sliding windows of the tiny models."""

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in SHAPES},
    **{f"{family}, tied head": (family, {"tie_word_embeddings": True}) for family in SHAPES},
    "gemma3_text, head of its own": ("gemma3_text", {"tie_word_embeddings": False}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama with llama3 scaling": ("llama", {"rope_parameters": LLAMA3}),
    "mistral without window": ("mistral", {"sliding_window": None}),
    "mistral with a window of one": ("mistral", {"sliding_window": 1}),
    "mistral with a window past the text": ("mistral", {"sliding_window": 500}),
    "qwen2 without windows": ("qwen2", {"use_sliding_window": False}),
    "qwen2 with yarn": ("qwen2", {"rope_parameters": YARN}),
    "qwen3 with biases": ("qwen3", {"attention_bias": True}),
    "qwen3 with windows": (
        "qwen3",
        {"use_sliding_window": True, "sliding_window": 9, "max_window_layers": 2},
    ),
    "gemma3_text with biases": ("gemma3_text", {"attention_bias": True}),
    "gemma3_text with soft-capped logits": ("gemma3_text", {"final_logit_softcapping": 3.0}),
    "gemma3_text with linear scaling": (
        "gemma3_text",
        {
            "rope_parameters": {
                "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
            }
        },
    ),
}


def logits_of(theirs: Any, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        logits: torch.Tensor = theirs(torch.tensor([ids])).logits[0]
    return logits


@pytest.mark.parametrize("attention", ["sdpa", "reference"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_agree_with_transformers_in_one_pass_in_chunks_and_token_by_token(
    tmp_path: Path, variant: str, attention: Any
) -> None:
    family, changes = VARIANTS[variant]
    expected = logits_of(save_tiny(tmp_path, family, **changes), IDS)
    decoder = load_decoder(tmp_path, torch.float32, attention)
    for sizes in ([len(IDS)], [13, 1, 40, 2, 34], [30] + [1] * 60):
        cache = decoder.new_cache()
        starts = [sum(sizes[:n]) for n in range(len(sizes))]
        ours = [
            decoder.extend(IDS[start : start + size], cache, logits="all")
            for start, size in zip(starts, sizes, strict=True)
        ]
        torch.testing.assert_close(torch.cat(ours), expected, atol=1e-3, rtol=1e-3)


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Decoder]]:
    """A tiny model of each family, theirs and ours."""
    made = {}
    for family in SHAPES:
        folder = tmp_path_factory.mktemp(family)
        theirs = save_tiny(folder, family)
        made[family] = (theirs, load_decoder(folder, torch.float32, "sdpa"))
    return made


@settings(max_examples=40, deadline=None)
@given(family=st.sampled_from(list(SHAPES)), data=st.data())
def test_sequences_in_a_batch_have_the_logits_that_transformers_gives_each(
    pairs: dict[str, tuple[Any, Decoder]], family: str, data: st.DataObject
) -> None:
    theirs, decoder = pairs[family]
    token_ids = st.lists(st.integers(0, 255), min_size=1, max_size=50)
    spans, expected = [], []
    for _ in range(data.draw(st.integers(1, 4))):
        before, new = data.draw(st.one_of(st.just([]), token_ids)), data.draw(token_ids)
        cache = decoder.new_cache()
        if before:
            decoder.extend(before, cache)
        spans.append(Span(new, cache, "all"))
        expected.append(logits_of(theirs, before + new)[len(before) :])
    torch.testing.assert_close(decoder(spans), expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("family", SHAPES)
def test_a_model_in_bfloat16_stays_near_that_of_transformers(tmp_path: Path, family: str) -> None:
    save_tiny(tmp_path, family, initializer_range=0.05)
    theirs: Any = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    decoder = load_decoder(tmp_path, torch.bfloat16, "sdpa")
    ours = decoder.extend(IDS, decoder.new_cache(), logits="all")
    expected = logits_of(theirs.eval(), IDS).float()
    assert (ours - expected).abs().mean() < 0.03 * expected.abs().mean()


@pytest.mark.parametrize(
    "variant", ["gemma3_text with linear scaling", "qwen2 with yarn", "llama with biases"]
)
def test_every_part_of_a_decoder_is_on_its_device(tmp_path: Path, variant: str) -> None:
    """`meta` computes nothing, but refuses to mix with tensors that are elsewhere, as any device does."""
    family, changes = VARIANTS[variant]
    save_tiny(tmp_path, family, **changes)
    decoder = load_decoder(tmp_path, torch.float32, "sdpa", torch.device("meta"))
    cache = decoder.new_cache()
    for tokens in (30, 1):
        logits = decoder.extend([0] * tokens, cache)
        assert (logits.device.type, logits.shape) == ("meta", (1, 256))


def test_a_gemma3_that_also_sees_images_is_loaded_for_its_text(tmp_path: Path) -> None:
    text = TINY | SHAPES["gemma3_text"]
    del text["rope_theta"]
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 28, "patch_size": 14}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    theirs: Any = Gemma3ForConditionalGeneration(config)
    theirs.eval().save_pretrained(tmp_path)
    decoder = load_decoder(tmp_path, torch.float32, "sdpa")
    ours = decoder.extend(IDS, decoder.new_cache(), logits="all")
    torch.testing.assert_close(ours, logits_of(theirs, IDS), atol=1e-3, rtol=1e-3)


SMALL = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 13, "rms_norm_eps": 1e-6}
HEADS = {"vocab_size": 9, "num_attention_heads": 4, "max_position_embeddings": 512}
LINEAR = {"rope_type": "linear", "factor": 8.0}


@pytest.mark.parametrize(
    ("family", "said"),
    [
        ("llama", HEADS),
        ("llama", HEADS | {"head_dim": None, "num_key_value_heads": None, "rope_theta": 5e5}),
        ("mistral", HEADS | {"num_key_value_heads": 2}),
        ("mistral", HEADS | {"num_key_value_heads": 2, "sliding_window": None}),
        ("qwen2", HEADS | {"num_key_value_heads": 2, "sliding_window": 9}),
        ("qwen2", HEADS | {"num_key_value_heads": 2, "use_sliding_window": True, "max_window_layers": 5}),
        ("qwen3", HEADS | {"num_key_value_heads": 2, "rope_theta": 1e6}),
        ("gemma3_text", {}),
        ("gemma3_text", {"rope_theta": 5e5, "rope_local_base_freq": 2e4, "sliding_window_pattern": 4}),
        ("gemma3_text", {"rope_scaling": LINEAR, "sliding_window": 1024, "query_pre_attn_scalar": 168}),
    ],
)
def test_what_published_configs_leave_out_is_what_transformers_takes(
    family: str, said: dict[str, Any]
) -> None:
    ours = read_hf_config({"model_type": family} | SMALL | copy.deepcopy(said))
    theirs: Any = AutoConfig.for_model(family, **(SMALL | copy.deepcopy(said)))
    heads = theirs.num_attention_heads
    assert (ours.vocab_size, ours.heads, ours.kv_heads) == (
        theirs.vocab_size,
        heads,
        theirs.num_key_value_heads,
    )
    assert ours.head_dim == getattr(theirs, "head_dim", theirs.hidden_size // heads)
    assert (ours.context_window, ours.tied_head) == (
        theirs.max_position_embeddings,
        theirs.tie_word_embeddings,
    )
    sliding = theirs.sliding_window if family != "llama" else None
    default = ["sliding_attention" if sliding else "full_attention"] * 13
    for kind, name in zip(ours.layer_kinds, getattr(theirs, "layer_types", default), strict=True):
        assert kind.window == (sliding if name == "sliding_attention" else None)
        rope = theirs.rope_parameters.get(name, theirs.rope_parameters)
        assert kind.rope.theta == rope["rope_theta"]
        assert kind.rope.scaling == (LinearScaling(8.0) if rope["rope_type"] == "linear" else None)
    if family == "gemma3_text":
        assert ours.attention_scale == pytest.approx(theirs.query_pre_attn_scalar**-0.5)


def test_the_text_part_of_a_gemma3_has_the_defaults_of_its_own() -> None:
    text = SMALL | {"model_type": "gemma3_text", "rope_scaling": LINEAR}
    both = read_hf_config({"model_type": "gemma3", "text_config": text})
    assert replace(both, architecture="gemma3_text") == read_hf_config(text)
    assert not read_hf_config(
        {"model_type": "gemma3", "text_config": text, "tie_word_embeddings": False}
    ).tied_head


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_embeddings_are_scaled_in_the_number_format_of_the_weights(dtype: torch.dtype) -> None:
    theirs = Gemma3TextScaledWordEmbedding(8, 96, 0, embed_scale=96**0.5).to(dtype)
    ours = Embedding(8, 96, 96**0.5)
    ours.weight = torch.nn.Parameter(theirs.weight.detach())
    token_ids = torch.arange(8)
    assert torch.equal(ours(token_ids), theirs(token_ids))


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("llama", {"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        (
            "llama",
            {"model_type": "mamba"},
            "'mamba' is not supported; supported are llama, mistral, qwen2, qwen3",
        ),
        ("llama", {"model_type": None}, "architecture None is not supported"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "rope_type 'dynamic'"),
        ("qwen2", {"rope_parameters": None, "rope_scaling": {"type": "longrope"}}, "rope_type 'longrope'"),
        ("qwen2", {"layer_types": ["full_attention", "linear_attention"]}, "'linear_attention'"),
        ("gemma3_text", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping 50.0"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention True"),
        ("gemma3_text", {"hidden_activation": "relu"}, "hidden_activation 'relu'"),
    ],
)
def test_what_the_decoder_does_not_compute_is_refused_by_name(
    tmp_path: Path, family: str, change: dict[str, Any], message: str
) -> None:
    save_tiny(tmp_path, family)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UnsupportedModelError, match=message):
        read_config(tmp_path)
