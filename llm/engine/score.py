"""How likely candidates are after a prompt.

The prompt is computed like that of a reply, and kept in the store as far. Then each candidate is computed
behind it, in the same cache, which goes back to the prompt's end for the next; no more is kept of them.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress

import torch
from torch import Tensor

from llm.engine.blocks import Sharing
from llm.engine.interface import ScoreRequest, Scores
from llm.engine.job import AwaitedJob
from llm.errors import EngineClosedError
from llm.model.decoder import Span


class ScoreJob(AwaitedJob):
    """Computes the logits that the candidates need, and no others. `result` may be cancelled by anyone."""

    wanted_logits = "last"

    def __init__(self, request: ScoreRequest, sharing: Sharing) -> None:
        super().__init__(request.prompt, sharing, has_slot=False)
        self.result: Future[Scores] = Future()
        self._request = request
        self._cached_tokens = 0
        self._logprobs: list[list[float]] = [[] for _ in request.candidates]
        self._to_continue = deque(index for index, ids in enumerate(request.candidates) if len(ids) > 1)
        self._candidate: int | None = None
        self._error: Exception | None = None

    @property
    def prompt_tokens(self) -> int:
        return len(self._request.prompt)

    @property
    def max_length(self) -> int:
        return self.prompt_tokens + self._request.longest_candidate

    @property
    def is_cancelled(self) -> bool:
        return self.result.cancelled()

    @property
    def useful_prefix(self) -> int:
        return self.prompt_tokens - 1  # the first tokens' scores follow from the logits of the prompt's last

    def span(self, max_tokens: int) -> Span:
        if self._candidate is None:
            return super().span(max_tokens)
        start = self.cache.length
        return Span(self.token_ids[start : start + max_tokens], self.cache, "all")

    def advance(self, logits: Tensor) -> None:
        if not len(logits):
            return
        if self._candidate is None:
            self._cached_tokens = self.prompt_tokens - self.computed_tokens
            self.leave_store()
            for index, ids in enumerate(self._request.candidates):
                self._logprobs[index] += _logprobs_of(ids[:1], logits)
        else:
            done = self._logprobs[self._candidate]
            following = self._request.candidates[self._candidate][len(done) : len(done) + len(logits)]
            done += _logprobs_of(following, logits)
        if not self.remaining:
            self._next_candidate()

    def _next_candidate(self) -> None:
        self.is_done = not self._to_continue
        if self._to_continue:
            self._candidate = self._to_continue.popleft()
            self.cache.truncate(self.prompt_tokens)
            # Nothing is asked of what follows its last token, which need not be computed.
            self.token_ids = [*self._request.prompt, *self._request.candidates[self._candidate][:-1]]

    def end_cancelled(self) -> None:
        self.fail(EngineClosedError("the engine has been closed"))

    def fail(self, error: Exception) -> None:
        self._error = error

    def report_end(self) -> None:
        with suppress(InvalidStateError):  # it has been cancelled meanwhile: nobody wants to know
            if self._error is not None:
                self.result.set_exception(self._error)
            else:
                self.result.set_result(Scores(tuple(map(tuple, self._logprobs)), self._cached_tokens))


def _logprobs_of(token_ids: Sequence[int], logits: Tensor) -> list[float]:
    """Of each token by its row of `logits [tokens, vocab]`."""
    rows = logits[: len(token_ids)]
    chosen = rows.gather(1, torch.tensor(token_ids, dtype=torch.long, device=rows.device).view(-1, 1))
    return (chosen.squeeze(1) - rows.logsumexp(dim=-1)).tolist()
