"""A stored tree of messages and a plain twin, changed alike, and all that can be read of them compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy import select

from app.storage.database import Database
from app.storage.history import StoredHistory
from app.storage.marks import MarkKind, Marks
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.tables import MessageTokensRow
from app.storage.token_index import TokenIndex, bring_up
from memory.assembly import ChatState, Limits, assemble
from memory.context import Context
from memory.errors import MemoryLayerError
from memory.marks import pinned_segment
from memory.messages import Message, Role, number_turns
from memory.protocols import History
from memory.strategies import parse_strategy
from tests.app.test_storage import ByteEncoder
from tests.memory.naive_history import NaiveHistory

ENCODER = ByteEncoder()
SAMPLED = (7, 7, 7)
"""What every reply was sampled as, in the tests here: not what its text encodes to."""


@dataclass(eq=False)
class Node:
    """A message of the plain tree; `row_id` is its twin's."""

    row_id: str
    role: Role
    content: str
    parent: "Node | None"
    sampled: bool = False
    children: list["Node"] = field(default_factory=list)
    is_forgotten: bool = False
    marks: set[MarkKind] = field(default_factory=set)


class PlainTree:
    """Messages as a tree of objects, and the active path as a list, both changed in the obvious way."""

    def __init__(self) -> None:
        self.root = Node("", "system", "", None)
        self.path: list[Node] = []
        self.nodes: list[Node] = []

    def add(self, row_id: str, role: Role, content: str, parent: Node | None, *, sampled: bool) -> Node:
        node = Node(row_id, role, content, parent or self.root, sampled)
        node.parent.children.append(node)  # type: ignore[union-attr]
        self.nodes.append(node)
        return node

    def activate(self, node: Node) -> None:
        if node in self.path:
            return
        path = [node]
        while path[0].parent is not self.root:
            path.insert(0, cast(Node, path[0].parent))
        while newest := [child for child in path[-1].children if not child.is_forgotten]:
            path.append(newest[-1])
        self.path = path

    def forget(self, node: Node) -> None:
        node.is_forgotten = True
        for child in node.children:
            self.forget(child)
        self.path = [other for other in self.path if not other.is_forgotten]

    def messages(self) -> list[Message]:
        """The active path as the memory layer should see it: what is excluded has no tokens."""
        turns = number_turns([node.role for node in self.path])
        excluded = self.turns("excluded")
        return [
            Message(node.row_id, turn, node.role, node.content, () if turn in excluded else token_ids(node))
            for node, turn in zip(self.path, turns, strict=True)
        ]

    def turns(self, kind: MarkKind) -> list[int]:
        turns = number_turns([node.role for node in self.path])
        return sorted({turn for node, turn in zip(self.path, turns, strict=True) if kind in node.marks})


def token_ids(node: Node) -> tuple[int, ...]:
    return SAMPLED if node.sampled else ENCODER.encode_message(node.role, node.content)


class Twins:
    """A stored tree and the plain one, changed alike."""

    def __init__(self, database: Database, session_id: str) -> None:
        self.database = database
        self.session_id = session_id
        self.plain = PlainTree()

    async def append(self, said: Sequence[tuple[Role, str]]) -> None:
        parent = self.plain.path[-1] if self.plain.path else None
        async with self.database.write() as session:
            rows = await Messages(session, "local").append(
                self.session_id, [MessageDraft(*message) for message in said]
            )
            for row in rows:
                sampled = row.role == "assistant"
                if sampled:
                    await TokenIndex(session, "local").keep_sampled(row, SAMPLED, ENCODER.fingerprint)
                parent = self.plain.add(row.id, cast(Role, row.role), row.content, parent, sampled=sampled)
                self.plain.path.append(parent)

    async def edit(self, at: int, content: str, *, keep_following: bool) -> None:
        old = self.plain.path[at]
        following = self.plain.path[at + 1 :] if keep_following else []
        async with self.database.write() as session:
            message = await Messages(session, "local").get(old.row_id)
            assert message is not None
            new = await MessageTree(session, "local").replace(
                message, MessageDraft(old.role, content), keep_following=keep_following
            )
            rows = await Messages(session, "local").list(
                self.session_id, after=new.position, limit=1000, newest_first=False
            )
        node = self.plain.add(new.id, old.role, content, old.parent, sampled=False)
        node.marks = set(old.marks)
        self.plain.path = [*self.plain.path[:at], node]
        for row, original in zip(rows, following, strict=True):
            assert row.copied_from == original.row_id
            node = self.plain.add(row.id, original.role, original.content, node, sampled=original.sampled)
            node.marks = set(original.marks)
            self.plain.path.append(node)

    async def activate(self, node: Node) -> None:
        async with self.database.write() as session:
            message = await Messages(session, "local").get(node.row_id)
            assert message is not None
            await MessageTree(session, "local").activate(message)
        self.plain.activate(node)

    async def forget(self, at: int) -> None:
        node = self.plain.path[at]
        async with self.database.write() as session:
            message = await Messages(session, "local").get(node.row_id)
            assert message is not None
            await MessageTree(session, "local").forget(message)
            assert await Messages(session, "local").get(node.row_id) is None
        self.plain.forget(node)

    async def mark(self, at: int, kind: MarkKind, *, stands: bool) -> None:
        node = self.plain.path[at]
        async with self.database.write() as session:
            message = await Messages(session, "local").get(node.row_id)
            assert message is not None
            tree, marks = MessageTree(session, "local"), Marks(session, "local")
            if kind == "excluded":
                await (tree.exclude(message) if stands else tree.include(message))
            else:
                await (marks.mark(message, kind) if stands else marks.unmark(message, kind))
        node.marks = node.marks | {kind} if stands else node.marks - {kind}

    async def bring_up(self) -> None:
        await bring_up(self.database, "local", self.session_id, ENCODER, ENCODER.fingerprint)

    async def compare(self) -> None:
        """All that can be read of the stored tree is what the plain one gives."""
        await self.bring_up()
        plain, messages = self.plain, self.plain.messages()
        async with self.database.read() as session:
            stored = Messages(session, "local")
            rows = await stored.list(self.session_id, after=None, limit=1000, newest_first=False)
            assert [row.id for row in rows] == [node.row_id for node in plain.path]
            assert [row.parent_id for row in rows] == [None, *(row.id for row in rows)][: len(rows)]
            assert [row.turn for row in rows] == [message.turn for message in messages]
            for row, node in zip(rows, plain.path, strict=True):
                there = [other.row_id for other in node.parent.children if not other.is_forgotten]  # type: ignore[union-attr]
                assert [other.id for other in await stored.alternatives(row)] == there
            marks = await Marks(session, "local").of([row.id for row in rows])
            assert [marks[row.id] for row in rows] == [node.marks for node in plain.path]
            query = select(MessageTokensRow).where(MessageTokensRow.session_id == self.session_id)
            index = (await session.scalars(query.order_by(MessageTokensRow.position))).all()
            assert [(row.message_id, row.token_count) for row in index] == [
                (message.id, len(message.token_ids)) for message in messages
            ]
            counts = [len(message.token_ids) for message in messages]
            assert [row.tokens_before for row in index] == [sum(counts[:at]) for at in range(len(counts))]
            history = await StoredHistory.open(session, "local", self.session_id, ENCODER)
            await self._compare_windows(history, messages)

    async def _compare_windows(self, history: StoredHistory, messages: list[Message]) -> None:
        naive = NaiveHistory(messages)
        excluded = {
            turn: sum(
                len(token_ids(n)) for n, m in zip(self.plain.path, messages, strict=True) if m.turn == turn
            )
            for turn in self.plain.turns("excluded")
        }
        pinned = [
            pinned_segment(turn, [message for message in messages if message.turn == turn])
            for turn in self.plain.turns("pinned")
            if turn not in excluded
        ]
        assert await history.excluded() == excluded
        assert list(await history.pinned()) == pinned
        for memory in MEMORIES:
            found = [
                await _window(memory, kept, pinned=pinned, excluded=excluded) for kept in (history, naive)
            ]
            assert found[0] == found[1]
            if isinstance(found[0], Context):
                _check_laws(found[0], messages, excluded, {segment.turn for segment in pinned})


MEMORIES: list[dict[str, Any]] = [
    {"strategy": "buffer"},
    {"strategy": "sliding_window", "turns": 2, "retention_ratio": 0.5},
    {"strategy": "token_buffer", "token_budget": 40, "retention_ratio": 0.7},
]


async def _window(memory: dict[str, Any], history: History, **marked: Any) -> Context | str:
    chat = ChatState(
        persona=(),
        strategy=parse_strategy(memory),
        history=history,
        generation_prompt=ENCODER.generation_prompt,
        limits=Limits(300, 10, 10),
        **marked,
    )
    try:
        return await assemble(chat)
    except MemoryLayerError as refused:
        return str(refused)


def _check_laws(
    context: Context, messages: list[Message], excluded: dict[int, int], pinned: set[int | None]
) -> None:
    """Whole turns; but for the excluded ones, the newest without a gap; all pinned ones; none unaccounted."""
    all_turns = sorted({message.turn for message in messages})
    held = set(context.turns)
    newest = [segment.turn for segment in context.segments if segment.kind == "turn"]
    counted = [turn for turn in all_turns if turn not in excluded]
    assert newest == counted[len(counted) - len(newest) :]
    assert pinned <= held
    assert not held & set(excluded)
    left_out = [t for left in context.left_out for t in range(left.first_turn, left.last_turn + 1)]
    assert sorted([*held, *left_out]) == all_turns
    for segment in context.segments:
        if segment.turn is not None:
            of_turn = [message for message in messages if message.turn == segment.turn]
            assert [said.id for said in segment.messages] == [message.id for message in of_turn]
    left_tokens = sum(left.tokens for left in context.left_out if left.first_turn not in excluded)
    assert left_tokens == sum(len(m.token_ids) for m in messages if m.turn not in held)
    assert context.tokens + context.reply_tokens <= context.context_window
