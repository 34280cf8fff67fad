"""Random conversations with all that a context can tell of, and the context that a strategy gives of each."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.context import Context, RecallReport
from memory.facts.fact import Fact
from memory.messages import ROLES, Role
from memory.persona import ExampleExchange, Persona, persona_segments
from memory.recall.found import Found
from memory.recall.passage import Passage, PassageKey
from memory.recall.ranking import Ranked
from memory.strategies import parse_strategy
from memory.strategies.recalling import recalling
from memory.summaries.summary import Summary, as_message
from tests.memory.naive_history import NaiveHistory
from tests.texts import texts

MIXES = [
    (0.1, 0.4, 0.5, None),
    (0.3, 0.3, 0.3, None),
    (0.3, 0.3, 0.3, 0.1),
    (0.0, 0.5, 0.3, 0.2),
    (0.2, 0.0, 0.8, 0.0),
    (0.1, 0.0, 0.1, 0.8),
    (0.0, 0.0, 0.1, 0.9),
    (0.45, 0.45, 0.1, None),
]
"""Shares of summary, recalled passages, newest turns and facts."""
ratios = st.one_of(st.just(1.0), st.floats(0.01, 1.0))
memories: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"strategy": "buffer"}),
    st.fixed_dictionaries(
        {"strategy": st.just("sliding_window"), "turns": st.integers(1, 12), "retention_ratio": ratios}
    ),
    st.fixed_dictionaries(
        {"strategy": st.just("token_buffer"), "token_budget": st.integers(1, 800), "retention_ratio": ratios}
    ),
    st.fixed_dictionaries(
        {
            "strategy": st.just("summary_buffer"),
            "token_budget": st.integers(64, 800),
            "max_summary_tokens": st.integers(32, 300),
            "retention_ratio": ratios,
        }
    ),
    st.fixed_dictionaries({"strategy": st.just("summary"), "max_summary_tokens": st.integers(32, 300)}),
    st.fixed_dictionaries(
        {
            "strategy": st.just("facts"),
            "token_budget": st.integers(64, 800),
            "max_fact_tokens": st.integers(32, 300),
            "retention_ratio": ratios,
        }
    ),
    st.fixed_dictionaries(
        {
            "strategy": st.just("vector"),
            "token_budget": st.integers(1, 800),
            "recall_tokens": st.integers(64, 800),
            "retention_ratio": ratios,
        }
    ),
    st.tuples(st.integers(400, 1500), st.sampled_from(MIXES), ratios).map(
        lambda mix: {
            "strategy": "combined",
            "token_budget": mix[0],
            "summary_share": mix[1][0],
            "recalled_share": mix[1][1],
            "recent_share": mix[1][2],
            "facts_share": mix[1][3],
            "retention_ratio": mix[2],
        }
    ),
)
summaries = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3), st.integers(1, 80)), max_size=4)
"""Up to which turn, how many turns later each comes into use, and how many words it has."""
facts_told = st.lists(
    st.tuples(st.integers(0, 12), st.sampled_from(["likes", "home", "name"]), st.integers(1, 40)), max_size=12
)
"""From which turn on each is used, its key, and how many words its value has."""
contents = st.one_of(texts, st.integers(1, 150).map(lambda n: "word " * n))
said: st.SearchStrategy[list[tuple[Role, str]]] = st.one_of(
    st.lists(st.tuples(st.sampled_from(ROLES), contents), max_size=30),
    st.lists(st.tuples(contents, contents), max_size=15).map(
        lambda turns: [message for user, reply in turns for message in (("user", user), ("assistant", reply))]
    ),
)
personas = st.one_of(
    st.none(),
    st.builds(
        Persona,
        st.just("Pippa"),
        st.one_of(st.just(""), texts),
        st.lists(st.builds(ExampleExchange, texts, texts), max_size=2).map(tuple),
    ),
)
recollections: st.SearchStrategy[list[tuple[int, str]]] = st.lists(
    st.tuples(st.integers(-2, 29), contents), max_size=8
)
"""What recall found, best first: a message of this chat by its number, or a text of another chat."""
limits = st.builds(Limits, st.integers(64, 2048), st.integers(1, 128), st.integers(1, 128))


def with_summaries(
    history: NaiveHistory, made: list[tuple[int, int, int]], tokenizer: ChatTokenizer
) -> NaiveHistory:
    for through, late, words in made:
        text = "telling " * words
        ids = tokenizer.encode_message("system", as_message(text))
        summary = Summary(f"sum_{through}", text, through, "extractive", ids)
        history.summaries.append((through + late, summary))
    return history


def with_facts(history: NaiveHistory, told: list[tuple[int, str, int]]) -> NaiveHistory:
    for number, (enters_at, key, words) in enumerate(told):
        value = f"{number} " + "thing " * words
        said_at = datetime(2026, 1, 1 + number, tzinfo=UTC)
        fact = Fact(f"fac_{number}", "user", key, value, f"User, {key}: {value}", "rules", said_at)
        history.told.append((enters_at, fact))
    return history


def chat_state(
    tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    history: NaiveHistory,
    *,
    persona: Persona | None,
    limits: Limits,
    recalled: Sequence[tuple[int, str]] = (),
) -> ChatState:
    return ChatState(
        persona=persona_segments(persona, tokenizer),
        strategy=parse_strategy(memory),
        history=history,
        generation_prompt=tokenizer.generation_prompt,
        limits=limits,
        recalled=found(recalled, history, tokenizer) if recalling(parse_strategy(memory)) else None,
    )


def found(recalled: Sequence[tuple[int, str]], history: NaiveHistory, tokenizer: ChatTokenizer) -> Found:
    """What recall found, as the service hands it over."""
    noon = datetime(2026, 5, 1, 12, tzinfo=UTC)
    passages: dict[PassageKey, Passage] = {}
    for index, (number, text) in enumerate(recalled):
        if 0 <= number < len(history.all):
            said = history.all[number]
            key = PassageKey("here", number)
            passages[key] = Passage(
                key, said.content, "Ann", said.role, noon, turn=said.turn, message_id=said.id
            )
        else:
            key = PassageKey("elsewhere", index)
            passages[key] = Passage(key, text, "Ann", "user", noon, turn=index, message_id=f"other_{index}")
    ranked = [Ranked(passage, 1 / (1 + place), "test") for place, passage in enumerate(passages.values())]
    return Found(ranked, tokenizer, RecallReport("persona"))


def assembled(
    tokenizer: ChatTokenizer,
    memory: dict[str, Any],
    history: NaiveHistory,
    *,
    persona: Persona | None = None,
    content: str | None = "And now?",
    limits: Limits = Limits(2048, 64, 64),  # noqa: B008
    recalled: Sequence[tuple[int, str]] = (),
) -> Context:
    message = None
    if content is not None:
        message = NewMessage("new", content, tokenizer.encode_message("user", content))
    chat = chat_state(tokenizer, memory, history, persona=persona, limits=limits, recalled=recalled)
    return asyncio.run(assemble(chat, message))
