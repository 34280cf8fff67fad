"""Where a stored response belongs, and its start there: in a conversation, behind the response before it, or
at the beginning of a chat session of its own.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from app.api.dependencies import Service
from app.chat.questions import (
    Question,
    ReplyTerms,
    ResponseAsked,
    question_of_messages,
    stored_question,
)
from app.chat.turn import RunningTurn
from app.errors import InvalidProblem, NothingToAnswerProblem
from app.ids import new_id
from app.openai.conversation_settings import STRATEGY, create_session
from app.openai.conversations import existing_conversation
from app.openai.ids import conversation_id_of
from app.openai.prompts import LEAST_TOP_P
from app.openai.response_schemas import (
    ConversationReference,
    ResponseCreate,
    ResponseEcho,
    Truncation,
)
from app.openai.stored_responses import find_response
from app.schemas.messages import ReplyCreate
from app.storage.messages import MessageDraft, Messages
from app.storage.response_tables import ResponseRow
from app.storage.sessions import Sessions
from app.storage.tables import SessionRow
from memory.messages import Role


class _MovedOnError(Exception):
    """Something else stands behind the response that was to be continued."""


@dataclass(frozen=True, slots=True)
class Started:
    turn: RunningTurn
    echo: ResponseEcho


@dataclass(frozen=True, slots=True)
class Responding:
    """The start of one response. `logprobs`: as `Chat.start` has it; `arrived_at`: `time.perf_counter()`."""

    service: Service
    owner: str
    body: ResponseCreate
    logprobs: int | None
    arrived_at: float

    async def start(self) -> Started:
        """Raises a problem, or like `Chat.start`, with nothing stored."""
        if self.body.conversation is not None:
            row = await existing_conversation(self.service, self.owner, self.body.conversation)
            return await self._start(row, if_busy="reject")
        if self.body.previous_response_id is not None:
            return await self._continue(self.body.previous_response_id)
        return await self._begin()

    async def _begin(self) -> Started:
        """In a new session, which has what comes before the last message of the input as its history."""
        said = said_in(self.body)
        drafts = [MessageDraft(role, content, id=new_id("msg")) for role, content in said[:-1]]
        row = await create_session(self.service, self.owner, self.body.metadata or {}, drafts, is_all=False)
        earlier = tuple(draft.id for draft in drafts if draft.id)
        async with self._unless_refused(row.id):
            return await self._start(row, if_busy="reject", said=said[-1:], earlier=earlier)

    async def _continue(self, response_id: str) -> Started:
        """Behind that response, or where something follows it already, in a branch of its session."""
        previous = await previous_response(self.service, self.owner, response_id)
        if previous.request["conversation"] is None:
            async with self.service.database.read() as session:
                row = await Sessions(session, self.owner).get(previous.session_id)
            assert row is not None, "a response goes with its session"
            try:
                return await self._start(row, if_busy="wait", behind=previous.message_id)
            except _MovedOnError:
                previous = await previous_response(self.service, self.owner, response_id)
        branch = await self.service.history.branch(
            self.owner, previous.session_id, previous.message_id, None, if_busy="wait", is_all=False
        )
        async with self._unless_refused(branch.id):
            return await self._start(branch, if_busy="reject")

    async def _start(
        self,
        row: SessionRow,
        *,
        if_busy: str,
        said: Sequence[tuple[Role, str]] | None = None,
        earlier: tuple[str, ...] = (),
        behind: str | None = None,
    ) -> Started:
        reply = reply_of(self.body, if_busy=if_busy)
        echo = echo_of(self.service, self.body, row, reply)
        asked_as = ResponseAsked(echo.model_dump(mode="json"), earlier)

        async def ask() -> Question:
            if behind is not None:
                await self._check_is_last(row.id, behind)
            question = await self._question(row.id, said)
            return replace(question, terms=terms_of(echo), asked_as=asked_as)

        turn = await self.service.chat.start(
            self.owner, row.id, reply, ask, self.arrived_at, logprobs=self.logprobs
        )
        return Started(turn, echo)

    async def _question(self, session_id: str, said: Sequence[tuple[Role, str]] | None) -> Question:
        encoder = self.service.model.tokenizer
        if self.body.input is not None or self.body.conversation is None:
            return await question_of_messages(encoder, said or said_in(self.body))
        database = self.service.database
        try:
            return await stored_question(database, encoder, self.owner, session_id, replaces=None)
        except NothingToAnswerProblem as error:
            raise InvalidProblem.of_field("input", f"is missing, and {error.detail}") from error

    async def _check_is_last(self, session_id: str, message_id: str) -> None:
        async with self.service.database.read() as session:
            last = await Messages(session, self.owner).last(session_id)
        if last is None or last.id != message_id:
            raise _MovedOnError

    @asynccontextmanager
    async def _unless_refused(self, session_id: str) -> AsyncIterator[None]:
        """A session that was made for the response goes again if that does not start in it."""
        try:
            yield
        except BaseException:
            async with (
                self.service.chat.ended([session_id]),
                self.service.database.write() as session,
            ):
                await Sessions(session, self.owner).remove(session_id)
            raise


async def previous_response(service: Service, owner: str, response_id: str) -> ResponseRow:
    """A response that there is a reply of, or will be. Raises InvalidProblem."""
    stored = await find_response(service, owner, response_id)
    if stored is None or (stored.reply is None and not stored.is_running):
        raise InvalidProblem.of_field(
            "previous_response_id",
            f"there is no reply of a response {response_id!r}",
            code="previous_response_not_found",
        )
    return stored.row


def said_in(body: ResponseCreate) -> list[tuple[Role, str]]:
    """The input's messages. Raises InvalidProblem if the last of them is not the user's."""
    if body.input is None:
        raise InvalidProblem.of_field("input", "is missing")
    if body.input[-1].role != "user":
        raise InvalidProblem.of_field(f"input.{len(body.input) - 1}.role", "the last item is the user's")
    return [item.said for item in body.input]


def reply_of(body: ResponseCreate, *, if_busy: str = "reject") -> ReplyCreate:
    return ReplyCreate(
        max_tokens=body.max_output_tokens,
        temperature=body.temperature,
        top_p=None if body.top_p is None else max(body.top_p, LEAST_TOP_P),
        if_busy="wait" if if_busy == "wait" else "reject",
    )


def terms_of(echo: ResponseEcho) -> ReplyTerms:
    return ReplyTerms(echo.instructions, keeps_all=echo.truncation == "disabled")


def echo_of(
    service: Service, body: ResponseCreate, row: SessionRow | None, reply: ReplyCreate
) -> ResponseEcho:
    """What the response repeats of its request; `row`: the session that it is in, if any."""
    sampling = service.chat.sampling(reply)
    conversation: ConversationReference | None = None
    default: Truncation = "disabled"
    if row is not None:
        if body.conversation is not None:
            conversation = ConversationReference(id=conversation_id_of(row.id))
        if STRATEGY in row.client_metadata:
            default = "auto"
    return ResponseEcho(
        model=service.model.engine.model.name,
        instructions=body.instructions or None,
        metadata=body.metadata or {},
        max_output_tokens=body.max_output_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_logprobs=body.top_logprobs or 0,
        truncation=body.truncation or default,
        previous_response_id=body.previous_response_id,
        conversation=conversation,
        store=body.store is not False,
        background=bool(body.background),
    )
