"""Qwen2 and 2.5 (arXiv:2407.10671, arXiv:2412.15115), and Qwen3 (arXiv:2505.09388)."""

from llm.model.config import LayerKind, ModelConfig
from llm.model.families.reading import (
    Config,
    context_window,
    read_rope,
    read_sizes,
    refuse_unless,
    sliding_layers,
)


def read_qwen2(config: Config) -> ModelConfig:
    """Biases on query, key and value."""
    refuse_unless(config, hidden_act="silu")
    return ModelConfig(**_read_common(config), qkv_bias=True)


def read_qwen3(config: Config) -> ModelConfig:
    """Norms on the heads of query and key."""
    refuse_unless(config, hidden_act="silu")
    attention_bias = bool(config.get("attention_bias", False))
    return ModelConfig(
        **_read_common({"head_dim": 128} | config),
        qk_norm=True,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
    )


def _read_common(config: Config) -> Config:
    rope = read_rope(config)
    window = config.get("sliding_window", 4096) if config.get("use_sliding_window") else None
    return {
        **read_sizes(config),
        "context_window": context_window(config, rope),
        "layer_kinds": tuple(
            LayerKind(rope, window if slides else None) for slides in _sliding_layers(config)
        ),
    }


def _sliding_layers(config: Config) -> list[bool]:
    """Whether each layer slides: listed by name in newer configs, from some layer on in older ones."""
    layers: int = config["num_hidden_layers"]
    if config.get("layer_types"):
        return sliding_layers(config["layer_types"], layers)
    first = config.get("max_window_layers", 28)
    return [layer >= first for layer in range(layers)]
