"""The log-probabilities of the tokens of a reply, kept until the text of the tokens goes out."""

from collections import deque

from torch import Tensor

from llm.engine.interface import ChosenToken


class ChosenTokens:
    """Tokens in the order in which they were chosen. A token goes out when its text begins to."""

    def __init__(self, likeliest: int) -> None:
        self._likeliest = likeliest
        self._held: deque[tuple[int, ChosenToken]] = deque()

    def add(self, token_id: int, logits: Tensor, text_start: int) -> None:
        """A token was chosen from `logits [vocab]`; its text begins after `text_start` characters."""
        logprobs = logits.log_softmax(dim=-1)
        best = logprobs.topk(min(self._likeliest, logprobs.numel()))
        likeliest = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        self._held.append((text_start, ChosenToken(token_id, float(logprobs[token_id]), likeliest)))

    def begun(self, characters: int) -> tuple[ChosenToken, ...]:
        """Those that have not gone out, and begin within the first so many characters of the text."""
        out: list[ChosenToken] = []
        while self._held and self._held[0][0] < characters:
            out.append(self._held.popleft()[1])
        return tuple(out)

    def rest(self) -> tuple[ChosenToken, ...]:
        """All that have not gone out."""
        out = tuple(token for _, token in self._held)
        self._held.clear()
        return out
