"""The choice of the next token from its logits."""

import secrets
from collections import Counter
from collections.abc import Iterable

import torch
from torch import Tensor

from llm.engine.interface import SamplingParameters

COLDEST = 1e-6
"""Below this temperature only the likeliest token has any probability, and a softmax would overflow."""


class Sampler:
    """Chooses tokens for one request, with a random generator of its own."""

    def __init__(
        self, parameters: SamplingParameters, prompt_ids: Iterable[int], special_ids: frozenset[int]
    ) -> None:
        self.seed = secrets.randbits(53) if parameters.seed is None else parameters.seed
        self._parameters = parameters
        self._special_ids = special_ids
        self._generator = torch.Generator().manual_seed(self.seed)
        # Special tokens are excepted: a penalty on the end of a turn would make replies run on.
        self._seen = set(prompt_ids) - special_ids if parameters.repetition_penalty != 1.0 else set()
        self._times: Counter[int] = Counter()  # in the reply

    def next(self, logits: Tensor) -> int:
        """The next token's id, from `logits [vocab]`, float32."""
        parameters = self._parameters
        if parameters.repetition_penalty != 1.0:
            logits = self._penalised(logits)
        if parameters.frequency_penalty or parameters.presence_penalty:
            logits = self._lowered(logits)
        if parameters.temperature < COLDEST:
            token_id = int(logits.argmax())
        else:
            token_id = self._drawn(token_probabilities(logits, parameters))
        if token_id not in self._special_ids:
            self._seen.add(token_id)
            self._times[token_id] += 1
        return token_id

    def _penalised(self, logits: Tensor) -> Tensor:
        if not self._seen:
            return logits
        seen = torch.tensor(sorted(self._seen))
        scores = logits[seen]
        penalty = self._parameters.repetition_penalty
        return logits.index_copy(0, seen, torch.where(scores > 0, scores / penalty, scores * penalty))

    def _lowered(self, logits: Tensor) -> Tensor:
        """Less for what the reply has said, by how often, and that it has."""
        if not self._times:
            return logits
        said = torch.tensor(list(self._times))
        times = torch.tensor(list(self._times.values()), dtype=logits.dtype)
        parameters = self._parameters
        lowered = logits[said] - parameters.frequency_penalty * times - parameters.presence_penalty
        return logits.index_copy(0, said, lowered)

    def _drawn(self, probabilities: Tensor) -> int:
        return int(torch.multinomial(probabilities, 1, generator=self._generator))


def token_probabilities(logits: Tensor, parameters: SamplingParameters) -> Tensor:
    """Probabilities `[vocab]` after temperature, top-k, top-p and min-p, in this order."""
    probabilities = (logits / parameters.temperature).softmax(dim=-1)
    if 0 < parameters.top_k < probabilities.numel():
        likeliest = probabilities.topk(parameters.top_k).indices
        probabilities = _keep(probabilities, torch.zeros_like(probabilities).index_fill(0, likeliest, 1.0))
    if parameters.top_p < 1.0:
        probabilities = _keep(probabilities, _nucleus(probabilities, parameters.top_p))
    if parameters.min_p > 0.0:
        probabilities = _keep(probabilities, probabilities >= parameters.min_p * probabilities.max())
    return probabilities


def _nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """The fewest likeliest tokens whose probabilities reach `top_p`, as a mask `[vocab]`."""
    # All tokens below this mark together have less than 1 - top_p: they are never needed, nor sorted.
    needless = (1 - top_p) / probabilities.numel()
    candidates = (probabilities >= needless).nonzero().squeeze(1)
    ordered, order = probabilities[candidates].sort(descending=True, stable=True)
    # A token stays if those before it have not reached top_p yet: so the first always does.
    stays = (ordered.cumsum(0) - ordered < top_p).to(probabilities.dtype)
    return torch.zeros_like(probabilities).index_copy(0, candidates[order], stays)


def _keep(probabilities: Tensor, kept: Tensor) -> Tensor:
    probabilities = probabilities * kept
    return probabilities / probabilities.sum()
