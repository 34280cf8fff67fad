"""A chat completion that belongs to a chat session: its last message is said there, and nothing else of it.

The session has the history, the persona and the memory; what the client sends of them is its own copy.
"""

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request, Response

from app.api.dependencies import Service
from app.api.replies import CLIENT_CLOSED_REQUEST, instructions_notice
from app.api.streams import until_disconnect
from app.chat.turn import TextDelta, Turn, TurnFailed, TurnFinished
from app.errors import GenerationFailedProblem, InvalidProblem
from app.ids import new_id
from app.models.completions import Ended, Piece, Tally
from app.openai.errors import unsupported
from app.openai.prompts import LEAST_TOP_P, SEED_MASK
from app.openai.schemas import ChatCompletionRequest
from app.schemas.messages import MessageCreate, Usage
from app.storage.tables import SessionRow


class TurnReply:
    """`app.openai.answering.Reply` of a turn. `id` is that of the stored reply."""

    def __init__(self, turn: Turn) -> None:
        self.id = turn.reply_id
        self.usage = Tally()
        self._turn = turn

    def cancel(self) -> None:
        self._turn.cancel()

    async def events(self) -> AsyncIterator[Piece | Ended]:
        async for event in self._turn.events():
            match event:
                case TextDelta(text, tokens):
                    yield Piece(0, text, tokens)
                case TurnFinished(reply):
                    if reply.finish_reason not in ("stop", "length"):
                        raise GenerationFailedProblem(
                            "the generation was cancelled", user_message_id=reply.parent_id
                        )
                    usage = Usage.model_validate(reply.usage)
                    cached = usage.prompt_tokens_details.cached_tokens
                    self.usage = Tally(usage.prompt_tokens, cached, usage.completion_tokens)
                    yield Ended(0, "length" if reply.finish_reason == "length" else "stop")
                case TurnFailed(problem):
                    raise problem


class NoticeReply:
    """What is said to a message that only gave the session other instructions; nothing was generated."""

    def __init__(self, text: str) -> None:
        self.id = new_id("chatcmpl")
        self.usage = Tally()
        self._text = text

    def cancel(self) -> None:
        """Nothing: nothing runs."""

    async def events(self) -> AsyncIterator[Piece | Ended]:
        yield Piece(0, self._text)
        yield Ended(0, "stop")


async def start_bound(
    request: Request,
    service: Service,
    owner: str,
    session_id: str,
    body: ChatCompletionRequest,
    *,
    logprobs: int | None,
    arrived_at: float,
) -> TurnReply | NoticeReply | Response:
    """Say the last message in the session. A response only for a client that has gone, with nothing stored.

    Raises a problem, or like `Chat.start_turn`.
    """
    starting = asyncio.ensure_future(
        service.chat.start_turn(owner, session_id, _message(body), arrived_at=arrived_at, logprobs=logprobs)
    )
    async with until_disconnect(request, starting.cancel):
        try:
            turn = await starting
        except asyncio.CancelledError:
            if starting.cancelled():
                return Response(status_code=CLIENT_CLOSED_REQUEST)
            raise
    return NoticeReply(instructions_notice(turn)) if isinstance(turn, SessionRow) else TurnReply(turn)


def _message(body: ChatCompletionRequest) -> MessageCreate:
    """The last message, and how the reply is to be generated. Raises InvalidProblem."""
    last, where = body.messages[-1], f"messages.{len(body.messages) - 1}"
    if last.role != "user":
        raise InvalidProblem.of_field(f"{where}.role", "in a chat session the last message is the user's")
    if not last.content.strip():
        raise InvalidProblem.of_field(f"{where}.content", "must not be blank")
    if (body.n or 1) > 1:
        raise unsupported("n", "a turn of a chat session has one reply")
    if body.persona_messages is not None:
        raise unsupported("persona_messages", "a chat session has a persona of its own")
    return MessageCreate(
        content=last.content,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        temperature=body.temperature,
        top_p=None if body.top_p is None else max(body.top_p, LEAST_TOP_P),
        top_k=body.top_k,
        min_p=body.min_p,
        repetition_penalty=body.repetition_penalty,
        frequency_penalty=body.frequency_penalty or 0.0,
        presence_penalty=body.presence_penalty or 0.0,
        seed=None if body.seed is None else body.seed & SEED_MASK,
        stop=body.stop or [],
    )
