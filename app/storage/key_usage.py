"""What keys have left of their limits a minute, where several processes count together: on PostgreSQL."""

from typing import Any, Literal

from sqlalchemy import case, extract, func
from sqlalchemy.dialects.postgresql import insert

from app.storage.key_tables import KeyUsageRow
from app.storage.repository import Repository

Limited = Literal["requests", "tokens"]
MINUTE_S = 60


class KeyUsage(Repository):
    """The usage of one owner's keys."""

    async def draw(
        self, key_id: str, what: Limited, amount: int, *, per_minute: int, at_least: int | None
    ) -> tuple[bool, float]:
        """Charge that much, unless less than `at_least` is there; whether it was, and what is there now.

        One statement, by the clock of the server: processes that draw at once wait for each other's.
        """
        now = func.clock_timestamp()
        came_back = extract("epoch", now - KeyUsageRow.as_of) * per_minute / MINUTE_S
        there: Any = case(
            (KeyUsageRow.per_minute != per_minute, per_minute),
            else_=func.least(per_minute, KeyUsageRow.level + came_back),
        )
        mine = {"owner": self.owner, "key_id": key_id, "what": what}
        draw = insert(KeyUsageRow).values(**mine, per_minute=per_minute, level=per_minute - amount, as_of=now)
        draw = draw.on_conflict_do_update(
            index_elements=["key_id", "what"],
            set_={"per_minute": per_minute, "level": there - amount, "as_of": now},
            where=None if at_least is None else there >= at_least,
        )
        level = (await self.session.execute(draw.returning(KeyUsageRow.level))).scalar_one_or_none()
        if level is not None:
            return True, float(level)
        is_it = (KeyUsageRow.key_id == key_id, KeyUsageRow.what == what)
        left = self.select_columns(KeyUsageRow, there).where(*is_it)
        return False, float((await self.session.execute(left)).scalar_one())
