"""The facts of a session, as its owner sees, adds, corrects and deletes them."""

from collections.abc import Mapping
from datetime import UTC, datetime

from app.chat.existing import existing_session
from app.chat.persona import names_with
from app.errors import NotFoundProblem
from app.schemas.facts import FactCreate, FactView
from app.storage.database import Database
from app.storage.facts import Facts, KnownFact
from app.storage.idempotency import IdempotencyKeys
from app.storage.messages import Messages
from app.storage.tables import MessageRow, SessionRow
from memory.facts.fact import OWNER, Found, told
from memory.facts.standing import Standing, standing


class SessionFacts:
    """What is known in a session: told in it, and in the user's other chats with its persona."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, owner: str, session_id: str, *, include_superseded: bool) -> list[FactView]:
        """The newest first. Raises NotFoundProblem."""
        async with self._database.read() as session:
            await existing_session(session, owner, session_id)
            known = await Facts(session, owner).known(session_id)
            stands = standing([each.fact for each in known])
            current = {fact.id for fact in stands.facts}
            shown = [
                each
                for each in reversed(known)
                if each.fact.id in current or (include_superseded and each.fact.id not in stands.merged)
            ]
            ids = [each.fact.message_id for each in shown if each.fact.message_id]
            said = await Messages(session, owner).get_many(ids)
        return [_view(each, stands.superseded, said) for each in shown]

    async def add(self, owner: str, session_id: str, fact: FactCreate) -> FactView:
        """Put down a fact; one that is known already is that one. Raises NotFoundProblem."""
        async with self._database.write() as session:
            row = await existing_session(session, owner, session_id)
            found = Found(fact.subject, fact.key, fact.value, 0, 0)
            fact_id = await self._add(Facts(session, owner), row, found, row.persona_id, message_id=None)
            await IdempotencyKeys(session, owner).keep("fact", session_id=session_id, id=fact_id)
        return await self.shown(owner, session_id, fact_id)

    async def correct(self, owner: str, session_id: str, fact_id: str, value: str) -> FactView:
        """Let a fact with another value take the place of one, which is kept. Raises NotFoundProblem.

        It is told of the persona that the one was told of, and so counts wherever that does.
        """
        async with self._database.write() as session:
            row = await existing_session(session, owner, session_id)
            facts = Facts(session, owner)
            known, _ = await self._known(facts, session_id, fact_id)
            wrong = known.fact
            span = (wrong.quote_start or 0, wrong.quote_end or 0)
            found = Found(wrong.subject, wrong.key, value, *span, ends=wrong.value)
            new_id = await self._add(facts, row, found, known.persona_id, message_id=wrong.message_id)
        return await self.shown(owner, session_id, new_id)

    async def remove(self, owner: str, session_id: str, fact_id: str) -> None:
        """Delete a fact wherever it was said; what it superseded stands again. Raises NotFoundProblem."""
        async with self._database.write() as session:
            facts = Facts(session, owner)
            _, stands = await self._known(facts, session_id, fact_id)
            mentions = [each for each, twin in stands.merged.items() if twin == fact_id]
            await facts.remove([fact_id, *mentions])

    async def _add(
        self,
        facts: Facts,
        row: SessionRow,
        found: Found,
        persona_id: str | None,
        *,
        message_id: str | None,
    ) -> str:
        names = await names_with(facts.session, facts.owner, row, persona_id)
        return await facts.add_one(
            row,
            found,
            persona_id=persona_id,
            text=told(found, names.user, names.assistant),
            author=OWNER,
            said_at=datetime.now(UTC),
            enters_at=0,
            message_id=message_id,
        )

    async def shown(self, owner: str, session_id: str, fact_id: str) -> FactView:
        """The fact of that id, or the one that it was merged into. Raises NotFoundProblem."""
        async with self._database.read() as session:
            known, stands = await self._known(Facts(session, owner), session_id, fact_id)
            if (twin := stands.merged.get(fact_id)) is not None:
                known, stands = await self._known(Facts(session, owner), session_id, twin)
            ids = [known.fact.message_id] if known.fact.message_id else []
            said = await Messages(session, owner).get_many(ids)
        return _view(known, stands.superseded, said)

    @staticmethod
    async def _known(facts: Facts, session_id: str, fact_id: str) -> tuple[KnownFact, Standing]:
        known = await facts.known(session_id)
        found = next((each for each in known if each.fact.id == fact_id), None)
        if found is None:
            raise NotFoundProblem(f"session {session_id} has no fact {fact_id}")
        return found, standing([each.fact for each in known])


def _view(known: KnownFact, superseded: Mapping[str, str], said: Mapping[str, MessageRow]) -> FactView:
    fact = known.fact
    message = said.get(fact.message_id) if fact.message_id else None
    return FactView(
        id=fact.id,
        session_id=known.session_id,
        subject=fact.subject,
        key=fact.key,
        value=fact.value,
        ends=fact.ends,
        text=fact.text,
        author=fact.author,
        message_id=fact.message_id,
        quote=message.content[fact.quote_start : fact.quote_end] if message else None,
        quote_start=fact.quote_start,
        quote_end=fact.quote_end,
        said_at=fact.said_at,
        superseded_by=superseded.get(fact.id),
    )
