"""Deletions: what is removed from the tables when a message, a session or a user is deleted.

One unit of work does all of it and keeps a receipt. What does not lie in the tables (indexes, cached keys and
values, bytes in files) is purged behind it, by `app.deletions`.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal

from sqlalchemy import Text, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.ids import new_id
from app.storage.deletion_stores import OTHERWISE, STORES, Stores
from app.storage.deletion_tables import DeletionRow
from app.storage.derived import cut_derived
from app.storage.document_passages import DocumentPassages
from app.storage.documents import Documents
from app.storage.homes import Homes
from app.storage.marks import Marks
from app.storage.message_tree import MessageTree
from app.storage.messages import DELETED, Messages
from app.storage.recall_tables import PassageRow
from app.storage.repository import HOLDS_ROWS, Repository, UserOfOwner, batches
from app.storage.sessions import Sessions
from app.storage.shelves import Shelves
from app.storage.tables import (
    ContextRecordRow,
    LoreEntryRow,
    MessageRow,
    SessionRow,
    SummaryRow,
)

DeletionKind = Literal["message", "session", "user"]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a deletion reaches.

    `messages` that became empty places, `sessions` and `documents` that are no more; `chats` whose cached
    keys and values may rest on them; `shelves`: on each, the change by which passages were taken from it,
    and how many.
    """

    messages: list[str]
    sessions: list[str]
    documents: list[str]
    chats: list[str]
    shelves: dict[str, tuple[int, int]]


class Deletions(Repository):
    """The deletions of one owner."""

    async def begin(self) -> None:
        """Keep others from writing chats and documents until the end of this unit: they may copy what goes.

        Before anything else of the unit.
        """
        if self.session.info.get(HOLDS_ROWS):
            # Whoever holds or changes a row, or refers to one anew, needs a lock that this one excludes.
            await self.session.execute(text("LOCK TABLE sessions, documents IN EXCLUSIVE MODE"))

    async def get(self, deletion_id: str, *, to_finish: bool = False) -> DeletionRow | None:
        """The receipt; held, for one who may finish it."""
        query = self.select(DeletionRow).where(DeletionRow.id == deletion_id)
        return (await self.session.scalars(self.held(query) if to_finish else query)).one_or_none()

    async def of(self, kind: DeletionKind, target: str) -> DeletionRow | None:
        """The newest deletion of that target, if it was deleted."""
        query = self.select(DeletionRow).where(
            DeletionRow.kind == kind, DeletionRow.target == _target(kind, target)
        )
        newest = query.order_by(DeletionRow.requested_at.desc(), DeletionRow.id).limit(1)
        return (await self.session.scalars(newest)).one_or_none()

    async def with_copies(self, message: MessageRow) -> list[MessageRow]:
        """A message and what answers it in its turn, with all copies of these in whatever session.

        A copy says the same, and was said at the same time. A message that others have stood in the place of
        takes those along if it is in the chat as it stands.
        """
        tree, messages = MessageTree(self.session, self.owner), Messages(self.session, self.owner)
        found: dict[str, MessageRow] = {}
        waiting = list(await messages.alternatives(message)) if message.is_active else [message]
        while waiting:
            row = waiting.pop()
            if row.id in found or (row.forgotten_at and not row.content):
                continue
            found[row.id] = row
            if row.role == "user":
                waiting += (await messages.get_many(await tree.replies_to(row))).values()
            waiting += await self._copies(row)
        return list(found.values())

    async def delete_message(self, target: str, rows: Sequence[MessageRow]) -> DeletionRow:
        """Empty the places of messages, and let go of all that tells of them."""
        ids = [row.id for row in rows]
        sessions = sorted({row.session_id for row in rows})
        removed = await Stores(self.session, self.owner).count(messages=ids)
        shelves, passages = await self._shelves_of(sessions), await self._passages(ids, [])
        told = {row.content for row in rows if row.content}
        removed["lore_entries"] += await self._remove_lore(sessions, told)
        for session_id in sessions:
            of_session = [row for row in rows if row.session_id == session_id]
            turn = min(row.turn for row in of_session)
            removed["summaries"] += await self._remove_summaries(session_id, turn)
        for batch in batches(ids):
            for store in STORES:
                if store.of_message is not None and store.table not in OTHERWISE:
                    await self.session.execute(self.delete(store.table).where(store.of_message.in_(batch)))
        for row in rows:
            if row.forgotten_at is None:  # else its place has left the tree already
                row.status, row.forgotten_at = DELETED, datetime.now(UTC)
            row.content = ""
            row.prefix = row.sources = row.model = row.usage = row.finish_reason = None
            await Marks(self.session, self.owner).mark(row, "excluded")
        for session_id in sessions:
            position = min(row.position for row in rows if row.session_id == session_id)
            await cut_derived(self.session, self.owner, session_id, position, purge=True)
            await Sessions(self.session, self.owner).touch(session_id)
        chats = await self._neighbours(sessions)
        scope = Scope(ids, [], [], chats, await self._changes(shelves, passages))
        return await self._keep("message", target, removed, scope)

    async def delete_session(self, session_id: str) -> DeletionRow:
        """Delete a session with all that is in it and made of it."""
        return await self._delete_all("session", session_id, [session_id], [], [])

    async def delete_user(self, user_id: str, sessions: list[str], documents: Sequence[str]) -> DeletionRow:
        """Delete a user's sessions and documents with all that is in them and made of them."""
        shelves = [row.id for row, _ in await Shelves(self.session, self.owner).sizes(user_id)]
        return await self._delete_all("user", user_id, sessions, list(documents), shelves)

    async def _delete_all(
        self,
        kind: DeletionKind,
        target: str,
        sessions: list[str],
        documents: list[str],
        shelves: list[str],
    ) -> DeletionRow:
        removed = await Stores(self.session, self.owner).count(sessions=sessions, documents=documents)
        shelves = sorted({*shelves, *await self._shelves_of(sessions)})
        passages = await self._passages([], [*sessions, *documents])
        chats = await self._neighbours(sessions)
        for session_id in sessions:
            await Sessions(self.session, self.owner).remove(session_id)
        for document_id in documents:
            await Documents(self.session, self.owner).remove(document_id)
            await DocumentPassages(self.session, self.owner).take_away(document_id)
        scope = Scope([], sessions, documents, chats, await self._changes(shelves, passages))
        return await self._keep(kind, target, removed, scope)

    async def remaining(self, scope: Scope) -> dict[str, int]:
        """How many rows there are, by store, of what was deleted."""
        return await Stores(self.session, self.owner).count(scope.messages, scope.sessions, scope.documents)

    async def finish(self, deletion_id: str, removed: dict[str, int]) -> None:
        """Note that all of it is gone; `removed` adds what was not in the tables."""
        row = await self.get(deletion_id)
        assert row is not None
        row.status, row.done_at, row.removed = "done", datetime.now(UTC), row.removed | removed

    async def _keep(
        self, kind: DeletionKind, target: str, removed: dict[str, int], scope: Scope
    ) -> DeletionRow:
        row = DeletionRow(
            id=new_id("del"),
            kind=kind,
            target=_target(kind, target),
            status="pending",
            removed=removed,
            scope=asdict(scope),
            requested_at=datetime.now(UTC),
            user_digest=self.owner.digest if isinstance(self.owner, UserOfOwner) else None,
        )
        self.add(row)
        await self.session.flush()
        await Homes(self.session).owe_all(row.id)
        return row

    async def _copies(self, row: MessageRow) -> Sequence[MessageRow]:
        """The messages that this one is a copy of, or that are copies of it."""
        query = self.select(MessageRow).where(
            MessageRow.created_at == row.created_at,
            MessageRow.role == row.role,
            MessageRow.content == row.content,
        )
        alike = (await self.session.scalars(query)).all()
        originals = {each.copied_from for each in alike if each.copied_from}
        return [each for each in alike if each.copied_from or each.id in originals]

    async def _remove_lore(self, sessions: Collection[str], told: set[str]) -> int:
        """Remove lore that says what these messages said, as branches have it of messages that they have not,
        and in the records of replies what was told of it. Gives how many entries those were."""
        count = 0
        for batch in batches(await self._with_branches(sessions)):
            copied = self.delete(LoreEntryRow).where(
                LoreEntryRow.session_id.in_(batch), LoreEntryRow.content.in_(told)
            )
            count += len((await self.session.scalars(copied.returning(LoreEntryRow.id))).all())
            query = self.select(ContextRecordRow).where(
                ContextRecordRow.session_id.in_(batch), cast(ContextRecordRow.record, Text).contains('"lore"')
            )
            for row in (await self.session.scalars(query)).all():
                segments = [_untold(segment, told) for segment in row.record["segments"]]
                if segments != row.record["segments"]:
                    row.record = row.record | {"segments": segments}
        return count

    async def _remove_summaries(self, session_id: str, turn: int) -> int:
        """Remove summaries of that turn or of later ones; branches have copies of them, also of such as tell
        of messages that are not in the branch."""
        count = 0
        for batch in batches(await self._with_branches([session_id])):
            gone = self.delete(SummaryRow).where(
                SummaryRow.session_id.in_(batch), SummaryRow.through_turn > turn
            )
            count += len((await self.session.scalars(gone.returning(SummaryRow.id))).all())
        return count

    async def _with_branches(self, sessions: Collection[str]) -> list[str]:
        """These sessions, and those that were branched from them or from their branches."""
        found, newest = set(sessions), set(sessions)
        while newest:
            query = self.select_columns(SessionRow, SessionRow.id).where(
                SessionRow.branched_from_session.in_(newest)
            )
            newest = set((await self.session.scalars(query)).all()) - found
            found |= newest
        return sorted(found)

    async def _neighbours(self, sessions: Sequence[str]) -> list[str]:
        """These sessions, their branches and all others of their users, which may have recalled what was said
        in them."""
        found = set(await self._with_branches(sessions))
        for batch in batches(sessions):
            users = self.select_columns(SessionRow, SessionRow.user_id).where(SessionRow.id.in_(batch))
            query = self.select_columns(SessionRow, SessionRow.id).where(SessionRow.user_id.in_(users))
            found |= set((await self.session.scalars(query)).all())
        return sorted(found)

    async def _shelves_of(self, sessions: Sequence[str]) -> list[str]:
        shelves = Shelves(self.session, self.owner)
        return sorted({shelf for session_id in sessions for shelf in await shelves.of_session(session_id)})

    async def _passages(self, messages: Sequence[str], sessions: Sequence[str]) -> dict[str, int]:
        """How many passages of these stand on each shelf."""
        counts: dict[str, int] = {}
        for column, ids in ((PassageRow.message_id, messages), (PassageRow.source, sessions)):
            for batch in batches(ids):
                query = (
                    self.select_columns(PassageRow, PassageRow.shelf_id, func.count())
                    .where(column.in_(batch), PassageRow.is_gone.is_(False))
                    .group_by(PassageRow.shelf_id)
                )
                for shelf_id, count in (await self.session.execute(query)).all():
                    counts[shelf_id] = counts.get(shelf_id, 0) + count
        return counts

    async def _changes(self, shelves: Sequence[str], passages: dict[str, int]) -> dict[str, tuple[int, int]]:
        states = await Shelves(self.session, self.owner).states(shelves)
        return {state.id: (state.last_change, passages.get(state.id, 0)) for state in states}


async def pending(session: AsyncSession) -> list[tuple[str, str]]:
    """The owners and ids of the deletions that are not done, oldest first."""
    query = select(DeletionRow.owner, DeletionRow.id).where(DeletionRow.status == "pending")
    rows = await session.execute(query.order_by(DeletionRow.requested_at, DeletionRow.id))
    return [(row.owner, row.id) for row in rows.all()]


def scope_of(row: DeletionRow) -> Scope:
    """What a stored deletion reaches."""
    shelves = {shelf: (change, passages) for shelf, (change, passages) in row.scope["shelves"].items()}
    reached = {name: row.scope[name] for name in ("messages", "sessions", "documents", "chats")}
    return Scope(**reached, shelves=shelves)


def _target(kind: DeletionKind, target: str) -> str:
    """What a receipt names; a digest of a user's name, which is to be nowhere."""
    return sha256(target.encode()).hexdigest() if kind == "user" else target


def _untold(segment: dict[str, Any], told: set[str]) -> dict[str, Any]:
    """A segment of a record, without lore that says what is gone."""
    kept = [said for said in segment.get("told", ()) if said["content"] not in told]
    return segment | {"told": kept} if segment["kind"] == "lore" else segment
