"""The peers by their names. Their packages are in the extra `peers`, and imported where one takes part."""

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from evals.harness.errors import EvaluationError
from evals.harness.service import EvaluatedService
from evals.harness.strategies import within
from evals.peers.filled import FilledMemory
from evals.peers.memory import PeerMemory
from memory.protocols import ChatEncoder
from memory.strategies import parse_strategy

LANGCHAIN = {
    "langchain:ConversationBufferWindowMemory": "sliding_window",
    "langchain:ConversationTokenBufferMemory": "token_buffer",
    "langchain:trim_messages": "token_buffer",
    "langchain:ConversationSummaryMemory": "summary",
    "langchain:ConversationSummaryBufferMemory": "summary_buffer",
    "langchain:ConversationVectorStoreTokenBufferMemory": "vector",
}
"""Of ours, the one that does the same: they get its budget."""
LLAMA_INDEX = "llama_index:Memory"
MEM0 = {"mem0": True, "mem0:raw": False}
"""Whether its model extracts what is to be remembered, or messages are kept as they are."""
PEERS = (*LANGCHAIN, LLAMA_INDEX, *MEM0)
ANY_MODEL = tuple(name for name in PEERS if not MEM0.get(name))
"""Those that a model of any size can serve: what mem0 asks for a turn takes more than 8,192 tokens."""
PACKAGES = {"langchain": "langchain_classic", "llama_index": "llama_index", "mem0": "mem0"}


def peer(
    name: str, budget: int, service: EvaluatedService, encoder: ChatEncoder, turn_tokens: float
) -> FilledMemory:
    """The peer of that name. Raises EvaluationError if it is not installed."""
    package = PACKAGES[name.partition(":")[0]]
    if find_spec(package) is None:
        raise EvaluationError(f"{name} is not installed: pip install 'perdure[peers]'")
    if name in LANGCHAIN:
        settings = within(LANGCHAIN[name], budget, turn_tokens)
        return FilledMemory(name, settings, encoder, lambda: _langchain(name, settings, service, encoder))
    if name == LLAMA_INDEX:
        return FilledMemory(name, {"token_limit": budget}, encoder, lambda: _llama_index(budget, encoder))
    settings = {"memories": budget // 2, "token_budget": budget - budget // 2, "infer": MEM0[name]}
    return FilledMemory(name, settings, encoder, lambda: _mem0(settings, service, encoder))


def _langchain(
    name: str, settings: Mapping[str, Any], service: EvaluatedService, encoder: ChatEncoder
) -> PeerMemory:
    from evals.peers.langchain import served_memories

    memories = served_memories(parse_strategy(dict(settings)), service, encoder)
    return memories[name.removeprefix("langchain:")]


def _llama_index(budget: int, encoder: ChatEncoder) -> PeerMemory:
    from evals.peers.llama_index import LlamaIndexMemory

    return LlamaIndexMemory(budget, encoder)


def _mem0(settings: Mapping[str, Any], service: EvaluatedService, encoder: ChatEncoder) -> PeerMemory:
    from evals.peers.mem0 import Mem0Memory

    return Mem0Memory(service, encoder, **settings)
