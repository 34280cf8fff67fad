"""Messages on their way into the store: behind the last one, with their tokens, all or none."""

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.questions import Question
from app.storage.database import Database
from app.storage.idempotency import IdempotencyKeys
from app.storage.messages import MessageDraft, Messages
from app.storage.responses import Responses
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow
from app.storage.token_index import FingerprintedEncoder, TokenIndex


class MessageStore:
    """Stores what is said, for whoever holds the session's lock."""

    def __init__(self, database: Database, tokenizer: FingerprintedEncoder) -> None:
        self._database = database
        self._tokenizer = tokenizer

    async def keep_question(
        self, owner: str, session_id: str, question: Question, reply_id: str
    ) -> MessageRow:
        """Store what is new of a question, all or nothing. Gives the message to reply to."""
        if question.stored and question.asked_as is None:
            return question.stored
        message, rows = question.message, [question.stored] if question.stored else []
        async with self._database.write() as session:
            if not rows:
                last = MessageDraft(message.role, message.content, id=message.id, prefix=question.prefix)
                drafts = [*(each.draft for each in question.earlier), last]
                token_ids = [*(each.token_ids for each in question.earlier), message.token_ids]
                rows = await self._add(session, owner, session_id, drafts, token_ids)
            if question.asked_as is not None:
                asked_as, new = question.asked_as, () if question.stored else rows
                input_ids = [*asked_as.input_ids, *(row.id for row in new)]
                await Responses(session, owner).keep(reply_id, session_id, input_ids, asked_as.request)
            await IdempotencyKeys(session, owner).keep(
                "turn", session_id=session_id, user_message=rows[-1].id, reply=reply_id
            )
        return rows[-1]

    async def keep_messages(
        self,
        owner: str,
        session_id: str,
        drafts: Sequence[MessageDraft],
        token_ids: Sequence[Sequence[int]],
    ) -> list[MessageRow]:
        """Store messages behind the last one that nothing is to reply to."""
        async with self._database.write() as session:
            rows = await self._add(session, owner, session_id, drafts, token_ids)
            await IdempotencyKeys(session, owner).keep(
                "messages", session_id=session_id, ids=[row.id for row in rows]
            )
        return rows

    async def _add(
        self,
        session: AsyncSession,
        owner: str,
        session_id: str,
        drafts: Sequence[MessageDraft],
        token_ids: Sequence[Sequence[int]],
    ) -> list[MessageRow]:
        rows = await Messages(session, owner).append(session_id, drafts)
        await TokenIndex(session, owner).extend(rows, token_ids, self._tokenizer.fingerprint)
        await Sessions(session, owner).touch(session_id)
        return rows
