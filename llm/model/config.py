"""The shape of a model, read from a Hugging Face `config.json`."""

from dataclasses import dataclass
from typing import Any

from llm.errors import UnsupportedModelError

SUPPORTED_ARCHITECTURES = ("llama",)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes are in elements; `context_window` is in tokens."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    context_window: int
    rope_theta: float
    rms_norm_eps: float
    tied_head: bool

    @classmethod
    def from_hf(cls, config: dict[str, Any]) -> "ModelConfig":
        """Raises UnsupportedModelError for what this decoder does not compute."""
        architecture = config.get("model_type")
        if architecture not in SUPPORTED_ARCHITECTURES:
            raise UnsupportedModelError(
                f"architecture {architecture!r} is not supported; supported are "
                + ", ".join(SUPPORTED_ARCHITECTURES)
            )
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        _refuse_unsupported(config, rope)
        heads = config["num_attention_heads"]
        shape = cls(
            architecture=architecture,
            vocab_size=config["vocab_size"],
            hidden_size=config["hidden_size"],
            intermediate_size=config["intermediate_size"],
            layers=config["num_hidden_layers"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            context_window=config["max_position_embeddings"],
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
            rms_norm_eps=config["rms_norm_eps"],
            tied_head=config.get("tie_word_embeddings", False),
        )
        shape._check()
        return shape

    def _check(self) -> None:
        sizes = (self.vocab_size, self.hidden_size, self.intermediate_size, self.layers, self.context_window)
        if min(*sizes, self.heads, self.kv_heads, self.head_dim) < 1:
            raise ValueError("a size is less than one")
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise ValueError(
                f"{self.heads} heads of {self.head_dim} do not divide into pairs on {self.kv_heads} KV heads"
            )


def _refuse_unsupported(config: dict[str, Any], rope: dict[str, Any]) -> None:
    wanted = {
        "hidden_act": (config.get("hidden_act", "silu"), "silu"),
        "attention_bias": (config.get("attention_bias", False), False),
        "mlp_bias": (config.get("mlp_bias", False), False),
        "rope_type": (rope.get("rope_type", rope.get("type", "default")), "default"),
        "partial_rotary_factor": (rope.get("partial_rotary_factor", 1.0), 1.0),
        "quantization_config": (config.get("quantization_config"), None),
    }
    for feature, (value, supported) in wanted.items():
        if value != supported:
            raise UnsupportedModelError(f"{feature} {value!r} is not supported, only {supported!r}")
