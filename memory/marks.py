"""What the owner marked: turns pinned into every window, and turns excluded from it."""

from collections.abc import Collection, Mapping, Sequence
from itertools import chain

from memory.context import ContextMessage, LeftOut, Segment
from memory.errors import PinsTooLargeError
from memory.messages import Message
from memory.persona import ROOM_FOR_A_MESSAGE
from memory.protocols import TurnCounts
from memory.strategies.base import turns_left_out


def pinned_segment(turn: int, messages: Sequence[Message]) -> Segment:
    """A pinned turn as it stands where it is older than the window."""
    return Segment(
        kind="pinned",
        token_ids=tuple(chain.from_iterable(message.token_ids for message in messages)),
        reason="pinned, and older than the window",
        messages=tuple(ContextMessage(message.role, message.content, message.id) for message in messages),
        turn=turn,
    )


def check_pins_fit(
    pinned: Sequence[Segment],
    *,
    persona_tokens: int,
    generation_prompt_tokens: int,
    context_window: int,
    reply_tokens: int,
) -> None:
    """Raise PinsTooLargeError if the pinned turns and the persona leave no room for a turn."""
    pinned_tokens = sum(segment.tokens for segment in pinned)
    turn_tokens = generation_prompt_tokens + reply_tokens + ROOM_FOR_A_MESSAGE
    room = max(0, context_window - turn_tokens - persona_tokens)
    if pinned_tokens > room:
        raise PinsTooLargeError(
            f"the pinned turns would take {pinned_tokens} tokens and the persona {persona_tokens}; with a "
            f"context window of {context_window} and {turn_tokens} kept for a message and its reply, pinned "
            f"turns have room for {room}",
            pinned_tokens=pinned_tokens,
            max_pinned_tokens=room,
            persona_tokens=persona_tokens,
            context_window=context_window,
            reply_tokens=reply_tokens,
        )


async def left_out_with_marks(
    left_out: Sequence[LeftOut], counts: TurnCounts, *, pinned: Collection[int], excluded: Mapping[int, int]
) -> tuple[LeftOut, ...]:
    """What a strategy leaves out, less the pinned turns, and what is excluded under that reason.

    `pinned`: turns that are in the window nevertheless; `excluded`: turns with the tokens they would take.
    """
    found = [
        LeftOut(turn, turn, tokens, "excluded from the window on request")
        for turn, tokens in excluded.items()
    ]
    apart = sorted({*pinned, *excluded})
    for span in left_out:
        first = span.first_turn
        for turn in (*(turn for turn in apart if first <= turn <= span.last_turn), span.last_turn + 1):
            found += await turns_left_out(counts, first, turn, span.reason)
            first = turn + 1
    return tuple(sorted(found, key=lambda span: span.first_turn))
