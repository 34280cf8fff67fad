"""Personas and their revisions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import and_, func, select

from app.ids import new_id
from app.storage.repository import Repository
from app.storage.tables import PersonaRevisionRow, PersonaRow, SessionRow
from memory.persona import ExampleExchange, Persona


@dataclass(frozen=True, slots=True)
class StoredPersona:
    """A persona as of one of its revisions."""

    id: str
    revision: int
    name: str
    instructions: str
    examples: tuple[ExampleExchange, ...]
    greeting: str | None
    created_at: datetime
    updated_at: datetime

    def as_persona(self) -> Persona:
        return Persona(self.name, self.instructions, self.examples)

    def changed(self, changes: dict[str, Any]) -> "StoredPersona":
        """As it would be with `changes` to its fields, in the form of a request; not stored."""
        if "examples" in changes:
            changes = changes | {"examples": _examples(changes["examples"])}
        return replace(self, **changes)


class Personas(Repository):
    """The personas of one owner."""

    async def create(
        self, *, name: str, instructions: str, examples: list[dict[str, str]], greeting: str | None
    ) -> StoredPersona:
        now = datetime.now(UTC)
        persona = PersonaRow(id=new_id("per"), revision=1, created_at=now, updated_at=now)
        self.add(persona)
        await self.session.flush()
        revision = PersonaRevisionRow(
            persona_id=persona.id,
            revision=1,
            name=name,
            instructions=instructions,
            examples=examples,
            greeting=greeting,
            created_at=now,
        )
        self.add(revision)
        return _stored(persona, revision)

    async def get(self, persona_id: str, revision: int | None = None) -> StoredPersona | None:
        """The persona as it is, or as it was in `revision`."""
        wanted = PersonaRow.revision if revision is None else revision
        query = (
            select(PersonaRow, PersonaRevisionRow)
            .join(
                PersonaRevisionRow,
                and_(PersonaRevisionRow.persona_id == PersonaRow.id, PersonaRevisionRow.revision == wanted),
            )
            .where(PersonaRow.owner == self.owner, PersonaRow.id == persona_id)
        )
        row = (await self.session.execute(query)).one_or_none()
        return _stored(*row) if row else None

    async def list(self, *, after: tuple[datetime, str] | None, limit: int) -> list[StoredPersona]:
        """Newest first, from behind `after` on."""
        query = (
            select(PersonaRow, PersonaRevisionRow)
            .join(
                PersonaRevisionRow,
                and_(
                    PersonaRevisionRow.persona_id == PersonaRow.id,
                    PersonaRevisionRow.revision == PersonaRow.revision,
                ),
            )
            .where(PersonaRow.owner == self.owner)
            .order_by(PersonaRow.created_at.desc(), PersonaRow.id.desc())
            .limit(limit)
        )
        if after:
            query = query.where(behind(PersonaRow, after))
        return [_stored(*row) for row in (await self.session.execute(query)).all()]

    async def revise(self, before: StoredPersona, changes: dict[str, Any]) -> StoredPersona | None:
        """Make a new revision with `changes` to `before`; None if that is not the newest any more."""
        query = self.select(PersonaRow).where(PersonaRow.id == before.id)
        persona = (await self.session.scalars(query)).one_or_none()
        if persona is None or persona.revision != before.revision:
            return None
        after = before.changed(changes)
        persona.revision = before.revision + 1
        persona.updated_at = datetime.now(UTC)
        revision = PersonaRevisionRow(
            persona_id=persona.id,
            revision=persona.revision,
            name=after.name,
            instructions=after.instructions,
            examples=[asdict(example) for example in after.examples],
            greeting=after.greeting,
            created_at=persona.updated_at,
        )
        self.add(revision)
        return _stored(persona, revision)

    async def sessions_using(self, persona_id: str) -> int:
        query = self.select_columns(SessionRow, func.count()).where(SessionRow.persona_id == persona_id)
        return int((await self.session.execute(query)).scalar_one())

    async def remove(self, persona_id: str) -> None:
        await self.session.execute(self.delete(PersonaRow).where(PersonaRow.id == persona_id))


def behind(table: type[PersonaRow] | type[SessionRow], after: tuple[datetime, str]) -> Any:
    """The condition of what a listing, newest first, shows behind `after` (time of creation, id)."""
    created_at, row_id = after
    return (table.created_at < created_at) | ((table.created_at == created_at) & (table.id < row_id))


def _stored(persona: PersonaRow, revision: PersonaRevisionRow) -> StoredPersona:
    return StoredPersona(
        id=persona.id,
        revision=revision.revision,
        name=revision.name,
        instructions=revision.instructions,
        examples=_examples(revision.examples),
        greeting=revision.greeting,
        created_at=persona.created_at,
        updated_at=persona.updated_at,
    )


def _examples(exchanges: Sequence[dict[str, str]]) -> tuple[ExampleExchange, ...]:
    return tuple(ExampleExchange(each["user"], each["assistant"]) for each in exchanges)
