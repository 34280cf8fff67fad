"""How likely given tokens are."""

from collections.abc import Sequence
from concurrent.futures import Future

import torch
from torch import Tensor

from llm.engine.job import AwaitedJob
from llm.errors import EngineClosedError


class ScoreJob(AwaitedJob):
    """Log-probability of each token given those before it, from the second on."""

    wanted_logits = "all"

    def __init__(self, token_ids: Sequence[int]) -> None:
        super().__init__(token_ids[:-1], None)
        self.result: Future[list[float]] = Future()
        self._following = list(token_ids[1:])
        self._scores: list[float] = []
        self._error: Exception | None = None

    @property
    def max_length(self) -> int:
        return len(self.token_ids)

    @property
    def is_cancelled(self) -> bool:
        return self.result.cancelled()

    def advance(self, logits: Tensor) -> None:
        done = len(self._scores)
        following = torch.tensor(self._following[done : done + len(logits)], device=logits.device)
        self._scores += logits.log_softmax(dim=-1).gather(1, following.unsqueeze(1)).squeeze(1).tolist()
        self.is_done = len(self._scores) == len(self._following)

    def end_cancelled(self) -> None:
        self.fail(EngineClosedError("the engine has been closed"))

    def fail(self, error: Exception) -> None:
        self._error = error

    def report_end(self) -> None:
        if self._error is not None:
            self.result.set_exception(self._error)
        else:
            self.result.set_result(self._scores)
