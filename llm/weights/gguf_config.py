"""What the metadata of a GGUF file say, as a Hugging Face `config.json`.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; where files leave one out, what llama.cpp
takes (src/llama-model.cpp) is taken here.
"""

from collections.abc import Callable
from typing import Any

from llm.errors import UnsupportedModelError
from llm.model.families.reading import FREQUENCY_DIVISORS

HFConfig = dict[str, Any]

LAYERS_OF_GEMMA3_27B = 62
"""The one Gemma 3 whose attention scale is not that of its head size; its files do not say so."""


class Metadata:
    """The metadata of a file, those of its architecture by the rest of their key, and its tensors by name."""

    def __init__(self, reader: Any) -> None:
        self._fields = reader.fields
        self.architecture = self.of_file("general.architecture")
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}

    def of_file(self, key: str, default: Any = None) -> Any:
        field = self._fields.get(key)
        return default if field is None else field.contents()

    def get(self, key: str, default: Any = None) -> Any:
        """Raises UnsupportedModelError for a list that does not say the same of all layers."""
        value = self.of_file(f"{self.architecture}.{key}", default)
        if isinstance(value, list):
            if len(set(value)) != 1:
                raise UnsupportedModelError(f"layers that differ in {key} are not supported")
            return value[0]
        return value

    def need(self, key: str) -> Any:
        value = self.get(key)
        if value is None:
            raise KeyError(f"{self.architecture}.{key}")
        return value

    @property
    def head_dim(self) -> int:
        each = int(self.need("embedding_length")) // int(self.need("attention.head_count"))
        return int(self.get("attention.key_length", each))


def hf_config(reader: Any) -> HFConfig:
    """Raises UnsupportedModelError naming what is not supported.

    KeyError, TypeError, ValueError or ArithmeticError where metadata are missing or impossible.
    """
    metadata = Metadata(reader)
    if metadata.architecture not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"GGUF architecture {metadata.architecture!r} is not supported; "
            f"supported are {', '.join(ARCHITECTURES)}"
        )
    _refuse_unsupported(metadata)
    return _common(metadata) | ARCHITECTURES[metadata.architecture](metadata)


def _refuse_unsupported(metadata: Metadata) -> None:
    for key, supported in {
        "expert_count": 0,
        "rope.dimension_count": metadata.head_dim,
        "attention.value_length": metadata.head_dim,
        "attn_logit_softcapping": 0.0,
        "rope.scaling.yarn_log_multiplier": 0.0,
    }.items():
        value = metadata.get(key, supported)
        if value != supported:
            raise UnsupportedModelError(f"{key} {value} is not supported, only {supported}")
    if metadata.of_file("split.count", 1) > 1:
        raise UnsupportedModelError("a GGUF file in several parts is not supported")


def _common(metadata: Metadata) -> HFConfig:
    heads = int(metadata.need("attention.head_count"))
    if "token_embd.weight" not in metadata.tensors:
        raise KeyError("token_embd.weight")
    return {
        "vocab_size": int(metadata.tensors["token_embd.weight"].shape[1]),
        "hidden_size": int(metadata.need("embedding_length")),
        "intermediate_size": int(metadata.need("feed_forward_length")),
        "num_hidden_layers": int(metadata.need("block_count")),
        "num_attention_heads": heads,
        "num_key_value_heads": int(metadata.get("attention.head_count_kv", heads)),
        "head_dim": metadata.head_dim,
        "max_position_embeddings": int(metadata.need("context_length")),
        "rope_parameters": _rope(metadata, 10_000.0),
        "rms_norm_eps": float(metadata.need("attention.layer_norm_rms_epsilon")),
        "hidden_act": "silu",
        "tie_word_embeddings": "output.weight" not in metadata.tensors,
        "bos_token_id": metadata.of_file("tokenizer.ggml.bos_token_id"),
        "eos_token_id": _ends(metadata),
        "dtype": "float32",
    }


def _ends(metadata: Metadata) -> list[int]:
    """End of the text, of the turn, and of a message that calls a tool."""
    ids = (metadata.of_file(f"tokenizer.ggml.{end}_token_id") for end in ("eos", "eot", "eom"))
    return list(dict.fromkeys(int(token_id) for token_id in ids if token_id is not None))


def _rope(metadata: Metadata, default_theta: float) -> HFConfig:
    theta = {"rope_theta": float(metadata.get("rope.freq_base", default_theta))}
    factor = float(metadata.get("rope.scaling.factor") or metadata.get("rope.scale_linear") or 0.0)
    kind = metadata.get("rope.scaling.type", "linear" if factor else "none")
    if "rope_freqs.weight" in metadata.tensors:
        if kind != "none":
            raise UnsupportedModelError(f"rope_freqs together with RoPE scaling {kind!r} are not supported")
        divisors = metadata.tensors["rope_freqs.weight"].data.tolist()
        return theta | {"rope_type": FREQUENCY_DIVISORS, "divisors": divisors}
    match kind:
        case "none":
            return theta | {"rope_type": "default"}
        case "linear":
            return theta | {"rope_type": "linear", "factor": factor or 1.0}
        case "yarn":
            return theta | _yarn(metadata, factor)
        case _:
            raise UnsupportedModelError(
                f"RoPE scaling {kind!r} is not supported; supported are none, linear, yarn"
            )


def _yarn(metadata: Metadata, factor: float) -> HFConfig:
    """The attention factor is left to be what the paper says, which llama.cpp too multiplies by."""
    for key in ("rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor"):
        if metadata.get(key, 1.0) != 1.0:
            raise UnsupportedModelError(f"{key} {metadata.get(key)} is not supported, only 1.0")
    return {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": int(
            metadata.get("rope.scaling.original_context_length") or metadata.need("context_length")
        ),
        "beta_fast": float(metadata.get("rope.scaling.yarn_beta_fast", 32.0)),
        "beta_slow": float(metadata.get("rope.scaling.yarn_beta_slow", 1.0)),
    }


def _llama(metadata: Metadata) -> HFConfig:
    """Llama, or Mistral, whose files are of the same architecture, if it has a sliding window."""
    biases = {
        "attention_bias": "blk.0.attn_q.bias" in metadata.tensors,
        "mlp_bias": "blk.0.ffn_down.bias" in metadata.tensors,
    }
    window = metadata.get("attention.sliding_window")
    if window and not any(biases.values()):
        return {"model_type": "mistral", "sliding_window": int(window)}
    return {"model_type": "llama", **biases}


def _gemma3(metadata: Metadata) -> HFConfig:
    layers, scalar = int(metadata.need("block_count")), metadata.head_dim
    if layers == LAYERS_OF_GEMMA3_27B:
        scalar = int(metadata.need("embedding_length")) // int(metadata.need("attention.head_count"))
    window = int(metadata.get("attention.sliding_window", 0))
    pattern = _pattern(metadata, layers) if window else [False] * layers
    return {
        "model_type": "gemma3_text",
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar,
        "sliding_window": window or None,
        "layer_types": ["sliding_attention" if slides else "full_attention" for slides in pattern],
        "rope_parameters": {
            "full_attention": _rope(metadata, 1_000_000.0),
            "sliding_attention": {
                "rope_type": "default",
                "rope_theta": float(metadata.get("rope.freq_base_swa", 10_000.0)),
            },
        },
        "final_logit_softcapping": metadata.get("final_logit_softcapping") or None,
    }


def _pattern(metadata: Metadata, layers: int) -> list[bool]:
    """Whether each layer slides: listed, or all but every n-th."""
    pattern = metadata.of_file("gemma3.attention.sliding_window_pattern", 6)
    if isinstance(pattern, list):
        return [bool(slides) for slides in pattern]
    return [(layer + 1) % pattern != 0 for layer in range(layers)]


ARCHITECTURES: dict[str, Callable[[Metadata], HFConfig]] = {
    "llama": _llama,
    "qwen2": lambda _: {"model_type": "qwen2"},
    "qwen3": lambda _: {"model_type": "qwen3"},
    "gemma3": _gemma3,
}
