"""Assembly of the context: persona, what the strategy selects, what was recalled, the message; all counted
exactly."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from memory.context import Context, ContextMessage, Segment
from memory.errors import MessageTooLargeError, OverBudgetError, WindowFullError
from memory.lore import CalledLore, lore_within
from memory.marks import left_out_with_marks
from memory.messages import Role
from memory.notes import note_segment
from memory.protocols import ChatEncoder, History
from memory.quotes import QuoteNotes, quote_budget
from memory.recall.found import Found
from memory.reminder import StandingReminder
from memory.strategies.base import Room, Selection, Strategy


@dataclass(frozen=True, slots=True)
class Limits:
    """Tokens. `reply_tokens` are kept free for this reply, `usual_reply_tokens` for one by default."""

    context_window: int
    reply_tokens: int
    usual_reply_tokens: int


@dataclass(frozen=True, slots=True)
class NewMessage:
    """The message that a reply is wanted to; it is not in the history yet.

    The user's, or with the `role` of the system a note that nothing was said to. `notes`: from
    `memory.notes.note_segment`, for this reply alone. `quotes`: of a message that asks documents.
    """

    id: str
    content: str
    token_ids: tuple[int, ...]
    notes: tuple[Segment, ...] = ()
    role: Role = "user"
    quotes: QuoteNotes | None = None

    @property
    def tokens(self) -> int:
        noted = sum(note.tokens for note in self.notes) + (self.quotes.tokens if self.quotes else 0)
        return len(self.token_ids) + noted


@dataclass(frozen=True, slots=True)
class ChatState:
    """A chat session as it stands: all that a context is assembled from, but for the message.

    `persona`: from `persona_segments`; it stands first, whole, whatever the strategy selects. Its first
    `public_tokens` are the text of a persona marked public, and nothing of the chat. `pinned`: turns that
    stand behind it where they are older than the window. `excluded`: turns that are never in the window, with
    the tokens that they would take. Of `lore` as much stands behind the turns as its budgets and the window
    allow; behind it, of what was `recalled` for the message, what the strategy has room for. `reminder`
    stands before the last turns, or behind all of this.
    """

    persona: Sequence[Segment]
    strategy: Strategy
    history: History
    generation_prompt: tuple[int, ...]
    limits: Limits
    pinned: Sequence[Segment] = ()
    excluded: Mapping[int, int] = field(default_factory=dict)
    reminder: StandingReminder | None = None
    lore: tuple[CalledLore, ...] = ()
    recalled: Found | None = None
    public_tokens: int = 0

    @property
    def preamble_tokens(self) -> int:
        """Of the persona with its examples, or of what stands in its place; not the chat template's own."""
        return sum(segment.tokens for segment in self.persona if segment.messages)

    @property
    def persona_tokens(self) -> int:
        """Of what is pinned and of the reminder as it is now."""
        reminder = self.reminder.segment.tokens if self.reminder else 0
        return sum(segment.tokens for segment in self.persona) + reminder

    @property
    def pinned_tokens(self) -> int:
        """What is kept free for pinned turns, always all of it: so no turn moves the window by leaving it."""
        return sum(segment.tokens for segment in self.pinned) if self.strategy.evicts else 0

    def pinned_beside(self, turns: Collection[int | None]) -> tuple[Segment, ...]:
        """The pinned turns that a window of these turns lacks."""
        return tuple(segment for segment in self.pinned if segment.turn not in turns)

    def room(self, message_tokens: int = 0) -> Room:
        """What persona, pinned turns, message and reply leave; `now` is negative if they do not fit."""
        window = self.limits.context_window - self.persona_tokens - len(self.generation_prompt)
        window -= self.pinned_tokens
        # A reminder that tells the time may count otherwise the next minute: that must not move the window.
        unusual = self.reminder.segment.tokens - self.reminder.usual_tokens if self.reminder else 0
        lore = sum(book.reserved_tokens for book in self.lore)
        steady = max(0, window + unusual - lore - self.limits.usual_reply_tokens)
        recalled = self.strategy.recalled_tokens(steady)
        return Room(
            now=window - self.limits.reply_tokens - message_tokens,
            steady=steady - recalled,
            context_window=self.limits.context_window,
            recalled=recalled,
        )


async def assemble(chat: ChatState, message: NewMessage | None = None) -> Context:
    """The context for a reply to `message`, or with None the context as it stands.

    Raises MessageTooLargeError if the message does not fit beside persona and reply, and WindowFullError
    if the strategy keeps more than fits. Nothing is cut to fit.
    """
    limits = chat.limits
    room = chat.room(message.tokens if message else 0)
    if room.now < 0:
        tail_tokens = (message.tokens if message else 0) + len(chat.generation_prompt)
        raise MessageTooLargeError(
            f"the message takes {tail_tokens} tokens, the persona {chat.persona_tokens}, "
            f"{f'pinned turns {chat.pinned_tokens} ' if chat.pinned_tokens else ''}and the reply up to "
            f"{limits.reply_tokens}: together more than the context window of {limits.context_window}",
            message_tokens=tail_tokens,
            persona_tokens=chat.persona_tokens,
            pinned_tokens=chat.pinned_tokens,
            reply_tokens=limits.reply_tokens,
            context_window=limits.context_window,
        )
    lore = lore_within(chat.lore, room.now)
    room = replace(room, now=room.now - sum(segment.tokens for segment in lore))
    selection, recalled = await _select(chat, room, message)
    pinned = chat.pinned_beside({segment.turn for segment in selection.segments})
    left_out = await left_out_with_marks(
        selection.left_out,
        chat.history,
        pinned={segment.turn for segment in pinned if segment.turn is not None},
        excluded=chat.excluded,
    )
    turns, behind = selection.segments, (*lore, *((recalled,) if recalled else ()))
    window = chat.reminder.put_into(turns, behind) if chat.reminder else (*turns, *behind)
    asks = Segment(
        kind="generation_prompt", token_ids=chat.generation_prompt, reason="asks the model to reply"
    )
    said = _said(message, has_quotes=recalled is not None) if message else ()
    context = Context(
        segments=(*chat.persona, *pinned, *window, *said, asks),
        left_out=left_out,
        strategy=chat.strategy.model_dump(mode="json"),
        context_window=limits.context_window,
        reply_tokens=limits.reply_tokens,
        recall=chat.recalled.report if chat.recalled and message else None,
        preamble_tokens=chat.preamble_tokens,
        public_tokens=chat.public_tokens,
    )
    if context.tokens + context.reply_tokens > limits.context_window:
        raise OverBudgetError(
            f"strategy {chat.strategy.strategy!r} selected {context.tokens} tokens in all; with a reply of "
            f"{limits.reply_tokens} that is more than the context window of {limits.context_window}",
            prompt_tokens=context.tokens,
            reply_tokens=limits.reply_tokens,
            context_window=limits.context_window,
        )
    return context


async def _select(
    chat: ChatState, room: Room, message: NewMessage | None
) -> tuple[Selection, Segment | None]:
    """What the strategy selects, and beside it as much of what was recalled for the message as has room."""
    found = chat.recalled
    if message is None or found is None:
        return await chat.strategy.select(chat.history, room), None
    if message.quotes is None:
        selection = await chat.strategy.select(chat.history, room)
        most = chat.strategy.recalled_beside(selection, room)
    else:
        most = quote_budget(room)
        selection = await _select_beside(chat, room, await asyncio.to_thread(found.within, most, ()))
    # Beside a message so long that not all has room, it is what was recalled that gives way first.
    most = min(most, room.now - selection.tokens)
    pinned = chat.pinned_beside({segment.turn for segment in selection.segments})
    standing = (*pinned, *selection.segments, _message_segment(message))
    return selection, await asyncio.to_thread(found.within, most, standing)


async def _select_beside(chat: ChatState, room: Room, quotes: Segment | None) -> Selection:
    """What the strategy selects where quotes have their room, in this window alone.

    One that gives up no turn for them selects as ever: quotes then have what it leaves.
    """
    if quotes is not None:
        try:
            return await chat.strategy.select(chat.history, replace(room, now=room.now - quotes.tokens))
        except WindowFullError:
            pass
    return await chat.strategy.select(chat.history, room)


def _said(message: NewMessage, *, has_quotes: bool) -> tuple[Segment, ...]:
    """The message behind its notes; a question to documents is told whether they said anything."""
    said = (*message.notes, _message_segment(message))
    if message.quotes is None:
        return said
    return (message.quotes.quoted if has_quotes else message.quotes.nothing_found, *said)


def instructed_once(
    chat: ChatState, message: NewMessage, instructions: str, encoder: ChatEncoder
) -> tuple[ChatState, NewMessage]:
    """The chat and the message with instructions for this reply alone: at the head, where a persona would
    stand; beside the persona, right before the message, if there is one, since nothing displaces it.
    """
    if any(segment.messages for segment in chat.persona):
        return chat, replace(message, notes=(note_segment(instructions, encoder), *message.notes))
    head = replace(
        note_segment(instructions, encoder),
        token_ids=encoder.encode_preamble(instructions),
        reason="instructions for this reply alone, where a persona would stand",
    )
    return replace(chat, persona=(head,)), message


def _message_segment(message: NewMessage) -> Segment:
    is_note = message.role == "system"
    return Segment(
        kind="note" if is_note else "message",
        token_ids=message.token_ids,
        reason="a note for this reply alone, which nothing was said to"
        if is_note
        else "the message to reply to",
        messages=(ContextMessage(message.role, message.content, message.id),),
    )
