"""Recall for the chat sessions of this service: the indexes are brought up after each reply, and asked.

SQL says what the passages are; both indexes only follow it. What is not indexed yet is not found, and
whoever asks is told how much that is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from app.storage.shelves import RecallScope
from memory.recall.ranking import Ranked


@dataclass(frozen=True, slots=True)
class Recollection:
    """What was found, best first.

    `behind`: how many messages of the scope are not indexed yet. `degraded`: why only a part of the indexes
    was asked; None: all were.
    """

    ranked: Sequence[Ranked]
    behind: int = 0
    degraded: str | None = None


class Recall:
    """Finds passages, and keeps the indexes up with what was said."""

    async def for_turn(
        self, owner: str, session_id: str, text: str, scope: RecallScope = "persona"
    ) -> Recollection:
        """What was said before and matters for a message of that text. Never waits for indexing.

        A session without a user recalls its own passages only. Raises NotFoundProblem.
        """
        raise NotImplementedError

    def soon(self, owner: str, session_id: str) -> None:
        """Bring the session's passages and its shelves' indexes up, in the background."""
        raise NotImplementedError

    async def bring_up(self, owner: str, session_id: str) -> None:
        """The same, now."""
        raise NotImplementedError

    async def close(self) -> None:
        """End what is being done in the background; it is made up for at the next start."""
        raise NotImplementedError
