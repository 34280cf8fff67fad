"""Gemma 3 (arXiv:2503.19786), the text part of it."""

from llm.model.config import LayerKind, ModelConfig
from llm.model.families.reading import (
    Config,
    context_window,
    read_sizes,
    refuse_unless,
    rope_from,
    sliding_layers,
)
from llm.model.rope import Rope

DEFAULTS: Config = {
    "vocab_size": 262_208,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
}
"""What the published configs leave out."""

SLIDING, FULL = "sliding_attention", "full_attention"


def read_gemma3(config: Config) -> ModelConfig:
    """The text part of a checkpoint that also sees images."""
    tied = {"tie_word_embeddings": config["tie_word_embeddings"]} if "tie_word_embeddings" in config else {}
    quantised = {"quantization_config": config.get("quantization_config")}
    return read_gemma3_text(tied | config["text_config"] | quantised | {"model_type": "gemma3"})


def read_gemma3_text(config: Config) -> ModelConfig:
    refuse_unless(
        config,
        hidden_activation="gelu_pytorch_tanh",
        attn_logit_softcapping=None,
        use_bidirectional_attention=False,
    )
    config = DEFAULTS | config
    rope = _global_rope(config)
    full = LayerKind(rope)
    sliding = LayerKind(_local_rope(config), config["sliding_window"])
    attention_bias = bool(config.get("attention_bias", False))
    return ModelConfig(
        **read_sizes(config),
        context_window=context_window(config, rope),
        layer_kinds=tuple(sliding if slides else full for slides in _slides(config)),
        activation="gelu_tanh",
        attention_scale=config["query_pre_attn_scalar"] ** -0.5,
        embedding_scale=config["hidden_size"] ** 0.5,
        final_softcap=config.get("final_logit_softcapping") or None,
        qkv_bias=attention_bias,
        out_bias=attention_bias,
        qk_norm=True,
        post_norms=True,
        norms_from_one=True,
    )


def _slides(config: Config) -> list[bool]:
    layers: int = config["num_hidden_layers"]
    if config.get("layer_types"):
        return sliding_layers(config["layer_types"], layers)
    pattern: int = config["sliding_window_pattern"]
    return [(layer + 1) % pattern != 0 for layer in range(layers)]


def _global_rope(config: Config) -> Rope:
    """Layers that see everything: scaled, in the older form of the config too."""
    parameters = (config.get("rope_parameters") or {}).get(FULL) or config.get("rope_scaling") or {}
    theta = parameters.get("rope_theta") or config.get("rope_theta") or 1_000_000.0
    return rope_from(parameters, theta, config)


def _local_rope(config: Config) -> Rope:
    parameters = (config.get("rope_parameters") or {}).get(SLIDING) or {}
    theta = parameters.get("rope_theta") or config.get("rope_local_base_freq") or 10_000.0
    return rope_from(parameters, theta, config)
