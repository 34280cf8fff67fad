"""`/v1/completions`, `/v1/embeddings` and `/v1/models` by the official client of OpenAI's API."""

import math
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from llm.text.chat_format import ChatTokenizer
from tests.app.standard import CHAT_MODEL, EMBEDDING_MODEL

COUNTING = "One, two, three, four, five, six,"


def test_a_text_is_gone_on_with_as_text_or_as_its_token_ids(
    standard: OpenAI, chat_tokenizer: ChatTokenizer
) -> None:
    asked: dict[str, Any] = {"model": CHAT_MODEL, "temperature": 0, "max_tokens": 6}
    text = standard.completions.create(prompt=COUNTING, **asked)
    assert text.object == "text_completion"
    assert "seven" in text.choices[0].text
    ids = list(chat_tokenizer.encode_text(COUNTING))
    by_ids = standard.completions.create(prompt=ids, **asked)
    assert by_ids.choices[0].text == text.choices[0].text
    assert text.usage is not None
    assert text.usage.prompt_tokens == len(ids)
    streamed = standard.completions.create(prompt=COUNTING, stream=True, **asked)
    assert "".join(chunk.choices[0].text for chunk in streamed) == text.choices[0].text


def test_a_completion_has_at_most_16_tokens_unless_it_says_otherwise(standard: OpenAI) -> None:
    reply = standard.completions.create(model=CHAT_MODEL, prompt=COUNTING, temperature=0)
    assert reply.usage is not None
    assert reply.usage.completion_tokens == 16


def test_several_prompts_and_choices_are_answered_in_order_and_echoed(standard: OpenAI) -> None:
    prompts = [COUNTING, "Red, green,"]
    for stream in (False, True):
        asked: dict[str, Any] = {"model": CHAT_MODEL, "prompt": prompts, "n": 2, "seed": 3, "max_tokens": 4}
        texts = [""] * 4
        answer: Any = standard.completions.create(echo=True, stream=stream, **asked)
        for document in answer if stream else [answer]:
            for choice in document.choices:
                texts[choice.index] += choice.text
        for index, text in enumerate(texts):
            assert text.startswith(prompts[index // 2])
            assert len(text) > len(prompts[index // 2])


def test_log_probabilities_of_a_completion_have_offsets(standard: OpenAI) -> None:
    asked: dict[str, Any] = {"model": CHAT_MODEL, "prompt": COUNTING, "temperature": 0, "max_tokens": 6}
    [choice] = standard.completions.create(logprobs=2, **asked).choices
    found = choice.logprobs
    assert found is not None
    assert "".join(found.tokens or []) == choice.text
    for token, offset, logprob, top in zip(
        found.tokens or [],
        found.text_offset or [],
        found.token_logprobs or [],
        found.top_logprobs or [],
        strict=True,
    ):
        assert choice.text[offset : offset + len(token)] == token
        assert top[token] == logprob == max(top.values())
        assert len(top) == 2
    offsets = [
        offset
        for chunk in standard.completions.create(logprobs=2, stream=True, **asked)
        if chunk.choices[0].logprobs
        for offset in chunk.choices[0].logprobs.text_offset or []
    ]
    assert offsets == found.text_offset


def test_template_tokens_in_a_text_stay_text(standard: OpenAI) -> None:
    reply = standard.completions.create(model=CHAT_MODEL, prompt="<|im_end|>" * 10, max_tokens=1)
    assert reply.usage is not None
    assert reply.usage.prompt_tokens > 30


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ""}, "prompt[0]"),
        ({"prompt": ["a", ""]}, "prompt[1]"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [3, -1]}, "prompt[0]"),
        ({"prompt": [10**6]}, "prompt[0]"),
        ({"prompt": [10**40]}, "prompt[0]"),
        ({"prompt": ["a", 3]}, "prompt[1]"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": "a\0b"}, "prompt[0]"),
        ({"suffix": "the end"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"echo": True, "logprobs": 1}, "echo"),
        ({"logprobs": True}, "logprobs"),
        ({"prompt": ["a"] * 60, "n": 2}, "n"),
    ],
)
def test_a_bad_completion_is_400_and_names_the_parameter(
    used_client: httpx.Client, changes: dict[str, Any], param: str
) -> None:
    answer = used_client.post("/v1/completions", json={"model": CHAT_MODEL, "prompt": "a", **changes})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param


def test_embeddings_are_of_unit_length_and_alike_for_what_is_alike(standard: OpenAI) -> None:
    texts = ["My dog likes the beach.", "A hound on the sand is happy.", "Interest rates rose again."]
    answer = standard.embeddings.create(model=EMBEDDING_MODEL, input=texts)  # the client asks for base64
    vectors = [each.embedding for each in answer.data]
    assert [each.index for each in answer.data] == [0, 1, 2]
    assert {len(vector) for vector in vectors} == {384}
    for vector in vectors:
        assert math.isclose(sum(number**2 for number in vector), 1, abs_tol=1e-4)

    def likeness(one: int, other: int) -> float:
        return sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True))

    assert likeness(0, 1) > likeness(0, 2)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 15
    plain = standard.embeddings.create(model=EMBEDDING_MODEL, input=texts[0], encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(vectors[0], abs=1e-5)
    assert plain.usage.prompt_tokens < answer.usage.prompt_tokens


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input[0]"),
        ({"input": []}, "input"),
        ({"input": ["a", 3]}, "input[1]"),
        ({"input": [1, 2, 3]}, "input[0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"dimensions": 12}, "dimensions"),
        ({"encoding_format": "hex"}, "encoding_format"),
    ],
)
def test_a_bad_embedding_request_is_400_and_names_the_parameter(
    standard: OpenAI, changes: dict[str, Any], param: str
) -> None:
    asked: dict[str, Any] = {"model": EMBEDDING_MODEL, "input": "a", **changes}
    with pytest.raises(openai.BadRequestError) as refused:
        standard.embeddings.create(**asked)
    assert refused.value.param == param


def test_the_models_are_listed_and_found_by_their_names(standard: OpenAI) -> None:
    listed = list(standard.models.list())
    assert [model.id for model in listed] == [CHAT_MODEL, EMBEDDING_MODEL]
    for model in listed:
        assert standard.models.retrieve(model.id) == model
        assert model.object == "model"
