"""Tiny random models, made by transformers, in a moment and without a download."""

import random
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from llm.model.config import LayerKind, ModelConfig
from llm.model.rope import Rope

TINY: dict[str, Any] = {
    "vocab_size": 256,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "initializer_range": 0.3,
}

CHAT_VOCABULARY = 49152
"""Tokens of the default model's tokeniser."""

SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 20},
    "qwen2": {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1},
    "qwen3": {"head_dim": 32},
    "gemma3_text": {
        "head_dim": 32,
        "query_pre_attn_scalar": 50,
        "sliding_window": 20,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
}
"""What a tiny model of each family has beyond or instead of `TINY`."""


def tiny_config(**changes: Any) -> ModelConfig:
    """The shape of a model that is never run: of what only keeps its keys and values."""
    shape: dict[str, Any] = {
        "architecture": "llama",
        "vocab_size": 16,
        "hidden_size": 8,
        "intermediate_size": 8,
        "heads": 2,
        "kv_heads": 1,
        "head_dim": 2,
        "context_window": 400,
        "rms_norm_eps": 1e-5,
        "tied_head": True,
        "layer_kinds": (LayerKind(Rope(10000.0)),) * 2,
    }
    return ModelConfig(**(shape | changes))


def random_ids(seed: int, count: int) -> tuple[int, ...]:
    """Ids of ordinary tokens of the default model's tokeniser."""
    chance = random.Random(seed)
    return tuple(chance.randint(17, CHAT_VOCABULARY - 1) for _ in range(count))


def save_tiny_llama(folder: Path, **changes: Any) -> Any:
    """A random Llama in Hugging Face format in `folder`, and as transformers runs it."""
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(LlamaConfig(**(TINY | changes)))
    model.eval()
    model.save_pretrained(folder)
    return model


def save_tiny(folder: Path, family: str, **changes: Any) -> Any:
    """A random model of the family in Hugging Face format in `folder`, and as transformers runs it.

    Unlike what transformers makes, its biases are not zero, nor are its norms neutral.
    """
    torch.manual_seed(0)
    shape = TINY | SHAPES[family] | changes
    if family == "gemma3_text":
        del shape["rope_theta"]  # of its two kinds of layers each has one of its own
    make: Any = AutoModelForCausalLM.from_config
    model = make(AutoConfig.for_model(family, **shape))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.eval()
    model.save_pretrained(folder)
    return model
