"""The stream of a reply, from server-sent events of OpenAI's completions and chat API to plain chunks."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import EventSource, SSEError

from llm.remote.server import RemoteServer, error_message


@dataclass(frozen=True, slots=True)
class ServerUsage:
    """Tokens as the server counted them; `cached_tokens` is 0 where it does not say."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """One event of a stream. `token_ids` are those of `text`, from servers that give them."""

    text: str = ""
    token_ids: tuple[int, ...] = ()
    finish_reason: str | None = None
    usage: ServerUsage | None = None


async def chunks(server: RemoteServer, path: str, response: httpx.Response) -> AsyncGenerator[Chunk]:
    """The chunks of a stream until its end.

    Raises RemoteServerError for what is no such stream, a malformed event, an error that the server sends,
    and an end that comes before any finish reason.
    """
    is_finished = False
    try:
        async for event in EventSource(response).aiter_sse():
            if not event.data.strip():
                continue
            if event.data.strip() == "[DONE]":
                break
            chunk = _parsed(server, path, event.data)
            is_finished = is_finished or chunk.finish_reason is not None
            yield chunk
    except SSEError:
        kind = response.headers.get("content-type", "no content type")
        raise server.fault(path, f"answered {response.status_code}, but no event stream ({kind})") from None
    if not is_finished:
        raise server.fault(path, "ended its stream before the reply was finished")


def _parsed(server: RemoteServer, path: str, data: str) -> Chunk:
    try:
        event: dict[str, Any] = json.loads(data)
        if event.get("error"):
            raise server.fault(path, f"failed within its stream: {error_message(event)}")
        usage = usage_of(event)
        if not event.get("choices"):
            return Chunk(usage=usage)
        choice = event["choices"][0]
        text = choice["delta"].get("content") if "delta" in choice else choice["text"]
        if not isinstance(text, str | None):
            raise TypeError("the text is no string")
        return Chunk(
            text=text or "",
            token_ids=tuple(int(token_id) for token_id in choice.get("token_ids") or ()),
            finish_reason=choice.get("finish_reason"),
            usage=usage,
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise server.fault(path, f"sent a malformed event: {data}") from None


def usage_of(event: dict[str, Any]) -> ServerUsage | None:
    """What an answer, or an event of its stream, says of tokens; None if it says nothing."""
    usage = event.get("usage")
    if not usage:
        return None
    details = usage.get("prompt_tokens_details") or {}
    cached = details.get("cached_tokens")
    if cached is None:  # llama.cpp reports it among its timings
        cached = (event.get("timings") or {}).get("cache_n")
    return ServerUsage(
        int(usage["prompt_tokens"]), int(usage.get("completion_tokens") or 0), int(cached or 0)
    )
