"""transformers `generate` in a benchmark, on the same weights in safetensors format."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, DynamicCache
from transformers.utils.logging import disable_progress_bar

from evals.bench.runners import FirstToken
from llm.loading import DtypeName

SHORT_NAMES: dict[DtypeName, str] = {"bfloat16": "bf16", "float32": "fp32"}


class TransformersRunner:
    """`evals.bench.runners.DecodingRunner`."""

    def __init__(self, folder: Path, dtype: DtypeName, threads: int) -> None:
        self.name = f"transformers {SHORT_NAMES[dtype]}"
        torch.set_num_threads(threads)
        disable_progress_bar()  # type: ignore[no-untyped-call]
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        self.model.generation_config.eos_token_id = None

    def new_chat(self, room: int) -> "TransformersChat":  # noqa: ARG002 - its cache grows by itself
        return TransformersChat(self.model)

    def decode_together(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[float]]:
        """Prompts of one length: `generate` would pad shorter ones, and compute the padding."""
        times = generate(self.model, prompts, tokens, DynamicCache())
        return [times for _ in prompts]

    def close(self) -> None:
        del self.model


class TransformersChat:
    """Keeps its cache where the next prompt goes on from all that is in it, as a user of `generate` does."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache = DynamicCache()
        self._cached: list[int] = []

    def first_token(self, prompt: Sequence[int]) -> FirstToken:
        began = time.perf_counter()
        computed = self._keep_prefix_of(prompt)
        generate(self._model, [prompt], 1, self._cache)
        self._cached = list(prompt)
        return FirstToken(time.perf_counter() - began, computed)

    @torch.inference_mode()
    def take_reply(self, token_ids: Sequence[int]) -> None:
        new = torch.tensor([list(token_ids[len(self._cached) :])])
        self._model(new, past_key_values=self._cache, logits_to_keep=1)
        self._cached = list(token_ids)

    def decode(self, prompt: Sequence[int], tokens: int) -> list[float]:
        if self._cached[: len(prompt)] == list(prompt):
            # The first token needs the logits of the prompt's last. Below zero: how many to take away.
            self._cache.crop(len(prompt) - 1 - self._cache.get_seq_length())
        else:
            self._cache = DynamicCache()
        times = generate(self._model, [prompt], tokens, self._cache)
        self._cached = list(prompt)
        return times

    def close(self) -> None:
        self._cache = DynamicCache()

    def _keep_prefix_of(self, prompt: Sequence[int]) -> int:
        """Drop a cache that the prompt does not go on from; how many tokens of it are left to compute."""
        known = len(self._cached)
        if known >= len(prompt) or list(prompt[:known]) != self._cached:
            self._cache, known = DynamicCache(), 0
        return len(prompt) - known


@torch.inference_mode()
def generate(model: Any, prompts: Sequence[Sequence[int]], tokens: int, cache: DynamicCache) -> list[float]:
    """Generate greedily, from prompts of one length; the time of each step, by `time.perf_counter`."""
    times: list[float] = []

    def note_time(ids: torch.Tensor, _scores: object, **_: object) -> torch.Tensor:
        times.append(time.perf_counter())
        return torch.zeros(len(ids), dtype=torch.bool)

    ids = torch.tensor([list(prompt) for prompt in prompts])
    model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        past_key_values=cache,
        max_new_tokens=tokens,
        do_sample=False,
        stopping_criteria=[note_time],
        pad_token_id=0,
    )
    return times
