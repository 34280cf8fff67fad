"""What a lorebook tells: what is called, in order, within its budget, and never past the window."""

import asyncio
from dataclasses import replace
from itertools import chain, takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from memory.assembly import NewMessage, assemble
from memory.errors import MessageTooLargeError, WindowFullError
from memory.lookahead import coming_prefixes
from memory.lore import Lorebook, LoreEntry, called_lore
from memory.messages import Role
from memory.persona import Persona
from memory.reminder import Reminder, standing_reminder
from memory.strategies.recalling import recalling
from tests.memory.naive_history import history_of
from tests.memory.random_chats import chat_state, limits, memories, personas, said
from tests.memory.test_reminder import NOON

SAID = (("the new message", "Is the Glade safe?"), ("turn 3", "I met a fox."))


def called(tokenizer: ChatTokenizer, *entries: LoreEntry) -> list[str]:
    book = Lorebook(entries, token_budget=10_000)
    segments = called_lore(book, SAID, tokenizer).within(10_000)
    return [segment.messages[0].content for segment in segments]


@pytest.mark.parametrize(
    ("entry", "enters"),
    [
        (LoreEntry("1", "x", ("glade",)), True),
        (LoreEntry("1", "x", ("wolf", "FOX")), True),
        (LoreEntry("1", "x", ("wolf",)), False),
        (LoreEntry("1", "x", ()), False),
        (LoreEntry("1", "x", ("", " ")), False),
        (LoreEntry("1", "x", ("glade",), case_sensitive=True), False),
        (LoreEntry("1", "x", ("Glade",), case_sensitive=True), True),
        (LoreEntry("1", "x", ("glade",), enabled=False), False),
        (LoreEntry("1", "x", constant=True), True),
        (LoreEntry("1", "x", constant=True, enabled=False), False),
        (LoreEntry("1", "x", ("glade",), ("wolf",), selective=True), False),
        (LoreEntry("1", "x", ("glade",), ("fox",), selective=True), True),
        (LoreEntry("1", "x", ("glade",), (), selective=True), True),
        (LoreEntry("1", "x", ("wolf",), ("fox",)), False),
    ],
)
def test_an_entry_enters_when_it_is_called(
    chat_tokenizer: ChatTokenizer, entry: LoreEntry, enters: bool
) -> None:
    assert called(chat_tokenizer, entry) == (["x"] if enters else [])


def test_entries_enter_by_insertion_order_and_then_in_the_order_of_the_book(
    chat_tokenizer: ChatTokenizer,
) -> None:
    entries = [
        LoreEntry(str(n), text, constant=True, insertion_order=order)
        for n, (text, order) in enumerate([("c", 5), ("a", -1), ("d", 5), ("b", 0)])
    ]
    assert called(chat_tokenizer, *entries) == ["a", "b", "c", "d"]


def test_the_reason_names_key_and_place(chat_tokenizer: ChatTokenizer) -> None:
    book = Lorebook((LoreEntry("7", "x", ("fox",), ("glade",), selective=True),))
    [segment] = called_lore(book, SAID, chat_tokenizer).segments
    assert segment.reason == "lorebook entry 7: 'fox' is in turn 3, 'glade' is in the new message"


def test_what_does_not_fit_the_budget_is_passed_over(chat_tokenizer: ChatTokenizer) -> None:
    entries = tuple(LoreEntry(str(n), "word " * n, constant=True) for n in (20, 90, 30))
    book = called_lore(Lorebook(entries, token_budget=80), SAID, chat_tokenizer)
    assert [len(each.messages[0].content) // 5 for each in book.within(1000)] == [20, 30]
    assert [len(each.messages[0].content) // 5 for each in book.within(40)] == [20]
    assert book.within(0) == ()


lorebooks = st.builds(
    Lorebook,
    st.lists(
        st.builds(LoreEntry, st.just("1"), st.sampled_from(["x", "word " * 50]), constant=st.booleans())
    ).map(tuple),
    st.integers(0, 5),
    st.integers(0, 200),
)


@settings(max_examples=120, deadline=None)
@given(memory=memories, said=said, persona=personas, limits=limits, books=st.lists(lorebooks, max_size=2))
def test_lore_keeps_the_budget_and_never_costs_a_message_its_place(
    chat_tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    said: list[tuple[Role, str]],
    persona: Persona | None,
    limits: Any,
    books: list[Lorebook],
) -> None:
    message = NewMessage("new", "And now?", chat_tokenizer.encode_message("user", "And now?"))
    plain = chat_state(
        chat_tokenizer, memory, history_of(said, chat_tokenizer), persona=persona, limits=limits
    )
    lore = tuple(called_lore(book, (), chat_tokenizer) for book in books)
    chat = replace(plain, lore=lore, reminder=standing_reminder(Reminder("Stay.", 0), chat_tokenizer, NOON))
    try:
        context = asyncio.run(assemble(chat, message))
    except MessageTooLargeError:
        with pytest.raises(MessageTooLargeError):
            asyncio.run(assemble(replace(chat, lore=()), message))
        return
    except WindowFullError:
        assert memory["strategy"] == "buffer"
        return
    assert context.tokens + limits.reply_tokens <= limits.context_window
    kinds = [segment.kind for segment in context.segments]
    entered = kinds.count("lore")
    assert kinds[-3 - entered :] == [*["lore"] * entered, "reminder", "message", "generation_prompt"]
    told = sum(segment.tokens for segment in context.segments if segment.kind == "lore")
    assert told <= sum(book.token_budget for book in books)
    roomy = replace(chat, limits=replace(limits, context_window=100_000))
    prefix = asyncio.run(coming_prefixes(roomy))[0]
    waits = {"lore", "message", *(["reminder"] if books or recalling(chat.strategy) else [])}
    known = takewhile(lambda each: each.kind not in waits, asyncio.run(assemble(roomy, message)).segments)
    assert prefix == tuple(chain.from_iterable(segment.token_ids for segment in known))
