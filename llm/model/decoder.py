"""The decoder: new tokens of any number of sequences in, logits out; what came before is in their caches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

from llm.model.attention import ATTENTION_PATHS, AttentionPath, causal_mask, seen_tokens
from llm.model.config import LayerKind, ModelConfig
from llm.model.kv_cache import KVCache
from llm.model.layers import Embedding, GatedMLP, Linear, RMSNorm
from llm.model.packed import pack
from llm.model.rope import angles, rotate

WantedLogits = Literal["none", "last", "all"]


@dataclass(frozen=True, slots=True)
class Span:
    """New tokens of one sequence, which continue what its cache holds.

    `logits`: after which of them. `generated`: whether they are a reply's own, not a prompt's.
    """

    token_ids: Sequence[int]
    cache: KVCache
    logits: WantedLogits = "last"
    generated: bool = False


@dataclass(frozen=True, slots=True)
class _View:
    """What layers of one kind need to know: how tokens are turned, and the mask of each span."""

    rope: tuple[Tensor, Tensor]
    masks: Sequence[Tensor | None]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What the layers need to know of the spans: their places among all tokens, and the view of each kind."""

    spans: Sequence[Span]
    starts: Sequence[int]
    views: Mapping[LayerKind, _View]
    generated: bool


class SelfAttention(nn.Module):
    """Projections around attention. Query, key and value are one matrix: one product reads x once.

    All spans share the products; each attends to its own cache.
    """

    def __init__(self, config: ModelConfig, layer: int, attention: AttentionPath) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.layer, self.kind, self.scale = layer, config.layer_kinds[layer], config.attention_scale
        self.attend = ATTENTION_PATHS[attention]
        rows = (config.heads + 2 * config.kv_heads) * config.head_dim
        self.qkv = Linear(config.hidden_size, rows, bias=config.qkv_bias)
        self.out = Linear(config.heads * config.head_dim, config.hidden_size, bias=config.out_bias)
        self.q_norm, self.k_norm = (
            RMSNorm(config.head_dim, config.rms_norm_eps) if config.qk_norm else None for _ in range(2)
        )

    def forward(self, x: Tensor, batch: _Batch) -> Tensor:
        tokens = x.shape[0]
        view = batch.views[self.kind]
        qkv = self.qkv(x, batch.generated).view(tokens, -1, self.head_dim).transpose(0, 1)
        turned = rotate(self._normed(qkv[: self.heads + self.kv_heads]), *view.rope)
        values = qkv[self.heads + self.kv_heads :]
        attended = []
        for span, start, mask in zip(batch.spans, batch.starts, view.masks, strict=True):
            count = len(span.token_ids)
            at = slice(start, start + count)
            k, v = span.cache.append(self.layer, turned[self.heads :, at], values[:, at])
            first = k.shape[1] - seen_tokens(count, k.shape[1], self.kind.window)
            attended.append(
                self.attend(turned[: self.heads, at], k[:, first:], v[:, first:], mask, self.scale)
            )
        together = attended[0] if len(attended) == 1 else torch.cat(attended, dim=1)
        joined = together.transpose(0, 1).reshape(tokens, -1)
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

    def forward(self, x: Tensor, batch: _Batch) -> Tensor:
        x = x + self.post_attention_norm(self.attention(self.attention_norm(x), batch))
        return x + self.post_mlp_norm(self.mlp(self.mlp_norm(x), batch.generated))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """A decoder-only transformer as Llama is (Touvron et al. 2023, arXiv:2302.13971), and its relatives."""

    def __init__(self, config: ModelConfig, attention: AttentionPath = "sdpa") -> None:
        super().__init__()
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.hidden_size, config.embedding_scale)
        self.blocks = nn.ModuleList(Block(config, layer, attention) for layer in range(config.layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.head = Linear(config.hidden_size, config.vocab_size)
        if config.tied_head:
            self.head.weight = self.embedding.weight
        self._frequencies: dict[LayerKind, Tensor] = {}

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

    def pack_for_decoding(self, form: Literal["int8", "int4"]) -> None:
        """Compute generated tokens with packed weights from now on. Raises UnsupportedModelError.

        The head, which chooses the tokens, is packed into eight bits in either form.
        """
        for name, module in self.named_modules():
            if isinstance(module, Linear):
                module.packed = pack(name, module.weight, "int8" if module is self.head else form)

    def reorder_weights(self) -> None:
        """Lay out the matrices as the processor multiplies them fastest. Packing must have been before."""
        for module in self.modules():
            if isinstance(module, Linear):
                module.reorder()

    @torch.inference_mode()
    def forward(self, spans: Sequence[Span]) -> list[Tensor]:
        """Continue each span's sequence by its tokens: in one pass, or, where decoding has packed weights,
        in one for prompts and one for generated tokens.

        Gives for each span the logits it wants, float32 `[0 | 1 | tokens, vocab]`, on the model's device.
        Raises ValueError if a sequence passes the context window; all caches are then as they were.
        """
        if self.head.packed is None:
            return self._pass(spans, generated=False)
        lengths = [span.cache.length for span in spans]
        logits: dict[int, Tensor] = {}
        try:
            for generated in (True, False):
                chosen = [index for index, span in enumerate(spans) if span.generated is generated]
                if chosen:
                    part = self._pass([spans[index] for index in chosen], generated=generated)
                    logits |= zip(chosen, part, strict=True)
        except BaseException:
            for span, length in zip(spans, lengths, strict=True):
                span.cache.truncate(length)
            raise
        return [logits[index] for index in range(len(spans))]

    def extend(self, token_ids: Sequence[int], cache: KVCache, logits: WantedLogits = "last") -> Tensor:
        """`forward` of one sequence alone."""
        return self([Span(token_ids, cache, logits)])[0]  # type: ignore[no-any-return]

    def _pass(self, spans: Sequence[Span], *, generated: bool) -> list[Tensor]:
        for span in spans:
            span.cache.reserve(len(span.token_ids))
        x = self.embedding(torch.tensor([i for span in spans for i in span.token_ids], device=self.device))
        batch = self._batch(spans, generated)
        for block in self.blocks:
            x = block(x, batch)
        logits = self._logits(x, batch)
        for span in spans:  # last, so that whatever fails before leaves the caches as they were
            span.cache.advance(len(span.token_ids))
        return logits

    def _batch(self, spans: Sequence[Span], generated: bool) -> _Batch:
        counts = [len(span.token_ids) for span in spans]
        starts = [0, *accumulate(counts[:-1])]
        positions = torch.cat(
            [
                torch.arange(span.cache.length, span.cache.length + count)
                for span, count in zip(spans, counts, strict=True)
            ]
        ).to(self.device)
        kinds = set(self.config.layer_kinds)
        views = {kind: self._view(kind, spans, positions) for kind in kinds}
        return _Batch(spans, starts, views, generated)

    def _view(self, kind: LayerKind, spans: Sequence[Span], positions: Tensor) -> _View:
        if kind not in self._frequencies:
            self._frequencies[kind] = kind.rope.frequencies(self.config.head_dim, self.device)
        turns, magnitude = angles(positions, self._frequencies[kind]), kind.rope.magnitude
        cos, sin = ((wave * magnitude).to(self.dtype) for wave in (turns.cos(), turns.sin()))
        return _View((cos, sin), [self._mask(span, kind.window) for span in spans])

    def _mask(self, span: Span, window: int | None) -> Tensor | None:
        tokens = len(span.token_ids)
        return causal_mask(tokens, span.cache.length + tokens, self.dtype, self.device, window)

    def _logits(self, x: Tensor, batch: _Batch) -> list[Tensor]:
        wanted = [
            x.narrow(0, start + len(span.token_ids) - count, count)
            for span, start in zip(batch.spans, batch.starts, strict=True)
            for count in [_logits_count(span)]
        ]
        rows = torch.cat(wanted)
        if not len(rows):
            return [rows.new_empty(0, self.config.vocab_size) for _ in wanted]
        logits = self.head(self.norm(rows), batch.generated).float()
        if self.config.final_softcap is not None:
            logits = self.config.final_softcap * (logits / self.config.final_softcap).tanh()
        return list(torch.split(logits, [len(part) for part in wanted]))


def _logits_count(span: Span) -> int:
    match span.logits:
        case "none":
            return 0
        case "last":
            return 1
        case "all":
            return len(span.token_ids)
