"""A stored chat as it stands, for formats that have no more than what was said."""

from collections import defaultdict
from collections.abc import AsyncIterator
from typing import cast

from app.storage.tables import ON_ACTIVE_PATH, MessageMarkRow, MessageRow
from app.transfer.archive import SpokenMessage
from app.transfer.from_store import StoredRecords, batches
from memory.messages import Role


async def spoken_messages(stored: StoredRecords, session_id: str) -> AsyncIterator[SpokenMessage]:
    """The chat as it stands, oldest first, with what else was said in the place of each message."""
    here = MessageRow.session_id == session_id
    path = stored.select_columns(MessageRow, MessageRow.id).where(
        here, ON_ACTIVE_PATH, MessageRow.forgotten_at.is_(None)
    )
    ids = list((await stored.session.scalars(path.order_by(MessageRow.position))).all())
    for batch in batches(ids):
        rows = await stored.by_id(MessageRow, MessageRow.id, batch)
        marks = await stored.by_id(MessageMarkRow, MessageMarkRow.message_id, batch)
        said = [rows[message_id][0] for message_id in batch]
        parents = [row.parent_id for row in said if row.parent_id]
        others = stored.select(MessageRow).where(
            here,
            MessageRow.forgotten_at.is_(None),
            MessageRow.parent_id.in_(parents)
            | (MessageRow.parent_id.is_(None) if len(parents) < len(said) else False),
        )
        in_place: defaultdict[str | None, list[MessageRow]] = defaultdict(list)
        for row in (await stored.session.scalars(others.order_by(MessageRow.alternative))).all():
            in_place[row.parent_id].append(row)
        for row in said:
            standing = {mark.kind for mark in marks.get(row.id, []) if mark.ended_at is None}
            alternatives = in_place[row.parent_id]
            yield SpokenMessage(
                cast(Role, row.role),
                row.content,
                row.created_at,
                "excluded" in standing or row.is_note,
                tuple((each.content, each.created_at) for each in alternatives),
                [each.id for each in alternatives].index(row.id),
            )
