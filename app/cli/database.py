"""Commands that work on the database itself, beside a running service too."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from app.settings import Settings

Answer = TypeVar("Answer")


def in_database(settings: Settings, work: Callable[[AsyncSession], Awaitable[Answer]]) -> Answer:
    """Do it in one unit of work. A service that runs has made the tables, else that is done here."""
    from app.home import HomeInUseError, claim_home
    from app.storage.database import Database, migrate

    try:
        with claim_home(settings.home):
            migrate(settings.database)
    except HomeInUseError:
        pass

    async def run() -> Answer:
        database = Database(settings.database)
        try:
            async with database.write() as session:
                return await work(session)
        finally:
            await database.close()

    return asyncio.run(run())
