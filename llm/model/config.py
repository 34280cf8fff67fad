"""The shape of a model: what the decoder needs to know of it, whatever family it comes from."""

from dataclasses import dataclass
from typing import Literal

from llm.model.rope import FrequencyDivisors, Rope

Activation = Literal["silu", "gelu_tanh"]


@dataclass(frozen=True, slots=True)
class LayerKind:
    """How a layer attends: its rotary embedding, and how many tokens back it sees, itself included.

    A `window` of None sees everything.
    """

    rope: Rope
    window: int | None = None


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes are in elements; `context_window` is in tokens.

    `attention_scale` multiplies the scores; None stands for 1/√head_dim. `qk_norm`: queries and keys are
    normed head by head before they are turned. `post_norms`: what attention and MLP give is normed again
    before it is added. `norms_from_one`: checkpoints of this family store the weights of norms less one.
    `final_softcap` bounds the logits softly: cap · tanh(logits / cap).
    """

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    heads: int
    kv_heads: int
    head_dim: int
    context_window: int
    rms_norm_eps: float
    tied_head: bool
    layer_kinds: tuple[LayerKind, ...]
    activation: Activation = "silu"
    attention_scale: float | None = None
    embedding_scale: float = 1.0
    final_softcap: float | None = None
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    post_norms: bool = False
    norms_from_one: bool = False

    def __post_init__(self) -> None:
        sizes = (self.vocab_size, self.hidden_size, self.intermediate_size, self.layers, self.context_window)
        if min(*sizes, self.heads, self.kv_heads, self.head_dim) < 1:
            raise ValueError("a size is less than one")
        if self.heads % self.kv_heads or self.head_dim % 2:
            raise ValueError(
                f"{self.heads} heads of {self.head_dim} do not divide into pairs on {self.kv_heads} KV heads"
            )
        if any(kind.window is not None and kind.window < 1 for kind in self.layer_kinds):
            raise ValueError("a sliding window is less than one token")
        for scaling in {kind.rope.scaling for kind in self.layer_kinds}:
            if isinstance(scaling, FrequencyDivisors) and len(scaling.divisors) != self.head_dim // 2:
                raise ValueError(f"{len(scaling.divisors)} divisors for heads of {self.head_dim}")

    @property
    def layers(self) -> int:
        return len(self.layer_kinds)
