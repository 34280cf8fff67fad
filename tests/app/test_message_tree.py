"""The tree of messages against a plain twin, over random sequences of operations; and its migration."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from app.storage.backend import Place
from app.storage.database import Database, backend_of, migrate, upgrade
from app.storage.history import StoredHistory
from app.storage.marks import MarkKind, Marks
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.sessions import Sessions
from app.storage.tables import MessageTokensRow
from app.storage.token_index import TokenIndex, bring_up
from memory.assembly import ChatState, Limits, assemble
from memory.context import Context
from memory.errors import MemoryLayerError
from memory.marks import pinned_segment
from memory.messages import ROLES, Message, Role, number_turns
from memory.protocols import History
from memory.strategies import parse_strategy
from tests.app.test_storage import ByteEncoder, new_session
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


fractions = st.floats(0, 1, exclude_max=True)
said = st.lists(
    st.tuples(st.sampled_from(ROLES), st.text("ab", min_size=1, max_size=12)), min_size=1, max_size=6
)
operations = st.one_of(
    st.tuples(st.just("append"), said),
    st.tuples(st.just("edit"), fractions, st.text("cd", min_size=1, max_size=12), st.booleans()),
    st.tuples(st.just("activate"), fractions),
    st.tuples(st.just("forget"), fractions),
    st.tuples(st.just("mark"), fractions, st.sampled_from(["pinned", "excluded"]), st.booleans()),
    st.tuples(st.just("bring_up")),
)


@settings(max_examples=60, deadline=None)
@example(  # an excluded message leaves the chat: the rest of its turn counts again
    operations=[
        ("append", [("system", "a"), ("system", "a"), ("system", "a")]),
        ("mark", 0.75, "excluded", True),
        ("append", [("system", "a")]),
        ("edit", 0.25, "c", False),
    ]
)
@given(operations=st.lists(operations, min_size=1, max_size=15))
def test_any_sequence_of_changes_leaves_what_the_plain_tree_gives(
    empty_database: Place, operations: list[tuple[Any, ...]]
) -> None:
    asyncio.run(_run(empty_database, operations))


@settings(max_examples=6, deadline=None)
@given(operations=st.lists(operations, min_size=8, max_size=15))
def test_any_sequence_of_changes_does_on_postgresql_too(
    postgres_database: Place, operations: list[tuple[Any, ...]]
) -> None:
    asyncio.run(_run(postgres_database, operations))


async def _run(place: Place, operations: list[tuple[Any, ...]]) -> None:
    database = Database(place)
    try:
        twins = Twins(database, await new_session(database))
        for operation in operations:
            await _apply(twins, *operation)
            await twins.compare()
    finally:
        await database.close()


async def _apply(twins: Twins, name: str, *arguments: Any) -> None:
    path = twins.plain.path
    match name, arguments:
        case "append", (said,):
            await twins.append(said)
        case "bring_up", ():
            await twins.bring_up()
        case "activate", (fraction,):
            if there := [node for node in twins.plain.nodes if not node.is_forgotten]:
                await twins.activate(there[int(fraction * len(there))])
        case "edit", (fraction, content, keep_following) if path:
            await twins.edit(int(fraction * len(path)), content, keep_following=keep_following)
        case "forget", (fraction,) if path:
            await twins.forget(int(fraction * len(path)))
        case "mark", (fraction, kind, stands) if path:
            await twins.mark(int(fraction * len(path)), kind, stands=stands)


def test_below_an_activated_message_the_newest_alternatives_are_followed(any_database: Place) -> None:
    async def follow() -> list[str]:
        database = Database(any_database)
        twins = Twins(database, await new_session(database))
        await twins.append([("user", "hello"), ("assistant", "hi")])
        first = twins.plain.path[0]
        await twins.edit(1, "newer", keep_following=False)
        await twins.append([("user", "and")])
        await twins.edit(0, "else", keep_following=False)
        await twins.activate(first)
        await twins.compare()
        await database.close()
        return [node.content for node in twins.plain.path]

    assert asyncio.run(follow()) == ["hello", "newer", "and"]


def test_a_path_of_thousands_of_messages_is_left_entered_and_deleted(any_database: Place) -> None:
    """No recursion that ends somewhere: not of the queries, not of the foreign keys."""

    async def walk() -> list[int]:
        database = Database(any_database)
        twins = Twins(database, await new_session(database))
        await twins.append([("user", "hello"), ("assistant", "hi")] * 1500)
        first = twins.plain.path[0]
        found = []
        for step in ("edit", "activate"):
            await (twins.edit(0, "else", keep_following=False) if step == "edit" else twins.activate(first))
            async with database.read() as session:
                last = await Messages(session, "local").last(twins.session_id)
                assert last is not None
                found.append(last.position)
        async with database.write() as session:
            assert await Sessions(session, "local").remove(twins.session_id)
        await database.close()
        return found

    assert asyncio.run(walk()) == [0, 2999]


def test_an_index_that_was_read_before_the_path_changed_is_not_written_after(any_database: Place) -> None:
    async def race() -> tuple[list[str], list[str]]:
        database = Database(any_database)
        twins = Twins(database, await new_session(database))
        await twins.append([("user", "hello"), ("assistant", "hi"), ("user", "and"), ("assistant", "so")])
        async with database.read() as session:
            missing = await TokenIndex(session, "local").missing(
                twins.session_id, ENCODER.fingerprint, limit=9
            )
        await twins.edit(1, "else", keep_following=False)
        rows = [row for row, _ in missing]
        async with database.write() as session:
            await TokenIndex(session, "local").extend(rows, [[1]] * len(rows), ENCODER.fingerprint)
        await twins.bring_up()
        async with database.read() as session:
            query = select(MessageTokensRow.message_id).where(MessageTokensRow.session_id == twins.session_id)
            indexed = (await session.scalars(query.order_by(MessageTokensRow.position))).all()
        await database.close()
        return list(indexed), [node.row_id for node in twins.plain.path]

    indexed, path = asyncio.run(race())
    assert indexed == path


def test_another_reply_leaves_the_message_that_it_answers_in_the_index(any_database: Place) -> None:
    """Taking the path anew drops the turn from the index, and the reply alone is no whole turn."""

    async def reply_again() -> tuple[list[str], list[str]]:
        database = Database(any_database)
        twins = Twins(database, await new_session(database))
        await twins.append([("user", "hello"), ("assistant", "hi"), ("user", "and"), ("assistant", "so")])
        await twins.bring_up()
        async with database.write() as session:
            replaced = await Messages(session, "local").last(twins.session_id)
            assert replaced is not None
            draft = MessageDraft("assistant", "else")
            reply = await Messages(session, "local").add_alternative(replaced, draft)
            await MessageTree(session, "local").activate(reply)
            await TokenIndex(session, "local").extend([reply], [SAMPLED], ENCODER.fingerprint)
        await twins.bring_up()
        async with database.read() as session:
            query = select(MessageTokensRow.message_id).where(MessageTokensRow.session_id == twins.session_id)
            indexed = (await session.scalars(query.order_by(MessageTokensRow.position))).all()
        await database.close()
        return list(indexed), [node.row_id for node in twins.plain.path[:3]] + [reply.id]

    indexed, path = asyncio.run(reply_again())
    assert indexed == path


def test_the_newest_record_is_that_of_the_chat_as_it_stands(any_database: Place) -> None:
    async def forget() -> list[tuple[int, dict[str, Any]] | None]:
        database = Database(any_database)
        twins = Twins(database, await new_session(database))
        await twins.append([("user", "hello"), ("assistant", "hi"), ("user", "and"), ("assistant", "so")])
        found = []
        async with database.write() as session:
            messages = Messages(session, "local")
            path = await messages.list(twins.session_id, after=None, limit=9, newest_first=False)
            for reply in (path[1], path[3]):
                await messages.keep_record(reply, {"of": reply.content})
            found.append(await messages.newest_record(twins.session_id))
            await MessageTree(session, "local").forget(path[2])
            found.append(await messages.newest_record(twins.session_id))
        await database.close()
        return found

    assert asyncio.run(forget()) == [(1, {"of": "so"}), (0, {"of": "hi"})]


def test_chats_of_the_first_release_become_trees_of_one_path(blank_database: Place) -> None:
    upgrade(blank_database, "0001")
    engine = backend_of(blank_database).blocking_engine()
    now = "2026-01-01 00:00:00.000000"
    with engine.begin() as old:
        insert = "INSERT INTO sessions VALUES ('ses_1','local',NULL,NULL,NULL,'{}',:now,:now)"
        old.execute(text(insert), {"now": now})
        for position, role in enumerate(["user", "assistant", "user", "assistant"]):
            values = {
                "id": f"msg_{position}",
                "position": position,
                "turn": position // 2,
                "role": role,
                "said": f"said {position}",
                "model": "m" if role == "assistant" else None,
                "now": now,
                "opens_turn": position % 2 == 0,
                "ids": b"\7\0\0\0" * 3,
                "before": 3 * position,
            }
            for insert in (
                "INSERT INTO messages VALUES (:id,'local','ses_1',:position,:turn,:role,:said,'complete',"
                "NULL,:model,NULL,:now)",
                "INSERT INTO message_tokens VALUES ('ses_1',:position,'local',:id,:turn,:opens_turn,:ids,3,"
                ":before,'bytes')",
            ):
                old.execute(text(insert), values)
    engine.dispose()
    migrate(blank_database)

    async def look() -> None:
        database = Database(blank_database)
        async with database.write() as session:
            rows = await Messages(session, "local").list("ses_1", after=None, limit=9, newest_first=False)
            assert [row.id for row in rows] == [f"msg_{n}" for n in range(4)]
            assert [row.parent_id for row in rows] == [None, "msg_0", "msg_1", "msg_2"]
            assert all(row.is_active and row.alternative == 0 for row in rows)
            await TokenIndex(session, "local").cut("ses_1", 0)
        await bring_up(database, "local", "ses_1", ENCODER, ENCODER.fingerprint)
        async with database.read() as session:
            history = await StoredHistory.open(session, "local", "ses_1", ENCODER)
            said = await history.messages(0)
        encoded = ENCODER.encode_message("user", "said 0")
        assert [message.token_ids for message in said[:2]] == [encoded, SAMPLED], "the sampled ids are kept"
        async with database.write() as session:
            assert await Sessions(session, "local").remove("ses_1")
        await database.close()

    asyncio.run(look())
