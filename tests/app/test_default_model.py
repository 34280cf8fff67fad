"""What rests on what the default model says: that it answers, and ends by itself."""

import httpx
from openai import OpenAI

from tests.app.standard import respond


def test_it_answers_the_question(used_client: httpx.Client) -> None:
    session_id = used_client.post("/v1/sessions", json={}).json()["id"]
    answer = used_client.post(
        f"/v1/sessions/{session_id}/messages",
        json={"content": "What is the capital of France?", "temperature": 0, "max_tokens": 20},
    ).json()
    assert "Paris" in answer["message"]["content"]


def test_a_response_that_ends_by_itself_is_completed(standard: OpenAI) -> None:
    response = respond(standard, "What is the capital of France?", max_output_tokens=100)
    assert (response.status, response.incomplete_details) == ("completed", None)
    again = standard.responses.retrieve(response.id)
    assert (again.status, again.output_text) == ("completed", response.output_text)
