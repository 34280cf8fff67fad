"""The official client of OpenAI's API, on a running service."""

import httpx
from openai import OpenAI

CHAT_MODEL = "smollm2-135m-instruct"
EMBEDDING_MODEL = "all-minilm-l6-v2"


def openai_client(service: httpx.Client, *, max_retries: int = 0) -> OpenAI:
    """Gives up at the first error, unless told otherwise."""
    return OpenAI(
        base_url=f"{service.base_url}/v1", api_key="sk-unused", max_retries=max_retries, timeout=120
    )
