"""A turn as it is stored: its reply is told again, and nothing is generated."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from app.chat.abandoned import interrupt_abandoned
from app.chat.turn import TextDelta, TurnEvent, TurnFailed, TurnFinished
from app.errors import GenerationFailedProblem, NotFoundProblem, SessionBusyProblem
from app.storage.database import Database
from app.storage.marks import MarkKind, Marks
from app.storage.messages import Messages
from app.storage.tables import MessageRow


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """`app.chat.turn.Turn` of what there is; `reply`: None if it ended before the first word."""

    reply_id: str
    user_message: MessageRow
    user_message_marks: frozenset[MarkKind]
    reply: MessageRow | None

    def cancel(self) -> None:
        """Nothing: nothing runs."""

    async def events(self) -> AsyncIterator[TurnEvent]:
        reply = self.reply
        if reply is not None and reply.content:
            yield TextDelta(reply.content)
        if reply is not None and reply.finish_reason != "error":
            yield TurnFinished(reply)
            return
        yield TurnFailed(
            GenerationFailedProblem(
                "the generation ended before the first word" if reply is None else "the generation failed",
                user_message_id=self.user_message.id,
                reply_message_id=reply.id if reply else None,
            )
        )


async def stored_turn(database: Database, owner: str, user_message_id: str, reply_id: str) -> StoredTurn:
    """The turn of a reply that was begun. Raises NotFoundProblem if one of its messages was deleted, and
    SessionBusyProblem while it is being generated.
    """
    found, marks = await _read(database, owner, user_message_id, reply_id)
    if reply_id in found and found[reply_id].status == "generating":
        await interrupt_abandoned(database)
        found, marks = await _read(database, owner, user_message_id, reply_id)
    asked, reply = found.get(user_message_id), found.get(reply_id)
    if asked is None or asked.forgotten_at is not None:
        raise NotFoundProblem(f"message {user_message_id} does not exist")
    if reply is not None and reply.forgotten_at is not None:
        raise NotFoundProblem(f"message {reply_id} does not exist")
    if reply is not None and reply.status == "generating":
        raise SessionBusyProblem(f"reply {reply_id} is still being generated")
    return StoredTurn(reply_id, asked, marks[asked.id], reply)


async def _read(
    database: Database, owner: str, user_message_id: str, reply_id: str
) -> tuple[dict[str, MessageRow], Mapping[str, frozenset[MarkKind]]]:
    async with database.read() as session:
        found = await Messages(session, owner).get_many([user_message_id, reply_id])
        return found, await Marks(session, owner).of([user_message_id])
