"""What the coming prompts of a chat will begin with, as far as it is known before its next message.

A window moves in steps that lie on a fixed grid. So which of the turns there are it will hold after its
next cut is known before: their keys and values can be computed a few at a time, while nobody waits.
"""

import math
from dataclasses import dataclass
from itertools import chain, takewhile

from memory.assembly import ChatState, assemble
from memory.protocols import TurnCounts
from memory.strategies.base import Room, Selection, Strategy
from memory.strategies.recalling import recalling


async def coming_prefixes(chat: ChatState) -> list[tuple[int, ...]]:
    """Token ids, those that are needed soonest first: the window as it stands, up to lore or what is
    recalled, or to a reminder that will stand behind them or tell another time; then, if the chat goes on as
    it did and turns of now stay, the window after its next cut, without the turns that a reminder may stand
    among.

    Raises like `assemble`.
    """
    context = await assemble(chat)
    changing = ("lore", "recalled", "generation_prompt", *(["reminder"] if _reminder_changes(chat) else []))
    known = takewhile(lambda segment: segment.kind not in changing, context.segments)
    prefixes = [tuple(chain.from_iterable(segment.token_ids for segment in known))]
    room = chat.room()
    first_turn = await first_turn_after_cut(chat.strategy, chat.history, room)
    if first_turn is not None:
        coming = await chat.strategy.window(chat.history, first_turn, room)
        if not coming.awaits_summary:
            prefixes.append(_before_reminder(chat, coming))
    return prefixes


def _reminder_changes(chat: ChatState) -> bool:
    """Whether it tells the time, or will stand behind what is told for a message that is not known yet."""
    reminder = chat.reminder
    if reminder is None:
        return False
    is_behind_others = bool(chat.lore) or recalling(chat.strategy) is not None
    return reminder.tells_time or (reminder.depth == 0 and is_behind_others)


def _before_reminder(chat: ChatState, coming: Selection) -> tuple[int, ...]:
    """What stands before the place of the reminder, which moves with every turn, in a coming window."""
    before = chat.history.turn_count - (chat.reminder.depth if chat.reminder else 0)
    staying = [each for each in coming.segments if each.turn is None or each.turn < before]
    pinned = chat.pinned_beside({segment.turn for segment in coming.segments})
    return tuple(chain.from_iterable(each.token_ids for each in (*chat.persona, *pinned, *staying)))


async def coming_first_turns(chat: ChatState) -> list[int]:
    """Where the window begins as it stands, and after its next cut if that is known."""
    room = chat.room()
    first_turn = await chat.strategy.first_turn(chat.history, room)
    after = await first_turn_after_cut(chat.strategy, chat.history, room)
    return [first_turn] if after is None else [first_turn, after]


async def first_turn_after_cut(strategy: Strategy, counts: TurnCounts, room: Room) -> int | None:
    """Where the window will begin when it begins elsewhere than now, if the chat's turns stay as long as
    they were in the mean.

    None if no turn of now will stay, or no cut comes before the chat has grown by what the window holds.
    """
    first = await strategy.first_turn(counts, room)
    fewest, most = 0, counts.turn_count - first
    while most - fewest > 1:  # the cut comes after more than `fewest` turns, and not more than `most`
        middle = (fewest + most) // 2
        moved = await strategy.first_turn(GrownCounts(counts, middle), room) > first
        fewest, most = (fewest, middle) if moved else (middle, most)
    after = await strategy.first_turn(GrownCounts(counts, most), room)
    return after if first < after < counts.turn_count else None


@dataclass(frozen=True, slots=True)
class GrownCounts:
    """`memory.protocols.TurnCounts` of a chat as if it had so many turns `more`, each of its mean length."""

    counts: TurnCounts
    more: int

    @property
    def turn_count(self) -> int:
        return self.counts.turn_count + self.more

    @property
    def total_tokens(self) -> int:
        return self.counts.total_tokens + math.ceil(self.more * self._mean)

    async def tokens_before(self, turn: int) -> int:
        grown = turn - self.counts.turn_count
        if grown <= 0:
            return await self.counts.tokens_before(turn)
        return self.counts.total_tokens + math.ceil(min(grown, self.more) * self._mean)

    async def first_turn_from(self, tokens: int) -> int:
        beyond = tokens - self.counts.total_tokens
        if beyond <= 0:
            return await self.counts.first_turn_from(tokens)
        grown = math.ceil(beyond / self._mean) if self._mean else self.more
        return self.counts.turn_count + min(grown, self.more)

    @property
    def _mean(self) -> float:
        return self.counts.total_tokens / max(1, self.counts.turn_count)
