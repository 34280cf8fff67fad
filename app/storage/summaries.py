"""The summaries of chat sessions."""

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Update

from app.ids import new_id
from app.storage.repository import Repository
from app.storage.tables import SummaryRow
from app.storage.token_index import FingerprintedEncoder, pack_ids, unpack_ids
from memory.summaries.summary import Summary, as_message

COPIED = (
    "recipe",
    "through_turn",
    "enters_at",
    "is_current",
    "author",
    "text",
    "token_ids",
    "fingerprint",
    "created_at",
)
"""What a copy of a summary has of the original."""


class Summaries(Repository):
    """The summaries of one owner's sessions."""

    async def add_one(
        self,
        session_id: str,
        *,
        recipe: str,
        through_turn: int,
        enters_at: int,
        author: str,
        text: str,
        token_ids: tuple[int, ...],
        fingerprint: str,
    ) -> SummaryRow:
        await self.hold_chats([session_id])
        row = SummaryRow(
            id=new_id("sum"),
            session_id=session_id,
            recipe=recipe,
            through_turn=through_turn,
            enters_at=enters_at,
            is_current=True,
            author=author,
            text=text,
            token_ids=pack_ids(token_ids),
            fingerprint=fingerprint,
            created_at=datetime.now(UTC),
        )
        self.add(row)
        await self.session.flush()
        return row

    async def get(self, summary_id: str) -> SummaryRow | None:
        return (
            await self.session.scalars(self.select(SummaryRow).where(SummaryRow.id == summary_id))
        ).one_or_none()

    async def list(self, session_id: str, recipe: str, limit: int) -> list[SummaryRow]:
        """Newest first."""
        query = self.select(SummaryRow).where(
            SummaryRow.session_id == session_id, SummaryRow.recipe == recipe
        )
        newest = query.order_by(SummaryRow.through_turn.desc(), SummaryRow.created_at.desc()).limit(limit)
        return list((await self.session.scalars(newest)).all())

    async def of_window(self, session_id: str, recipe: str, first_turn: int) -> SummaryRow | None:
        """The newest that stands in a window which begins with that turn."""
        return await self._newest(session_id, recipe, SummaryRow.enters_at <= first_turn)

    async def before(self, session_id: str, recipe: str, turn: int) -> SummaryRow | None:
        """The newest that goes no farther than to that turn, whether it stands in a window yet or not."""
        return await self._newest(session_id, recipe, SummaryRow.through_turn <= turn)

    async def copy(self, session_id: str, to_session: str, *, through_turn: int) -> dict[str, str]:
        """Copy those that tell of no turn behind that one; the ids of the copies by the originals'."""
        query = self.select(SummaryRow).where(
            SummaryRow.session_id == session_id, SummaryRow.through_turn <= through_turn
        )
        names = {}
        for row in (await self.session.scalars(query)).all():
            names[row.id] = new_id("sum")
            fields = {field: getattr(row, field) for field in COPIED}
            self.add(SummaryRow(**fields, id=names[row.id], session_id=to_session))
        await self.session.flush()
        return names

    async def replace_after(self, session_id: str, recipe: str, through_turn: int) -> None:
        """Let go of those of a recipe that go on from summaries of that length."""
        await self.hold_chats([session_id])
        await self.session.execute(self._let_go(session_id, through_turn).where(SummaryRow.recipe == recipe))

    async def cut(self, session_id: str, turn: int, *, purge: bool) -> None:
        """Let go of those that tell of that turn or of later ones; with `purge` nothing of them is kept."""
        if purge:
            tells_of_it = (SummaryRow.session_id == session_id, SummaryRow.through_turn > turn)
            await self.session.execute(self.delete(SummaryRow).where(*tells_of_it))
        else:
            await self.session.execute(self._let_go(session_id, turn))

    def _let_go(self, session_id: str, through_turn: int) -> Update:
        tells_more = (SummaryRow.session_id == session_id, SummaryRow.through_turn > through_turn)
        return self.update_rows(SummaryRow).where(*tells_more).values(is_current=False)

    async def _newest(
        self, session_id: str, recipe: str, condition: ColumnElement[bool]
    ) -> SummaryRow | None:
        query = self.select(SummaryRow).where(
            SummaryRow.session_id == session_id,
            SummaryRow.recipe == recipe,
            SummaryRow.is_current,
            condition,
        )
        newest = query.order_by(SummaryRow.through_turn.desc(), SummaryRow.created_at.desc()).limit(1)
        return (await self.session.scalars(newest)).one_or_none()


def as_summary(row: SummaryRow, encoder: FingerprintedEncoder) -> Summary:
    """What the memory layer gets of it; encoded anew if it was made under another tokeniser."""
    ids = unpack_ids(row.token_ids)
    if row.fingerprint != encoder.fingerprint:
        ids = encoder.encode_message("system", as_message(row.text))
    return Summary(row.id, row.text, row.through_turn, row.author, tuple(ids))
