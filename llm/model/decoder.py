"""The decoder: new tokens of any number of sequences in, logits out; what came before is in their caches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

from llm.model.attention import AttentionPath, causal_mask, mask_for, seen_tokens
from llm.model.block import Batch, Block, SelfAttention, View
from llm.model.config import LayerKind, ModelConfig
from llm.model.kv_cache import KVCache
from llm.model.layers import Embedding, Linear, RMSNorm
from llm.model.packed import pack
from llm.model.rope import angles

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


DecodeStep = Callable[[Sequence[Span]], list[Tensor] | None]
"""Another way to compute a pass, tried first: the logits that each span wants, or None if it cannot.

Room has been reserved in the caches; that they advance is left to the decoder.
"""


@dataclass(frozen=True, slots=True)
class _GrowingBatch:
    """Spans of any lengths, whose caches grow by them.

    `starts`: their places among all tokens.
    """

    spans: Sequence[Span]
    starts: Sequence[int]
    views: Mapping[LayerKind, View]
    generated: bool

    def attended(
        self, layer: SelfAttention, masks: Sequence[Tensor | None], qk: Tensor, values: Tensor
    ) -> Tensor:
        parts = []
        for span, start, mask in zip(self.spans, self.starts, masks, strict=True):
            count = len(span.token_ids)
            at = slice(start, start + count)
            k, v = span.cache.append(layer.index, qk[layer.heads :, at], values[:, at])
            first = k.shape[1] - seen_tokens(count, k.shape[1], layer.kind.window)
            parts.append(layer.attend(qk[: layer.heads, at], k[:, first:], v[:, first:], mask, layer.scale))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


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
        self._attention = attention
        self.decode_step: DecodeStep | None = None
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

    def rope(self, kind: LayerKind, positions: Tensor) -> tuple[Tensor, Tensor]:
        """What layers of a kind turn tokens at `positions` by (see `View`)."""
        if kind not in self._frequencies:
            self._frequencies[kind] = kind.rope.frequencies(self.config.head_dim, self.device)
        turns, magnitude = angles(positions, self._frequencies[kind]), kind.rope.magnitude
        cos, sin = ((wave * magnitude).to(self.dtype) for wave in (turns.cos(), turns.sin()))
        return cos, sin

    def hidden(self, token_ids: Tensor, batch: Batch) -> Tensor:
        """What the blocks make of `token_ids [tokens]`: `[tokens, hidden]`."""
        x: Tensor = self.embedding(token_ids)
        for block in self.blocks:
            x = block(x, batch)
        return x

    def logits(self, rows: Tensor, generated: bool) -> Tensor:
        """Of rows that the blocks gave: `[rows, hidden] -> [rows, vocab]`, float32."""
        logits: Tensor = self.head(self.norm(rows), generated).float()
        if self.config.final_softcap is not None:
            logits = self.config.final_softcap * (logits / self.config.final_softcap).tanh()
        return logits

    def _pass(self, spans: Sequence[Span], *, generated: bool) -> list[Tensor]:
        for span in spans:
            span.cache.reserve(len(span.token_ids))
        logits = None if self.decode_step is None else self.decode_step(spans)
        if logits is None:
            logits = self._grown(spans, generated)
        for span in spans:  # last, so that whatever fails before leaves the caches as they were
            span.cache.advance(len(span.token_ids))
        return logits

    def _grown(self, spans: Sequence[Span], generated: bool) -> list[Tensor]:
        token_ids = torch.tensor([i for span in spans for i in span.token_ids], device=self.device)
        batch = self._batch(spans, generated)
        x = self.hidden(token_ids, batch)
        wanted = [
            x.narrow(0, start + len(span.token_ids) - count, count)
            for span, start in zip(batch.spans, batch.starts, strict=True)
            for count in [_logits_count(span)]
        ]
        rows = torch.cat(wanted)
        if not len(rows):
            return [rows.new_empty(0, self.config.vocab_size) for _ in wanted]
        return list(torch.split(self.logits(rows, generated), [len(part) for part in wanted]))

    def _batch(self, spans: Sequence[Span], generated: bool) -> _GrowingBatch:
        counts = [len(span.token_ids) for span in spans]
        starts = [0, *accumulate(counts[:-1])]
        positions = torch.cat(
            [
                torch.arange(span.cache.length, span.cache.length + count)
                for span, count in zip(spans, counts, strict=True)
            ]
        ).to(self.device)
        views = {
            kind: View(self.rope(kind, positions), [self._mask(span, kind.window) for span in spans])
            for kind in set(self.config.layer_kinds)
        }
        return _GrowingBatch(spans, starts, views, generated)

    def _mask(self, span: Span, window: int | None) -> Tensor | None:
        tokens, hold = len(span.token_ids), span.cache.hold
        length = span.cache.length + tokens
        if hold is None or not hold.acts_at(length - 1):
            mask = mask_for(self._attention, self.device)
            return mask(tokens, length, self.dtype, self.device, window)
        positions = torch.arange(length, device=self.device)
        keys = positions[length - seen_tokens(tokens, length, window) :]
        added = hold.added(positions[length - tokens :], keys).to(self.dtype)
        hidden = causal_mask(tokens, length, self.dtype, self.device, window)
        return added if hidden is None else added + hidden


def _logits_count(span: Span) -> int:
    match span.logits:
        case "none":
            return 0
        case "last":
            return 1
        case "all":
            return len(span.token_ids)
