"""Which persona a chat session has had from which turn on, and which instructions in the place of the
persona's. Rows are added, never changed.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Row, Select, bindparam

from app.storage.messages import Messages
from app.storage.repository import Repository, prepared
from app.storage.tables import SessionPersonaRow, SessionRow
from memory.messages import Role, starts_new_turn


class SessionPersonas(Repository):
    """The personas that one owner's sessions were given."""

    async def give(self, session_id: str, persona_id: str | None, instructions: str | None = None) -> None:
        """Note that the session has this persona, with these instructions, from its next turn on."""
        await self.hold_chats([session_id])
        rows = await self._of(session_id)
        self.add(
            SessionPersonaRow(
                session_id=session_id,
                number=len(rows),
                turn=await self._next_turn(session_id),
                persona_id=persona_id,
                instructions=instructions,
                created_at=datetime.now(UTC),
            )
        )
        await self.session.flush()

    async def copy(self, session_id: str, to_session: str, *, to_turn: int) -> None:
        """Let the other session have had the same personas, up to that turn."""
        for row in await self._of(session_id):
            if row.turn <= to_turn:
                self.add(
                    SessionPersonaRow(
                        session_id=to_session,
                        number=row.number,
                        turn=row.turn,
                        persona_id=row.persona_id,
                        instructions=row.instructions,
                        created_at=row.created_at,
                    )
                )
        await self.session.flush()

    async def newest(self, session_id: str) -> tuple[str | None, str | None]:
        """The persona that the session was given last, and the instructions."""
        rows = await self._of(session_id)
        return (rows[-1].persona_id, rows[-1].instructions) if rows else (None, None)

    async def by_turn(self, chat: SessionRow) -> Callable[[int], str | None]:
        """Tells the persona of a turn; of sessions from before that was kept, the one of now."""
        rows = await self._of(chat.id)
        if not rows:
            return lambda _turn: chat.persona_id
        given = [(row.turn, row.persona_id) for row in reversed(rows)]
        return lambda turn: next((persona_id for since, persona_id in given if since <= turn), None)

    async def since_turn(self, session_id: str) -> int | None:
        """The turn from which on the session has had the persona of now; None if that was not kept then."""
        return _last_change([(row.turn, row.persona_id) for row in await self._of(session_id)])

    async def instructed_since(self, session_id: str) -> int | None:
        """The same of the instructions of now."""
        return _last_change([(row.turn, row.instructions) for row in await self._of(session_id)])

    async def _of(self, session_id: str) -> Sequence[Row[Any]]:
        return (await self.ask(self._given, session=session_id)).all()

    @prepared
    def _given(self) -> Select[Any]:
        given = SessionPersonaRow
        columns = (given.number, given.turn, given.persona_id, given.instructions, given.created_at)
        query = self.select_columns(given, *columns).where(given.session_id == bindparam("session"))
        return query.order_by(given.number)

    async def _next_turn(self, session_id: str) -> int:
        last = await Messages(self.session, self.owner).last(session_id)
        if last is None:
            return 0
        return last.turn + starts_new_turn(cast(Role, last.role), "user")


def _last_change(given: Sequence[tuple[int, str | None]]) -> int | None:
    """The turn of the last change; what was taken back before anything was said is none."""
    since, before = None, None
    for turn, value in dict(given).items():
        if since is None or value != before:
            since, before = turn, value
    return since
