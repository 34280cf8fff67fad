"""One reply: after its prompt, token after token is chosen and its text passed on.

A step may compute guesses of the next tokens too (see `llm.engine.prompt_lookup`). Each token is chosen
just as without them, from its own logits and by its own draw; if it is the one that was guessed, the logits
after it are there already. So guesses change neither the distribution of replies, nor, but for the noise
of floating point, the reply to a seed: that is rejection sampling (Leviathan et al. 2023, arXiv:2211.17192)
where the draft is certain of itself. The draw is the token to be accepted with its probability, or the
one to take instead.
"""

from collections.abc import Callable
from contextlib import suppress

from torch import Tensor

from llm.engine.blocks import Sharing
from llm.engine.chosen_tokens import ChosenTokens
from llm.engine.generation import EventStream
from llm.engine.interface import (
    ChosenToken,
    Delta,
    Failed,
    FailureReason,
    Finished,
    FinishReason,
    GenerationRequest,
    Started,
)
from llm.engine.job import AwaitedJob
from llm.engine.prompt_lookup import Drafter
from llm.engine.sampler import Sampler
from llm.errors import EngineClosedError, QueueTimeoutError
from llm.model.decoder import Span
from llm.text.chat_format import ChatTokenizer
from llm.text.detokenizer import Detokenizer, ids_of_text
from llm.text.stop_strings import StopStrings

FAILURE_REASONS: dict[type[Exception], FailureReason] = {
    QueueTimeoutError: "timeout",
    EngineClosedError: "closed",
}


class ReplyJob(AwaitedJob):
    """Generates one reply and reports to `stream`. `on_cancel` is called by whoever cancels it."""

    wanted_logits = "last"

    def __init__(
        self,
        request: GenerationRequest,
        sharing: Sharing,
        tokenizer: ChatTokenizer,
        on_cancel: Callable[["ReplyJob"], None],
    ) -> None:
        super().__init__(request.prompt, sharing)
        self.stream = EventStream(lambda: on_cancel(self))
        self._request = request
        self._tokenizer = tokenizer
        self._sampler = Sampler(request.sampling, request.prompt, tokenizer.special_ids)
        self._detokenizer = Detokenizer(tokenizer.decode)
        self._stops = StopStrings((*request.sampling.stop, *tokenizer.format.stop))
        self._drafter = Drafter(self.token_ids, self.prompt_tokens, tokenizer.end_of_turn_ids)
        self._draft: list[int] = []
        self._sampled = 0
        wanted = request.sampling.logprobs
        self._chosen = ChosenTokens(wanted) if wanted is not None else None
        self._produced = 0  # characters of the text, what is held back of it included
        self._text = ""
        self._last: Finished | Failed | None = None

    @property
    def prompt_tokens(self) -> int:
        return len(self._request.prompt)

    @property
    def max_length(self) -> int:
        return self.prompt_tokens + self._request.sampling.max_tokens

    @property
    def is_cancelled(self) -> bool:
        return self.stream.is_cancelled

    @property
    def is_decoding(self) -> bool:
        return self._sampled > 0

    @property
    def generated_tokens(self) -> int:
        return self._sampled

    @property
    def useful_prefix(self) -> int:
        return self.prompt_tokens - 1  # the first token follows from the logits of the prompt's last

    @property
    def reply_ids(self) -> list[int]:
        return self.token_ids[self.prompt_tokens :]

    def span(self, max_tokens: int) -> Span:
        """When decoding: the last token, and guesses of those after it."""
        if not self.is_decoding:
            return super().span(max_tokens)
        most_useful = self._request.sampling.max_tokens - self._sampled - 1
        self._draft = self._drafter.draft(min(max_tokens - 1, most_useful)) if max_tokens > 1 else []
        return Span([self.token_ids[-1], *self._draft], self.cache, "all", generated=True)

    def advance(self, logits: Tensor) -> None:
        if not len(logits):
            return
        if not self._sampled:
            cached = self.prompt_tokens - self.computed_tokens
            queued_s = self.began_at - self.added_at
            self.stream.put(Started(self.prompt_tokens, cached, self._sampler.seed, queued_s))
        before = self._sampled
        for row, guess in zip(logits.cpu(), [*self._draft, None], strict=True):
            token_id = self._sampler.next(row)
            self._add(token_id, row)
            if token_id != guess or self.is_done or self.is_cancelled:
                break
        used = self._sampled - before
        self.cache.truncate(self.cache.length - len(logits) + used)

    def _add(self, token_id: int, logits: Tensor) -> None:
        self._sampled += 1
        if token_id in self._tokenizer.end_of_turn_ids:
            self._finish("stop")
            return
        self.token_ids.append(token_id)
        if self._chosen is not None:
            self._chosen.add(token_id, logits, self._produced)
        text = self._detokenizer.add(token_id)
        self._produced += len(text)
        self._pass_on(self._stops.add(text))
        if self._stops.found:
            self._finish("stop")
        elif self._sampled == self._request.sampling.max_tokens:
            self._finish("length")

    def end_cancelled(self) -> None:
        self._finish("cancelled")

    def fail(self, error: Exception) -> None:
        reason = FAILURE_REASONS.get(type(error), "error")
        message = str(error) if reason != "error" else f"{type(error).__name__}: {error}"
        self._last = Failed(message, reason=reason)
        with suppress(Exception):  # the tokeniser itself may be at fault
            self._last = Failed(message, self._text, self._ids_of_text(), reason)

    def report_end(self) -> None:
        assert self._last is not None
        self.stream.put(self._last)

    def _pass_on(self, text: str, *, is_last: bool = False) -> None:
        self._text += text
        tokens: tuple[ChosenToken, ...] = ()
        if self._chosen is not None:
            tokens = self._chosen.rest() if is_last else self._chosen.begun(len(self._text))
        self.stream.put(Delta(text, tokens))

    def _finish(self, reason: FinishReason) -> None:
        if not self._stops.found:
            rest = self._stops.add(self._detokenizer.end())
            if not self._stops.found:
                rest += self._stops.end()
            if rest or (self._chosen is not None and self._sampled):
                self._pass_on(rest, is_last=not self._stops.found)
        self._last = Finished(reason, self._text, self._ids_of_text(), completion_tokens=self._sampled)
        self.is_done = True

    def _ids_of_text(self) -> tuple[int, ...]:
        """Ids that decode to the text that has gone out: those that were generated, as far as they do."""
        return ids_of_text(self.reply_ids, self._text, self._tokenizer.decode, self._tokenizer.encode_text)
