"""Who writes the summaries: the model of this service, or its sentence embedder."""

import asyncio
from uuid import uuid4

from app.chat_model import ChatModel
from app.embedding import SentenceEmbedder
from llm.engine.interface import Failed, Finished, GenerationRequest, SamplingParameters
from llm.errors import ModelError, PromptTooLongError, QueueFullError
from llm.text.chat_format import ChatEncoding
from memory.errors import SummaryRefusedError
from memory.strategies.summarising import SummarisingStrategy
from memory.summaries.extractive import ExtractiveSummariser
from memory.summaries.summariser import Summariser
from memory.summaries.summary import as_message
from memory.summaries.written import WrittenSummariser

GOOD_WRITER_PARAMETERS = 1_000_000_000
"""From this size on a model writes better summaries than its sentences, chosen well."""


class Summarisers:
    """Makes the summariser that a strategy asks for."""

    def __init__(self, model: ChatModel, embedder: SentenceEmbedder) -> None:
        self._model = model
        self._embedder = embedder

    def of(self, strategy: SummarisingStrategy) -> Summariser:
        extractive = ExtractiveSummariser(self._embedder.embed, self.count_tokens)
        if strategy.summariser == "extractive" or (
            strategy.summariser == "auto" and not self._model_writes_well
        ):
            return extractive
        return WrittenSummariser(
            self._write,
            self.count_tokens,
            author=self._model.engine.model.name,
            otherwise=extractive,
            instructions=strategy.summary_instructions,
        )

    @property
    def encoder(self) -> ChatEncoding:
        """What `encode` encodes by."""
        return self._model.tokenizer

    def encode(self, text: str) -> tuple[int, ...]:
        """A summary's ids, as they stand in the context."""
        return self._model.tokenizer.encode_message("system", as_message(text))

    def count_tokens(self, text: str) -> int:
        return len(self.encode(text))

    @property
    def _model_writes_well(self) -> bool:
        parameters = self._model.engine.model.parameters
        return parameters is None or parameters >= GOOD_WRITER_PARAMETERS  # a server's is most likely large

    async def _write(self, instructions: str, source: str, max_tokens: int) -> str:
        tokenizer = self._model.tokenizer
        prompt = (
            *tokenizer.encode_preamble(instructions),
            *tokenizer.encode_message("user", source),
            *tokenizer.generation_prompt,
        )
        # A name of its own, by which it is dropped from the cache: no chat would take it along when it goes.
        conversation = f"summary {uuid4()}"
        request = GenerationRequest(
            prompt=prompt,
            sampling=SamplingParameters(max_tokens=max_tokens, temperature=0.0),
            conversation=conversation,
            messages=(("system", instructions), ("user", source)),
        )
        try:
            generation = self._model.engine.submit(request)
        except (QueueFullError, PromptTooLongError, ModelError) as error:
            raise SummaryRefusedError(f"the model cannot write it now: {error}") from error
        try:
            async for event in generation:
                match event:
                    case Finished(text=text):
                        return text
                    case Failed(error=why):
                        raise SummaryRefusedError(f"the model could not finish it: {why}")
        finally:
            generation.cancel()
            await asyncio.to_thread(self._model.engine.forget, conversation)
        raise SummaryRefusedError("the model's stream ended without a last event")
