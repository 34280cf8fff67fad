"""The laws of a context, for every strategy, over random conversations with the real tokeniser."""

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from memory.assembly import Limits
from memory.errors import MessageTooLargeError, WindowFullError
from memory.fence import quoted
from memory.messages import Role
from memory.persona import Persona, persona_segments
from memory.strategies import STRATEGIES, parse_strategy
from memory.strategies.combined import Combined
from memory.strategies.remembering import remembering
from memory.strategies.window import low_water_by_tokens
from tests.memory.naive_history import history_of
from tests.memory.random_chats import (
    assembled,
    contents,
    facts_told,
    limits,
    memories,
    personas,
    ratios,
    recollections,
    said,
    summaries,
    with_facts,
    with_summaries,
)


@settings(max_examples=300, deadline=None)
@given(
    memory=memories,
    said=said,
    made=summaries,
    known=facts_told,
    persona=personas,
    content=contents,
    limits=limits,
    recalled=recollections,
)
def test_a_context_keeps_every_law_or_is_refused_with_the_numbers(
    chat_tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    said: list[tuple[Role, str]],
    made: list[tuple[int, int, int]],
    known: list[tuple[int, str, int]],
    persona: Persona | None,
    content: str,
    limits: Limits,
    recalled: list[tuple[int, str]],
) -> None:
    history = with_summaries(history_of(said, chat_tokenizer), made, chat_tokenizer)
    history = with_facts(history, known)
    head = [i for segment in persona_segments(persona, chat_tokenizer) for i in segment.token_ids]
    tail = [*chat_tokenizer.encode_message("user", content), *chat_tokenizer.generation_prompt]
    room = limits.context_window - limits.reply_tokens - len(head) - len(tail)
    try:
        context = assembled(
            chat_tokenizer,
            memory,
            history,
            persona=persona,
            content=content,
            limits=limits,
            recalled=recalled,
        )
    except MessageTooLargeError as refused:
        assert room < 0
        assert refused.numbers["message_tokens"] == len(tail)
        assert refused.numbers["persona_tokens"] == len(head)
        return
    except WindowFullError as refused:
        assert memory["strategy"] == "buffer"
        assert refused.numbers["history_tokens"] == history.total_tokens > refused.numbers["room"] == room
        return

    # Exact accounting: the tokens are those of persona, whole turns and message, joined, within the window.
    window = [message for message in history.all if message.turn in context.turns]
    facts = [i for segment in context.segments if segment.kind == "facts" for i in segment.token_ids]
    told = [segment for segment in context.segments if segment.kind == "summary"]
    summary = [i for segment in told for i in segment.token_ids]
    brought = [segment for segment in context.segments if segment.kind == "recalled"]
    recalled_ids = [i for segment in brought for i in segment.token_ids]
    in_turns = (i for message in window for i in message.token_ids)
    expected = [*head, *facts, *summary, *in_turns, *recalled_ids, *tail]
    assert list(context.token_ids) == expected
    assert context.tokens == len(expected)
    assert context.tokens + limits.reply_tokens <= limits.context_window

    # Whole turns, the newest ones without a gap; the rest is in the summary or named as left out.
    first = history.turn_count - len(context.turns)
    through = told[0].through_turn or 0 if told else 0
    assert len(told) <= 1
    assert through <= first
    assert context.turns == tuple(range(first, history.turn_count))
    in_window = [m.id for segment in context.segments for m in segment.messages if segment.kind == "turn"]
    assert in_window == [message.id for message in window]
    left_out = [t for left in context.left_out for t in range(left.first_turn, left.last_turn + 1)]
    assert left_out == list(range(through, first))
    assert sum(left.tokens for left in context.left_out) == sum(map(history.tokens_of, left_out))

    # What was recalled stands once, within what was asked for, and nothing of it stands in the window.
    assert len(brought) <= 1
    strategy = parse_strategy(memory)
    kept_free = strategy.recalled_tokens(limits.context_window)
    if isinstance(strategy, Combined):
        beside = len(facts) + len(summary) + sum(len(message.token_ids) for message in window)
        kept_free = max(
            kept_free, min(strategy.most_recalled_tokens * 3 // 2, strategy.token_budget - beside)
        )
    assert len(recalled_ids) <= kept_free
    for segment in brought:
        names = [told.passage.message_id for told in segment.passages]
        assert names
        assert len(names) == len(set(names))
        assert not set(names) & {message.id for message in window}
        [message] = segment.messages
        assert message.role == "system"
        assert all(quoted(told.passage.text) in message.content for told in segment.passages)

    # What the segments say is what their tokens say.
    for segment in context.segments:
        if segment.kind in ("turn", "message", "facts", "recalled"):
            ids = [i for m in segment.messages for i in chat_tokenizer.encode_message(m.role, m.content)]
            assert list(segment.token_ids) == ids

    keeps = remembering(strategy)
    assert len(facts) <= (keeps.fact_tokens if keeps else 0)
    if memory["strategy"] in ("token_buffer", "vector"):
        assert sum(map(history.tokens_of, context.turns)) <= memory["token_budget"]


@settings(max_examples=50, deadline=None)
@given(memory=memories, said=said, made=summaries, persona=personas, recalled=recollections)
def test_the_same_history_gives_the_same_context_whatever_came_before(
    chat_tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    said: list[tuple[Role, str]],
    made: list[tuple[int, int, int]],
    persona: Persona | None,
    recalled: list[tuple[int, str]],
) -> None:
    """After every other strategy, at every turn of the chat, too."""
    big = Limits(100_000, 64, 64)
    history = with_summaries(history_of(said, chat_tokenizer), made, chat_tokenizer)
    before = assembled(chat_tokenizer, memory, history, persona=persona, limits=big, recalled=recalled)
    for other in STRATEGIES:
        for turns in range(history.turn_count + 1):
            assembled(chat_tokenizer, {"strategy": other}, history.upto(turns), persona=persona, limits=big)
    after = assembled(chat_tokenizer, memory, history, persona=persona, limits=big, recalled=recalled)
    assert after == before


@settings(max_examples=100, deadline=None)
@given(memory=memories.filter(lambda memory: memory["strategy"] != "buffer"), said=said, persona=personas)
def test_the_window_of_a_growing_chat_never_goes_back(
    chat_tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    said: list[tuple[Role, str]],
    persona: Persona | None,
) -> None:
    history = history_of(said, chat_tokenizer)
    firsts = []
    for turns in range(history.turn_count + 1):
        context = assembled(
            chat_tokenizer,
            memory,
            history.upto(turns),
            persona=persona,
            content=None,
            limits=Limits(3000, 64, 64),
        )
        firsts.append(turns - len(context.turns))
    assert firsts == sorted(firsts)


@settings(max_examples=30, deadline=None)
@given(
    memory=memories.filter(lambda memory: memory["strategy"] != "buffer"),
    lengths=st.lists(st.integers(1, 40), min_size=30, max_size=120),
    known=facts_told,
)
def test_between_steps_a_context_begins_with_the_one_before(
    chat_tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    lengths: list[int],
    known: list[tuple[int, str, int]],
) -> None:
    turns: list[tuple[Role, str]] = []
    for length in lengths:
        turns += [("user", "word " * length), ("assistant", "Yes.")]
    history = with_facts(history_of(turns, chat_tokenizer), known)
    before: tuple[int, ...] = ()
    first_before = 0
    for count in range(history.turn_count):
        context = assembled(chat_tokenizer, memory, history.upto(count), content=None)
        first = count - len(context.turns)
        turns_only = context.token_ids[: -len(chat_tokenizer.generation_prompt)]
        if first == first_before:
            assert turns_only[: len(before)] == before
        before, first_before = turns_only, first


@settings(max_examples=20, deadline=None)
@given(
    lengths=st.lists(st.integers(5, 25), min_size=100, max_size=160),
    ratio=st.floats(0.2, 0.8),
    strategy=st.sampled_from(["sliding_window", "token_buffer"]),
)
def test_a_turn_costs_no_more_than_hysteresis_says(
    chat_tokenizer: ChatTokenizer, lengths: list[int], ratio: float, strategy: str
) -> None:
    """Over a long chat, at most t/(1-r) tokens a turn are computed, for t new ones, whatever the window."""
    turns: list[tuple[Role, str]] = []
    for length in lengths:
        turns += [("user", "word " * length), ("assistant", "Yes, I do.")]
    history = history_of(turns, chat_tokenizer)
    memory = {"strategy": strategy, "retention_ratio": ratio}
    memory |= {"turns": 10} if strategy == "sliding_window" else {"token_budget": 800}
    computed, new, first_before = 0, 0, 0
    for count in range(1, history.turn_count + 1):
        context = assembled(chat_tokenizer, memory, history.upto(count), content=None)
        newest = history.tokens_of(count - 1)
        first = count - len(context.turns)
        held = sum(map(history.tokens_of, context.turns))
        computed += newest if first == first_before else held
        new += newest
        first_before = first
    # Whole turns make a step uneven: one turn of slack at each end of it.
    largest = max(map(history.tokens_of, range(history.turn_count)))
    budget = 800 if strategy == "token_buffer" else 10 * new / history.turn_count / ratio
    slack = 2 * largest / ((1 - ratio) * budget)
    assert computed <= new / (1 - ratio) * (1 + slack) + budget


@given(high_water=st.integers(0, 10_000), beside=st.integers(0, 10_000), ratio=ratios)
def test_a_cut_leaves_the_ratio_of_all_that_it_computes_anew(
    high_water: int, beside: int, ratio: float
) -> None:
    left = low_water_by_tokens(high_water, retention_ratio=ratio, beside=beside)
    assert left <= high_water * ratio, "what stands beside the turns never makes a cut leave more"
    assert left >= math.floor(high_water * min(ratio, 0.5))
    if left > high_water / 2:
        assert left + beside == math.floor((high_water + beside) * ratio)


@settings(max_examples=100, deadline=None)
@given(said=said, turns=st.integers(1, 12), ratio=ratios)
def test_a_sliding_window_holds_its_turns_and_not_many_more(
    chat_tokenizer: ChatTokenizer, said: list[tuple[Role, str]], turns: int, ratio: float
) -> None:
    history = history_of(said, chat_tokenizer)
    memory = {"strategy": "sliding_window", "turns": turns, "retention_ratio": ratio}
    context = assembled(chat_tokenizer, memory, history, limits=Limits(100_000, 64, 64))
    assert min(turns, history.turn_count) <= len(context.turns) <= math.ceil(turns / ratio)
    if ratio == 1.0:
        assert len(context.turns) == min(turns, history.turn_count)


@settings(max_examples=100, deadline=None)
@given(said=said, budget=st.integers(1, 800))
def test_an_exact_token_buffer_holds_the_most_whole_turns_that_fit(
    chat_tokenizer: ChatTokenizer, said: list[tuple[Role, str]], budget: int
) -> None:
    history = history_of(said, chat_tokenizer)
    memory = {"strategy": "token_buffer", "token_budget": budget, "retention_ratio": 1.0}
    context = assembled(chat_tokenizer, memory, history, limits=Limits(100_000, 64, 64))
    most = 0
    while most < history.turn_count and (
        sum(history.tokens_of(history.turn_count - 1 - n) for n in range(most + 1)) <= budget
    ):
        most += 1
    assert len(context.turns) == most


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 10), min_size=1, max_size=120), ratio=st.floats(0.1, 1.0))
def test_a_token_buffer_keeps_its_low_water_mark(
    chat_tokenizer: ChatTokenizer, lengths: list[int], ratio: float
) -> None:
    history = history_of([("user", "word " * length) for length in lengths], chat_tokenizer)
    largest = max(map(history.tokens_of, range(history.turn_count)))
    memory = {"strategy": "token_buffer", "token_budget": 300, "retention_ratio": ratio}
    context = assembled(chat_tokenizer, memory, history)
    held = sum(map(history.tokens_of, context.turns))
    assert held >= min(history.total_tokens, ratio * 300 - largest - 1)


@settings(max_examples=50, deadline=None)
@given(said=said, memory=memories.filter(lambda memory: memory["strategy"] != "buffer"))
def test_only_the_window_is_read(
    chat_tokenizer: ChatTokenizer, said: list[tuple[Role, str]], memory: dict[str, Any]
) -> None:
    history = history_of(said, chat_tokenizer)
    context = assembled(chat_tokenizer, memory, history)
    assert sorted(set(history.read)) == list(context.turns)


def test_a_turn_larger_than_the_budget_is_left_out_whole_and_named(chat_tokenizer: ChatTokenizer) -> None:
    history = history_of(
        [("user", "word " * 500), ("assistant", "Much!"), ("user", "Hi"), ("assistant", "Hello")],
        chat_tokenizer,
    )
    memory = {"strategy": "token_buffer", "token_budget": 100}
    context = assembled(chat_tokenizer, memory, history)
    assert context.turns == (1,)
    [left_out] = context.left_out
    assert (left_out.first_turn, left_out.last_turn) == (0, 0)
    assert left_out.tokens == history.tokens_of(0)


def test_a_sliding_window_of_long_turns_goes_on_with_fewer(chat_tokenizer: ChatTokenizer) -> None:
    turns: list[tuple[Role, str]] = []
    for number in range(40):
        turns += [("user", "long " * 150), ("assistant", f"Answer {number}.")]
    history = history_of(turns, chat_tokenizer)
    for count in range(history.turn_count):
        context = assembled(
            chat_tokenizer,
            {"strategy": "sliding_window", "turns": 10},
            history.upto(count),
            limits=Limits(1024, 64, 64),
        )
        assert len(context.turns) >= min(count, 2)


@settings(max_examples=100, deadline=None)
@given(
    memory=memories.filter(lambda memory: memory["strategy"] in ("vector", "combined")),
    said=said,
    recalled=recollections,
    others=recollections,
)
def test_what_is_recalled_never_moves_the_window(
    chat_tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    said: list[tuple[Role, str]],
    recalled: list[tuple[int, str]],
    others: list[tuple[int, str]],
) -> None:
    history = history_of(said, chat_tokenizer)
    prompts = [assembled(chat_tokenizer, memory, history, recalled=found) for found in ((), recalled, others)]
    assert len({prompt.turns for prompt in prompts}) == 1
    stays = [segment for segment in prompts[0].segments if segment.kind in ("persona", "turn")]
    for prompt in prompts:
        assert list(prompt.segments[: len(stays)]) == stays
