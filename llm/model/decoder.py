"""The decoder: new tokens of any number of sequences in, logits out; what came before is in their caches."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

from llm.model.attention import ATTENTION_PATHS, Attention, AttentionPath, causal_mask
from llm.model.config import ModelConfig
from llm.model.kv_cache import KVCache
from llm.model.layers import Embedding, Linear, RMSNorm, SwiGLU
from llm.model.rope import rope_table, rotate

WantedLogits = Literal["none", "last", "all"]


@dataclass(frozen=True, slots=True)
class Span:
    """New tokens of one sequence, which continue what its cache holds; `logits`: after which of them."""

    token_ids: Sequence[int]
    cache: KVCache
    logits: WantedLogits = "last"


@dataclass(frozen=True, slots=True)
class _Batch:
    """What every layer needs to know of the spans: their places among all tokens, and their masks."""

    spans: Sequence[Span]
    starts: Sequence[int]
    masks: Sequence[Tensor | None]
    rope: tuple[Tensor, Tensor]


class SelfAttention(nn.Module):
    """Projections around attention. Query, key and value are one matrix: one product reads x once.

    All spans share the products; each attends to its own cache.
    """

    def __init__(self, config: ModelConfig, attend: Attention) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.attend = attend
        self.qkv = Linear(config.hidden_size, (config.heads + 2 * config.kv_heads) * config.head_dim)
        self.out = Linear(config.heads * config.head_dim, config.hidden_size)

    def forward(self, x: Tensor, batch: _Batch, layer: int) -> Tensor:
        tokens = x.shape[0]
        qkv = self.qkv(x).view(tokens, -1, self.head_dim).transpose(0, 1)
        turned = rotate(qkv[: self.heads + self.kv_heads], *batch.rope)
        attended = []
        for span, start, mask in zip(batch.spans, batch.starts, batch.masks, strict=True):
            at = slice(start, start + len(span.token_ids))
            k, v = span.cache.append(layer, turned[self.heads :, at], qkv[self.heads + self.kv_heads :, at])
            attended.append(self.attend(turned[: self.heads, at], k, v, mask))
        together = attended[0] if len(attended) == 1 else torch.cat(attended, dim=1)
        return self.out(together.transpose(0, 1).reshape(tokens, -1))  # type: ignore[no-any-return]


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: ModelConfig, attend: Attention) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.attention = SelfAttention(config, attend)
        self.mlp_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = SwiGLU(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, batch: _Batch, layer: int) -> Tensor:
        x = x + self.attention(self.attention_norm(x), batch, layer)
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

    @property
    def kv_bytes_per_token(self) -> int:
        config = self.config
        return 2 * config.layers * config.kv_heads * config.head_dim * self.dtype.itemsize

    def new_cache(self, room: int = 0) -> KVCache:
        """An empty cache for a sequence of this model, with room for so many tokens from the start."""
        return KVCache(self.config, self.dtype, self.device, room)

    @torch.inference_mode()
    def forward(self, spans: Sequence[Span]) -> list[Tensor]:
        """Continue each span's sequence by its tokens, all in one pass.

        Gives for each span the logits it wants, float32 `[0 | 1 | tokens, vocab]`, on the model's device.
        Raises ValueError if a sequence passes the context window; all caches are then as they were.
        """
        for span in spans:
            span.cache.reserve(len(span.token_ids))
        x = self.embedding(torch.tensor([i for span in spans for i in span.token_ids], device=self.device))
        batch = self._batch(spans)
        for layer, block in enumerate(self.blocks):
            x = block(x, batch, layer)
        for span in spans:
            span.cache.advance(len(span.token_ids))
        return self._logits(x, batch)

    def extend(self, token_ids: Sequence[int], cache: KVCache, logits: WantedLogits = "last") -> Tensor:
        """`forward` of one sequence alone."""
        return self([Span(token_ids, cache, logits)])[0]  # type: ignore[no-any-return]

    def _batch(self, spans: Sequence[Span]) -> _Batch:
        counts = [len(span.token_ids) for span in spans]
        starts = [0, *accumulate(counts[:-1])]
        positions = [
            torch.arange(span.cache.length, span.cache.length + count)
            for span, count in zip(spans, counts, strict=True)
        ]
        cos, sin = self._rope_table()
        at = torch.cat(positions).to(self.device)
        return _Batch(spans, starts, [self._mask(span) for span in spans], (cos[at], sin[at]))

    def _mask(self, span: Span) -> Tensor | None:
        tokens = len(span.token_ids)
        return causal_mask(tokens, span.cache.length + tokens, self.dtype, self.device)

    def _logits(self, x: Tensor, batch: _Batch) -> list[Tensor]:
        wanted = [
            x.narrow(0, start + len(span.token_ids) - count, count)
            for span, start in zip(batch.spans, batch.starts, strict=True)
            for count in [_logits_count(span)]
        ]
        rows = torch.cat(wanted)
        if not len(rows):
            return [rows.new_empty(0, self.config.vocab_size) for _ in wanted]
        logits = self.head(self.norm(rows)).float()
        return list(torch.split(logits, [len(part) for part in wanted]))

    def _rope_table(self) -> tuple[Tensor, Tensor]:
        if self._rope is None:
            cos, sin = rope_table(self.config.head_dim, self.config.context_window, self.config.rope_theta)
            self._rope = (cos.to(self.device, self.dtype), sin.to(self.device, self.dtype))
        return self._rope


def _logits_count(span: Span) -> int:
    match span.logits:
        case "none":
            return 0
        case "last":
            return 1
        case "all":
            return len(span.token_ids)
