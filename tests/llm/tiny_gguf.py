"""Tiny random models as GGUF files: read and converted in a moment."""

import math
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch

HIDDEN, INNER, LAYERS, HEADS, KV_HEADS = 32, 256, 2, 4, 2


def write_tiny_gguf(
    path: Path,
    *,
    without: str = "",
    stored: dict[str, tuple[gguf.GGMLQuantizationType, np.ndarray[Any, Any]]] | None = None,
    **metadata: Any,
) -> None:
    """A llama of two layers on a vocabulary of bytes.

    `metadata` are keys of the `llama.` section by their last part, None to leave one out; `without`
    names a tensor to leave out; `stored` has tensors by name as they are to be in the file.
    """
    random = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, "llama")
    values = {
        "block_count": LAYERS,
        "context_length": 64,
        "embedding_length": HIDDEN,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
    } | {name.replace("__", "."): value for name, value in metadata.items()}
    for name, value in values.items():
        if isinstance(value, str):
            writer.add_string(f"llama.{name}", value)
        elif isinstance(value, float):
            writer.add_float32(f"llama.{name}", value)
        elif isinstance(value, list):
            writer.add_array(f"llama.{name}", value)
        elif value is not None:
            writer.add_uint32(f"llama.{name}", value)
    writer.add_layer_norm_rms_eps(1e-5)
    tokens = _add_vocabulary(writer)
    shapes = {"token_embd": (tokens, HIDDEN), "output_norm": (HIDDEN,)}
    for layer in range(LAYERS):
        keys = KV_HEADS * HIDDEN // HEADS
        parts = {"attn_norm": (HIDDEN,), "ffn_norm": (HIDDEN,), "ffn_down": (HIDDEN, INNER)}
        parts |= dict.fromkeys(("attn_q", "attn_output"), (HIDDEN, HIDDEN))
        parts |= dict.fromkeys(("attn_k", "attn_v"), (keys, HIDDEN))
        parts |= dict.fromkeys(("ffn_gate", "ffn_up"), (INNER, HIDDEN))
        shapes |= {f"blk.{layer}.{part}": shape for part, shape in parts.items()}
    for name, shape in shapes.items():
        if name in (stored or {}):
            kind, data = (stored or {})[name]
            writer.add_tensor(f"{name}.weight", data, raw_dtype=kind)
        elif name != without:
            writer.add_tensor(f"{name}.weight", random.standard_normal(shape).astype(np.float32))
    _finish(writer)


def write_gguf_of(model: Any, path: Path) -> None:
    """A transformers model as llama.cpp's `convert_hf_to_gguf.py` writes it, its vocabulary one of bytes.

    Names come from the table in the `gguf` package.
    """
    config = model.config
    family = config.model_type.removesuffix("_text")
    name = {"mistral": "llama"}.get(family, family)
    [architecture] = [number for number, known in gguf.MODEL_ARCH_NAMES.items() if known == name]
    writer = gguf.GGUFWriter(path, name)
    _add_metadata(writer, config)
    _add_vocabulary(writer)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for hf_name, tensor in model.state_dict().items():
        if hf_name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = tensor.float()
        if name == "llama" and ".q_proj." in hf_name:
            values = _interleaved(values, config.num_attention_heads)
        if name == "llama" and ".k_proj." in hf_name:
            values = _interleaved(values, config.num_key_value_heads)
        if name == "gemma3" and hf_name.endswith("norm.weight"):
            values = values + 1
        writer.add_tensor(str(names.get_name(hf_name, (".weight", ".bias"))), values.numpy())
    if "llama3" in str(config.rope_parameters):
        writer.add_tensor("rope_freqs.weight", _llama3_divisors(config))
    _finish(writer)


def _add_metadata(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(getattr(config, "head_dim", config.hidden_size // config.num_attention_heads))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    rope = config.rope_parameters
    if config.model_type == "gemma3_text":
        writer.add_sliding_window(config.sliding_window)
        slides = [name == "sliding_attention" for name in config.layer_types]
        if slides != [(layer + 1) % 6 != 0 for layer in range(len(slides))]:
            writer.add_sliding_window_pattern(slides)
        rope = rope["full_attention"]
    if config.model_type == "mistral" and config.sliding_window:
        writer.add_sliding_window(config.sliding_window)
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(rope["rope_type"]))
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])


def _interleaved(values: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows 0, half, 1, half + 1, ... of each head, as llama's own checkpoints have them."""
    halves = values.view(heads, 2, -1, *values.shape[1:])
    return halves.transpose(1, 2).reshape(values.shape)


def _llama3_divisors(config: Any) -> np.ndarray[Any, Any]:
    """Of each frequency, as the reference code of Llama 3.1 decides it."""
    rope, dim = config.rope_parameters, config.head_dim
    factor, window = rope["factor"], rope["original_max_position_embeddings"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    divisors = []
    for i in range(0, dim, 2):
        wavelength = 2 * math.pi * rope["rope_theta"] ** (i / dim)
        if wavelength < window / high:
            divisors.append(1.0)
        elif wavelength > window / low:
            divisors.append(factor)
        else:
            smooth = (window / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(divisors, dtype=np.float32)


def _add_vocabulary(writer: gguf.GGUFWriter) -> int:
    """All bytes and two more tokens; gives their number."""
    tokens = [*sorted(set(_byte_characters())), "ab", "<|end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)
    writer.add_eot_token_id(len(tokens) - 2)
    return len(tokens)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _byte_characters() -> list[str]:
    """The characters that stand for bytes in byte-level vocabularies (Radford et al. 2019, GPT-2)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
