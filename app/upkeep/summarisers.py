"""Who writes the summaries: the model of this service, or its sentence embedder."""

from app.models.chat import ChatModel
from app.models.embedding import SentenceEmbedder
from app.upkeep.writer import ModelWriter
from llm.text.chat_format import ChatEncoding
from memory.strategies.summarising import SummarisingStrategy
from memory.summaries.extractive import ExtractiveSummariser
from memory.summaries.summariser import Summariser
from memory.summaries.summary import as_message
from memory.summaries.written import WrittenSummariser


class Summarisers:
    """Makes the summariser that a strategy asks for."""

    def __init__(self, model: ChatModel, embedder: SentenceEmbedder) -> None:
        self._model = model
        self._writer = ModelWriter(model)
        self._embedder = embedder

    def of(self, strategy: SummarisingStrategy) -> Summariser:
        extractive = ExtractiveSummariser(self._embedder.embed, self.count_tokens)
        if not self._writer.is_meant_by(strategy.summariser):
            return extractive
        return WrittenSummariser(
            self._writer.write,
            self.count_tokens,
            author=self._writer.author,
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
