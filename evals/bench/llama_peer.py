"""llama-cpp-python in a benchmark, on the same GGUF file; `evals.bench.llama_batch` has its batches."""

import time
from collections.abc import Sequence
from itertools import islice, takewhile
from pathlib import Path

from llama_cpp import Llama

from evals.bench.llama_batch import decode_together
from evals.bench.runners import FirstToken


class LlamaRunner:
    """`evals.bench.runners.DecodingRunner`."""

    name = "llama-cpp-python"

    def __init__(self, gguf: Path, threads: int) -> None:
        self._gguf = gguf
        self._threads = threads

    def new_chat(self, room: int) -> "LlamaChat":
        return LlamaChat(
            Llama(
                str(self._gguf),
                n_ctx=room,
                n_threads=self._threads,
                n_threads_batch=self._threads,
                verbose=False,
            )
        )

    def decode_together(self, prompts: Sequence[Sequence[int]], tokens: int) -> list[list[float]]:
        return decode_together(self._gguf, self._threads, prompts, tokens)

    def close(self) -> None:
        """Chats hold all there is."""


class LlamaChat:
    """A context of its own. `Llama.generate` goes on from the longest prefix of what it holds."""

    def __init__(self, llama: Llama) -> None:
        self._llama = llama

    def first_token(self, prompt: Sequence[int]) -> FirstToken:
        held = self._llama.input_ids[: self._llama.n_tokens].tolist()
        same = takewhile(lambda pair: pair[0] == pair[1], zip(held, prompt, strict=False))
        known = min(sum(1 for _ in same), len(prompt) - 1)
        [moment], began = self._generate(prompt, 1)
        return FirstToken(moment - began, len(prompt) - known)

    def take_reply(self, token_ids: Sequence[int]) -> None:
        self._llama.eval(token_ids[self._llama.n_tokens :])

    def decode(self, prompt: Sequence[int], tokens: int) -> list[float]:
        times, _ = self._generate(prompt, tokens)
        return times

    def close(self) -> None:
        self._llama.close()

    def _generate(self, prompt: Sequence[int], tokens: int) -> tuple[list[float], float]:
        """The times of the tokens, and of the beginning, by `time.perf_counter`."""
        began = time.perf_counter()
        generator = self._llama.generate(prompt, temp=0.0, top_k=1, repeat_penalty=1.0)
        times = [time.perf_counter() for _ in islice(generator, tokens)]
        generator.close()
        return times, began
