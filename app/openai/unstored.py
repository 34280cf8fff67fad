"""Responses that are not stored: to the input alone, or behind what a session holds, which is read only."""

import asyncio
from dataclasses import dataclass, replace

from app.api.dependencies import Service
from app.chat.existing import active_message
from app.chat.persona import preamble_of
from app.chat.questions import question_of_messages
from app.models.completions import Completion
from app.openai.conversations import existing_conversation
from app.openai.prompts import chat_prompt, newest_that_fit, reply_tokens
from app.openai.responding import echo_of, previous_response, reply_of, said_in, terms_of
from app.openai.response_schemas import ResponseCreate, ResponseEcho
from app.openai.schemas import ChatMessage
from app.storage.messages import Messages
from app.storage.tables import MessageRow, SessionRow
from llm.engine.interface import GenerationRequest, SamplingParameters


@dataclass(frozen=True, slots=True)
class Unstored:
    """One that was started."""

    reply: Completion
    echo: ResponseEcho


async def start_unstored(
    service: Service, owner: str, body: ResponseCreate, logprobs: int | None
) -> Unstored:
    """Raises a problem, or like `Completions.start`."""
    reply = reply_of(body)
    row, end = await _where(service, owner, body)
    echo = echo_of(service, body, row, reply)
    asking = _Asking(service, owner, body, echo, replace(service.chat.sampling(reply), logprobs=logprobs))
    request = await (asking.alone() if row is None else asking.behind(row, end))
    return Unstored(await service.completions.start([request]), echo)


async def _where(
    service: Service, owner: str, body: ResponseCreate
) -> tuple[SessionRow | None, MessageRow | None]:
    """The session that it goes on from, if any, and the first message there that it does not know of."""
    if body.conversation is not None:
        return await existing_conversation(service, owner, body.conversation), None
    if body.previous_response_id is None:
        return None, None
    previous = await previous_response(service, owner, body.previous_response_id)
    async with service.database.read() as session:
        last = await active_message(session, owner, previous.message_id)
        behind = await Messages(session, owner).list(
            previous.session_id, after=last.position, limit=1, newest_first=False
        )
    return await service.chat.states.row(owner, previous.session_id), behind[0] if behind else None


@dataclass(frozen=True, slots=True)
class _Asking:
    """From the request to what the engine is to generate."""

    service: Service
    owner: str
    body: ResponseCreate
    echo: ResponseEcho
    sampling: SamplingParameters

    async def behind(self, row: SessionRow, end: MessageRow | None) -> GenerationRequest:
        """Behind what the session holds up to `end`, as its next message would be."""
        question = await question_of_messages(self.service.model.tokenizer, said_in(self.body))
        states = self.service.chat.states
        assembled = await states.assemble(
            self.owner,
            await states.parts(self.owner, row.id),
            question.message,
            reply_tokens=self.sampling.max_tokens,
            asked=end,
            terms=terms_of(self.echo),
        )
        return GenerationRequest(
            prompt=assembled.context.token_ids,
            sampling=replace(self.sampling, stop=(*self.sampling.stop, *assembled.forbidden_phrases)),
            owner=self.owner,
            conversation=row.id,
            preamble=preamble_of(assembled.context),
            messages=assembled.context.spoken,
        )

    async def alone(self) -> GenerationRequest:
        model, body = self.service.model, self.body
        messages = [ChatMessage(role=role, content=content) for role, content in said_in(body)]
        if self.echo.instructions is not None:
            messages.insert(0, ChatMessage(role="system", content=self.echo.instructions))
        if self.echo.truncation == "auto":
            room = model.context_window - self.sampling.max_tokens
            messages = await asyncio.to_thread(newest_that_fit, model.tokenizer, messages, room)
        prompt = await asyncio.to_thread(
            chat_prompt, model.tokenizer, messages, context_window=model.context_window, param="input"
        )
        max_tokens = reply_tokens(
            "max_output_tokens",
            body.max_output_tokens,
            self.service.settings.reply_tokens,
            prompt_tokens=len(prompt.token_ids),
            context_window=model.context_window,
        )
        return GenerationRequest(
            prompt=prompt.token_ids,
            sampling=replace(self.sampling, max_tokens=max_tokens),
            owner=self.owner,
            preamble=prompt.preamble,
            messages=prompt.spoken,
        )
