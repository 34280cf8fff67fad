"""The memories of LangChain in a benchmark: the real classes, with our tokeniser's counts.

Only the model that they summarise by is a stand-in: it computes nothing, and writes a text of full length.
"""

import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from langchain_core.embeddings import Embeddings
from langchain_core.language_models.chat_models import SimpleChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, trim_messages
from langchain_core.vectorstores import InMemoryVectorStore

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


class PeerMemory(Protocol):
    """A memory of one chat. `messages`: what it puts before the user's message, as role and content."""

    @property
    def name(self) -> str: ...

    def messages(self, asked: str) -> list[tuple[Role, str]]: ...

    def take_turn(self, said: str, replied: str) -> None: ...


class StandInModel(SimpleChatModel):  # type: ignore[misc]  # Any where LangChain is not installed
    """Writes as a summary the end of what it is to summarise, of `summary_tokens` tokens."""

    encoder: Any
    summary_tokens: int

    @property
    def _llm_type(self) -> str:
        return "stand-in"

    def _call(self, messages: list[BaseMessage], *_: Any, **__: Any) -> str:
        ids = self.encoder.encode_text(str(messages[-1].content))
        frame = len(self.encoder.encode_message("system", ""))
        return str(self.encoder.decode(ids[-max(1, self.summary_tokens - frame) :]))

    def get_num_tokens_from_messages(self, messages: Sequence[BaseMessage], *_: Any, **__: Any) -> int:
        return sum(len(self.encoder.encode_message(ROLES[each.type], each.content)) for each in messages)


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
        self.name = f"LangChain {type(memory).__name__}"
        self._memory = memory

    def messages(self, asked: str) -> list[tuple[Role, str]]:
        return _as_pairs(self._memory.load_memory_variables({"input": asked})["history"])

    def take_turn(self, said: str, replied: str) -> None:
        self._memory.save_context({"input": said}, {"output": replied})


class TrimmedMemory:
    """`PeerMemory` by `trim_messages`, over the whole chat at each turn."""

    name = "LangChain trim_messages"

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


def langchain_memories(strategy: Strategy, encoder: ChatEncoding) -> list[PeerMemory]:
    """Those that do what our strategy does, within the same budget."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if isinstance(strategy, Vector):
            return [_vector_memory(strategy, encoder)]
        return _memories(strategy, encoder)


def _vector_memory(strategy: Vector, encoder: ChatEncoding) -> PeerMemory:
    store = InMemoryVectorStore(StandInEmbeddings())
    documents = max(1, strategy.recall_tokens // DOCUMENT_TOKENS)
    return ClassicMemory(
        ConversationVectorStoreTokenBufferMemory(
            llm=StandInModel(encoder=encoder, summary_tokens=0),
            retriever=store.as_retriever(search_kwargs={"k": documents}),
            max_token_limit=strategy.token_budget,
            return_messages=True,
        )
    )


def _memories(strategy: Strategy, encoder: ChatEncoding) -> list[PeerMemory]:
    match strategy:
        case Buffer():
            return [ClassicMemory(ConversationBufferMemory(return_messages=True))]
        case SlidingWindow(turns=turns):
            window = ConversationBufferWindowMemory(k=turns, return_messages=True)
            return [ClassicMemory(window), TrimmedMemory(len, 2 * turns)]
        case TokenBuffer(token_budget=budget):
            model = StandInModel(encoder=encoder, summary_tokens=0)
            buffer = ConversationTokenBufferMemory(llm=model, max_token_limit=budget, return_messages=True)
            return [ClassicMemory(buffer), TrimmedMemory(model.get_num_tokens_from_messages, budget)]
        case SummaryBuffer(token_budget=budget, max_summary_tokens=tokens):
            model = StandInModel(encoder=encoder, summary_tokens=tokens)
            # It does not count the summary: so the budget of both is that of its turns and ours of all.
            both = ConversationSummaryBufferMemory(
                llm=model, max_token_limit=budget - tokens, return_messages=True
            )
            return [ClassicMemory(both)]
        case RunningSummary(max_summary_tokens=tokens):
            model = StandInModel(encoder=encoder, summary_tokens=tokens)
            return [ClassicMemory(ConversationSummaryMemory(llm=model, return_messages=True))]
        case _:
            return []


def _as_pairs(messages: Sequence[BaseMessage]) -> list[tuple[Role, str]]:
    return [(ROLES[message.type], message.content) for message in messages if message.content]
