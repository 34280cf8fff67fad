"""LangChain's memories with the service's own model and embeddings."""

from functools import partial
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.messages import BaseMessage

from evals.bench.langchain_peer import ROLES, CountingModel, langchain_memories
from evals.harness.service import EvaluatedService
from evals.peers.memory import PeerMemory
from memory.protocols import ChatEncoder
from memory.strategies.base import Strategy


class ServedModel(CountingModel):
    """The model of the service."""

    service: Any
    max_tokens: int = 512
    """Of a reply that is no summary."""

    def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
        said = [(ROLES[each.type], str(each.content)) for each in messages]
        return str(self.service.reply(said, max_tokens=self.summary_tokens or self.max_tokens))


class ServedEmbeddings(Embeddings):  # type: ignore[misc]  # Any where LangChain is not installed
    """The embedding model of the service."""

    def __init__(self, service: EvaluatedService) -> None:
        self._service = service

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._service.embed(texts)

    def embed_query(self, text: str) -> list[float]:
        return self._service.embed([text])[0]


def served_memories(
    strategy: Strategy, service: EvaluatedService, encoder: ChatEncoder
) -> dict[str, PeerMemory]:
    """Those that do what a strategy of ours does, within the same budget, by LangChain's names."""
    model_of = partial(ServedModel, service=service, encoder=encoder)
    return langchain_memories(strategy, model_of, ServedEmbeddings(service))
