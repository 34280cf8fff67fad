"""The reminder: a short text near the end of the window, so that a persona does not drift in a long chat.

It stands a number of turns before the end, or right before the message, and so moves with every turn. What
stands before it stays as it is; the turns behind it are computed again after each turn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from memory.context import ContextMessage, Segment
from memory.protocols import ChatEncoder
from memory.templates import clock_template, clock_values, fill

SOME_TIME = datetime(2000, 1, 1)
"""For counts that must not change with the time of day."""


@dataclass(frozen=True, slots=True)
class Reminder:
    """`depth`: how many turns stand between it and the new message. The text may tell the time."""

    text: str
    depth: int = 0


@dataclass(frozen=True, slots=True)
class StandingReminder:
    """A reminder as it is told now. `usual_tokens` is what it takes, whatever the time."""

    segment: Segment
    depth: int
    usual_tokens: int
    tells_time: bool

    def put_into(self, window: Sequence[Segment], behind: Sequence[Segment]) -> tuple[Segment, ...]:
        """`window` with the reminder before its last `depth` turns, before all, if they are fewer; then what
        stands `behind` the turns. With a depth of 0 it stands behind that too, right before the message.
        """
        if self.depth == 0:
            return (*window, *behind, self.segment)
        turns = list(takewhile(lambda each: each.kind == "turn", reversed(window)))
        place = len(window) - min(self.depth, len(turns))
        return (*window[:place], self.segment, *window[place:], *behind)


def standing_reminder(reminder: Reminder, encoder: ChatEncoder, now: datetime) -> StandingReminder:
    """The reminder at the time `now`, as a message of the system as the chat template has it there."""

    def encoded(text: str) -> tuple[int, ...]:
        return encoder.encode_message("system", text)

    text = fill(reminder.text, clock_values(now))
    where = f"{reminder.depth} turns before the new message" if reminder.depth else "before the new message"
    return StandingReminder(
        segment=Segment(
            kind="reminder",
            token_ids=encoded(text),
            reason=f"the persona's reminder, {where}",
            messages=(ContextMessage("system", text),),
        ),
        depth=reminder.depth,
        usual_tokens=len(encoded(fill(reminder.text, clock_values(SOME_TIME)))),
        tells_time=clock_template(reminder.text) is not None,
    )
