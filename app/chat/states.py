"""Chat sessions as they stand: all that their contexts are assembled from, read from the store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.chat.existing import existing_session
from app.chat.lore import open_lorebooks
from app.chat.persona import ChatPersona, OwnInstructions, encode_persona, user_of
from app.models.chat import ChatModel
from app.recall.recollections import recollect, recollect_documents
from app.recall.service import Recall
from app.settings import Settings
from app.storage.database import Database
from app.storage.history import StoredHistory
from app.storage.personas import Personas
from app.storage.session_personas import SessionPersonas
from app.storage.tables import MessageRow, SessionRow
from app.storage.token_index import bring_up
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.context import Context
from memory.recall.found import Found
from memory.strategies import parse_strategy
from memory.strategies.base import Strategy
from memory.strategies.recalling import recalling


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
    ) -> Assembled:
        """The context for a reply to `message`; `asked`: the same, if it is stored.

        Raises like `memory.assembly.assemble`.
        """
        opened = self.open(owner, session_id, reply_tokens, message=message, asked=asked)
        async with opened as (chat, persona):
            return Assembled(await assemble(chat, message), persona)

    @asynccontextmanager
    async def open(
        self,
        owner: str,
        session_id: str,
        reply_tokens: int | None = None,
        *,
        message: NewMessage | None = None,
        asked: MessageRow | None = None,
    ) -> AsyncIterator[tuple[ChatState, ChatPersona | None]]:
        """The session as it stands, its history within one read of the database, and its persona.

        `message`: to reply to; what a user says there may call lore, and for it is recalled what the strategy
        has a place for, or what documents tell if it asks them. With `asked`, a stored message, as if the
        session ended before it.
        """
        content = message.content if message and message.role == "user" else None
        end = asked.position if asked else None
        row = await self.row(owner, session_id)
        await self.bring_up_index(owner, session_id)
        tokenizer, usual = self._model.tokenizer, self._settings.reply_tokens
        async with self._database.read() as session:
            stored = await Personas(session, owner).get(row.persona_id) if row.persona_id else None
            given = SessionPersonas(session, owner)
            since = await given.since_turn(session_id) if stored else None
            own = None
            if row.instructions is not None:
                own = OwnInstructions(row.instructions, await given.instructed_since(session_id) or 0)
            persona = ChatPersona(stored, user_of(row), since) if stored else None
            history = await StoredHistory.open(session, owner, session_id, tokenizer, end=end)
            books = await open_lorebooks(session, row, persona, content, history)
        # Between two reads: a remote tokeniser may take its time, and recall takes some.
        strategy = parse_strategy(row.memory)
        if message and message.quotes:
            recalled: Found | None = await recollect_documents(
                self._recall, owner, row.user_id, message.content, encoder=tokenizer
            )
        else:
            recalled = await self._recalled(owner, session_id, strategy, content, asked)
        pinned, reminder = await asyncio.to_thread(encode_persona, persona, own, user_of(row), tokenizer)
        lore = await asyncio.to_thread(lambda: tuple(book.called(tokenizer) for book in books))
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
        self, owner: str, session_id: str, strategy: Strategy, content: str | None, asked: MessageRow | None
    ) -> Found | None:
        recalls = recalling(strategy)
        if content is None or recalls is None:
            return None
        return await recollect(
            self._recall,
            owner,
            session_id,
            content,
            scope=recalls.scope,
            documents=recalls.documents,
            encoder=self._model.tokenizer,
            asked=asked,
        )
