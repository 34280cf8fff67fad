"""One reply: prefill what is not cached, then choose token after token and pass their text on."""

from collections.abc import Sequence

from torch import Tensor

from llm.engine.generation import EventStream
from llm.engine.interface import Delta, Finished, FinishReason, GenerationRequest, Started
from llm.engine.sampler import Sampler
from llm.engine.slots import Slot
from llm.model.decoder import Decoder
from llm.text.chat_format import ChatTokenizer
from llm.text.detokenizer import Detokenizer, ids_of_text
from llm.text.stop_strings import StopStrings

PREFILL_CHUNK = 256
"""Tokens computed at a time: between two chunks a cancelled request ends."""


class Reply:
    """Generates one reply in a slot and reports to the stream."""

    def __init__(
        self,
        request: GenerationRequest,
        stream: EventStream,
        slot: Slot,
        decoder: Decoder,
        tokenizer: ChatTokenizer,
    ) -> None:
        self._request = request
        self._stream = stream
        self._slot = slot
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._sampler = Sampler(request.sampling, request.prompt, tokenizer.special_ids)
        self._detokenizer = Detokenizer(tokenizer.decode)
        self._stops = StopStrings((*request.sampling.stop, *tokenizer.format.stop))
        self._token_ids: list[int] = []
        self._sampled = 0
        self._text = ""

    def generate(self) -> None:
        """Run to the end. A fault is raised; its report is left to the caller, as is the slot."""
        self._stream.put(Started(len(self._request.prompt), self._slot.cache.length, self._sampler.seed))
        reason = self._run()
        self._stream.put(self._finished(reason))

    def so_far(self) -> tuple[str, tuple[int, ...]]:
        """The text that has gone out, and ids that decode to it."""
        return self._text, ids_of_text(
            self._token_ids, self._text, self._tokenizer.decode, self._tokenizer.encode_text
        )

    def _run(self) -> FinishReason:
        logits = self._prefill()
        while logits is not None and not self._stream.is_cancelled:
            token_id = self._sampler.next(logits)
            self._sampled += 1
            if token_id in self._tokenizer.end_of_turn_ids:
                return "stop"
            self._token_ids.append(token_id)
            self._pass_on(self._stops.add(self._detokenizer.add(token_id)))
            if self._stops.found:
                return "stop"
            if self._sampled == self._request.sampling.max_tokens:
                return "length"
            logits = self._compute([token_id])
        return "cancelled"

    def _prefill(self) -> Tensor | None:
        """Logits after the prompt; None if the request was cancelled meanwhile."""
        logits = None
        for start in range(self._slot.cache.length, len(self._request.prompt), PREFILL_CHUNK):
            if self._stream.is_cancelled:
                return None
            logits = self._compute(self._request.prompt[start : start + PREFILL_CHUNK])
        return logits

    def _compute(self, token_ids: Sequence[int]) -> Tensor:
        logits = self._decoder.extend(token_ids, self._slot.cache)
        self._slot.token_ids.extend(token_ids)
        return logits[0]

    def _pass_on(self, text: str) -> None:
        self._text += text
        self._stream.put(Delta(text))

    def _finished(self, reason: FinishReason) -> Finished:
        if not self._stops.found:
            rest = self._stops.add(self._detokenizer.end())
            if not self._stops.found:
                rest += self._stops.end()
            if rest:
                self._pass_on(rest)
        text, token_ids = self.so_far()
        return Finished(reason, text, token_ids, completion_tokens=self._sampled)
