"""The memories of LangChain: the real classes, with our tokeniser's counts.

In a benchmark the model that they summarise by is a stand-in: it computes nothing, and writes a text of full
length.
"""

import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import SimpleChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, trim_messages
from langchain_core.vectorstores import InMemoryVectorStore

from evals.peers.memory import PeerMemory
from llm.text.chat_format import ChatEncoding
from memory.messages import Role
from memory.recall.words import terms
from memory.strategies.base import Strategy
from memory.strategies.buffer import Buffer
from memory.strategies.sliding_window import SlidingWindow
from memory.strategies.summary import RunningSummary
from memory.strategies.summary_buffer import SummaryBuffer
from memory.strategies.token_buffer import TokenBuffer
from memory.strategies.vector import Vector

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from langchain_classic.memory import (
        ConversationBufferMemory,
        ConversationBufferWindowMemory,
        ConversationSummaryBufferMemory,
        ConversationSummaryMemory,
        ConversationTokenBufferMemory,
        ConversationVectorStoreTokenBufferMemory,
    )

DOCUMENT_TOKENS = 110
"""About what a document of theirs takes, an exchange with its time: as many are asked for as fit ours."""
ROLES: dict[str, Role] = {"human": "user", "ai": "assistant", "system": "system"}


class CountingModel(SimpleChatModel):  # type: ignore[misc]  # Any where LangChain is not installed
    """Counts tokens as the service does. A summary of it has `summary_tokens` at most."""

    encoder: Any
    summary_tokens: int

    @property
    def _llm_type(self) -> str:
        return type(self).__name__

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], *_: Any, **__: Any) -> int:
        return sum(len(self.encoder.encode_message(ROLES[each.type], each.content)) for each in messages)


class StandInModel(CountingModel):
    """Writes as a summary the end of what it is to summarise."""

    def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
        ids = self.encoder.encode_text(str(messages[-1].content))
        frame = len(self.encoder.encode_message("system", ""))
        return str(self.encoder.decode(ids[-max(1, self.summary_tokens - frame) :]))


class StandInEmbeddings(Embeddings):  # type: ignore[misc]  # Any where LangChain is not installed
    """Counts words in 64 classes: near is what shares words."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        classes = Counter(zlib.crc32(word.encode()) % 64 for word in terms(text))
        return [float(classes[number]) + 0.01 for number in range(64)]


class ClassicMemory:
    """`PeerMemory` on a class of langchain-classic."""

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    def messages(self, asked: str) -> list[tuple[Role, str]]:
        return _as_pairs(self._memory.load_memory_variables({"input": asked})["history"])

    def take_turn(self, said: str, replied: str) -> None:
        self._memory.save_context({"input": said}, {"output": replied})


class TrimmedMemory:
    """`PeerMemory` by `trim_messages`, over the whole chat at each turn."""

    def __init__(self, token_counter: Any, max_tokens: int) -> None:
        self._messages: list[BaseMessage] = []
        self._token_counter = token_counter
        self._max_tokens = max_tokens

    def messages(self, asked: str) -> list[tuple[Role, str]]:  # noqa: ARG002
        return _as_pairs(
            trim_messages(
                self._messages,
                strategy="last",
                max_tokens=self._max_tokens,
                token_counter=self._token_counter,
                start_on="human",
            )
        )

    def take_turn(self, said: str, replied: str) -> None:
        self._messages += [HumanMessage(said), AIMessage(replied)]


def stand_ins(strategy: Strategy, encoder: ChatEncoding) -> dict[str, PeerMemory]:
    """Those that do what our strategy does, within the same budget, by LangChain's names.

    No model computes anything for them.
    """
    return langchain_memories(strategy, partial(StandInModel, encoder=encoder), StandInEmbeddings())


def langchain_memories(
    strategy: Strategy, model_of: Callable[..., CountingModel], embeddings: Embeddings
) -> dict[str, PeerMemory]:
    """The same. `model_of`: makes their model, of the argument `summary_tokens`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if isinstance(strategy, Vector):
            classic: Any = _vector_memory(strategy, model_of, embeddings)
        else:
            classic = _classic_memory(strategy, model_of)
    found: dict[str, PeerMemory] = {}
    if classic is not None:
        found[type(classic).__name__] = ClassicMemory(classic)
    if isinstance(strategy, SlidingWindow):
        found["trim_messages"] = TrimmedMemory(len, 2 * strategy.turns)
    if isinstance(strategy, TokenBuffer):
        counted = model_of(summary_tokens=0).get_num_tokens_from_messages
        found["trim_messages"] = TrimmedMemory(counted, strategy.token_budget)
    return found


def _vector_memory(strategy: Vector, model_of: Callable[..., CountingModel], embeddings: Embeddings) -> Any:
    store = InMemoryVectorStore(embeddings)
    documents = max(1, strategy.recall_tokens // DOCUMENT_TOKENS)
    return ConversationVectorStoreTokenBufferMemory(
        llm=model_of(summary_tokens=0),
        retriever=store.as_retriever(search_kwargs={"k": documents}),
        max_token_limit=strategy.token_budget,
        return_messages=True,
    )


def _classic_memory(strategy: Strategy, model_of: Callable[..., CountingModel]) -> Any:
    """None if there is none that does the same."""
    match strategy:
        case Buffer():
            return ConversationBufferMemory(return_messages=True)
        case SlidingWindow(turns=turns):
            return ConversationBufferWindowMemory(k=turns, return_messages=True)
        case TokenBuffer(token_budget=budget):
            return ConversationTokenBufferMemory(
                llm=model_of(summary_tokens=0), max_token_limit=budget, return_messages=True
            )
        case SummaryBuffer(token_budget=budget, max_summary_tokens=tokens):
            # It does not count the summary: so the budget of both is that of its turns and ours of all.
            return ConversationSummaryBufferMemory(
                llm=model_of(summary_tokens=tokens), max_token_limit=budget - tokens, return_messages=True
            )
        case RunningSummary(max_summary_tokens=tokens):
            return ConversationSummaryMemory(llm=model_of(summary_tokens=tokens), return_messages=True)
        case _:
            return None


def _as_pairs(messages: Sequence[BaseMessage]) -> list[tuple[Role, str]]:
    return [(ROLES[message.type], message.content) for message in messages if message.content]
