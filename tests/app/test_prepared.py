"""Queries that are built once give each owner its own rows, and each user, and nobody any without a name."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy.exc import StatementError

from app.storage.database import Database, migrate
from app.storage.repository import UserOfOwner
from app.storage.sessions import Sessions
from app.storage.token_index import TokenIndex

ANNA, BEN, HOST = UserOfOwner("host", "anna"), UserOfOwner("host", "ben"), "host"
ASKERS = (HOST, "stranger", ANNA, BEN, UserOfOwner("stranger", "anna"))


@pytest.fixture
def database(tmp_path: Path) -> Database:
    migrate(tmp_path / "chats.sqlite3")
    return Database(tmp_path / "chats.sqlite3")


@pytest.mark.parametrize("first", range(len(ASKERS)))
def test_whoever_asks_first_and_again_finds_its_own_alone(database: Database, first: int) -> None:
    asyncio.run(_each_finds_its_own(database, (*ASKERS[first:], *ASKERS[:first], *ASKERS)))


async def _each_finds_its_own(database: Database, askers: tuple[str, ...]) -> None:
    async with database.write() as session:
        annas = await Sessions(session, HOST).create(
            persona_id=None, user_id="anna", title=None, memory={"strategy": "buffer"}
        )
    async with database.read() as session:
        for asker in askers:
            sessions = Sessions(session, asker)
            found = [await sessions.get(annas.id), await sessions.as_it_stands(annas.id, "bytes")]
            assert [each is not None for each in found] == 2 * [asker is HOST or asker is ANNA]
    async with database.write() as session:
        for stranger in ("stranger", BEN):
            await Sessions(session, stranger).touch(annas.id)
    async with database.read() as session:
        row = await Sessions(session, HOST).get(annas.id)
        assert row is not None
        assert row.updated_at == annas.updated_at
    await database.close()


@pytest.mark.parametrize("whose", [HOST, ANNA])
def test_without_an_owner_a_query_does_not_run(database: Database, whose: str) -> None:
    async def run() -> None:
        async with database.read() as session:
            index = TokenIndex(session, whose)
            with pytest.raises(StatementError, match="value is required for bind parameter 'own rows of'"):
                await session.execute(TokenIndex._last.of(index.whose), {"session": "ses_of_nobody"})
        await database.close()

    asyncio.run(run())
