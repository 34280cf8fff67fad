"""A block of the decoder: attention, then the MLP, each beside what it was given.

Its products are of all tokens of a step together. Only where a token looks at others of its sequence do
the layers ask the batch, which knows the sequences and their caches.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from llm.model.attention import ATTENTION_PATHS, AttentionPath
from llm.model.config import LayerKind, ModelConfig
from llm.model.layers import GatedMLP, Linear, RMSNorm
from llm.model.rope import rotate


@dataclass(frozen=True, slots=True)
class View:
    """What layers of one kind need to know of the tokens of a step.

    `rope`: what `rotate` turns them by, cosines and sines `[tokens, head_dim]`. `masks`: of each sequence,
    what is added to the scores of its tokens.
    """

    rope: tuple[Tensor, Tensor]
    masks: Sequence[Tensor | None]


class Batch(Protocol):
    """What the layers need to know of the tokens of a step."""

    @property
    def generated(self) -> bool:
        """Whether they are computed as generated tokens (see `Linear`)."""

    @property
    def views(self) -> Mapping[LayerKind, View]: ...

    def attended(
        self, layer: "SelfAttention", masks: Sequence[Tensor | None], qk: Tensor, values: Tensor
    ) -> Tensor:
        """Write the new keys and values to the caches, and let each token attend to its own sequence.

        `qk [heads + kv_heads, tokens, head_dim]` are queries and keys, `values [kv_heads, tokens, head_dim]`.
        Gives `[heads, tokens, head_dim]`.
        """


class SelfAttention(nn.Module):
    """Projections around attention. Query, key and value are one matrix: one product reads x once.

    All sequences share the products; each attends to its own cache.
    """

    def __init__(self, config: ModelConfig, layer: int, attention: AttentionPath) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.index, self.kind, self.scale = layer, config.layer_kinds[layer], config.attention_scale
        self.attend = ATTENTION_PATHS[attention]
        rows = (config.heads + 2 * config.kv_heads) * config.head_dim
        self.qkv = Linear(config.hidden_size, rows, bias=config.qkv_bias)
        self.out = Linear(config.heads * config.head_dim, config.hidden_size, bias=config.out_bias)
        self.q_norm, self.k_norm = (
            RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None for _ in range(2)
        )

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        tokens = x.shape[0]
        view = batch.views[self.kind]
        qkv = self.qkv(x, batch.generated).view(tokens, -1, self.head_dim).transpose(0, 1)
        qk = rotate(self._normed(qkv[: self.heads + self.kv_heads]), *view.rope)
        attended = batch.attended(self, view.masks, qk, qkv[self.heads + self.kv_heads :])
        joined = attended.transpose(0, 1).reshape(tokens, -1)
        return self.out(joined, batch.generated)  # type: ignore[no-any-return]

    def _normed(self, qk: Tensor) -> Tensor:
        if self.q_norm is None or self.k_norm is None:
            return qk
        return torch.cat((self.q_norm(qk[: self.heads]), self.k_norm(qk[self.heads :])))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); in some families with a norm behind each part too."""

    def __init__(self, config: ModelConfig, layer: int, attention: AttentionPath) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = SelfAttention(config, layer, attention)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = GatedMLP(
            config.hidden_size, config.intermediate_size, config.activation, bias=config.mlp_bias
        )
        self.post_attention_norm, self.post_mlp_norm = (
            RMSNorm(config.hidden_size, config.rms_norm_eps) if config.post_norms else nn.Identity()
            for _ in range(2)
        )

    def forward(self, x: Tensor, batch: Batch) -> Tensor:
        x = x + self.post_attention_norm(self.attention(self.attention_norm(x), batch))
        return x + self.post_mlp_norm(self.mlp(self.mlp_norm(x), batch.generated))  # type: ignore[no-any-return]
