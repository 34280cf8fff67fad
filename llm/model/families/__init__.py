"""Families of models: what each one's Hugging Face `config.json` says, in the terms of `ModelConfig`."""

from collections.abc import Callable
from typing import Any

from llm.errors import UnsupportedModelError
from llm.model.config import ModelConfig
from llm.model.families.gemma3 import read_gemma3, read_gemma3_text
from llm.model.families.llama import read_llama, read_mistral
from llm.model.families.qwen import read_qwen2, read_qwen3

FAMILIES: dict[str, Callable[[dict[str, Any]], ModelConfig]] = {
    "llama": read_llama,
    "mistral": read_mistral,
    "qwen2": read_qwen2,
    "qwen3": read_qwen3,
    "gemma3_text": read_gemma3_text,
    "gemma3": read_gemma3,
}
"""By `model_type`. To add a family, write its reader and name it here."""


def read_hf_config(config: dict[str, Any]) -> ModelConfig:
    """Raises UnsupportedModelError for what the decoder does not compute, naming it.

    ValueError, KeyError, TypeError, AttributeError or ArithmeticError for a config that is not whole.
    """
    architecture = config.get("model_type")
    if architecture not in FAMILIES:
        raise UnsupportedModelError(
            f"architecture {architecture!r} is not supported; supported are {', '.join(FAMILIES)}"
        )
    return FAMILIES[architecture](config)
