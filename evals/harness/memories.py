"""All that can be compared, by name: strategies of the service, controls and peers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from evals.harness.controls import CONTROLS
from evals.harness.errors import EvaluationError
from evals.harness.service import EvaluatedService
from evals.harness.strategies import STRATEGIES, ServedMemory, within
from evals.harness.windows import Memory
from evals.peers.catalog import PEERS, peer
from memory.protocols import ChatEncoder

C = TypeVar("C")
Q = TypeVar("Q")


def memories(
    names: Sequence[str],
    budget: int,
    service: EvaluatedService,
    encoder: ChatEncoder,
    *,
    turn_tokens: float,
    seed: int = 0,
) -> list[Memory]:
    """The memories of these names within a budget. `turn_tokens`: of a turn of the chats, on average.

    Raises EvaluationError if there is none of a name, or a peer is not installed.
    """

    def memory(name: str) -> Memory:
        if name in CONTROLS:
            return CONTROLS[name](encoder, budget, seed)
        if name in PEERS:
            return peer(name, budget, service, encoder, turn_tokens)
        return ServedMemory(service, name, within(name, budget, turn_tokens))

    known = (*CONTROLS, *STRATEGIES, *PEERS)
    if unknown := [name for name in names if name not in known]:
        raise EvaluationError(f"there is no memory {', '.join(unknown)}; there are {', '.join(known)}")
    return [memory(name) for name in names]


def settings_of(compared: Sequence[Memory]) -> dict[str, dict[str, Any]]:
    """As results hold them: by the memory's name."""
    return {memory.name: dict(memory.settings) for memory in compared}


def asked_of_each(
    chats: Sequence[C], compared: Mapping[int, Sequence[Memory]], questions: Callable[[C], Sequence[Q]]
) -> Iterator[tuple[C, int, Memory, Q]]:
    """Every question about every chat, for each memory within each budget.

    All of a memory's questions about a chat come one after the other: it is filled with the chat once.
    """
    for chat in chats:
        for budget, of_budget in compared.items():
            for memory in of_budget:
                for question in questions(chat):
                    yield chat, budget, memory, question
