"""Personas and their revisions."""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, Select, and_, bindparam, func, select

from app.ids import new_id
from app.storage.recall_tables import DocumentRow
from app.storage.repository import HOLDS_ROWS, Repository, prepared
from app.storage.tables import PersonaCardRow, PersonaRevisionRow, PersonaRow, SessionRow
from memory.persona import ExampleExchange, Persona, SpeechRule
from memory.reminder import Reminder

_WRITTEN: tuple[Any, ...] = (
    PersonaRow.id,
    PersonaRevisionRow.revision,
    PersonaRow.public,
    PersonaRow.created_at,
    PersonaRow.updated_at,
    *(getattr(PersonaRevisionRow, name) for name in Persona.__dataclass_fields__),
)
"""What a stored persona is read from."""


@dataclass(frozen=True, slots=True)
class StoredPersona:
    """A persona as of one of its revisions; whether it is `public`, as of now."""

    id: str
    revision: int
    persona: Persona
    public: bool
    created_at: datetime
    updated_at: datetime


def written_persona(fields: dict[str, Any], before: Persona | None = None) -> Persona:
    """A persona from plain data, as in a request or a row; the fields not given as they were `before`."""
    fields = dict(fields)
    if "examples" in fields:
        fields["examples"] = tuple(ExampleExchange(**example) for example in fields["examples"])
    if "speech_rules" in fields:
        fields["speech_rules"] = tuple(SpeechRule(**rule) for rule in fields["speech_rules"])
    if fields.get("reminder"):
        fields["reminder"] = Reminder(**fields["reminder"])
    for name in ("facts", "forbidden_phrases", "alternate_greetings"):
        if name in fields:
            fields[name] = tuple(fields[name])
    return replace(before, **fields) if before else Persona(**fields)


class Personas(Repository):
    """The personas of one owner."""

    async def create(self, persona: Persona, *, public: bool = False) -> StoredPersona:
        now = datetime.now(UTC)
        row = PersonaRow(id=new_id("per"), revision=1, public=public, created_at=now, updated_at=now)
        self.add(row)
        await self.session.flush()
        self.add(_revision(row, persona))
        return _stored(row, persona)

    async def get(
        self, persona_id: str, revision: int | None = None, *, to_remove: bool = False
    ) -> StoredPersona | None:
        """The persona as it is, or as it was in `revision`.

        No other unit removes it before one that writes ends; `to_remove`: nor is it given to a chat.
        """
        wanted = PersonaRow.revision if revision is None else revision
        query = (
            select(*_WRITTEN)
            .select_from(PersonaRow)
            .join(
                PersonaRevisionRow,
                and_(PersonaRevisionRow.persona_id == PersonaRow.id, PersonaRevisionRow.revision == wanted),
            )
            .where(self.is_own(PersonaRow), PersonaRow.id == persona_id)
        )
        if self.session.info.get(HOLDS_ROWS):
            query = query.with_for_update(read=not to_remove, key_share=not to_remove, of=PersonaRow)
        row = (await self.session.execute(query)).one_or_none()
        return _read(row) if row else None

    async def with_book(self, persona_id: str) -> tuple[StoredPersona, Any] | None:
        """The persona as it is, and the `character_book` of the card that it was imported from, if any."""
        row = (await self.ask(self._with_book, persona=persona_id)).one_or_none()
        return (_read(row), row.book) if row else None

    @prepared
    def _with_book(self) -> Select[Any]:
        is_newest = and_(
            PersonaRevisionRow.persona_id == PersonaRow.id, PersonaRevisionRow.revision == PersonaRow.revision
        )
        is_its_card = and_(PersonaCardRow.persona_id == PersonaRow.id, self.is_own(PersonaCardRow))
        return (
            select(*_WRITTEN, PersonaCardRow.book)
            .select_from(PersonaRow)
            .join(PersonaRevisionRow, is_newest)
            .outerjoin(PersonaCardRow, is_its_card)
            .where(self.is_own(PersonaRow), PersonaRow.id == bindparam("persona"))
        )

    async def list(self, *, after: tuple[datetime, str] | None, limit: int) -> list[StoredPersona]:
        """Newest first, from behind `after` on."""
        query = (
            select(*_WRITTEN)
            .select_from(PersonaRow)
            .join(
                PersonaRevisionRow,
                and_(
                    PersonaRevisionRow.persona_id == PersonaRow.id,
                    PersonaRevisionRow.revision == PersonaRow.revision,
                ),
            )
            .where(self.is_own(PersonaRow))
            .order_by(PersonaRow.created_at.desc(), PersonaRow.id.desc())
            .limit(limit)
        )
        if after:
            query = query.where(behind(PersonaRow, after))
        return [_read(row) for row in (await self.session.execute(query)).all()]

    async def revise(
        self, before: StoredPersona, persona: Persona, *, public: bool | None = None
    ) -> StoredPersona | None:
        """Make `persona` the revision after `before`; None if that is not the newest any more.

        `public`: whether it is from now on; by default as it was.
        """
        query = self.held(self.select(PersonaRow).where(PersonaRow.id == before.id))
        row = (await self.session.scalars(query)).one_or_none()
        if row is None or row.revision != before.revision:
            return None
        row.revision = before.revision + 1
        row.updated_at = datetime.now(UTC)
        if public is not None:
            row.public = public
        self.add(_revision(row, persona))
        return _stored(row, persona)

    async def sessions_using(self, persona_id: str) -> int:
        query = self.select_columns(SessionRow, func.count()).where(SessionRow.persona_id == persona_id)
        return int((await self.session.execute(query)).scalar_one())

    async def remove(self, persona_id: str) -> None:
        await self.session.execute(self.delete(PersonaRow).where(PersonaRow.id == persona_id))


def behind(
    table: type[PersonaRow] | type[SessionRow] | type[DocumentRow], after: tuple[datetime, str]
) -> Any:
    """The condition of what a listing, newest first, shows behind `after` (time of creation, id)."""
    created_at, row_id = after
    return (table.created_at < created_at) | ((table.created_at == created_at) & (table.id < row_id))


def _revision(row: PersonaRow, persona: Persona) -> PersonaRevisionRow:
    return PersonaRevisionRow(
        persona_id=row.id, revision=row.revision, created_at=row.updated_at, **asdict(persona)
    )


def _read(row: Row[Any]) -> StoredPersona:
    """A persona out of the columns `_WRITTEN`."""
    persona = written_persona({name: getattr(row, name) for name in Persona.__dataclass_fields__})
    return StoredPersona(row.id, row.revision, persona, row.public, row.created_at, row.updated_at)


def _stored(row: PersonaRow, persona: Persona) -> StoredPersona:
    return StoredPersona(row.id, row.revision, persona, row.public, row.created_at, row.updated_at)
