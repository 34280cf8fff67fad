"""The reminder stands where it should, is counted, and moves neither the window nor what is before it."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.errors import MessageTooLargeError, PersonaTooLargeError, WindowFullError
from memory.lookahead import coming_prefixes
from memory.messages import Role
from memory.persona import ChatUser, Persona, check_persona_fits, persona_tokens
from memory.reminder import Reminder, standing_reminder
from memory.strategies.recalling import recalling
from tests.memory.naive_history import history_of
from tests.memory.random_chats import chat_state, limits, memories, personas, said
from tests.memory.test_lookahead import even_chat

NOON, LATER = datetime(2026, 3, 4, 12, 0), datetime(2026, 11, 24, 23, 59)
reminders = st.builds(
    Reminder,
    st.sampled_from(["Stay a pirate.", "It is {{time}} on {{date}}.", "word " * 40]),
    st.integers(0, 6),
)


def reminded(
    chat: ChatState, reminder: Reminder, tokenizer: ChatTokenizer, now: datetime = NOON
) -> ChatState:
    return replace(chat, reminder=standing_reminder(reminder, tokenizer, now))


def message_of(content: str, tokenizer: ChatTokenizer) -> NewMessage:
    return NewMessage("new", content, tokenizer.encode_message("user", content))


@settings(max_examples=150, deadline=None)
@given(memory=memories, said=said, persona=personas, limits=limits, reminder=reminders)
def test_a_context_with_a_reminder_keeps_the_budget_and_changes_nothing_else(
    chat_tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    said: list[tuple[Role, str]],
    persona: Persona | None,
    limits: Limits,
    reminder: Reminder,
) -> None:
    plain = chat_state(
        chat_tokenizer, memory, history_of(said, chat_tokenizer), persona=persona, limits=limits
    )
    chat = reminded(plain, reminder, chat_tokenizer)
    try:
        context = asyncio.run(assemble(chat, message_of("And now?", chat_tokenizer)))
    except (MessageTooLargeError, WindowFullError):
        return
    assert context.tokens + limits.reply_tokens <= limits.context_window
    kinds = [segment.kind for segment in context.segments]
    place = kinds.index("reminder")
    behind = kinds[place + 1 :].count("turn")
    assert behind == min(reminder.depth, kinds.count("turn"))
    assert reminder.depth or kinds[place + 1] == "message"
    others = [segment for segment in context.segments if segment.kind != "reminder"]
    smaller = replace(limits, context_window=limits.context_window - len(context.segments[place].token_ids))
    if reminder.text.startswith("It is"):
        return  # the steady room of one that tells the time rests on another count
    without = asyncio.run(assemble(replace(plain, limits=smaller), message_of("And now?", chat_tokenizer)))
    assert tuple(others) == without.segments


@settings(max_examples=60, deadline=None)
@given(memory=memories, said=said, persona=personas, reminder=reminders)
def test_the_next_prompt_begins_with_what_is_prepared_at_whatever_time_it_comes(
    chat_tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    said: list[tuple[Role, str]],
    persona: Persona | None,
    reminder: Reminder,
) -> None:
    plain = chat_state(
        chat_tokenizer,
        memory,
        history_of(said, chat_tokenizer),
        persona=persona,
        limits=Limits(100_000, 64, 64),
    )
    [first, *_] = asyncio.run(coming_prefixes(reminded(plain, reminder, chat_tokenizer)))
    later = reminded(plain, reminder, chat_tokenizer, LATER)
    message = message_of("And now?", chat_tokenizer)
    prompt = asyncio.run(assemble(later, message)).token_ids
    assert prompt[: len(first)] == first
    if "{{" not in reminder.text:
        is_last = reminder.depth == 0 and recalling(plain.strategy) is not None
        waits = later.reminder.segment.token_ids if is_last and later.reminder else ()
        assert prompt == first + waits + message.token_ids + plain.generation_prompt


@pytest.mark.parametrize("depth", [0, 1, 3, 50])
def test_what_is_foretold_of_the_window_after_a_cut_holds_with_a_reminder(
    chat_tokenizer: ChatTokenizer, depth: int
) -> None:
    memory = {"strategy": "sliding_window", "turns": 6, "retention_ratio": 0.5}

    def state(turns: int) -> ChatState:
        history = even_chat(turns, chat_tokenizer)
        plain = chat_state(chat_tokenizer, memory, history, persona=None, limits=Limits(100_000, 64, 64))
        return reminded(plain, Reminder("Stay.", depth), chat_tokenizer)

    cuts = 0
    for turns in range(10, 40):
        [window, *foretold] = asyncio.run(coming_prefixes(state(turns)))
        [following, *_] = asyncio.run(coming_prefixes(state(turns + 1)))
        if len(following) < len(window):
            cuts += 1
            for prefix in foretold:
                assert following[: len(prefix)] == prefix
            assert len(foretold) == 1
    assert cuts >= 3


@pytest.mark.parametrize("depth", [0, 2])
def test_what_stands_before_the_reminder_is_not_computed_again(
    chat_tokenizer: ChatTokenizer, depth: int
) -> None:
    """A turn costs the turns behind the place where the reminder stood, and no more."""
    history = even_chat(30, chat_tokenizer)
    before: tuple[int, ...] = ()
    for turns in range(10, 30):
        plain = chat_state(
            chat_tokenizer,
            {"strategy": "buffer"},
            history.upto(turns),
            persona=None,
            limits=Limits(100_000, 64, 64),
        )
        context = asyncio.run(assemble(reminded(plain, Reminder("Stay.", depth), chat_tokenizer)))
        common = next(
            (n for n, (a, b) in enumerate(zip(before, context.token_ids, strict=False)) if a != b), 0
        )
        if before:
            assert common >= sum(map(history.tokens_of, range(turns - 1 - depth)))
        before = context.token_ids


def test_the_time_of_day_does_not_move_the_marks_of_the_window(chat_tokenizer: ChatTokenizer) -> None:
    plain = chat_state(
        chat_tokenizer, {"strategy": "buffer"}, history_of([], chat_tokenizer), persona=None, limits=LIMITS
    )
    reminder = Reminder("{{date}} {{time}} {{user}}")
    rooms = [reminded(plain, reminder, chat_tokenizer, now).room().steady for now in (NOON, LATER)]
    assert rooms[0] == rooms[1] < plain.room().steady


LIMITS = Limits(1000, 100, 100)


def test_the_reminder_counts_when_a_persona_is_checked_for_its_room(chat_tokenizer: ChatTokenizer) -> None:
    persona = Persona("Anne", "You are Anne.", reminder=Reminder("Stay {{char}}. " + "word " * 200))
    bare = persona_tokens(replace(persona, reminder=None), chat_tokenizer, ChatUser())
    assert persona_tokens(persona, chat_tokenizer, ChatUser()) > bare + 200
    check_persona_fits(replace(persona, reminder=None), chat_tokenizer, context_window=400, reply_tokens=64)
    with pytest.raises(PersonaTooLargeError):
        check_persona_fits(persona, chat_tokenizer, context_window=400, reply_tokens=64)
