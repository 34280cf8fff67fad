"""What the coming prompts begin with is told before: the next one's surely, and that after the next cut."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.lookahead import GrownCounts, coming_prefixes, first_turn_after_cut
from memory.messages import Role
from memory.persona import Persona
from memory.strategies import parse_strategy
from memory.strategies.base import Room
from tests.memory.naive_history import NaiveHistory, history_of
from tests.memory.random_chats import chat_state, memories, personas, said

LIMITS = Limits(100_000, 64, 64)
ROOM = Room(now=3000, steady=3000, context_window=4096)
PERSONA = Persona("Pippa", "A gardener.")


def even_chat(turns: int, encoder: ChatTokenizer) -> NaiveHistory:
    """A chat whose turns are all equally long."""
    exchange: list[tuple[Role, str]] = [("user", "What grows here?"), ("assistant", "Beans, and more.")]
    return history_of(exchange * turns, encoder)


@settings(max_examples=60, deadline=None)
@given(memory=memories, said=said, persona=personas)
def test_the_next_prompt_begins_with_the_first(
    chat_tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    said: list[tuple[Role, str]],
    persona: Persona | None,
) -> None:
    chat = chat_state(
        chat_tokenizer, memory, history_of(said, chat_tokenizer), persona=persona, limits=LIMITS
    )
    [first, *_] = asyncio.run(coming_prefixes(chat))
    message = NewMessage("new", "And now?", chat_tokenizer.encode_message("user", "And now?"))
    prompt = asyncio.run(assemble(chat, message)).token_ids
    assert prompt == first + message.token_ids + chat.generation_prompt


@settings(max_examples=100, deadline=None)
@given(
    memory=memories.filter(lambda memory: memory["strategy"] != "buffer"),
    turns=st.integers(0, 40),
)
def test_the_window_after_the_next_cut_is_the_one_foretold(
    chat_tokenizer: ChatTokenizer, memory: dict[str, Any], turns: int
) -> None:
    history = even_chat(160, chat_tokenizer)
    strategy = parse_strategy(memory)

    async def first_turn(count: int) -> int:
        return await strategy.first_turn(history.upto(count), ROOM)

    async def check() -> None:
        now = await first_turn(turns)
        foretold = await first_turn_after_cut(strategy, history.upto(turns), ROOM)
        later = [await first_turn(count) for count in range(turns + 1, turns + max(1, turns - now) + 1)]
        moved = next((first for first in later if first != now), None)
        assert foretold == (moved if moved is not None and moved < turns else None)

    asyncio.run(check())


@pytest.mark.parametrize(
    "memory",
    [
        {"strategy": "sliding_window", "turns": 4, "retention_ratio": 0.5},
        {"strategy": "token_buffer", "token_budget": 200, "retention_ratio": 0.5},
    ],
)
def test_before_each_cut_of_an_even_chat_most_of_the_window_after_it_is_known(
    chat_tokenizer: ChatTokenizer, memory: dict[str, Any]
) -> None:
    def state(turns: int) -> ChatState:
        history = even_chat(turns, chat_tokenizer)
        return chat_state(chat_tokenizer, memory, history, persona=PERSONA, limits=LIMITS)

    cuts = 0
    for turns in range(10, 30):
        [window, *foretold] = asyncio.run(coming_prefixes(state(turns)))
        [following, *_] = asyncio.run(coming_prefixes(state(turns + 1)))
        if following[: len(window)] != window:
            cuts += 1
            assert following[: len(foretold[0])] == foretold[0]
            assert len(foretold[0]) > 0.7 * len(following)
    assert cuts >= 2


def test_nothing_is_foretold_of_a_window_that_keeps_all(chat_tokenizer: ChatTokenizer) -> None:
    history = even_chat(20, chat_tokenizer)
    chat = chat_state(
        chat_tokenizer, {"strategy": "buffer"}, history, persona=PERSONA, limits=Limits(2048, 64, 64)
    )
    assert len(asyncio.run(coming_prefixes(chat))) == 1


@given(turns=st.integers(1, 12), more=st.integers(0, 12), tokens=st.integers(0, 800))
@settings(max_examples=100, deadline=None)
def test_a_grown_even_chat_is_counted_as_one_that_is_so_long(
    chat_tokenizer: ChatTokenizer, turns: int, more: int, tokens: int
) -> None:
    grown = GrownCounts(even_chat(turns, chat_tokenizer), more)
    real = even_chat(turns + more, chat_tokenizer)
    assert (grown.turn_count, grown.total_tokens) == (real.turn_count, real.total_tokens)
    for turn in range(turns + more + 1):
        assert asyncio.run(grown.tokens_before(turn)) == asyncio.run(real.tokens_before(turn))
    assert asyncio.run(grown.first_turn_from(tokens)) == asyncio.run(real.first_turn_from(tokens))
