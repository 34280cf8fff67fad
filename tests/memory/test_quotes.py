"""Quotes of documents in a context: their room is of one window, and whole turns give it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from llm.text.chat_format import ChatTokenizer
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.context import Context
from memory.quotes import NOTHING_FOUND, QUOTED, quote_notes
from memory.recall.passage import Passage, PassageKey
from tests.memory.test_recalling import state

LIMITS = Limits(900, 64, 64)
PIECES = [
    Passage(PassageKey("doc_1", n), f"Rule {n}: " + "wear a vest on deck. " * 10, citation=f"a.md, line {n}")
    for n in range(9)
]
STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "token_buffer", "token_budget": 10_000},
    {"strategy": "sliding_window", "turns": 50},
    {"strategy": "vector"},
    {"strategy": "combined"},
]


def answered(chat: ChatState, tokenizer: ChatTokenizer, *, asks: bool) -> Context:
    notes = quote_notes(tokenizer) if asks else None
    content = "What do I wear?"
    message = NewMessage("new", content, tokenizer.encode_message("user", content), quotes=notes)
    chat = chat if asks else replace(chat, recalled=None)
    return asyncio.run(assemble(chat, message))


@pytest.mark.parametrize("memory", STRATEGIES, ids=lambda memory: memory["strategy"])
def test_quotes_have_room_in_a_full_window_and_leave_the_others_as_they_were(
    chat_tokenizer: ChatTokenizer, memory: dict[str, Any]
) -> None:
    chat = state(chat_tokenizer, memory, *PIECES, limits=LIMITS)
    plain = answered(chat, chat_tokenizer, asks=False)
    asking = answered(chat, chat_tokenizer, asks=True)
    [quotes] = [segment for segment in asking.segments if segment.kind == "recalled"]
    assert 0 < len(quotes.passages) < len(PIECES)
    assert asking.turns == plain.turns[-len(asking.turns) :], "whole turns, the newest"
    assert asking.tokens + asking.reply_tokens <= LIMITS.context_window
    [note] = [segment for segment in asking.segments if segment.kind == "note"]
    assert note.messages[0].content == QUOTED
    assert answered(chat, chat_tokenizer, asks=False) == plain


def test_a_strategy_that_gives_up_no_turn_leaves_quotes_what_is_free(chat_tokenizer: ChatTokenizer) -> None:
    counts = state(chat_tokenizer, {"strategy": "buffer"}).history.total_tokens
    seen = []
    for free in (20, 250, 900):
        limits = Limits(counts + 150 + free, 64, 64)
        context = answered(
            state(chat_tokenizer, {"strategy": "buffer"}, *PIECES, limits=limits), chat_tokenizer, asks=True
        )
        assert context.turns == tuple(range(20))
        seen.append(sum(len(segment.passages) for segment in context.segments))
        told = [segment.messages[0].content for segment in context.segments if segment.kind == "note"]
        assert told == [QUOTED if seen[-1] else NOTHING_FOUND]
    assert seen == sorted(seen)
    assert seen[0] == 0 < seen[-1]


def test_without_a_passage_the_model_is_told_so(chat_tokenizer: ChatTokenizer) -> None:
    context = answered(state(chat_tokenizer, {"strategy": "buffer"}), chat_tokenizer, asks=True)
    [note] = [segment for segment in context.segments if segment.kind == "note"]
    assert note.messages[0].content == NOTHING_FOUND
