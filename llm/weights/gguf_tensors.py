"""The tensors of a GGUF file, dequantised, as a Hugging Face folder of the same model has them."""

from typing import Any

import torch
from torch import Tensor

from llm.errors import CorruptModelError, UnsupportedModelError
from llm.progress import Progress

BLOCK_TENSORS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
BLOCK_TENSORS_OF_GEMMA3 = BLOCK_TENSORS | {
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
OUTER_TENSORS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}

IN_CONFIG = "rope_freqs.weight"
"""This table is part of the config, as scalings of RoPE are."""


def hf_tensors(reader: Any, config: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
    """Float32 tensors by name.

    Raises UnsupportedModelError naming a tensor that has no place in the architecture or whose type cannot
    be read, CorruptModelError for one of an impossible shape.
    """
    tensors: dict[str, Tensor] = {}
    for done, tensor in enumerate(reader.tensors):
        progress("converting the weights", done, len(reader.tensors))
        if tensor.name != IN_CONFIG:
            name = _hf_name(tensor.name, config)
            tensors[name] = _as_hf_has_it(tensor.name, _dequantised(tensor), config).contiguous()
    progress("converting the weights", len(reader.tensors), len(reader.tensors))
    return tensors


def _dequantised(tensor: Any) -> Tensor:
    from gguf.quants import dequantize

    try:
        return torch.tensor(dequantize(tensor.data, tensor.tensor_type), dtype=torch.float32)
    except (ValueError, NotImplementedError) as error:
        raise UnsupportedModelError(
            f"tensor {tensor.name} is stored as {tensor.tensor_type.name}, which cannot be read: {error}"
        ) from error


def _hf_name(name: str, config: dict[str, Any]) -> str:
    inner = BLOCK_TENSORS_OF_GEMMA3 if config["model_type"] == "gemma3_text" else BLOCK_TENSORS
    parts = name.split(".")
    if parts[0] == "blk" and len(parts) == 4 and parts[2] in inner:
        return f"model.layers.{parts[1]}.{inner[parts[2]]}.{parts[3]}"
    if parts[0] in OUTER_TENSORS and len(parts) == 2:
        return f"{OUTER_TENSORS[parts[0]]}.{parts[1]}"
    raise UnsupportedModelError(f"tensor {name} has no place in this architecture")


def _as_hf_has_it(name: str, values: Tensor, config: dict[str, Any]) -> Tensor:
    """Undo what llama.cpp's converter does to rotated heads of Llama, and to the norms of Gemma."""
    if config["model_type"] in ("llama", "mistral"):
        if ".attn_q." in name:
            return _unpermuted(name, values, config["num_attention_heads"])
        if ".attn_k." in name:
            return _unpermuted(name, values, config["num_key_value_heads"])
    if config["model_type"] == "gemma3_text" and name.endswith("norm.weight"):
        return values - 1
    return values


def _unpermuted(name: str, values: Tensor, heads: int) -> Tensor:
    """From the row order of interleaved RoPE, which llama GGUF files have, to that of half-split RoPE."""
    if heads < 1 or not 1 <= values.dim() <= 2 or values.shape[0] % (2 * heads):
        raise CorruptModelError(f"tensor {name} of shape {list(values.shape)} does not hold {heads} heads")
    pairs = values.view(heads, -1, 2, *values.shape[1:])
    return pairs.transpose(1, 2).reshape(values.shape)
