"""How far the extraction of facts lags behind the messages, over all sessions of an owner."""

import json
from collections.abc import Callable
from typing import Any

from sqlalchemy import String, and_, cast, func

from app.storage.fact_tables import FactWatermarkRow
from app.storage.repository import Repository
from app.storage.tables import MessageRow, SessionRow


class FactLag(Repository):
    """The messages of one owner's sessions that no facts are extracted from yet."""

    async def count(self, keeps_facts: Callable[[dict[str, Any]], bool]) -> int:
        """How many there are in sessions with such a memory."""
        settings = cast(SessionRow.memory, String)
        known = (await self.session.scalars(self.select_columns(SessionRow, settings).distinct())).all()
        keeping = [text for text in known if keeps_facts(json.loads(text))]
        if not keeping:
            return 0
        query = (
            self.select_columns(SessionRow, func.count())
            .join(MessageRow, and_(MessageRow.session_id == SessionRow.id, MessageRow.is_active))
            .outerjoin(FactWatermarkRow, FactWatermarkRow.session_id == SessionRow.id)
            .where(
                settings.in_(keeping),
                MessageRow.position > func.coalesce(FactWatermarkRow.position, -1),
            )
        )
        return int((await self.session.execute(query)).scalar_one())
