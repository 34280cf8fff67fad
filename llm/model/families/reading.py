"""What the configs of all families have in common."""

import math
from typing import Any

from llm.errors import UnsupportedModelError
from llm.model.rope import FrequencyDivisors, LinearScaling, Llama3Scaling, Rope, RopeScaling, YarnScaling

Config = dict[str, Any]

FREQUENCY_DIVISORS = "frequency_divisors"
"""A rope type of our own: what conversions of GGUF files say where these have a table of divisors."""


def refuse_unless(config: Config, **supported: Any) -> None:
    """Raise UnsupportedModelError unless each field has the one value supported, or is not there."""
    for field, value in {"quantization_config": None, **supported}.items():
        if config.get(field) not in (None, value):
            raise UnsupportedModelError(f"{field} {config[field]!r} is not supported, only {value!r}")


def read_sizes(config: Config) -> dict[str, Any]:
    """The fields of ModelConfig that every family says in the same way."""
    heads = config["num_attention_heads"]
    return {
        "architecture": config["model_type"],
        "vocab_size": config["vocab_size"],
        "hidden_size": config["hidden_size"],
        "intermediate_size": config["intermediate_size"],
        "heads": heads,
        "kv_heads": config.get("num_key_value_heads") or heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // heads,
        "rms_norm_eps": config["rms_norm_eps"],
        "tied_head": config.get("tie_word_embeddings", False),
    }


def sliding_layers(names: list[str], layers: int) -> list[bool]:
    """Whether each layer slides, by the `layer_types` of a config."""
    unknown = set(names) - {"full_attention", "sliding_attention"}
    if unknown:
        raise UnsupportedModelError(f"layers of {min(unknown)!r} are not supported")
    if len(names) != layers:
        raise ValueError(f"{len(names)} layer_types for {layers} layers")
    return [name == "sliding_attention" for name in names]


def read_rope(config: Config) -> Rope:
    """The rotary embedding of a model that has one for all its layers."""
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    theta = parameters.get("rope_theta") or config.get("rope_theta") or 10000.0
    return rope_from(parameters, theta, config)


def rope_from(parameters: Config, theta: float, config: Config) -> Rope:
    """The rotary embedding that `rope_parameters` (formerly `rope_scaling`) describe."""
    refuse_unless(parameters, partial_rotary_factor=1.0)
    refuse_unless(config, partial_rotary_factor=1.0)
    if theta <= 1:
        raise ValueError(f"rope_theta {theta} is not more than 1")
    return Rope(float(theta), _scaling(parameters, config))


def context_window(config: Config, rope: Rope) -> int:
    """Tokens: `max_position_embeddings`, or what YaRN stretches the original window to, if that is more.

    Configs to which YaRN has been added by hand, as Qwen's model cards advise, keep the unstretched number.
    """
    window: int = config["max_position_embeddings"]
    if isinstance(rope.scaling, YarnScaling):
        return max(window, int(rope.scaling.factor * rope.scaling.original_window))
    return window


def _scaling(parameters: Config, config: Config) -> RopeScaling | None:
    match parameters.get("rope_type") or parameters.get("type") or "default":
        case "default":
            return None
        case "linear":
            return LinearScaling(_factor(parameters["factor"]))
        case "llama3":
            return _llama3(parameters, config)
        case "yarn":
            return _yarn(parameters, config)
        case name if name == FREQUENCY_DIVISORS:
            return FrequencyDivisors(tuple(map(_factor, parameters["divisors"])))
        case name:
            raise UnsupportedModelError(
                f"rope_type {name!r} is not supported; supported are default, linear, llama3, yarn"
            )


def _llama3(parameters: Config, config: Config) -> Llama3Scaling:
    low, high = _factor(parameters["low_freq_factor"]), _factor(parameters["high_freq_factor"])
    if low >= high:
        raise ValueError(f"low_freq_factor {low} is not less than high_freq_factor {high}")
    return Llama3Scaling(_factor(parameters["factor"]), low, high, _original_window(parameters, config))


def _yarn(parameters: Config, config: Config) -> YarnScaling:
    original = _original_window(parameters, config)
    factor = _factor(parameters.get("factor") or config["max_position_embeddings"] / original)
    magnitude = parameters.get("attention_factor")
    if magnitude is None:
        magnitude = _yarn_magnitude(factor, parameters.get("mscale"), parameters.get("mscale_all_dim"))
    return YarnScaling(
        factor=factor,
        original_window=original,
        magnitude=_factor(magnitude),
        fast=_factor(parameters.get("beta_fast") or 32.0),
        slow=_factor(parameters.get("beta_slow") or 1.0),
        whole=bool(parameters.get("truncate", True)),
    )


def _yarn_magnitude(factor: float, mscale: float | None, mscale_all_dim: float | None) -> float:
    """0.1 ln(factor) + 1 (arXiv:2309.00071, section 3.4); DeepSeek's two fields weigh it and divide it."""

    def grown(weight: float) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    return grown(mscale) / grown(mscale_all_dim) if mscale and mscale_all_dim else grown(1.0)


def _original_window(parameters: Config, config: Config) -> int:
    return int(
        config.get("original_max_position_embeddings")
        or parameters.get("original_max_position_embeddings")
        or config["max_position_embeddings"]
    )


def _factor(value: float) -> float:
    if not value > 0 or math.isinf(value):
        raise ValueError(f"{value} is no factor")
    return float(value)
