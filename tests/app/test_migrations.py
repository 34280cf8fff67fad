"""Data of earlier versions is there after a migration, and works."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    inspect,
    select,
    text,
)
from sqlalchemy.types import Boolean

from app.storage.backend import Place
from app.storage.database import MIGRATIONS, Database, backend_of, migrate, upgrade
from app.storage.history import StoredHistory
from app.storage.messages import Messages
from app.storage.personas import Personas
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.tables import Table
from app.storage.token_index import TokenIndex, bring_up
from memory.persona import ChatUser, ExampleExchange
from tests.app.tree_twins import ENCODER, SAMPLED

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def revisions() -> list[str]:
    """All versions of the schema, oldest first."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()][::-1]


def insert_first_data(connection: Connection) -> None:
    """A persona and a chat session, as the first version stored them."""
    values = {
        "now": NOW.isoformat(sep=" ", timespec="microseconds").removesuffix("+00:00"),
        "examples": json.dumps([{"user": "Who?", "assistant": "Anne!"}]),
        "memory": json.dumps({"strategy": "buffer"}),
    }
    for statement in (
        "INSERT INTO personas (id, owner, revision, created_at, updated_at)"
        " VALUES ('per_1', 'local', 1, :now, :now)",
        "INSERT INTO persona_revisions"
        " (persona_id, revision, owner, name, instructions, examples, greeting, created_at)"
        " VALUES ('per_1', 1, 'local', 'Anne', 'You are Anne.', :examples, 'Ahoy!', :now)",
        "INSERT INTO sessions (id, owner, user_id, persona_id, title, memory, created_at, updated_at)"
        " VALUES ('ses_1', 'local', 'tom', 'per_1', NULL, :memory, :now, :now)",
    ):
        connection.execute(text(statement), values)


def test_a_persona_and_a_session_of_the_first_version_survive(blank_database: Place) -> None:
    upgrade(blank_database, "0001")
    engine = backend_of(blank_database).blocking_engine()
    with engine.begin() as connection:
        insert_first_data(connection)
    engine.dispose()
    migrate(blank_database)

    async def read() -> None:
        database = Database(blank_database)
        async with database.read() as session:
            stored = await Personas(session, "local").get("per_1")
            row = await Sessions(session, "local").get("ses_1")
            assert await SessionPersonas(session, "local").since_turn("ses_1") is None
        await database.close()
        assert stored is not None
        assert row is not None
        assert stored.persona.examples == (ExampleExchange("Who?", "Anne!"),)
        assert stored.persona.greeting == "Ahoy!"
        assert stored.persona.reminder is None
        assert stored.persona.met_by(ChatUser("tom")).system_message == "You are Anne."
        assert (row.user_id, row.user_name, row.persona_id) == ("tom", None, "per_1")
        assert (row.prefixes, row.instructions, row.client_metadata) == (False, None, {})

    asyncio.run(read())


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


def insert_everywhere(connection: Connection, revision: str) -> dict[str, dict[str, Any]]:
    """A row in each table that there is, one referring to the other; gives their primary keys."""
    schema = MetaData()
    schema.reflect(connection)
    keys: dict[str, dict[str, Any]] = {}
    for table in schema.sorted_tables:
        if table.name == "alembic_version":
            continue
        row = {column.name: _value(column, revision, keys) for column in table.columns}
        connection.execute(table.insert(), row)
        keys[table.name] = {column.name: row[column.name] for column in table.primary_key}
    return keys


def _value(column: Column[Any], revision: str, keys: dict[str, dict[str, Any]]) -> Any:
    if column.foreign_keys:
        [referred] = column.foreign_keys
        return keys.get(referred.column.table.name, {}).get(referred.column.name)
    values = {Boolean: True, Integer: 0, DateTime: NOW, Float: 0.5, JSON: {}, LargeBinary: b"\7\0\0\0"}
    return next(
        (value for kind, value in values.items() if isinstance(column.type, kind)),
        f"{column.name[:10]} {revision}",
    )


def test_rows_of_every_version_survive_all_later_migrations(blank_database: Place) -> None:
    """One database that was used with each version in turn."""
    engine = backend_of(blank_database).blocking_engine()
    stored: list[tuple[str, dict[str, Any]]] = []
    for revision in revisions():
        upgrade(blank_database, revision)
        with engine.begin() as connection:
            stored += insert_everywhere(connection, revision).items()
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
        assert {name for name, _ in stored} == {*inspect(connection).get_table_names()} - {"alembic_version"}
        for name, key in stored:
            table = Table.metadata.tables[name]
            query = select(table).filter_by(**key)
            assert connection.execute(query).one(), (name, key)
    engine.dispose()


def test_a_migration_that_is_killed_leaves_the_old_version_or_the_new_and_the_next_goes_through(
    tmp_path: Path,
) -> None:
    old, *_, new = revisions()
    database, place = tmp_path / "old.sqlite3", tmp_path / "work"
    place.mkdir()
    upgrade(database, old)
    engine = backend_of(database).blocking_engine()
    with engine.begin() as connection:
        insert_first_data(connection)
    engine.dispose()
    command = [sys.executable, "-m", "tests.app.migration_worker", str(database), str(place), "23"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    *killed, last = [line.split() for line in done.stdout.splitlines()]
    assert len(killed) > 5
    assert all(left == [old, new] for left in killed), killed
    assert last == [new, new]
    for path in place.glob("*.sqlite3"):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT id, user_id FROM sessions").fetchall() == [("ses_1", "tom")]
