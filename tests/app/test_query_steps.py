"""What is asked of a chat on its turns takes as long in a long chat as in a short one.

Counted are the steps of SQLite's virtual machine: they say how many rows are walked over, and are no time.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from app.recall.shelving import shelve
from app.storage.database import Database
from app.storage.derived import cut_derived
from app.storage.facts import Facts
from app.storage.history import StoredHistory
from app.storage.marks import Marks
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.passages import StoredPassages
from app.storage.sessions import Sessions
from app.storage.shelves import Shelves
from app.storage.tables import MessageRow
from app.storage.token_index import TokenIndex, bring_up
from app.upkeep.fact_blocks import read_block
from memory.facts.block import FactBlock
from memory.facts.fact import Found
from memory.messages import Role
from tests.app.test_storage import ByteEncoder, new_session, store

OWNER = "local"
SHORT, LONG = 30, 600
"""Turns; what is chosen from is larger than what is chosen."""
MANY_CHANGES = 10**9
FACT_TOKENS = 600
ENCODER = ByteEncoder()


class Chat:
    """A stored chat; all that is derived from it is brought up, but from its last turn."""

    def __init__(self, database: Database, session_id: str) -> None:
        self.database = database
        self.id = session_id

    async def make(self, turns: int) -> None:
        said: list[tuple[Role, str]] = [("user", "said"), ("assistant", "heard")]
        await store(self.database, self.id, said * (turns - 1))
        await bring_up(self.database, OWNER, self.id, ENCODER, ENCODER.fingerprint)
        await shelve(self.database, OWNER, self.id)
        async with self.database.write() as session:
            messages = Messages(session, OWNER)
            [before, self.last] = await messages.list(self.id, after=None, limit=2, newest_first=True)
            await messages.keep_record(before, {})
            await Marks(session, OWNER).mark(before, "pinned")
            self.other = await messages.add_alternative(self.last, MessageDraft("user", "other"))
        await store(self.database, self.id, said)
        await self.tell(turns)

    async def tell(self, turns: int) -> None:
        """Every turn tells a fact; those of a window that begins with the third last turn are read."""
        async with self.database.write() as session:
            row = await Sessions(session, OWNER).get(self.id)
            assert row is not None
            messages = await Messages(session, OWNER).list(
                self.id, after=None, limit=2 * turns, newest_first=False
            )
            for number, message in enumerate(messages[::2]):
                await Facts(session, OWNER).add_one(
                    row,
                    Found("user", "likes", f"thing {number}", 0, 1),
                    persona_id=None,
                    text=f"User, likes: thing {number}",
                    author="rules",
                    said_at=message.created_at,
                    enters_at=message.turn + 1,
                    message_id=message.id,
                )
            await Facts(session, OWNER).set_watermark(self.id, messages[-1].position)
        self.first_turn = turns - 3
        await read_block(
            self.database, OWNER, self.id, self.first_turn, max_tokens=FACT_TOKENS, encoder=ENCODER
        )

    async def history(self, session: AsyncSession, end: int | None) -> StoredHistory:
        return await StoredHistory.open(session, OWNER, self.id, ENCODER, end=end)


Question = Callable[[Chat, AsyncSession], Awaitable[Any]]


async def marked(chat: Chat, session: AsyncSession, end: int | None) -> None:
    history = await chat.history(session, end)
    await history.pinned()
    await history.excluded()


async def facts(chat: Chat, session: AsyncSession) -> FactBlock:
    block = await (await chat.history(session, None)).facts(chat.first_turn, FACT_TOKENS)
    assert block.left_out
    return block


async def replace(chat: Chat, session: AsyncSession) -> MessageRow:
    tree = MessageTree(session, OWNER)
    return await tree.replace(chat.last, MessageDraft("user", "new"), keep_following=True)


async def untidy(chat: Chat, session: AsyncSession) -> bool:
    [shelf_id] = await Shelves(session, OWNER).of_session(chat.id)
    return await Shelves(session, OWNER).is_untidy(shelf_id, MANY_CHANGES)


QUESTIONS: dict[str, Question] = {
    "last": lambda chat, session: Messages(session, OWNER).last(chat.id),
    "newest page": lambda chat, session: Messages(session, OWNER).list(
        chat.id, after=None, limit=10, newest_first=True
    ),
    "page": lambda chat, session: Messages(session, OWNER).list(
        chat.id, after=20, limit=10, newest_first=False
    ),
    "newest record": lambda chat, session: Messages(session, OWNER).newest_record(chat.id),
    "append": lambda chat, session: Messages(session, OWNER).append(chat.id, [MessageDraft("user", "x")]),
    "to be indexed": lambda chat, session: TokenIndex(session, OWNER).missing(
        chat.id, ENCODER.fingerprint, limit=10
    ),
    "to be shelved": lambda chat, session: StoredPassages(session, OWNER).missing(chat.id, limit=10),
    "shelves": lambda chat, session: Shelves(session, OWNER).of_session(chat.id),
    "tidiness": untidy,
    "marked turns": lambda chat, session: marked(chat, session, None),
    "marked turns before a reply": lambda chat, session: marked(chat, session, chat.last.position),
    "facts": facts,
    "replace": replace,
    "activate": lambda chat, session: MessageTree(session, OWNER).activate(chat.other),
    "cut": lambda chat, session: cut_derived(session, OWNER, chat.id, chat.last.position),
}


@pytest.fixture(scope="module")
def chats(
    empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[asyncio.Runner, Chat, Chat]]:
    async def make(turns: int) -> Chat:
        """In a database of its own: what is walked over may be the owner's, and no chat's."""
        database = Database(Path(shutil.copy(empty_database, tmp_path_factory.mktemp("steps") / "chat")))
        chat = Chat(database, await new_session(database))
        await chat.make(turns)
        return chat

    with asyncio.Runner() as runner:
        short, long = runner.run(make(SHORT)), runner.run(make(LONG))
        yield runner, short, long
        for chat in (short, long):
            runner.run(chat.database.close())


async def steps(chat: Chat, question: Question) -> int:
    """How many steps the answer takes; what it changes is taken back."""
    ticks: list[None] = []
    async with chat.database.write() as session:
        raw = await (await session.connection()).get_raw_connection()
        assert raw.driver_connection is not None
        await raw.driver_connection.set_progress_handler(lambda: ticks.append(None), 1)
        await question(chat, session)
        await raw.driver_connection.set_progress_handler(None, 1)
        await session.rollback()
    return len(ticks)


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_a_turn_asks_takes_as_many_steps_in_a_long_chat_as_in_a_short_one(
    chats: tuple[asyncio.Runner, Chat, Chat], name: str
) -> None:
    runner, short, long = chats
    few, many = (runner.run(steps(chat, QUESTIONS[name])) for chat in (short, long))
    assert 0 < many < 1.5 * few, (few, many)
