"""What a reply is wanted to: a user's message that is new, or one that is stored already."""

import asyncio
from dataclasses import dataclass

from app.errors import NotActiveProblem, NotFoundProblem, NothingToAnswerProblem
from app.ids import new_id
from app.storage.database import Database
from app.storage.marks import MarkKind, Marks
from app.storage.messages import Messages
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow
from memory.assembly import NewMessage, note_segment
from memory.protocols import ChatEncoder


@dataclass(frozen=True, slots=True)
class Question:
    """A user's message; `stored`, with its `marks`, if it is; the reply to it that a new one `replaces`."""

    message: NewMessage
    stored: MessageRow | None = None
    marks: frozenset[MarkKind] = frozenset()
    replaces: MessageRow | None = None


async def new_question(encoder: ChatEncoder, content: str, note: str | None) -> Question:
    return Question(await new_message(encoder, content, note, message_id=new_id("msg")))


async def new_message(encoder: ChatEncoder, content: str, note: str | None, *, message_id: str) -> NewMessage:
    token_ids = await asyncio.to_thread(encoder.encode_message, "user", content)
    noted = None if note is None else await asyncio.to_thread(note_segment, note, encoder)
    return NewMessage(message_id, content, token_ids, noted)


async def stored_question(
    database: Database, encoder: ChatEncoder, owner: str, session_id: str, *, replaces: str | None
) -> Question:
    """The message that the reply `replaces` answers; without one, the last of the session.

    Raises NotFoundProblem, NotActiveProblem, or NothingToAnswerProblem if that is no user's message, or one
    that is excluded.
    """
    async with database.read() as session:
        messages, marks = Messages(session, owner), Marks(session, owner)
        reply = None
        if replaces is not None:
            reply = await active_message(messages, replaces)
            if reply.role != "assistant":
                raise NothingToAnswerProblem(f"message {replaces} is not a reply")
            asked = await messages.get(reply.parent_id) if reply.parent_id else None
        elif await Sessions(session, owner).get(session_id) is None:
            raise NotFoundProblem(f"session {session_id} does not exist")
        else:
            asked = await messages.last(session_id)
        if asked is None or asked.role != "user":
            where = f"before reply {replaces}" if replaces else f"at the end of session {session_id}"
            raise NothingToAnswerProblem(f"there is no user's message {where}")
        if asked.turn in await marks.excluded_turns(session_id):
            raise NothingToAnswerProblem(f"message {asked.id} is in an excluded turn")
        kinds = (await marks.of([asked.id]))[asked.id]
    token_ids = await asyncio.to_thread(encoder.encode_message, "user", asked.content)
    return Question(NewMessage(asked.id, asked.content, token_ids), asked, kinds, reply)


async def active_message(messages: Messages, message_id: str) -> MessageRow:
    """The message, which must lie on the active path. Raises NotFoundProblem or NotActiveProblem."""
    message = await messages.get(message_id)
    if message is None:
        raise NotFoundProblem(f"message {message_id} does not exist")
    if not message.is_active:
        raise NotActiveProblem(
            f"message {message_id} is not part of the chat as it stands; activate it first"
        )
    return message
