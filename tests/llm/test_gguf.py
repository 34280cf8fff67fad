"""GGUF files of every family and every number format give the model that they were made of."""

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf.quants import dequantize, quantize
from safetensors.torch import load_file

from llm.errors import UnsupportedModelError
from llm.loading import load_model
from llm.progress import silent
from llm.weights.gguf_file import convert
from tests.llm.test_families import IDS, LLAMA3, YARN, logits_of
from tests.llm.tiny import SHAPES, save_tiny
from tests.llm.tiny_gguf import HIDDEN, INNER, write_gguf_of, write_tiny_gguf

TYPES = [
    kind
    for kind in gguf.GGMLQuantizationType
    if kind.name in ("F32", "F16") or kind in gguf.quants._type_traits
]
"""All that the `gguf` package can dequantise."""

GEMMA = {"query_pre_attn_scalar": 32, "vocab_size": 258}
"""A GGUF file does not say the scale of Gemma 3's attention; it is that of its head size."""

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in SHAPES if family != "qwen2"},
    "llama, tied head": ("llama", {"tie_word_embeddings": True}),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama with a head size of its own": ("llama", {"head_dim": 32}),
    "llama with llama3 scaling": ("llama", {"rope_parameters": LLAMA3}),
    "llama with linear scaling": (
        "llama",
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5e5}},
    ),
    "mistral without window": ("mistral", {"sliding_window": None}),
    "qwen2": ("qwen2", {"use_sliding_window": False}),
    "qwen2 with yarn": ("qwen2", {"use_sliding_window": False, "rope_parameters": YARN}),
    "gemma3_text with the published pattern": ("gemma3_text", {"num_hidden_layers": 7, "layer_types": None}),
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


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_gguf_of_each_family_computes_what_the_model_it_was_made_of_does(
    tmp_path: Path, variant: str
) -> None:
    family, changes = VARIANTS[variant]
    shape = {"vocab_size": 258} | (GEMMA if family == "gemma3_text" else {}) | changes
    theirs = save_tiny(tmp_path / "hf", family, **shape)
    write_gguf_of(theirs, tmp_path / "tiny.gguf")
    decoder = load_model(str(tmp_path / "tiny.gguf"), tmp_path / "models").decoder
    ours = decoder.extend(IDS, decoder.new_cache(), logits="all")
    torch.testing.assert_close(ours, logits_of(theirs, IDS), atol=1e-3, rtol=1e-3)


def rows_of(kind: gguf.GGMLQuantizationType) -> np.ndarray[Any, Any]:
    """A matrix `[HIDDEN, INNER]` in the type: quantised by `gguf` if it can, or else of random bytes."""
    random = np.random.default_rng(0)
    try:
        return np.asarray(quantize(random.standard_normal((HIDDEN, INNER)).astype(np.float32), kind))
    except NotImplementedError:
        shape = gguf.quant_shape_to_byte_shape((HIDDEN, INNER), kind)
        # Exponents of scales stay below the highest: no scale is infinite or no number.
        return random.integers(0, 0x70, shape, dtype=np.uint8)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_every_type_that_gguf_can_dequantise_is_read(tmp_path: Path, kind: gguf.GGMLQuantizationType) -> None:
    rows = rows_of(kind)
    write_tiny_gguf(tmp_path / "tiny.gguf", stored={"blk.1.ffn_down": (kind, rows)})
    convert(tmp_path / "tiny.gguf", tmp_path / "hf", silent)
    read = load_file(tmp_path / "hf" / "model.safetensors")["model.layers.1.mlp.down_proj.weight"]
    expected = dequantize(rows, kind)
    assert np.isfinite(expected).all()
    assert np.unique(expected).size > 2
    assert np.array_equal(read.numpy(), expected)


@pytest.mark.parametrize("kind", ["Q8_K", "I32", "F64"])
def test_a_type_that_cannot_be_read_is_named_with_its_tensor(tmp_path: Path, kind: str) -> None:
    number = gguf.GGMLQuantizationType[kind]
    block, size = gguf.GGML_QUANT_SIZES[number]
    native = {"I32": np.int32, "F64": np.float64}.get(kind)
    rows = (
        np.zeros((HIDDEN, INNER), native) if native else np.zeros((HIDDEN, INNER // block * size), np.uint8)
    )
    write_tiny_gguf(tmp_path / "tiny.gguf", stored={"blk.1.ffn_down": (number, rows)})
    with pytest.raises(UnsupportedModelError, match=rf"blk\.1\.ffn_down\.weight is stored as {kind}"):
        convert(tmp_path / "tiny.gguf", tmp_path / "hf", silent)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"expert_count": 8}, "expert_count 8 is not supported"),
        ({"rope__dimension_count": 4}, "rope.dimension_count 4 is not supported, only 8"),
        ({"rope__scaling__type": "longrope"}, "RoPE scaling 'longrope'"),
        (
            {"rope__scaling__type": "yarn", "rope__scaling__factor": 2.0, "rope__scaling__attn_factor": 0.5},
            "attn_factor 0.5",
        ),
        ({"feed_forward_length": [256, 128]}, "layers that differ in feed_forward_length"),
    ],
)
def test_metadata_that_ask_for_more_are_refused_by_name(
    tmp_path: Path, metadata: dict[str, Any], message: str
) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf", **metadata)
    with pytest.raises(UnsupportedModelError, match=message):
        convert(tmp_path / "tiny.gguf", tmp_path / "hf", silent)


def test_all_end_tokens_of_a_gguf_are_kept(tmp_path: Path) -> None:
    write_tiny_gguf(tmp_path / "tiny.gguf")
    convert(tmp_path / "tiny.gguf", tmp_path / "hf", silent)
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["eos_token_id"] == [257, 256]


def test_the_largest_gemma3_has_the_attention_scale_that_llama_cpp_gives_it(tmp_path: Path) -> None:
    theirs = save_tiny(
        tmp_path / "hf", "gemma3_text", num_hidden_layers=62, hidden_size=32, **GEMMA, layer_types=None
    )
    write_gguf_of(theirs, tmp_path / "tiny.gguf")
    decoder = load_model(str(tmp_path / "tiny.gguf"), tmp_path / "models").decoder
    assert decoder.config.attention_scale == pytest.approx((32 / 4) ** -0.5)
