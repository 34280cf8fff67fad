"""With a share of attention a persona is heeded in a long chat; without one nothing changes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import AutoTokenizer

from app.models.chat import start_engine
from app.openai.prompts import chat_prompt
from app.openai.schemas import ChatMessage
from app.settings import Settings
from llm.engine.interface import Preamble, ScoreRequest
from llm.loading import LoadedModel
from llm.text.chat_format import ChatTokenizer
from tests.app.service import StartService

PERSONA = "You are Pippa, who sails. Your ship is called the Gull. Your cat is called Biscuit."
SMALL_TALK = [
    {"role": role, "content": content}
    for number in range(30)
    for role, content in (
        ("user", f"It rained for {number} hours, and the bus was late. What do you make of it?"),
        ("assistant", "The weather does as it likes, and the bus follows it. Have some tea."),
    )
]
QUESTION = {"role": "user", "content": "What is your ship called?"}
ANSWERS = ("My ship is called the Gull.", "My ship is called the Heron.")


EXAMPLES = [
    {"role": "user", "content": "Have you got a pet?"},
    {"role": "assistant", "content": "My parrot is called Tinker, and he bites."},
]
OF_THE_PARROT = {"role": "user", "content": "What is your parrot called?"}
CALLED = ("My parrot is called Tinker.", "My parrot is called Muffin.")


def margin(
    client: httpx.Client,
    said: Sequence[object],
    answers: Sequence[str] = ANSWERS,
    persona_messages: int | None = None,
) -> float:
    """By how much the right answer is likelier than the wrong one, in nats."""
    asked = {"messages": [*said], "candidates": answers, "persona_messages": persona_messages}
    answer = client.post("/v1/scores", json=asked)
    right, wrong = answer.raise_for_status().json()["candidates"]
    return float(right["log_probability"] - wrong["log_probability"])


def test_what_a_persona_says_of_itself_counts_for_more_in_a_long_chat(
    start_service: StartService, tmp_path: Path
) -> None:
    fading = start_service(home=tmp_path / "fading", persona_share=0)
    holding = start_service(home=tmp_path / "holding")
    told = [client.get("/v1/models").json()["data"][0] for client in (fading, holding)]
    assert [model["persona_share"] for model in told] == [None, 0.65]
    assert told[0]["fingerprint"] != told[1]["fingerprint"]
    system = {"role": "system", "content": PERSONA}
    long, no_persona = [system, *SMALL_TALK, QUESTION], [*SMALL_TALK, QUESTION]
    assert margin(holding, long) > margin(fading, long) + 0.5
    assert margin(holding, no_persona) == pytest.approx(margin(fading, no_persona), abs=1e-3)


def test_examples_count_with_the_persona_where_they_are_said_to_be_its_own(
    start_service: StartService, tmp_path: Path
) -> None:
    client = start_service(home=tmp_path / "home")
    said = [{"role": "system", "content": PERSONA}, *EXAMPLES, *SMALL_TALK, OF_THE_PARROT]
    alone, with_examples = (margin(client, said, CALLED, count) for count in (1, 3))
    assert margin(client, said, CALLED) == pytest.approx(alone, abs=1e-3), "by default the system message"
    assert with_examples > alone + 0.2


def test_a_session_holds_its_persona_with_the_examples(start_service: StartService, tmp_path: Path) -> None:
    client = start_service(home=tmp_path / "home")
    examples = [{"user": asked["content"], "assistant": said["content"]} for asked, said in [EXAMPLES]]
    told = {"name": "Pippa", "instructions": PERSONA, "examples": examples}
    persona = client.post("/v1/personas", json=told).raise_for_status().json()["id"]
    session = client.post("/v1/sessions", json={"persona_id": persona}).json()["id"]
    content = " ".join(["I went to the market and bought apples, and it rained."] * 10)
    said = client.post(f"/v1/sessions/{session}/messages", json={"content": content, "max_tokens": 4})
    prompt_tokens = said.raise_for_status().json()["usage"]["prompt_tokens"]
    messages = [{"role": "system", "content": PERSONA}, *EXAMPLES, {"role": "user", "content": content}]
    model, found = client.get("/v1/models").json()["data"][0]["id"], {}
    for count in (3, 1, 0):
        asked = {"messages": messages, "candidates": ["Yes."], "persona_messages": count}
        scores = client.post("/v1/scores", json=asked).raise_for_status().json()
        assert scores["prompt_tokens"] == prompt_tokens
        found[count] = scores["cached_tokens"]
    assert found[3] == prompt_tokens - 1, "computed with the same in view"
    assert max(found[0], found[1]) < prompt_tokens - 100, "nothing of what is said behind"
    for count, cached in ((3, prompt_tokens - 1), (2, found[0])):
        body = {"model": model, "messages": messages, "max_tokens": 1, "persona_messages": count}
        usage = client.post("/v1/chat/completions", json=body).raise_for_status().json()["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] <= cached
        assert (usage["prompt_tokens_details"]["cached_tokens"] == prompt_tokens - 1) == (count == 3)


def test_instructions_of_a_response_are_held_whether_it_is_stored_or_not(
    start_service: StartService, tmp_path: Path
) -> None:
    client = start_service(home=tmp_path / "home")
    body = {
        "model": client.get("/v1/models").json()["data"][0]["id"],
        "instructions": PERSONA,
        "input": " ".join(["It rained, and the bus was late again."] * 12),
        "max_output_tokens": 16,
    }
    stored, unstored = (
        client.post("/v1/responses", json=body | {"store": store}).raise_for_status().json()["usage"]
        for store in (True, False)
    )
    assert stored["input_tokens"] == unstored["input_tokens"] > 100
    assert unstored["input_tokens_details"]["cached_tokens"] == unstored["input_tokens"] - 1


@pytest.mark.parametrize(
    ("count", "roles", "problem"),
    [
        (3, ["system", "user"], "is more than the 2 that there are"),
        (1, ["user"], "a persona begins with a system message"),
        (-1, ["system", "user"], "greater than or equal to 0"),
        (10**9, ["system", "user"], "less than or equal to 4096"),
        (True, ["system", "user"], "valid integer"),
    ],
)
def test_what_cannot_be_a_persona_is_refused_by_name_in_the_form_of_each_route(
    client: httpx.Client, count: int, roles: list[str], problem: str
) -> None:
    body = {
        "messages": [{"role": role, "content": "Hello!"} for role in roles],
        "persona_messages": count,
    }
    of_scores = client.post("/v1/scores", json=body | {"candidates": ["Hi."]})
    assert of_scores.status_code == 422
    [error] = of_scores.json()["errors"]
    assert error["field"] == "persona_messages"
    model = client.get("/v1/models").json()["data"][0]["id"]
    of_chat = client.post("/v1/chat/completions", json=body | {"model": model})
    assert of_chat.status_code == 400
    assert of_chat.json()["error"]["param"] == "persona_messages"
    assert problem in of_scores.text
    assert problem in of_chat.text


def test_a_chat_session_has_a_persona_of_its_own(client: httpx.Client) -> None:
    session = client.post("/v1/sessions", json={}).json()["id"]
    body = {
        "model": client.get("/v1/models").json()["data"][0]["id"],
        "messages": [{"role": "system", "content": PERSONA}, {"role": "user", "content": "Hello!"}],
        "metadata": {"session_id": session},
        "persona_messages": 1,
    }
    refused = client.post("/v1/chat/completions", json=body)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "persona_messages"


def test_a_chat_with_a_share_goes_on_from_what_is_cached(start_service: StartService, tmp_path: Path) -> None:
    client = start_service(home=tmp_path / "home")
    persona = client.post("/v1/personas", json={"name": "Pippa", "instructions": PERSONA}).json()["id"]
    session = client.post("/v1/sessions", json={"persona_id": persona}).json()["id"]
    cached = []
    for content in ("Hello!", "Where do you sail?", "And then?"):
        said = {"content": content, "max_tokens": 8}
        reply = client.post(f"/v1/sessions/{session}/messages", json=said).raise_for_status().json()
        usage = reply["usage"]
        cached.append(usage["prompt_tokens_details"]["cached_tokens"])
        assert usage["prompt_tokens"] > cached[-1]
    assert 0 < cached[1] < cached[2]


def test_a_persona_that_the_template_melts_into_a_turn_is_held_too(
    default_model: LoadedModel, model_folder: Path, tmp_path: Path
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    settings = Settings(persona_share=0.65, home=tmp_path / "home")
    chat = start_engine(default_model, ChatTokenizer(tmp_path), settings)
    said = [{"role": "system", "content": PERSONA}, *SMALL_TALK, QUESTION]
    told = [ChatMessage.model_validate(message) for message in said]
    prompt = chat_prompt(chat.tokenizer, told, context_window=chat.context_window)
    candidates = tuple(chat.tokenizer.encode_text(answer) for answer in ANSWERS)

    def margin_with(preamble: Preamble) -> float:
        request = ScoreRequest(prompt.token_ids, candidates, "ann", preamble)
        right, wrong = chat.engine.score(request).result().logprobs
        return sum(right) - sum(wrong)

    assert prompt.preamble.tokens == len(chat.tokenizer.encode_preamble(PERSONA))
    assert margin_with(prompt.preamble) != pytest.approx(margin_with(Preamble()), abs=0.1)
    chat.engine.close()


def test_a_model_whose_personas_were_not_measured_is_left_as_it_was_trained(
    default_model: LoadedModel, chat_tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    for name, share in ((default_model.name, 0.65), ("another", None)):
        chat = start_engine(replace(default_model, name=name), chat_tokenizer, Settings(home=tmp_path))
        assert chat.engine.model.preamble_share == share
        chat.engine.close()
