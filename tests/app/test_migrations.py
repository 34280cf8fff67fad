"""Data of earlier versions is there after a migration, and works."""

import asyncio
import json
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

from app.storage.database import MIGRATIONS, Database, migrate
from app.storage.personas import Personas
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from memory.persona import ChatUser, ExampleExchange

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
        assert (row.prefixes, row.instructions, row.client_metadata) == (False, None, {})

    asyncio.run(read())
