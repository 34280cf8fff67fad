"""The official client of OpenAI's API, on a running service, and what tests ask by it."""

from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from openai.types.responses import Response

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"


def openai_client(service: httpx.Client, *, max_retries: int = 0, key: str = "sk-unused") -> OpenAI:
    """Gives up at the first error, unless told otherwise."""
    return OpenAI(base_url=f"{service.base_url}/v1", api_key=key, max_retries=max_retries, timeout=120)


def respond(standard: OpenAI, said: Any, **asked: Any) -> Response:
    response: Response = standard.responses.create(
        **{"model": CHAT_MODEL, "input": said, "max_output_tokens": 8, "temperature": 0, **asked}
    )
    return response


def context_of(client: httpx.Client, response: Response) -> dict[str, Any]:
    """What was in the window of a response."""
    message_id = f"msg_{response.id.removeprefix('resp_')}"
    context: dict[str, Any] = client.get(f"/v1/messages/{message_id}/context").json()
    return context


def in_window(client: httpx.Client, response: Response) -> list[str]:
    """All that the model was told for a response."""
    segments = context_of(client, response)["segments"]
    return [message["content"] for segment in segments for message in segment["messages"]]


def session_of(client: httpx.Client, response: Response) -> str:
    return str(client.get(f"/v1/messages/msg_{response.id.removeprefix('resp_')}").json()["session_id"])


def texts(items: Any) -> list[str]:
    return [item.content[0].text for item in items]


def sessions_there(client: httpx.Client) -> set[str]:
    return {session["id"] for session in client.get("/v1/sessions?limit=200").json()["data"]}


def refused(standard: OpenAI, said: Any = "Hi.", **asked: Any) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as error:
        respond(standard, said, **asked)
    return error.value
