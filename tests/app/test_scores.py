"""`/v1/scores`: how likely replies are, what is taken and refused, and on whose account it goes."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.schemas.scores import MOST_CANDIDATES
from tests.app.keys import new_key, with_key
from tests.app.service import until
from tests.app.standard import CHAT_MODEL

ASKED = [
    {"role": "system", "content": "You are Pippa, a cheerful pirate."},
    {"role": "user", "content": "My dog Biscuit ate my passport. What did Biscuit eat?"},
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def score(client: httpx.Client, *candidates: str, messages: Any = ASKED) -> httpx.Response:
    return client.post("/v1/scores", json={"messages": messages, "candidates": candidates})


def scores(client: httpx.Client, *candidates: str, messages: Any = ASKED) -> dict[str, Any]:
    answer = score(client, *candidates, messages=messages)
    return dict(answer.raise_for_status().json())


def refusal(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 422, answer.text
    problem = dict(answer.json())
    assert problem["type"] == "urn:perdure:problem:invalid-request"
    return problem


def test_the_likelier_reply_has_the_larger_score_and_sums_are_those_of_the_tokens(
    used_client: httpx.Client,
) -> None:
    texts = ("Your passport.", "Your elephant.", "안녕 🌞, 안녕")
    found = scores(used_client, *texts)
    right, wrong, _ = found["candidates"]
    assert right["log_probability"] > wrong["log_probability"]
    for text, candidate in zip(texts, found["candidates"], strict=True):
        assert "".join(each["text"] for each in candidate["tokens"]) == text
        assert candidate["log_probability"] == pytest.approx(
            math.fsum(each["log_probability"] for each in candidate["tokens"])
        )
        assert all(each["log_probability"] <= 0 for each in candidate["tokens"])
    assert found["prompt_tokens"] > 20
    assert found["took_ms"] > 0


def test_scores_are_those_of_the_tokens_that_the_model_chooses(used_client: httpx.Client) -> None:
    asked = {"model": CHAT_MODEL, "messages": ASKED, "max_tokens": 8, "temperature": 0, "logprobs": True}
    choice = used_client.post("/v1/chat/completions", json=asked).raise_for_status().json()["choices"][0]
    chosen = choice["logprobs"]["content"]
    found = scores(used_client, choice["message"]["content"])["candidates"][0]["tokens"]
    assert [each["text"] for each in found] == [each["token"] for each in chosen]
    assert [each["log_probability"] for each in found] == pytest.approx(
        [each["logprob"] for each in chosen], abs=0.05
    )


def test_what_was_computed_for_scores_is_there_for_more_of_them_and_for_a_reply(
    client: httpx.Client,
) -> None:
    first, again = scores(client, "Your passport."), scores(client, "Your passport.", "Yes")
    assert first["cached_tokens"] == 0
    assert again["cached_tokens"] == again["prompt_tokens"] - 1 == first["prompt_tokens"] - 1
    assert again["candidates"][0]["log_probability"] == pytest.approx(
        first["candidates"][0]["log_probability"], abs=1e-2
    )
    asked = {"model": CHAT_MODEL, "messages": ASKED, "max_tokens": 1}
    usage = client.post("/v1/chat/completions", json=asked).raise_for_status().json()["usage"]
    assert usage["prompt_tokens"] == first["prompt_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == first["prompt_tokens"] - 1


def test_another_owners_cache_is_not_used_and_nothing_is_stored(client: httpx.Client, home: Path) -> None:
    with (
        with_key(client, new_key(home, "--tenant", "ann")) as ann,
        with_key(client, new_key(home, "--tenant", "bob")) as bob,
    ):
        assert scores(ann, "Your passport.")["cached_tokens"] == 0
        assert scores(bob, "Your passport.")["cached_tokens"] == 0
        assert scores(bob, "Your passport.")["cached_tokens"] > 0
        assert ann.get("/v1/sessions").json()["data"] == []


def test_control_tokens_in_texts_are_plain_text(used_client: httpx.Client) -> None:
    found = scores(used_client, "<|im_end|>")["candidates"][0]["tokens"]
    assert len(found) > 1
    assert "".join(each["text"] for each in found) == "<|im_end|>"
    spoken = scores(used_client, "Yes", messages=[{"role": "user", "content": "<|im_end|>" * 10}])
    assert spoken["prompt_tokens"] > 30


MESSAGE = {"role": "user", "content": "Hi"}
CANDIDATES = {"candidates": ["Yes"]}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "messages"),
        ({**CANDIDATES, "messages": []}, "messages"),
        ({**CANDIDATES, "messages": [{"role": "tool", "content": "Hi"}]}, "messages.0.role"),
        ({**CANDIDATES, "messages": [{**MESSAGE, "content": "a\0b"}]}, "messages.0.content"),
        ({**CANDIDATES, "messages": [{**MESSAGE, "name": "Ann"}]}, "messages.0.name"),
        ({**CANDIDATES, "messages": [MESSAGE], "model": CHAT_MODEL}, "model"),
        ({"messages": [MESSAGE], "candidates": []}, "candidates"),
        ({"messages": [MESSAGE], "candidates": "Yes"}, "candidates"),
        ({"messages": [MESSAGE], "candidates": ["Yes", ""]}, "candidates.1"),
        ({"messages": [MESSAGE], "candidates": [["Yes"]]}, "candidates.0"),
        ({"messages": [MESSAGE], "candidates": ["Yes"] * (MOST_CANDIDATES + 1)}, "candidates"),
        ({"messages": [MESSAGE], "candidates": ["a" * 262_145]}, "candidates.0"),
    ],
)
def test_what_is_no_question_for_scores_is_refused_by_its_field(
    used_client: httpx.Client, body: dict[str, Any], field: str
) -> None:
    problem = refusal(used_client.post("/v1/scores", json=body))
    assert field in [each["field"] for each in problem["errors"]]


def test_what_does_not_fit_the_window_is_refused_with_the_numbers_and_what_just_fits_is_scored(
    start_service: Callable[..., httpx.Client],
) -> None:
    client = start_service(context_window=256, reply_tokens=32)
    messages = [{"role": "user", "content": "Hi"}]
    prompt_tokens = scores(client, "a", messages=messages)["prompt_tokens"]
    room = 256 - prompt_tokens
    assert len(scores(client, " a" * room, messages=messages)["candidates"][0]["tokens"]) == room
    problem = refusal(score(client, "a", " a" * (room + 1), messages=messages))
    assert problem["code"] == "context_length_exceeded"
    assert problem["detail"].startswith("candidates.1:")
    assert str(prompt_tokens) in problem["detail"]
    assert str(room + 1) in problem["detail"]
    problem = refusal(score(client, *[" a" * 100] * 3, messages=messages))
    assert "the first 3 have 300" in problem["detail"]
    problem = refusal(score(client, "a", messages=[{"role": "user", "content": "a " * 300}]))
    assert problem["detail"].startswith("messages:")
    assert "256" in problem["detail"]


def test_scores_are_on_the_keys_account_and_nothing_is_owed_for_what_was_refused(
    client: httpx.Client, home: Path
) -> None:
    limits = ("--tokens-per-minute", "30", "--concurrent-generations", "1")
    with with_key(client, new_key(home, *limits)) as mine:
        assert score(mine, "").status_code == 422
        answer = score(mine, "Your passport.")
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-remaining-tokens"] == "0"
        refused = score(mine, "Your passport.")
        assert refused.status_code == 429
        assert refused.json()["type"] == "urn:perdure:problem:rate-limit"
        assert int(refused.headers["retry-after"]) >= 1


def test_a_client_that_goes_away_gives_its_place_back(client: httpx.Client, home: Path) -> None:
    with with_key(client, new_key(home, "--concurrent-generations", "1")) as mine:
        long = [{"role": "user", "content": "All that was said was a number. " * 900}]
        with pytest.raises(httpx.ReadTimeout):
            mine.post("/v1/scores", json={"messages": long, "candidates": ["Yes"]}, timeout=0.2)
        until(lambda: score(mine, "Yes").status_code, lambda status: status == 200)
