"""The decoder: token ids in, logits out, with the keys and values of what came before in a cache."""

from typing import Literal

import torch
from torch import Tensor, nn

from llm.model.attention import ATTENTION_PATHS, Attention, AttentionPath, causal_mask
from llm.model.config import ModelConfig
from llm.model.kv_cache import KVCache
from llm.model.layers import Embedding, Linear, RMSNorm, SwiGLU
from llm.model.rope import rope_table, rotate


class SelfAttention(nn.Module):
    """Projections around attention. Query, key and value are one matrix: one product reads x once."""

    def __init__(self, config: ModelConfig, attend: Attention) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.attend = attend
        self.qkv = Linear(config.hidden_size, (config.heads + 2 * config.kv_heads) * config.head_dim)
        self.out = Linear(config.heads * config.head_dim, config.hidden_size)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache, layer: int
    ) -> Tensor:
        tokens = x.shape[0]
        qkv = self.qkv(x).view(tokens, -1, self.head_dim).transpose(0, 1)
        turned = rotate(qkv[: self.heads + self.kv_heads], *rope)
        k, v = cache.append(layer, turned[self.heads :], qkv[self.heads + self.kv_heads :])
        attended = self.attend(turned[: self.heads], k, v, mask)
        return self.out(attended.transpose(0, 1).reshape(tokens, -1))  # type: ignore[no-any-return]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig, attend: Attention) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = SelfAttention(config, attend)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], mask: Tensor | None, cache: KVCache, layer: int
    ) -> Tensor:
        x = x + self.attention(self.attention_norm(x), rope, mask, cache, layer)
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """A decoder-only transformer of the Llama family (Touvron et al. 2023, arXiv:2302.13971)."""

    def __init__(self, config: ModelConfig, attention: AttentionPath = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config, ATTENTION_PATHS[attention]) for _ in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = Linear(config.hidden_size, config.vocab_size)
        if config.tied_head:
            self.head.weight = self.embedding.weight
        self._rope: tuple[Tensor, Tensor] | None = None

    @property
    def dtype(self) -> torch.dtype:
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.embedding.weight.device

    def new_cache(self) -> KVCache:
        """An empty cache for a sequence of this model."""
        return KVCache.empty(self.config, self.dtype, self.device)

    @torch.inference_mode()
    def forward(
        self, token_ids: Tensor, cache: KVCache, *, logits: Literal["last", "all"] = "last"
    ) -> Tensor:
        """Continue the cached sequence by `token_ids [tokens]`.

        Gives float32 logits `[1, vocab]` after the last token, or `[tokens, vocab]` after each, on the
        device that the ids are on, which need not be the model's.
        Raises ValueError if the sequence passes the context window; the cache is then as it was.
        """
        tokens = token_ids.shape[0]
        cache.reserve(tokens)
        length = cache.length + tokens
        cos, sin = self._rope_table()
        rope = (cos[cache.length : length], sin[cache.length : length])
        mask = causal_mask(tokens, length, self.dtype, self.device)
        x = self.embedding(token_ids.to(self.device))
        for layer, block in enumerate(self.blocks):
            x = block(x, rope, mask, cache, layer)
        cache.advance(tokens)
        if logits == "last":
            x = x[-1:]
        return self.head(self.norm(x)).to(token_ids.device, torch.float32)  # type: ignore[no-any-return]

    def _rope_table(self) -> tuple[Tensor, Tensor]:
        if self._rope is None:
            cos, sin = rope_table(self.config.head_dim, self.config.context_window, self.config.rope_theta)
            self._rope = (cos.to(self.device, self.dtype), sin.to(self.device, self.dtype))
        return self._rope
