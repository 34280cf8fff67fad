"""The tree of a session's messages: which path through it is active, and copies of paths.

Messages are never overwritten: what changes is which of them the chat is made of. Whatever is derived from
the active path is cut in the same unit of work.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, or_, select
from sqlalchemy.orm import aliased

from app.ids import new_id
from app.storage.derived import cut_derived
from app.storage.facts import Facts
from app.storage.marks import Marks
from app.storage.messages import DELETED, MessageDraft, Messages
from app.storage.repository import Repository, batches
from app.storage.summaries import Summaries
from app.storage.tables import ON_ACTIVE_PATH, ContextRecordRow, MessageRow, SampledTokensRow

COPIED = (
    "position",
    "turn",
    "role",
    "prefix",
    "content",
    "sources",
    "status",
    "finish_reason",
    "model",
    "usage",
    "created_at",
    "forgotten_at",
)


class MessageTree(Repository):
    """The message trees of one owner's sessions."""

    async def activate(self, message: MessageRow) -> None:
        """Make the path through `message`, and on along the newest alternatives below it, the active one."""
        await self.hold_chats([message.session_id])
        if message.is_active:
            return
        joining = await self._inactive_path_to(message)
        fork = message.position - len(joining) + 1
        await self.session.execute(
            self.update_rows(MessageRow)
            .where(
                MessageRow.session_id == message.session_id,
                MessageRow.position >= fork,
                ON_ACTIVE_PATH,
            )
            .values(is_active=False)
        )
        await self._update([*joining, *await self._newest_below(message)], is_active=True)
        await cut_derived(self.session, self.owner, message.session_id, fork)

    async def replace(self, message: MessageRow, draft: MessageDraft, *, keep_following: bool) -> MessageRow:
        """Put another message in the place of one on the active path; its marks go over to it.

        `keep_following`: copies of the messages behind it stand behind the new one; else it is the last.
        """
        await self.hold_chats([message.session_id])
        query = self.select(MessageRow).where(
            MessageRow.session_id == message.session_id,
            MessageRow.position > message.position,
            ON_ACTIVE_PATH,
        )
        following = (
            (await self.session.scalars(query.order_by(MessageRow.position))).all() if keep_following else ()
        )
        replacement = await Messages(self.session, self.owner).add_alternative(message, draft)
        await self.activate(replacement)
        await Marks(self.session, self.owner).copy({message.id: replacement})
        await self._copy(following, replacement.session_id, replacement.id)
        return replacement

    async def copy_path(self, message: MessageRow, session_id: str) -> dict[str, str]:
        """Copy the path from the first message to this one into a session that has no messages yet.

        The summaries of its turns and their facts are copied too. Gives the ids of the copies by those of the
        originals.
        """
        await self.hold_chats([message.session_id])
        ids = await self._path_to(message)
        rows = await Messages(self.session, self.owner).get_many(ids)
        left = await self._inactive_path_to(message)
        shared_turn = rows[left[0]].turn if left else message.turn
        summaries = await Summaries(self.session, self.owner).copy(
            message.session_id, session_id, through_turn=shared_turn
        )
        facts = Facts(self.session, self.owner)
        told = await facts.copy_owners(message.session_id, session_id)
        copies = await self._copy(
            [rows[message_id] for message_id in ids], session_id, None, {**summaries, **told}
        )
        shared = rows[left[0]].position - 1 if left else message.position
        await facts.set_watermark(session_id, min(shared, await facts.watermark(message.session_id)))
        return copies

    async def exclude(self, message: MessageRow) -> None:
        """Mark a message of the active path as excluded: its turn counts for nothing from here on."""
        if await Marks(self.session, self.owner).mark(message, "excluded"):
            await self._cut_turn(message)

    async def include(self, message: MessageRow) -> None:
        """Take that mark away."""
        if await Marks(self.session, self.owner).unmark(message, "excluded") and message.is_active:
            await self._cut_turn(message)

    async def forget(self, message: MessageRow) -> int:
        """Let a message and all that ever followed it leave the tree; how many messages that are."""
        await self.hold_chats([message.session_id])
        ids = await self._subtree(message)
        places = await self._among(ids, MessageRow.status == DELETED)
        await self._update(ids, is_active=False, forgotten_at=datetime.now(UTC))
        await self._update(places, status="complete")  # as any message that is forgotten
        await cut_derived(self.session, self.owner, message.session_id, message.position, purge=True)
        return len(ids) - len(places)

    async def replies_to(self, message: MessageRow) -> list[str]:
        """The replies of a user's message in its turn, alternatives among them."""
        tree = self._steps().where(MessageRow.id == message.id).cte("tree", recursive=True)
        below = self._steps().join(tree, MessageRow.parent_id == tree.c.id)
        ids = await self._ids(tree.union_all(below.where(MessageRow.turn == message.turn)))
        return await self._among(ids, MessageRow.role == "assistant")

    async def _cut_turn(self, message: MessageRow) -> None:
        first = await Messages(self.session, self.owner).first_position(message.session_id, message.turn)
        await cut_derived(self.session, self.owner, message.session_id, first, same_path=True)

    async def _copy(
        self,
        originals: Sequence[MessageRow],
        session_id: str,
        behind: str | None,
        others: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, str]:
        """Store copies on the active path, one behind the other; gives their ids by the originals'.

        Marks, facts, sampled ids and context records are copied along. Records of another session's messages
        name the copies instead, those of `others` too, so that they can be read when that session is gone.
        """
        copies: dict[str, MessageRow] = {}
        for original in originals:
            copy = MessageRow(
                **{field: getattr(original, field) for field in COPIED},
                id=new_id("msg"),
                session_id=session_id,
                parent_id=behind,
                alternative=0,
                is_active=True,
                copied_from=original.id,
            )
            self.add(copy)
            copies[original.id] = copy
            behind = copy.id
        await self.session.flush()
        await Marks(self.session, self.owner).copy(copies)
        names = {original: copy.id for original, copy in copies.items()}
        renamed = {**names, **others, **await Facts(self.session, self.owner).copy(copies, session_id)}
        for ids in batches(list(copies)):
            sampled = self.select(SampledTokensRow).where(SampledTokensRow.message_id.in_(ids))
            for tokens in (await self.session.scalars(sampled)).all():
                self.add(
                    SampledTokensRow(
                        message_id=names[tokens.message_id],
                        token_ids=tokens.token_ids,
                        fingerprint=tokens.fingerprint,
                    )
                )
            records = self.select(ContextRecordRow).where(ContextRecordRow.message_id.in_(ids))
            for kept in (await self.session.scalars(records)).all():
                record = (
                    kept.record
                    if kept.session_id == session_id
                    else _renamed(kept.record, renamed, session_id)
                )
                self.add(
                    ContextRecordRow(message_id=names[kept.message_id], session_id=session_id, record=record)
                )
        await self.session.flush()
        return names

    async def _path_to(self, message: MessageRow) -> list[str]:
        path = self._steps().where(MessageRow.id == message.id).cte("path", recursive=True)
        return await self._ids(path.union_all(self._steps().join(path, MessageRow.id == path.c.parent_id)))

    async def _inactive_path_to(self, message: MessageRow) -> list[str]:
        """The messages on the way to `message` that are not active, itself included."""
        path = self._steps().where(MessageRow.id == message.id).cte("path", recursive=True)
        above = self._steps().join(path, MessageRow.id == path.c.parent_id).where(~MessageRow.is_active)
        return await self._ids(path.union_all(above))

    async def _newest_below(self, message: MessageRow) -> list[str]:
        """`message`, and below it at each step the newest alternative that is not forgotten.

        An empty place is passed through where nothing else stands.
        """
        other = aliased(MessageRow)
        newest = (
            select(other.id)
            .where(
                other.parent_id == MessageRow.parent_id,
                or_(other.forgotten_at.is_(None), other.status == DELETED),
            )
            .order_by(other.status == DELETED, other.alternative.desc())
            .limit(1)
            .scalar_subquery()
        )
        path = self._steps().where(MessageRow.id == message.id).cte("path", recursive=True)
        below = self._steps().join(path, MessageRow.parent_id == path.c.id)
        return await self._ids(path.union_all(below.where(MessageRow.id == newest)))

    async def _subtree(self, message: MessageRow) -> list[str]:
        tree = self._steps().where(MessageRow.id == message.id).cte("tree", recursive=True)
        below = self._steps().join(tree, MessageRow.parent_id == tree.c.id)
        is_there = or_(MessageRow.forgotten_at.is_(None), MessageRow.status == DELETED)
        return await self._ids(tree.union_all(below.where(is_there)))

    def _steps(self) -> Select[Any]:
        return self.select_columns(MessageRow, MessageRow.id, MessageRow.parent_id, MessageRow.position)

    async def _ids(self, steps: CTE) -> list[str]:
        return list((await self.session.scalars(select(steps.c.id).order_by(steps.c.position))).all())

    async def _among(self, message_ids: Sequence[str], condition: ColumnElement[bool]) -> list[str]:
        """Those of these messages of which that is so."""
        found: list[str] = []
        for ids in batches(message_ids):
            query = self.select_columns(MessageRow, MessageRow.id).where(MessageRow.id.in_(ids), condition)
            found += (await self.session.scalars(query)).all()
        return found

    async def _update(self, message_ids: Sequence[str], **values: Any) -> None:
        for ids in batches(message_ids):
            await self.session.execute(
                self.update_rows(MessageRow).where(MessageRow.id.in_(ids)).values(**values)
            )


def _renamed(record: dict[str, Any], names: Mapping[str, str], session_id: str) -> dict[str, Any]:
    """The context record with other ids for its messages, summary and facts, where they have other ones,
    which are of this session."""

    def renamed(segment: dict[str, Any]) -> dict[str, Any]:
        changes: dict[str, Any] = {"message_ids": [names.get(each, each) for each in segment["message_ids"]]}
        if (summary_id := segment.get("summary_id")) is not None:
            changes["summary_id"] = names.get(summary_id, summary_id)
        if fact_ids := segment.get("fact_ids"):
            changes["fact_ids"] = [names.get(each, each) for each in fact_ids]
        if passages := segment.get("passages"):
            changes["passages"] = [
                each | {"message_id": names[each["message_id"]], "source": session_id}
                if each["message_id"] in names
                else each
                for each in passages
            ]
        return segment | changes

    return record | {"segments": [renamed(segment) for segment in record["segments"]]}
