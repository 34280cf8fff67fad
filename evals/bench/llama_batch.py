"""Many sequences in one batch of llama.cpp, by its C interface as llama-cpp-python binds it.

Every step is one `llama_decode` of one token of each sequence, as its own batched benchmark does.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp as llama
import numpy as np

PREFILL_BATCH = 512
ROOM_STEP = 256
"""llama.cpp gives a sequence room in steps of so many tokens."""


def decode_together(
    gguf: Path, threads: int, prompts: Sequence[Sequence[int]], tokens: int
) -> list[list[float]]:
    """Generate so many tokens of each prompt, greedily; the times of each stream's tokens."""
    longest = max(len(prompt) for prompt in prompts) + tokens
    with _context(gguf, threads, len(prompts), longest) as (context, vocabulary, batch):
        newest = []
        for sequence, prompt in enumerate(prompts):
            rows = [(token, at, sequence) for at, token in enumerate(prompt)]
            for start in range(0, len(rows), PREFILL_BATCH):
                _decode(context, batch, rows[start : start + PREFILL_BATCH], wants_all=False)
            newest.append(_greedy(context, -1, vocabulary))
        times = [time.perf_counter()]
        for step in range(tokens - 1):
            rows = [(token, len(prompts[sequence]) + step, sequence) for sequence, token in enumerate(newest)]
            _decode(context, batch, rows, wants_all=True)
            newest = [_greedy(context, row, vocabulary) for row in range(len(rows))]
            times.append(time.perf_counter())
    return [times for _ in prompts]


@contextmanager
def _context(gguf: Path, threads: int, sequences: int, room: int) -> Iterator[tuple[Any, int, Any]]:
    """A context for so many sequences of `room` tokens, the size of its vocabulary, and a batch to fill."""
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)  # it tells of every tensor otherwise
    llama.llama_backend_init()
    model = llama.llama_model_load_from_file(str(gguf).encode(), llama.llama_model_default_params())
    params = llama.llama_context_default_params()
    params.n_ctx = sequences * math.ceil(room / ROOM_STEP) * ROOM_STEP
    params.n_seq_max = sequences
    params.n_batch = PREFILL_BATCH
    params.n_threads = params.n_threads_batch = threads
    context = llama.llama_init_from_model(model, params)
    batch = llama.llama_batch_init(PREFILL_BATCH, 0, 1)
    try:
        yield context, llama.llama_vocab_n_tokens(llama.llama_model_get_vocab(model)), batch
    finally:
        llama.llama_batch_free(batch)
        llama.llama_free(context)
        llama.llama_model_free(model)


def _decode(context: Any, batch: Any, rows: Sequence[tuple[int, int, int]], *, wants_all: bool) -> None:
    """Compute rows of (token, position, sequence); logits of all of them, or of the last."""
    batch.n_tokens = len(rows)
    for row, (token, position, sequence) in enumerate(rows):
        batch.token[row] = token
        batch.pos[row] = position
        batch.n_seq_id[row] = 1
        batch.seq_id[row][0] = sequence
        batch.logits[row] = wants_all or row == len(rows) - 1
    if status := llama.llama_decode(context, batch):
        raise RuntimeError(f"llama_decode gave {status}")


def _greedy(context: Any, row: int, vocabulary: int) -> int:
    logits = np.ctypeslib.as_array(llama.llama_get_logits_ith(context, row), shape=(vocabulary,))
    return int(logits.argmax())
