"""What a strategy is: given the stored turns and the room for them, which of them the window holds."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import chain, groupby
from operator import attrgetter
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from memory.context import ContextMessage, LeftOut, Segment
from memory.messages import Message
from memory.protocols import History, TurnCounts


@dataclass(frozen=True, slots=True)
class Room:
    """Tokens that the context window has for stored turns.

    `now` is what is left beside persona, this message and its reply: a hard bound. `steady` leaves the
    message out and takes the usual reply, so it stays the same from turn to turn; the marks of
    the window are laid by it. `recalled` is kept free beside `steady` for what is recalled.
    """

    now: int
    steady: int
    context_window: int
    recalled: int = 0


@dataclass(frozen=True, slots=True)
class Selection:
    """What a strategy puts between the persona and the message, and which turns it leaves out.

    `awaits_summary`: whether turns have left the window that no summary, or no fact, tells of yet, but will.
    """

    segments: tuple[Segment, ...]
    left_out: tuple[LeftOut, ...] = ()
    awaits_summary: bool = False

    @property
    def tokens(self) -> int:
        return sum(segment.tokens for segment in self.segments)


class Strategy(BaseModel, ABC):
    """One memory strategy; the fields of a subclass are its parameters, its docstring tells its users of it.

    What it chooses depends on stored counts, parameters and room only, never on earlier choices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    evicts: ClassVar[bool] = True
    """Whether turns ever leave the window; if so, it keeps room for those of them that are pinned."""

    strategy: str

    @abstractmethod
    async def first_turn(self, counts: TurnCounts, room: Room) -> int:
        """The first of the newest turns that the window holds word for word.

        Raises WindowFullError if the strategy promises turns that do not fit.
        """

    @abstractmethod
    async def window(self, history: History, first_turn: int, room: Room) -> Selection:
        """What stands between persona and message in a window that begins with `first_turn`."""

    def recalled_tokens(self, room: int) -> int:  # noqa: ARG002
        """How many of `room` tokens are kept, in every turn, for what recall finds for the message."""
        return 0

    def recalled_beside(self, selection: Selection, room: Room) -> int:  # noqa: ARG002
        """Tokens that what recall found may take beside what was selected: what is kept for it, or more."""
        return room.recalled

    async def select(self, history: History, room: Room) -> Selection:
        """Choose what fits `room.now`. Raises like `first_turn`."""
        return await self.window(history, await self.first_turn(history, room), room)


async def newest_turns(history: History, first_turn: int, *, reason: str, left_out_reason: str) -> Selection:
    """The turns from `first_turn` on, one segment each, and the older ones as left out."""
    messages = await history.messages(first_turn) if first_turn < history.turn_count else ()
    segments = tuple(
        _turn_segment(turn, list(of_turn), reason)
        for turn, of_turn in groupby(messages, key=attrgetter("turn"))
    )
    return Selection(segments, await turns_left_out(history, 0, first_turn, left_out_reason))


async def turns_left_out(counts: TurnCounts, start: int, end: int, reason: str) -> tuple[LeftOut, ...]:
    """The turns from `start` up to but not of `end` as left out, if there are any."""
    if start >= end:
        return ()
    tokens = await counts.tokens_before(end) - (await counts.tokens_before(start) if start else 0)
    return (LeftOut(start, end - 1, tokens, reason),)


def _turn_segment(turn: int, messages: list[Message], reason: str) -> Segment:
    return Segment(
        kind="turn",
        token_ids=tuple(chain.from_iterable([message.token_ids for message in messages])),
        reason=reason,
        messages=tuple([ContextMessage(message.role, message.content, message.id) for message in messages]),
        turn=turn,
    )
