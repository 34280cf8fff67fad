"""Storage: units of work, owners, migrations, and the history that strategies read."""

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from app.storage.backend import Place
from app.storage.database import Database, backend_of, migrate
from app.storage.facts import Facts
from app.storage.history import StoredHistory
from app.storage.messages import MessageDraft, Messages
from app.storage.sessions import Sessions
from app.storage.tables import Table
from app.storage.token_index import TokenIndex, bring_up
from memory.messages import ROLES, Message, Role
from memory.strategies.base import Room, Strategy
from memory.strategies.facts import Facts as FactMemory
from memory.strategies.sliding_window import SlidingWindow
from memory.strategies.summary_buffer import SummaryBuffer
from memory.strategies.token_buffer import TokenBuffer
from tests.memory.naive_history import NaiveHistory


class ByteEncoder:
    """A tokeniser as simple as can be: a token for each byte."""

    fingerprint = "bytes"
    generation_prompt = (1,)

    def encode_preamble(self, system: str | None) -> tuple[int, ...]:
        return tuple((system or "").encode())

    def encode_message(self, role: Role, content: str) -> tuple[int, ...]:
        return (ROLES.index(role), *content.encode())


async def new_session(database: Database, owner: str = "local") -> str:
    async with database.write() as session:
        row = await Sessions(session, owner).create(persona_id=None, user_id=None, title=None, memory={})
    return row.id


async def store(database: Database, session_id: str, said: Sequence[tuple[Role, str]]) -> None:
    async with database.write() as session:
        await Messages(session, "local").append(session_id, [MessageDraft(*message) for message in said])


def test_a_write_that_is_cancelled_in_a_query_keeps_nobody_from_writing(
    any_database: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.storage.sqlite.BUSY_TIMEOUT_MS", 100)
    two_slow_rows = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000) "
        "SELECT i FROM n WHERE i > 4999998"
    )

    async def run() -> None:
        database = Database(any_database)
        asked = asyncio.Event()

        async def query() -> None:
            async with database.write() as session:
                await Sessions(session, "local").create(persona_id=None, user_id=None, title=None, memory={})
                asked.set()
                await session.execute(two_slow_rows)

        task = asyncio.create_task(query())
        await asked.wait()
        await asyncio.sleep(0.1)  # until the database is at it
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
        await new_session(database)
        assert cancelled.tb is not None, "holds what was asked, which so was not collected as garbage"
        await database.close()

    asyncio.run(run())


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_unit_of_work_that_is_cancelled_anywhere_leaves_no_transaction_open(
    empty_database: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("app.storage.sqlite.BUSY_TIMEOUT_MS", 100)
    slow = text(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT max(i) FROM n"
    )

    async def run() -> None:
        database = Database(empty_database)

        async def work() -> None:
            async with getattr(database, kind)() as session:
                for _ in range(3):
                    await session.execute(slow)

        for pause_ms in range(60):  # the first before it begins, the last when it is done
            task = asyncio.create_task(work())
            await asyncio.sleep(pause_ms / 1000)
            task.cancel()
            await asyncio.wait([task])
            await new_session(database)
        assert await database.scrub(), "nobody reads any more"
        await database.close()

    asyncio.run(run())


def test_migrations_may_run_again(any_database: Place) -> None:
    migrate(any_database)
    engine = backend_of(any_database).blocking_engine()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
    engine.dispose()


BATCHES = st.lists(
    st.lists(
        st.tuples(st.sampled_from(ROLES), st.text("ab", min_size=1, max_size=30)), min_size=1, max_size=8
    ),
    max_size=6,
)
QUESTIONS = st.lists(st.integers(0, 400), max_size=8)


@settings(max_examples=40, deadline=None)
@given(batches=BATCHES, questions=QUESTIONS)
def test_the_stored_history_answers_like_the_plain_one(
    empty_database: Path, batches: list[list[tuple[Role, str]]], questions: list[int]
) -> None:
    asyncio.run(_compare(empty_database, batches, questions))


@settings(max_examples=5, deadline=None)
@given(batches=BATCHES, questions=QUESTIONS)
def test_the_history_that_is_stored_in_postgresql_does_too(
    postgres_database: str, batches: list[list[tuple[Role, str]]], questions: list[int]
) -> None:
    asyncio.run(_compare(postgres_database, batches, questions))


async def _compare(place: Place, batches: list[list[tuple[Role, str]]], questions: list[int]) -> None:
    database = Database(place)
    encoder = ByteEncoder()
    session_id = await new_session(database)
    await store(database, await new_session(database), [("user", "of another chat")])
    for number, said in enumerate(batches):
        await store(database, session_id, said)
        if number % 2:
            await bring_up(database, "local", session_id, encoder, encoder.fingerprint)
    await bring_up(database, "local", session_id, encoder, encoder.fingerprint)
    async with database.read() as session:
        rows = await Messages(session, "local").list(session_id, after=None, limit=1000, newest_first=False)
        plain = NaiveHistory(
            [
                Message(row.id, row.turn, role, row.content, encoder.encode_message(role, row.content))
                for row in rows
                for role in ROLES
                if role == row.role
            ]
        )
        stored = await StoredHistory.open(session, "local", session_id, encoder)
        assert (stored.turn_count, stored.total_tokens) == (plain.turn_count, plain.total_tokens)
        for turn in range(plain.turn_count + 1):
            assert await stored.tokens_before(turn) == await plain.tokens_before(turn)
            if turn < plain.turn_count:
                assert list(await stored.messages(turn)) == list(await plain.messages(turn))
        for tokens in questions:
            assert await stored.first_turn_from(tokens) == await plain.first_turn_from(tokens)
        of_nobody = await StoredHistory.open(session, "another", session_id, encoder)
        assert (of_nobody.turn_count, of_nobody.total_tokens) == (0, 0)
    await database.close()


def test_choosing_a_window_takes_as_many_steps_in_a_long_chat_as_in_a_short_one(tmp_path: Path) -> None:
    """Steps of SQLite's virtual machine: they count the rows that are walked over, and are no time."""
    path = tmp_path / "perdure.sqlite3"
    migrate(path)
    short, long = asyncio.run(_steps(path, turns=50)), asyncio.run(_steps(path, turns=1000))
    assert set(short) == {"sliding_window", "token_buffer", "summary_buffer", "facts"}
    for strategy, steps in long.items():
        assert steps < 1.5 * short[strategy], strategy  # a window holds a turn more or less


async def _steps(path: Path, *, turns: int) -> dict[str, int]:
    database, encoder = Database(path), ByteEncoder()
    session_id = await new_session(database)
    await store(database, session_id, [("user", "said"), ("assistant", "heard")] * turns)
    await bring_up(database, "local", session_id, encoder, encoder.fingerprint)
    async with database.write() as session:
        await Facts(session, "local").set_watermark(session_id, 2 * turns - 1)
    strategies: list[Strategy] = [
        SlidingWindow(turns=4),
        TokenBuffer(token_budget=100),
        SummaryBuffer(token_budget=132, max_summary_tokens=32),
        FactMemory(token_budget=132, max_fact_tokens=32),
    ]
    taken: dict[str, int] = {}
    for strategy in strategies:
        ticks: list[None] = []
        async with database.read() as session:
            raw = await (await session.connection()).get_raw_connection()
            assert raw.driver_connection is not None
            await raw.driver_connection.set_progress_handler(lambda ticks=ticks: ticks.append(None), 1)
            history = await StoredHistory.open(session, "local", session_id, encoder)
            selection = await strategy.select(history, Room(now=2000, steady=2000, context_window=2000))
            await raw.driver_connection.set_progress_handler(None, 1)
        assert selection.segments
        assert selection.left_out
        taken[strategy.strategy] = len(ticks)
    await database.close()
    return taken


def test_an_index_of_another_tokeniser_is_built_anew(any_database: Place) -> None:
    class OtherEncoder(ByteEncoder):
        fingerprint = "double"

        def encode_message(self, role: Role, content: str) -> tuple[int, ...]:
            return super().encode_message(role, content) * 2

    async def totals() -> list[int]:
        database = Database(any_database)
        session_id = await new_session(database)
        await store(database, session_id, [("user", "hello"), ("assistant", "hi")])
        found = []
        for encoder in (ByteEncoder(), OtherEncoder(), ByteEncoder()):
            await bring_up(database, "local", session_id, encoder, encoder.fingerprint)
            async with database.read() as session:
                found.append((await StoredHistory.open(session, "local", session_id, encoder)).total_tokens)
        await database.close()
        return found

    first, doubled, again = asyncio.run(totals())
    assert (first, doubled, again) == (9, 18, 9)


def test_an_index_brought_up_by_many_at_once_is_built_once(any_database: Place) -> None:
    async def build() -> tuple[int, int]:
        database = Database(any_database)
        encoder = ByteEncoder()
        session_id = await new_session(database)
        await store(database, session_id, [("user", "hello"), ("assistant", "hi")] * 600)
        await asyncio.gather(
            *(bring_up(database, "local", session_id, encoder, encoder.fingerprint) for _ in range(5))
        )
        async with database.read() as session:
            history = await StoredHistory.open(session, "local", session_id, encoder)
        await database.close()
        return history.turn_count, history.total_tokens

    assert asyncio.run(build()) == (600, 600 * 9)


def test_a_unit_of_work_happens_whole_or_not_at_all(any_database: Place) -> None:
    async def fail_half_way() -> list[Any]:
        database = Database(any_database)
        session_id = await new_session(database)

        async def fail() -> None:
            async with database.write() as session:
                rows = await Messages(session, "local").append(session_id, [MessageDraft("user", "lost")])
                await TokenIndex(session, "local").extend(rows, [[1]], "bytes")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        async with database.read() as session:
            found = await Messages(session, "local").list(session_id, after=None, limit=9, newest_first=False)
            index = await TokenIndex(session, "local").last(session_id)
        await database.close()
        return [*found, index]

    assert asyncio.run(fail_half_way()) == [None]


def test_readers_see_one_moment_and_do_not_wait_for_the_writer(any_database: Place) -> None:
    async def read_while_writing() -> tuple[int, int, int]:
        database = Database(any_database)
        session_id = await new_session(database)

        async def count(session: Any) -> int:
            rows = await Messages(session, "local").list(session_id, after=None, limit=9, newest_first=False)
            return len(rows)

        async with database.read() as reader:
            before = await count(reader)
            async with database.write() as writer:
                await Messages(writer, "local").append(session_id, [MessageDraft("user", "hi")])
                during = await asyncio.wait_for(count(reader), 5)
            after = await count(reader)
        await database.close()
        return before, during, after

    assert asyncio.run(read_while_writing()) == (0, 0, 0)


def test_no_owner_reaches_the_rows_of_another(any_database: Place) -> None:
    async def look() -> None:
        database = Database(any_database)
        session_id = await new_session(database, "ann")
        async with database.write() as session:
            [said] = await Messages(session, "ann").append(session_id, [MessageDraft("user", "secret")])
        async with database.write() as session:
            messages, sessions = Messages(session, "bob"), Sessions(session, "bob")
            assert await messages.get(said.id) is None
            assert await messages.get_many([said.id]) == {}
            assert await messages.list(session_id, after=None, limit=9, newest_first=True) == []
            assert await sessions.get(session_id) is None
            assert await sessions.update(session_id, {"title": "stolen"}) is None
            assert not await sessions.remove(session_id)
        await database.close()

    asyncio.run(look())


def test_the_database_is_in_write_ahead_mode_and_holds_its_rules(empty_database: Path) -> None:
    with closing(sqlite3.connect(empty_database)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        for table in tables:
            if table not in ("alembic_version", "sqlite_sequence"):
                columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                assert "owner" in columns, table
