"""Tiny random models, made by transformers, in a moment and without a download."""

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

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


def save_tiny_llama(folder: Path, **changes: Any) -> Any:
    """A random Llama in Hugging Face format in `folder`, and as transformers runs it."""
    torch.manual_seed(0)
    model: Any = LlamaForCausalLM(LlamaConfig(**(TINY | changes)))
    model.eval()
    model.save_pretrained(folder)
    return model
