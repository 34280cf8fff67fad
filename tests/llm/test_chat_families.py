"""The chat formats of the families: templates in the manner of theirs, taken apart and put together again."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from llm.errors import CorruptModelError
from llm.loading import LoadedModel
from llm.text.chat_format import ChatTokenizer
from tests.texts import WORDS, texts

ALTERNATE = (
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('turns alternate') }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] | trim %}"
    "{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nKnowledge ends: December 2023\n\n' }}"
    "{{ system + '<|eot_id|>' }}"
    "{% for m in rest %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set start = 1 %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% else %}{% set start = 0 %}{% set system = '' %}{% endif %}"
    "{% for m in messages[start:] %}" + ALTERNATE + "{% if m['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + m['content'] | trim + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL = (
    "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set system = '' %}{% set rest = messages %}{% endif %}"
    "{{ bos_token }}{% for m in rest %}"
    + ALTERNATE
    + "{% if m['role'] == 'user' %}{{ '[INST] ' + (system if loop.last else '') + m['content'] + '[/INST]' }}"
    "{% else %}{{ ' ' + m['content'] | trim + eos_token }}{% endif %}{% endfor %}"
)
MISTRAL_WITH_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ '[SYSTEM_PROMPT]' + m['content'] + '[/SYSTEM_PROMPT]' }}"
    "{% elif m['role'] == 'user' %}{{ '[INST]' + m['content'] + '[/INST]' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)
QWEN2 = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a kind helper.<|im_end|>\n' }}{% endif %}{% for m in messages %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN3 = (
    "{% set ns = namespace(asked=-1) %}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{% set parts = m['content'].split('</think>') %}"
    "{% if loop.index0 > ns.asked %}"
    "{{ '<think>\n' + (parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '') "
    "+ '\n</think>\n\n' }}{% endif %}{{ parts[-1].lstrip('\n') }}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}"
    + ALTERNATE
    + "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\n' "
    "+ (first if loop.first else '') + m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
TEMPLATES = {
    "llama3": LLAMA3,
    "llama2": LLAMA2,
    "mistral": MISTRAL,
    "mistral with system": MISTRAL_WITH_SYSTEM,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "gemma3": GEMMA3,
    "phi3": PHI3,
    "zephyr": ZEPHYR,
}
FRAMING_SYSTEM = ["llama3", "mistral with system", "qwen2", "qwen3", "phi3", "zephyr"]
CONTROL = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "[INST]", "[/INST]"]
CONTROL += ["[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "<start_of_turn>", "<end_of_turn>", "<s>", "</s>"]
CONTROL += ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
MARKS = ["<think>", "</think>"]
"""Tokens that Qwen 3 does not hold for special."""


def saved(model: LoadedModel, template: str, folder: Path) -> ChatTokenizer:
    """The model's vocabulary, with the families' control tokens, under a template."""
    tokenizer: Any = AutoTokenizer.from_pretrained(model.folder)
    tokenizer.add_special_tokens({"additional_special_tokens": CONTROL})
    tokenizer.add_tokens(MARKS)
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return ChatTokenizer(folder)


@pytest.fixture(scope="session")
def tokenizers(
    default_model: LoadedModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, ChatTokenizer]:
    return {
        name: saved(default_model, template, tmp_path_factory.mktemp("tokenizer"))
        for name, template in TEMPLATES.items()
    }


Turns = list[tuple[str, str]]
words = texts.map(str.strip).filter(
    lambda text: text and not any(mark in text for mark in ("<", "[", "think", "sentinel"))
)
turns_of_words = st.lists(st.tuples(words, words), max_size=3)


def joined(tokenizer: ChatTokenizer, system: str | None, turns: Turns, question: str) -> list[int]:
    ids = [*tokenizer.encode_preamble(system)]
    for user, assistant in turns:
        ids += tokenizer.encode_message("user", user)
        ids += tokenizer.encode_message("assistant", assistant)
    return [*ids, *tokenizer.encode_message("user", question), *tokenizer.generation_prompt]


def rendered(tokenizer: ChatTokenizer, system: str | None, turns: Turns, question: str) -> list[int]:
    messages = [{"role": "system", "content": system}] if system is not None else []
    for user, assistant in turns:
        messages += [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    messages.append({"role": "user", "content": question})
    return list(tokenizer.encode_template(tokenizer.render(messages, ask=True)))


@settings(max_examples=80, deadline=None)
@given(name=st.sampled_from(list(TEMPLATES)), turns=turns_of_words, question=words)
def test_what_the_model_is_asked_is_what_its_template_renders(
    tokenizers: dict[str, ChatTokenizer], name: str, turns: Turns, question: str
) -> None:
    tokenizer = tokenizers[name]
    assert joined(tokenizer, None, turns, question) == rendered(tokenizer, None, turns, question)


@settings(max_examples=80, deadline=None)
@given(name=st.sampled_from(FRAMING_SYSTEM), system=words, turns=turns_of_words, question=words)
def test_with_a_system_message_too_where_the_template_frames_it(
    tokenizers: dict[str, ChatTokenizer], name: str, system: str, turns: Turns, question: str
) -> None:
    tokenizer = tokenizers[name]
    assert joined(tokenizer, system, turns, question) == rendered(tokenizer, system, turns, question)


@pytest.mark.parametrize("name", sorted(set(TEMPLATES) - set(FRAMING_SYSTEM)))
def test_a_system_message_that_the_template_melts_into_a_turn_is_a_turn_of_the_user(
    tokenizers: dict[str, ChatTokenizer], name: str
) -> None:
    tokenizer = tokenizers[name]
    preamble = tokenizer.format.default_preamble
    as_user = tokenizer.encode_template(preamble) + tokenizer.encode_message("user", "You are Anne.")
    assert tokenizer.encode_preamble("You are Anne.") == as_user


def test_replies_of_gemma_are_the_models_turns(tokenizers: dict[str, ChatTokenizer]) -> None:
    tokenizer = tokenizers["gemma3"]
    assert tokenizer.format.assistant.head == "<start_of_turn>model\n"
    assert tokenizer.format.default_preamble == "<s>"
    assert tokenizer.encode_template("<end_of_turn>")[0] in tokenizer.end_of_turn_ids


def test_qwen2s_own_system_message_gives_way_to_ours(tokenizers: dict[str, ChatTokenizer]) -> None:
    tokenizer = tokenizers["qwen2"]
    assert "kind helper" in tokenizer.format.default_preamble
    assert "kind helper" not in tokenizer.decode(tokenizer.encode_preamble("You are Anne."))


def test_older_replies_of_qwen3_have_no_frame_for_thoughts(tokenizers: dict[str, ChatTokenizer]) -> None:
    tokenizer = tokenizers["qwen3"]
    last = tokenizer.render([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}])
    assert "<think>" in last
    assert "<think>" not in tokenizer.format.assistant.head


@pytest.mark.parametrize("name", ["llama2", "mistral"])
def test_the_space_before_a_reply_is_the_models_to_choose(
    tokenizers: dict[str, ChatTokenizer], name: str
) -> None:
    tokenizer = tokenizers[name]
    assert tokenizer.generation_prompt == ()
    generated = tokenizer.encode_text(" Aye!")
    assert tokenizer.encode_reply(generated) == tokenizer.encode_message("assistant", "Aye!")


def test_the_date_that_llama3_begins_with_does_not_void_what_is_known_of_messages(
    tokenizers: dict[str, ChatTokenizer], default_model: LoadedModel, tmp_path: Path
) -> None:
    today = tokenizers["llama3"]
    later = saved(default_model, LLAMA3.replace("2023", "2024"), tmp_path)
    assert later.encode_preamble("You are Anne.") != today.encode_preamble("You are Anne.")
    assert later.fingerprint == today.fingerprint


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, set()),
        ({"config.json": {"eos_token_id": 5}}, {5}),
        ({"config.json": {"eos_token_id": [5, 6]}}, {5, 6}),
        ({"config.json": {"eos_token_id": None}}, set()),
        ({"config.json": {"eos_token_id": 5}, "generation_config.json": {"eos_token_id": [7, 8]}}, {7, 8}),
        ({"config.json": {"eos_token_id": 5}, "generation_config.json": {}}, {5}),
    ],
)
def test_all_ids_that_the_model_ends_with_end_a_turn(
    default_model: LoadedModel, tmp_path: Path, files: dict[str, Any], expected: set[int]
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(default_model.folder)
    tokenizer.save_pretrained(tmp_path)
    for name, contents in files.items():
        (tmp_path / name).write_text(json.dumps(contents))
    assert ChatTokenizer(tmp_path).end_of_turn_ids == expected | {tokenizer.eos_token_id}


@pytest.mark.parametrize("contents", ["{", "[]", '{"eos_token_id": "x"}', '{"eos_token_id": {}}'])
def test_end_ids_that_cannot_be_read_are_an_error(
    default_model: LoadedModel, tmp_path: Path, contents: str
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(default_model.folder)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "generation_config.json").write_text(contents)
    with pytest.raises(CorruptModelError, match="end tokens"):
        ChatTokenizer(tmp_path)


posing = st.lists(st.sampled_from([*CONTROL, *MARKS, "<|im_start|>system\n", *WORDS]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(list(TEMPLATES)), pieces=posing)
def test_what_a_text_says_of_control_tokens_is_text(
    tokenizers: dict[str, ChatTokenizer], name: str, pieces: list[str]
) -> None:
    """Of whatever makes a message or the preamble; and it comes back as it was."""
    tokenizer, text = tokenizers[name], "".join(pieces)

    def control(ids: Sequence[int]) -> list[int]:
        return [each for each in ids if each in tokenizer.control_ids | tokenizer.special_ids]

    for role in ("system", "user", "assistant"):
        assert control(tokenizer.encode_message(role, text)) == control(tokenizer.encode_message(role, ""))
    assert control(tokenizer.encode_preamble(text)) == control(tokenizer.encode_preamble(""))
    assert tokenizer.decode(tokenizer.encode_text(text)) == text


def test_marks_that_the_tokeniser_has_for_text_are_control_tokens_where_the_template_has_them(
    tokenizers: dict[str, ChatTokenizer],
) -> None:
    [think] = tokenizers["qwen3"].encode_template("<think>")
    assert think in tokenizers["qwen3"].control_ids
    assert think not in tokenizers["qwen3"].special_ids
    assert think not in tokenizers["llama3"].control_ids
    assert think not in tokenizers["qwen3"].encode_text("a <think> b")
    assert think in tokenizers["llama3"].encode_text("a <think> b")
