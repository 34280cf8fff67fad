"""Changes to a chat's history: another path, an edit, a branch, marks, forgetting.

Each is a new fact in the store, made under the session's lock in one unit of work; nothing is overwritten.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from app.chat.existing import active_message, existing_message
from app.chat.questions import read_message
from app.chat.service import Chat
from app.errors import InvalidProblem
from app.models.chat import ChatModel
from app.schemas.messages import MessageEdit
from app.settings import Settings
from app.storage.database import Database
from app.storage.history import StoredHistory
from app.storage.idempotency import IdempotencyKeys
from app.storage.lorebooks import SessionLore
from app.storage.marks import Marks
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow, SessionRow
from memory.marks import check_pins_fit
from memory.messages import Role


class HistoryEdits:
    """The changes to the history of this process's chats."""

    def __init__(self, settings: Settings, database: Database, model: ChatModel, chat: Chat) -> None:
        self._settings = settings
        self._database = database
        self._model = model
        self._chat = chat

    async def session_of(self, owner: str, message_id: str) -> str:
        """The session of a message. Raises NotFoundProblem."""
        async with self._database.read() as session:
            return (await existing_message(session, owner, message_id)).session_id

    async def activate(self, owner: str, message_id: str) -> MessageRow:
        """Make the path through the message the chat as it stands."""
        async with self._changing(owner, message_id), self._database.write() as session:
            message = await existing_message(session, owner, message_id)
            await MessageTree(session, owner).activate(message)
            await Sessions(session, owner).touch(message.session_id)
        return message

    async def edit(self, owner: str, message_id: str, edit: MessageEdit) -> MessageRow:
        """Put another message in the place of this one, unless it says the same."""
        async with self._changing(owner, message_id) as row, self._database.write() as session:
            message = await active_message(session, owner, message_id)
            if (message.prefix or "") + message.content == edit.content:
                return message
            is_users = message.role == "user" or message.is_note
            has_prefixes = row.prefixes or message.prefix is not None
            typed = read_message(edit.content, prefixes=is_users and has_prefixes)
            if typed.kind == "ci":
                raise InvalidProblem.of_field("content", "`ci:` can only be sent as a new message")
            draft = MessageDraft(
                typed.role if is_users else cast(Role, message.role),
                typed.content,
                prefix=typed.prefix,
                # One that stays where it is was said when it was said.
                created_at=message.created_at if edit.keep_following else None,
            )
            edited = await MessageTree(session, owner).replace(
                message, draft, keep_following=edit.keep_following
            )
            await Sessions(session, owner).touch(message.session_id)
        return edited

    async def branch(
        self,
        owner: str,
        session_id: str,
        message_id: str,
        title: str | None,
        *,
        if_busy: str = "reject",
        is_all: bool = True,
    ) -> SessionRow:
        """A new session of the same settings, whose messages are copies of those up to this one.

        `is_all`: whether it is all that the request at hand makes, to be noted under its idempotency key.
        """
        changing = self._chat.changing(owner, session_id, if_busy=if_busy)
        async with changing as source, self._database.write() as session:
            message = await self._of_session(Messages(session, owner), session_id, message_id, "message_id")
            branch = await Sessions(session, owner).create(
                persona_id=source.persona_id,
                user_id=source.user_id,
                title=source.title if title is None else title,
                memory=source.memory,
                user_name=source.user_name,
                branched_from=message,
                prefixes=source.prefixes,
                instructions=source.instructions,
                client_metadata=source.client_metadata,
            )
            branch.lore_scan_depth, branch.lore_token_budget = (
                source.lore_scan_depth,
                source.lore_token_budget,
            )
            copies = await MessageTree(session, owner).copy_path(message, branch.id)
            await SessionLore(session, owner).copy(session_id, branch.id, copies)
            personas = SessionPersonas(session, owner)
            await personas.copy(session_id, branch.id, to_turn=message.turn)
            if await personas.newest(branch.id) != (source.persona_id, source.instructions):
                await personas.give(branch.id, source.persona_id, source.instructions)
            if is_all:
                await IdempotencyKeys(session, owner).keep("session", session_id=branch.id)
        self._chat.recall.soon(owner, branch.id)
        return branch

    async def forget(self, owner: str, session_id: str, message_id: str) -> int:
        """Let a message and all behind it leave the chat for good; how many messages that are."""
        async with self._chat.changing(owner, session_id):
            async with self._database.read() as session:
                await self._of_session(Messages(session, owner), session_id, message_id, "from_message_id")
                await active_message(session, owner, message_id)
            # The keys and values go first: were the process killed in between, only they would be missing.
            await asyncio.to_thread(self._model.engine.forget, session_id)
            async with self._database.write() as session:
                message = await active_message(session, owner, message_id)
                forgotten = await MessageTree(session, owner).forget(message)
                await Sessions(session, owner).touch(session_id)
        return forgotten

    async def pin(self, owner: str, message_id: str) -> MessageRow:
        """Keep the message's turn in every window. Raises PinsTooLargeError if it does not fit there."""
        async with self._changing(owner, message_id) as row:
            reply_tokens = self._settings.reply_tokens
            async with self._chat.states.open(owner, row.id, reply_tokens) as (state, _):
                persona_tokens = state.persona_tokens
            async with self._database.write() as session:
                message = await active_message(session, owner, message_id)
                if await Marks(session, owner).mark(message, "pinned"):
                    history = await StoredHistory.open(session, owner, row.id, self._model.tokenizer)
                    check_pins_fit(
                        await history.pinned(),
                        persona_tokens=persona_tokens,
                        generation_prompt_tokens=len(state.generation_prompt),
                        context_window=self._model.context_window,
                        reply_tokens=reply_tokens,
                    )
        return message

    async def unpin(self, owner: str, message_id: str) -> MessageRow:
        async with self._changing(owner, message_id), self._database.write() as session:
            message = await existing_message(session, owner, message_id)
            await Marks(session, owner).unmark(message, "pinned")
        return message

    async def exclude(self, owner: str, message_id: str) -> MessageRow:
        """Keep the message's turn out of every window."""
        async with self._changing(owner, message_id), self._database.write() as session:
            message = await active_message(session, owner, message_id)
            await MessageTree(session, owner).exclude(message)
        return message

    async def include(self, owner: str, message_id: str) -> MessageRow:
        """Let the message's turn into the window again."""
        async with self._changing(owner, message_id), self._database.write() as session:
            message = await existing_message(session, owner, message_id)
            await MessageTree(session, owner).include(message)
        return message

    @asynccontextmanager
    async def _changing(self, owner: str, message_id: str) -> AsyncIterator[SessionRow]:
        """`Chat.changing` of the session that a message is in."""
        session_id = await self.session_of(owner, message_id)
        async with self._chat.changing(owner, session_id) as row:
            yield row

    @staticmethod
    async def _of_session(messages: Messages, session_id: str, message_id: str, field: str) -> MessageRow:
        message = await messages.get(message_id)
        if message is None or message.session_id != session_id:
            raise InvalidProblem.of_field(field, f"session {session_id} has no message {message_id}")
        return message
