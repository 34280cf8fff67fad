"""Imports: a file becomes chat sessions, personas and documents, as a whole or not at all."""

import asyncio
from collections.abc import Mapping
from typing import Any, Literal

from app.chat.persona import check_fits
from app.chat.service import Chat
from app.errors import InvalidProblem
from app.models.chat import ChatModel
from app.schemas.transfer import ImportedDocumentView, ImportedSessionView, ImportedView, ImportView
from app.settings import Settings
from app.storage.database import Database
from app.storage.idempotency import IdempotencyKeys
from app.storage.personas import written_persona
from app.transfer.archive import Archive, ChatArchive, TransferError
from app.transfer.formats import Format, read_file
from app.transfer.into_store import Intake
from app.transfer.new_rows import NewRows, new_rows
from app.transfer.records import PersonaRecord, TokensRecord
from memory.errors import InvalidParametersError, UnknownStrategyError
from memory.persona import ChatUser, Persona, instructed
from memory.strategies import parse_strategy

Json = dict[str, Any]


class Imports:
    """The imports into this process's database."""

    def __init__(self, settings: Settings, database: Database, model: ChatModel, chat: Chat) -> None:
        self._settings = settings
        self._database = database
        self._model = model
        self._chat = chat

    async def take_in(
        self,
        owner: str,
        file: bytes,
        file_format: Format | Literal["auto"],
        *,
        memory: Json | None,
        lossy: bool,
        one_session: bool,
    ) -> ImportView:
        """Store what a file holds, and have what follows from it brought up.

        `memory`: for its chats, instead of their own. Raises InvalidProblem that says where reading stopped,
        and PersonaTooLargeError, before anything is stored.
        """
        if memory is not None:
            memory = parse_strategy(memory).model_dump(mode="json")
        try:
            archive, memories = await asyncio.to_thread(
                self._read, file, file_format, memory, lossy=lossy, one_session=one_session
            )
        except TransferError as error:
            raise InvalidProblem.of_field(error.place, str(error)) from None
        await self._check_personas(archive)
        async with self._database.write() as session:
            intake = Intake(session, owner)
            there = await intake.documents_there(archive)
            new = await asyncio.to_thread(new_rows, archive, memories, there)
            shelves = await intake.store(new)
            view = _view(archive, new, there)
            first = view.sessions[0].id if view.sessions else None
            named = {"sessions": {"__all__": {"title"}}, "documents": {"__all__": {"name"}}}
            made = view.model_dump(mode="json", exclude=named)
            await IdempotencyKeys(session, owner).keep("import", session_id=first, view=made)
        self._chat.after_import(owner, [new.names[chat.session.id] for chat in archive.chats], shelves)
        return view

    def _read(
        self,
        file: bytes,
        file_format: Format | Literal["auto"],
        memory: Json | None,
        *,
        lossy: bool,
        one_session: bool,
    ) -> tuple[Archive, list[Json]]:
        """What the file holds, and the memory settings of its chats."""
        archive = read_file(file, file_format, lossy=lossy)
        if one_session and len(archive.chats) != 1:
            raise TransferError(f"holds {len(archive.chats)} chats; POST /v1/import takes such a file")
        for chat in archive.chats:
            self._check_tokens(chat)
        return archive, [memory or self._memory_of(chat) for chat in archive.chats]

    def _memory_of(self, chat: ChatArchive) -> Json:
        memory = chat.session.memory
        try:
            strategy = parse_strategy(self._settings.memory if memory is None else memory)
        except (UnknownStrategyError, InvalidParametersError) as error:
            raise TransferError(str(error), f"{chat.place}.memory") from None
        return strategy.model_dump(mode="json")

    def _check_tokens(self, chat: ChatArchive) -> None:
        """Raise TransferError if ids that are said to be of this model's tokeniser cannot be."""
        tokenizer = self._model.tokenizer

        def is_possible(tokens: TokensRecord | None) -> bool:
            if tokens is None or tokens.fingerprint != tokenizer.fingerprint:
                return True
            return not tokens.token_ids or max(tokens.token_ids) < (tokenizer.vocabulary_size or 2**31)

        held = [(message.id, message.sampled) for message in chat.messages]
        held += [(summary.id, summary.tokens) for summary in chat.summaries]
        for name, tokens in held:
            if not is_possible(tokens):
                raise TransferError(f"{name}: a token id is larger than the vocabulary", chat.place)

    async def _check_personas(self, archive: Archive) -> None:
        """Raise PersonaTooLargeError if one leaves no room for a turn, with anybody or in a chat here."""
        current = {persona.id: _persona(persona) for persona in archive.personas}
        met: set[tuple[str | None, ChatUser | None, str | None]] = {(each, None, None) for each in current}
        for chat in archive.chats:
            session = chat.session
            if session.user_name is not None or session.instructions is not None:
                user = ChatUser(session.user_id, session.user_name)
                met.add((session.persona_id, user, session.instructions))
        for persona_id, with_user, instructions in met:
            persona = instructed(current[persona_id] if persona_id else None, instructions)
            if persona:
                await check_fits(self._model, self._settings, persona, with_user)


def _persona(record: PersonaRecord) -> Persona:
    return written_persona(record.revisions[-1].model_dump(exclude={"revision", "created_at"}))


def _view(archive: Archive, new: NewRows, there: Mapping[str, str]) -> ImportView:
    return ImportView.model_validate(
        {
            "format": archive.format,
            "sessions": [
                ImportedSessionView(
                    id=new.names[chat.session.id],
                    imported_from=chat.source_id,
                    title=chat.session.title,
                    messages=len(chat.messages),
                )
                for chat in archive.chats
            ],
            "personas": [
                ImportedView(id=new.names[persona.id], imported_from=persona.id)
                for persona in archive.personas
            ],
            "documents": [
                ImportedDocumentView(
                    id=new.names[each.document.id],
                    imported_from=each.document.id,
                    name=each.document.name,
                    was_there=each.document.id in there,
                )
                for each in archive.documents
            ],
            "left_out": dict(archive.left_out),
        }
    )
