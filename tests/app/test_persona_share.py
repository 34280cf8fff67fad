"""With a share of attention a persona is heeded in a long chat; without one nothing changes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from transformers import AutoTokenizer

from app.models.chat import start_engine
from app.settings import Settings, SettingsError
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
    found = {}
    for count in (3, 1, 0):
        asked = {"messages": messages, "candidates": ["Yes."], "persona_messages": count}
        scores = client.post("/v1/scores", json=asked).raise_for_status().json()
        assert scores["prompt_tokens"] == prompt_tokens
        found[count] = scores["cached_tokens"]
    assert found[3] == prompt_tokens - 1, "computed with the same in view"
    assert max(found[0], found[1]) < prompt_tokens - 100, "nothing of what is said behind"


def test_of_no_more_messages_than_there_are_can_a_persona_be_told(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "Hello!"}]
    body = {"messages": messages, "persona_messages": 2}
    model = client.get("/v1/models").json()["data"][0]["id"]
    for path, more in (("scores", {"candidates": ["Hi."]}), ("chat/completions", {"model": model})):
        refused = client.post(f"/v1/{path}", json=body | more)
        assert refused.is_client_error
        assert "persona_messages" in refused.text
        assert "there are 1 messages in all" in refused.text
        taken = client.post(f"/v1/{path}", json=body | more | {"persona_messages": 1})
        assert taken.is_success


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


def test_a_model_without_system_messages_is_refused_a_share(
    default_model: LoadedModel, model_folder: Path, tmp_path: Path
) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(SettingsError, match=r"PERDURE_PERSONA_SHARE: the chat template of .* has no system"):
        start_engine(default_model, ChatTokenizer(tmp_path), Settings(persona_share=0.5))
    home = tmp_path / "home"
    start_engine(default_model, ChatTokenizer(tmp_path), Settings(persona_share=0, home=home)).engine.close()


def test_a_model_whose_personas_were_not_measured_is_left_as_it_was_trained(
    default_model: LoadedModel, chat_tokenizer: ChatTokenizer, tmp_path: Path
) -> None:
    for name, share in ((default_model.name, 0.65), ("another", None)):
        chat = start_engine(replace(default_model, name=name), chat_tokenizer, Settings(home=tmp_path))
        assert chat.engine.model.preamble_share == share
        chat.engine.close()
