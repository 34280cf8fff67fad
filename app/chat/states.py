"""Chat sessions as they stand: all that their contexts are assembled from, read from the store."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

from app.chat.context_records import context_view
from app.chat.existing import existing_session, standing_session
from app.chat.lore import OpenLorebook, lorebooks, open_lorebooks
from app.chat.persona import ChatPersona, OwnInstructions, encode_persona, persona_of, preamble_of, user_of
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
from memory.lore import Lorebook
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


@dataclass(frozen=True, slots=True)
class SessionParts:
    """What stands around the turns of a session, of one read of the database.

    `is_indexed`: whether its token index has all messages; `has_unfinished`: whether a reply is not stored to
    its end.
    """

    row: SessionRow
    persona: ChatPersona | None
    own: OwnInstructions | None
    books: Sequence[Lorebook]
    is_indexed: bool
    has_unfinished: bool


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

    async def parts(self, owner: str, session_id: str) -> SessionParts:
        async with self._database.read() as session:
            chat = await standing_session(session, owner, session_id, self._model.tokenizer.fingerprint)
            persona, own = await persona_of(session, owner, chat.row)
            books = await lorebooks(session, owner, chat, persona)
        return SessionParts(chat.row, persona, own, books, chat.is_indexed, chat.has_unfinished)

    async def bring_up_index(self, owner: str, session_id: str) -> None:
        tokenizer = self._model.tokenizer
        await bring_up(self._database, owner, session_id, tokenizer, tokenizer.fingerprint)

    async def assemble(
        self,
        owner: str,
        parts: SessionParts,
        message: NewMessage | None,
        *,
        reply_tokens: int,
        asked: MessageRow | None = None,
        terms: ReplyTerms = USUAL,
    ) -> Assembled:
        """The context for a reply to `message`; `asked`: the same, if it is stored.

        Raises like `memory.assembly.assemble`.
        """
        opened = self._open(
            owner, parts, reply_tokens, message=message, asked=asked, keeps_all=terms.keeps_all
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
        parts = await self.parts(owner, session_id)
        if content is not None:
            typed = read_message(content, prefixes=parts.row.prefixes)
            if typed.kind == "ci":
                raise InvalidProblem.of_field("content", "`ci:` asks for no reply, so there is no context")
            message = await new_message(self._model.tokenizer, typed, note, message_id="")
        assembled = await self.assemble(
            owner, parts, message, reply_tokens=max_tokens or self._settings.reply_tokens
        )
        engine = self._model.engine
        return context_view(
            session_id,
            assembled.context,
            assembled.persona,
            cached_tokens=engine.cached_tokens(
                assembled.context.token_ids, owner, preamble_of(assembled.context)
            ),
            model=engine.model,
        )

    @asynccontextmanager
    async def open(
        self, owner: str, session_id: str, reply_tokens: int | None = None
    ) -> AsyncIterator[tuple[ChatState, ChatPersona | None]]:
        """The session as it stands, its history within one read of the database, and its persona."""
        parts = await self.parts(owner, session_id)
        async with self._open(owner, parts, reply_tokens) as opened:
            yield opened

    @asynccontextmanager
    async def _open(
        self,
        owner: str,
        parts: SessionParts,
        reply_tokens: int | None,
        *,
        message: NewMessage | None = None,
        asked: MessageRow | None = None,
        keeps_all: bool = False,
    ) -> AsyncIterator[tuple[ChatState, ChatPersona | None]]:
        """As `open`.

        `message`: to reply to; what a user says there may call lore, and for it is recalled what the strategy
        has a place for, or what documents tell if it asks them. With `asked`, a stored message, as if the
        session ended before it. `keeps_all`: with `buffer`, whatever its own strategy.
        """
        row, persona, books, session_id = parts.row, parts.persona, parts.books, parts.row.id
        content = message.content if message and message.role == "user" else None
        end = asked.position if asked else None
        tokenizer, usual = self._model.tokenizer, self._settings.reply_tokens
        if not parts.is_indexed:
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
            encoded, lore = await asyncio.to_thread(
                lambda: (
                    encode_persona(persona, parts.own, user_of(row), tokenizer),
                    tuple(book.called(tokenizer) for book in opened),
                )
            )
        async with self._database.read() as session:
            with stage("history"):
                history = await StoredHistory.open(session, owner, session_id, tokenizer, end=end)
                chat = ChatState(
                    persona=encoded.segments,
                    public_tokens=encoded.public_tokens,
                    strategy=strategy,
                    history=history,
                    generation_prompt=tokenizer.generation_prompt,
                    limits=Limits(self._model.context_window, reply_tokens or usual, usual),
                    pinned=await history.pinned(),
                    excluded=await history.excluded(),
                    reminder=encoded.reminder,
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
