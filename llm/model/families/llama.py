"""Llama 2 and 3 (arXiv:2307.09288, arXiv:2407.21783), SmolLM2, and Mistral 7B (arXiv:2310.06825)."""

from llm.model.config import LayerKind, ModelConfig
from llm.model.families.reading import Config, context_window, read_rope, read_sizes, refuse_unless


def read_llama(config: Config) -> ModelConfig:
    refuse_unless(config, hidden_act="silu")
    rope = read_rope(config)
    attention_bias = bool(config.get("attention_bias", False))
    return ModelConfig(
        **read_sizes(config),
        context_window=context_window(config, rope),
        layer_kinds=(LayerKind(rope),) * config["num_hidden_layers"],
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        mlp_bias=bool(config.get("mlp_bias", False)),
    )


def read_mistral(config: Config) -> ModelConfig:
    """As Llama; every layer slides if there is a window, which is 4096 where nothing is said of it."""
    refuse_unless(config, hidden_act="silu")
    rope = read_rope(config)
    kind = LayerKind(rope, config.get("sliding_window", 4096))
    return ModelConfig(
        **read_sizes(config),
        context_window=context_window(config, rope),
        layer_kinds=(kind,) * config["num_hidden_layers"],
    )
