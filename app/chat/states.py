"""Chat sessions as they stand: all that their contexts are assembled from, read from the store."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from app.chat.context_records import context_view
from app.chat.existing import existing_session
from app.chat.lore import OpenLorebook, lorebooks, open_lorebooks
from app.chat.persona import ChatPersona, encode_persona, persona_of, user_of
from app.chat.questions import USUAL, ReplyTerms, new_message, read_message
from app.errors import InvalidProblem
from app.models.chat import ChatModel
from app.recall.recollections import recollect, recollect_documents
from app.recall.service import Recall
from app.schemas.contexts import ContextView
from app.settings import Settings
from app.storage.database import Database
from app.storage.history import StoredHistory
from app.storage.tables import MessageRow, SessionRow
from app.storage.token_index import bring_up
from app.telemetry.tracing import stage
from memory.assembly import ChatState, Limits, NewMessage, assemble, instructed_once
from memory.context import Context
from memory.recall.found import Found
from memory.strategies import parse_strategy
from memory.strategies.base import Strategy
from memory.strategies.buffer import Buffer
from memory.strategies.recalling import recalling

OpenState = Callable[[str, str], AbstractAsyncContextManager[tuple[ChatState, ChatPersona | None]]]
"""A session of an owner as it stands, its token index brought up."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A context, and the persona that stands in it."""

    context: Context
    persona: ChatPersona | None

    @property
    def forbidden_phrases(self) -> tuple[str, ...]:
        return self.persona.met.forbidden_phrases if self.persona else ()


class SessionStates:
    """The sessions of one database, for one model. Raises NotFoundProblem for one that is not there."""

    def __init__(self, settings: Settings, database: Database, model: ChatModel, recall: Recall) -> None:
        self._settings = settings
        self._database = database
        self._model = model
        self._recall = recall

    async def row(self, owner: str, session_id: str) -> SessionRow:
        async with self._database.read() as session:
            return await existing_session(session, owner, session_id)

    async def bring_up_index(self, owner: str, session_id: str) -> None:
        tokenizer = self._model.tokenizer
        await bring_up(self._database, owner, session_id, tokenizer, tokenizer.fingerprint)

    async def assemble(
        self,
        owner: str,
        session_id: str,
        message: NewMessage | None,
        *,
        reply_tokens: int,
        asked: MessageRow | None = None,
        terms: ReplyTerms = USUAL,
    ) -> Assembled:
        """The context for a reply to `message`; `asked`: the same, if it is stored.

        Raises like `memory.assembly.assemble`.
        """
        opened = self.open(
            owner, session_id, reply_tokens, message=message, asked=asked, keeps_all=terms.keeps_all
        )
        async with opened as (chat, persona):
            if terms.instructions is None or message is None:
                return Assembled(await assemble(chat, message), persona)
            instructed, asking = await asyncio.to_thread(
                instructed_once, chat, message, terms.instructions, self._model.tokenizer
            )
            return Assembled(await assemble(instructed, asking), persona)

    async def preview(
        self, owner: str, session_id: str, content: str | None, note: str | None, *, max_tokens: int | None
    ) -> ContextView:
        """What would be in the window now, for a message of that content with that note, or for none."""
        message = None
        if content is not None:
            row = await self.row(owner, session_id)
            typed = read_message(content, prefixes=row.prefixes)
            if typed.kind == "ci":
                raise InvalidProblem.of_field("content", "`ci:` asks for no reply, so there is no context")
            message = await new_message(self._model.tokenizer, typed, note, message_id="")
        assembled = await self.assemble(
            owner, session_id, message, reply_tokens=max_tokens or self._settings.reply_tokens
        )
        engine = self._model.engine
        return context_view(
            session_id,
            assembled.context,
            assembled.persona,
            cached_tokens=engine.cached_tokens(assembled.context.token_ids, owner),
            model=engine.model,
        )

    @asynccontextmanager
    async def open(
        self,
        owner: str,
        session_id: str,
        reply_tokens: int | None = None,
        *,
        message: NewMessage | None = None,
        asked: MessageRow | None = None,
        keeps_all: bool = False,
    ) -> AsyncIterator[tuple[ChatState, ChatPersona | None]]:
        """The session as it stands, its history within one read of the database, and its persona.

        `message`: to reply to; what a user says there may call lore, and for it is recalled what the strategy
        has a place for, or what documents tell if it asks them. With `asked`, a stored message, as if the
        session ended before it. `keeps_all`: with `buffer`, whatever its own strategy.
        """
        content = message.content if message and message.role == "user" else None
        end = asked.position if asked else None
        tokenizer, usual = self._model.tokenizer, self._settings.reply_tokens
        with stage("history"):
            async with self._database.read() as session:
                row = await existing_session(session, owner, session_id)
                persona, own = await persona_of(session, owner, row)
                books = await lorebooks(session, owner, row, persona)
            await self.bring_up_index(owner, session_id)
        opened: tuple[OpenLorebook, ...] = ()
        if books:
            async with self._database.read() as session:
                history = await StoredHistory.open(session, owner, session_id, tokenizer, end=end)
                opened = await open_lorebooks(books, content, history)
        # Between two reads: a remote tokeniser may take its time, and recall takes some.
        strategy = Buffer() if keeps_all else parse_strategy(row.memory)
        recalled = await self._recalled(owner, row, strategy, message, asked)
        with stage("tokenise"):
            (pinned, reminder), lore = await asyncio.to_thread(
                lambda: (
                    encode_persona(persona, own, user_of(row), tokenizer),
                    tuple(book.called(tokenizer) for book in opened),
                )
            )
        async with self._database.read() as session:
            history = await StoredHistory.open(session, owner, session_id, tokenizer, end=end)
            chat = ChatState(
                persona=pinned,
                strategy=strategy,
                history=history,
                generation_prompt=tokenizer.generation_prompt,
                limits=Limits(self._model.context_window, reply_tokens or usual, usual),
                pinned=await history.pinned(),
                excluded=await history.excluded(),
                reminder=reminder,
                lore=lore,
                recalled=recalled,
            )
            yield chat, persona

    async def _recalled(
        self,
        owner: str,
        row: SessionRow,
        strategy: Strategy,
        message: NewMessage | None,
        asked: MessageRow | None,
    ) -> Found | None:
        """What is recalled for a user's message, or what documents tell if it asks them."""
        if message is None or message.role != "user":
            return None
        encoder = self._model.tokenizer
        if message.quotes is not None:
            with stage("recall"):
                return await recollect_documents(
                    self._recall, owner, row.user_id, message.content, encoder=encoder
                )
        recalls = recalling(strategy)
        if recalls is None:
            return None
        with stage("recall"):
            return await recollect(
                self._recall,
                owner,
                row.id,
                message.content,
                scope=recalls.scope,
                documents=recalls.documents,
                encoder=encoder,
                asked=asked,
            )
