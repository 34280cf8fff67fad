"""The tree of messages against a plain twin, over random sequences of operations."""

import asyncio
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from app.storage.backend import Place
from app.storage.database import Database
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.sessions import Sessions
from app.storage.tables import MessageTokensRow
from app.storage.token_index import TokenIndex
from memory.messages import ROLES
from tests.app.test_storage import new_session
from tests.app.tree_twins import ENCODER, SAMPLED, Twins

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
            index = TokenIndex(session, "local")
            await index.extend_by_read(rows, [[1]] * len(rows), ENCODER.fingerprint)
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
