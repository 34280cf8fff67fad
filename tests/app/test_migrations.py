"""Data of earlier versions is there after a migration, and works."""

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from app.storage.database import MIGRATIONS, Database, migrate
from app.storage.history import StoredHistory
from app.storage.messages import Messages
from app.storage.personas import Personas
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.token_index import TokenIndex, bring_up
from memory.persona import ChatUser, ExampleExchange
from tests.app.tree_twins import ENCODER, SAMPLED

NOW = "2026-01-01 00:00:00.000000"


def schema_of(path: Path, revision: str) -> None:
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        _insert_first_data(connection)
    engine.dispose()


def _insert_first_data(connection: Connection) -> None:
    """A persona and a chat session, as the first version stored them."""
    values = {
        "now": NOW,
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


def test_a_persona_and_a_session_of_the_first_version_survive(tmp_path: Path) -> None:
    path = tmp_path / "perdure.sqlite3"
    schema_of(path, "0001")
    migrate(path)

    async def read() -> None:
        database = Database(path)
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
        assert (row.prefixes, row.instructions) == (False, None)

    asyncio.run(read())


def test_chats_of_the_first_version_become_trees_of_one_path(tmp_path: Path) -> None:
    path = tmp_path / "perdure.sqlite3"
    schema_of(path, "0001")
    with closing(sqlite3.connect(path)) as old:
        _insert_first_messages(old)
        old.commit()
    migrate(path)

    async def look() -> None:
        database = Database(path)
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


def _insert_first_messages(old: sqlite3.Connection) -> None:
    """Two turns of the session, as the first version stored them, every message in its index of tokens."""
    for position, role in enumerate(["user", "assistant", "user", "assistant"]):
        model = "m" if role == "assistant" else None
        said = [f"msg_{position}", position, position // 2, role, f"said {position}", model, NOW]
        old.execute("INSERT INTO messages VALUES (?,'local','ses_1',?,?,?,?,'complete',NULL,?,NULL,?)", said)
        opens_turn = position % 2 == 0
        ids = b"\7\0\0\0" * 3
        index = [position, f"msg_{position}", position // 2, opens_turn, ids, 3, 3 * position]
        old.execute("INSERT INTO message_tokens VALUES ('ses_1',?,'local',?,?,?,?,?,?,'bytes')", index)
