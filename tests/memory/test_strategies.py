"""Strategies by name, their parameters, their schemas; turns; the persona."""

import math
from typing import Any

import jsonschema
import pytest

from llm.text.chat_format import ChatTokenizer
from memory.errors import InvalidParametersError, PersonaTooLargeError, UnknownStrategyError
from memory.messages import Role, number_turns
from memory.persona import ExampleExchange, Persona, check_persona_fits, persona_segments
from memory.strategies import STRATEGIES, parse_strategy


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_strategy_has_defaults_that_fit_its_schema_and_describes_itself(name: str) -> None:
    strategy = parse_strategy({"strategy": name})
    schema = STRATEGIES[name].model_json_schema()
    jsonschema.validate(strategy.model_dump(mode="json"), schema)
    assert schema["description"]
    for parameter, details in schema["properties"].items():
        assert parameter == "strategy" or details["description"], parameter


def test_settings_survive_being_stored() -> None:
    for settings in (
        {"strategy": "buffer"},
        {"strategy": "sliding_window", "turns": 3, "retention_ratio": 1.0},
        {"strategy": "token_buffer", "token_budget": 77, "retention_ratio": 0.25},
    ):
        assert parse_strategy(settings).model_dump(mode="json") == settings


@pytest.mark.parametrize(
    ("langchain", "ours"),
    [
        ({"strategy": "ConversationBufferMemory"}, {"strategy": "buffer"}),
        ({"strategy": "ConversationBufferWindowMemory"}, {"strategy": "sliding_window", "turns": 5}),
        (
            {"strategy": "ConversationBufferWindowMemory", "k": 3, "return_messages": True},
            {"strategy": "sliding_window", "turns": 3},
        ),
        (
            {"strategy": "ConversationTokenBufferMemory", "max_token_limit": 60},
            {"strategy": "token_buffer", "token_budget": 60},
        ),
        ({"strategy": "ConversationSummaryMemory", "memory_key": "history"}, {"strategy": "summary"}),
        (
            {"strategy": "ConversationSummaryBufferMemory", "max_token_limit": 500},
            {"strategy": "summary_buffer", "token_budget": 756},
        ),
        (
            {"strategy": "ConversationEntityMemory", "k": 5, "chat_history_key": "history"},
            {"strategy": "facts", "token_budget": 1256},
        ),
        (
            {"strategy": "VectorStoreRetrieverMemory", "return_docs": False, "exclude_input_keys": []},
            {"strategy": "vector"},
        ),
        (
            {"strategy": "ConversationVectorStoreTokenBufferMemory", "split_chunk_size": 500},
            {"strategy": "vector", "token_budget": 2000},
        ),
        (
            {"strategy": "ConversationVectorStoreTokenBufferMemory", "max_token_limit": 700},
            {"strategy": "vector", "token_budget": 700},
        ),
    ],
)
def test_langchains_classes_are_what_their_users_expect(
    langchain: dict[str, Any], ours: dict[str, Any]
) -> None:
    assert parse_strategy(langchain) == parse_strategy(ours)


@pytest.mark.parametrize(
    ("settings", "parameter"),
    [
        ({"strategy": "ConversationBufferWindowMemory", "k": "3"}, "k"),
        ({"strategy": "ConversationBufferWindowMemory", "turns": 3}, "turns"),
        ({"strategy": "ConversationBufferMemory", "llm": "gpt"}, "llm"),
        ({"strategy": "VectorStoreRetrieverMemory", "retriever": "chroma"}, "retriever"),
        ({"strategy": "ConversationBufferMemory", "return_docs": True}, "return_docs"),
        ({"strategy": "ConversationBufferWindowMemory", "k": 0}, "turns"),
        ({"strategy": "ConversationEntityMemory", "entity_store": "redis"}, "entity_store"),
    ],
)
def test_a_parameter_of_langchain_that_cannot_be_mapped_is_refused_by_name(
    settings: dict[str, Any], parameter: str
) -> None:
    with pytest.raises(InvalidParametersError) as refused:
        parse_strategy(settings)
    assert [problem.parameter for problem in refused.value.problems] == [parameter]


@pytest.mark.parametrize("name", ["", "Buffer", "no_such", None, 3, ["buffer"]])
def test_an_unknown_name_is_refused_with_the_known_ones(name: Any) -> None:
    with pytest.raises(UnknownStrategyError, match="known are buffer, sliding_window, token_buffer, summary"):
        parse_strategy({"strategy": name})


@pytest.mark.parametrize(
    ("settings", "parameter"),
    [
        ({"strategy": "buffer", "k": 3}, "k"),
        ({"strategy": "sliding_window", "turns": "3"}, "turns"),
        ({"strategy": "sliding_window", "turns": 3.0}, "turns"),
        ({"strategy": "sliding_window", "turns": True}, "turns"),
        ({"strategy": "sliding_window", "turns": None}, "turns"),
        ({"strategy": "sliding_window", "turns": -1}, "turns"),
        ({"strategy": "token_buffer", "token_budget": 10**30}, "token_budget"),
        ({"strategy": "token_buffer", "retention_ratio": math.nan}, "retention_ratio"),
        ({"strategy": "token_buffer", "retention_ratio": math.inf}, "retention_ratio"),
        ({"strategy": "token_buffer", "retention_ratio": 0}, "retention_ratio"),
        ({"strategy": "token_buffer", "retention_ratio": [0.5]}, "retention_ratio"),
    ],
)
def test_a_wrong_parameter_is_refused_by_name(settings: dict[str, Any], parameter: str) -> None:
    with pytest.raises(InvalidParametersError) as refused:
        parse_strategy(settings)
    assert [problem.parameter for problem in refused.value.problems] == [parameter]


def test_all_wrong_parameters_are_named_at_once() -> None:
    with pytest.raises(InvalidParametersError) as refused:
        parse_strategy({"strategy": "sliding_window", "turns": 0, "retention_ratio": 2, "x": 1})
    assert {problem.parameter for problem in refused.value.problems} == {"turns", "retention_ratio", "x"}


@pytest.mark.parametrize(
    ("roles", "turns"),
    [
        ("", []),
        ("uaua", [0, 0, 1, 1]),
        ("aua", [0, 1, 1]),
        ("uua", [0, 1, 1]),
        ("uaau", [0, 0, 0, 1]),
        ("suasua", [0, 0, 0, 1, 1, 1]),
        ("ssua", [0, 0, 0, 0]),
        ("us", [0, 1]),
    ],
)
def test_a_turn_is_what_belongs_to_one_user_message(roles: str, turns: list[int]) -> None:
    names: dict[str, Role] = {"s": "system", "u": "user", "a": "assistant"}
    assert number_turns([names[role] for role in roles]) == turns
    for cut in range(1, len(roles)):
        numbered = number_turns([names[role] for role in roles[:cut]])
        later = number_turns(
            [names[role] for role in roles[cut:]],
            last_turn=numbered[-1],
            last_role=names[roles[cut - 1]],
        )
        assert numbered + later == turns, "numbering goes on where it was left"


def test_the_persona_stands_first_with_its_examples(chat_tokenizer: ChatTokenizer) -> None:
    persona = Persona("Anne", "You are Anne.", (ExampleExchange("Hi", "Ahoy!"),))
    instructions, examples = persona_segments(persona, chat_tokenizer)
    assert instructions.token_ids == chat_tokenizer.encode_preamble("You are Anne.")
    assert examples.token_ids == (
        *chat_tokenizer.encode_message("user", "Hi"),
        *chat_tokenizer.encode_message("assistant", "Ahoy!"),
    )


def test_a_persona_fits_up_to_the_last_token_and_no_further(chat_tokenizer: ChatTokenizer) -> None:
    persona = Persona("Anne", "word " * 300)
    tokens = sum(segment.tokens for segment in persona_segments(persona, chat_tokenizer))
    room = tokens + len(chat_tokenizer.generation_prompt) + 100 + 128
    check_persona_fits(persona, chat_tokenizer, context_window=room, reply_tokens=100)
    with pytest.raises(PersonaTooLargeError) as refused:
        check_persona_fits(persona, chat_tokenizer, context_window=room - 1, reply_tokens=100)
    assert refused.value.numbers["persona_tokens"] == tokens
    assert refused.value.numbers["max_persona_tokens"] == tokens - 1
