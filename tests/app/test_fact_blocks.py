"""What windows tell of facts is kept ready, and is what reading all that is known gives, whatever changed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.storage.backend import Place
from app.storage.database import Database
from app.storage.deletions import Deletions
from app.storage.fact_blocks import FactBlocks
from app.storage.facts import Facts
from app.storage.history import StoredHistory
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.personas import Personas
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow
from app.storage.token_index import bring_up
from memory.facts.block import FactBlock
from memory.facts.fact import OWNER, Found
from memory.persona import Persona
from tests.app.test_storage import ByteEncoder

OTHER, MOST = "another", 90
"""MOST: room for two or three facts."""
ENCODER = ByteEncoder()
KEYS = ["home", "likes", "dislikes"]
VALUES = ["tea", "Oslo", "Ghent", ""]


@dataclass
class User:
    """The chats of a user with a persona, and of one without a name, changed as a service does it."""

    database: Database
    owner: str = "local"
    personas: list[str] = field(default_factory=list)
    chats: list[str] = field(default_factory=list)
    used: int = 0
    """How many blocks that were kept were still there when they were asked for."""

    async def meet(self) -> None:
        async with self.database.write() as session:
            for name in ("Ann", "Bo"):
                stored = await Personas(session, self.owner).create(Persona(name=name, instructions="Be."))
                self.personas.append(stored.id)
            for user_id in ("tom", "tom", None):
                row = await Sessions(session, self.owner).create(
                    persona_id=self.personas[0], user_id=user_id, title=None, memory={}
                )
                self.chats.append(row.id)
        for chat in range(len(self.chats)):
            await self.say(chat, 2)
        await self.bring_up()

    async def do(self, name: str, chat: int, at: int, *arguments: Any) -> None:
        if self.chats:
            await getattr(self, name)(chat % len(self.chats), at, *arguments)
            await self.bring_up()

    async def bring_up(self) -> None:
        for session_id in self.chats:
            await bring_up(self.database, self.owner, session_id, ENCODER, ENCODER.fingerprint)

    async def say(self, chat: int, turns: int) -> None:
        async with self.database.write() as session:
            drafts = [MessageDraft("user", "said"), MessageDraft("assistant", "heard")] * turns
            await Messages(session, self.owner).append(self.chats[chat], drafts)

    async def tell(self, chat: int, at: int, key: str, value: str, ends: str | None, late: int) -> None:
        """A message tells a fact, which is read when so many windows have passed."""
        if message := await self._message(chat, at):
            await self._know(chat, message, Found("user", key, value, 0, 1, ends), message.turn + 1 + late)

    async def put_down(self, chat: int, at: int, key: str, value: str, of_message: bool) -> None:
        message = await self._message(chat, at) if of_message else None
        await self._know(chat, message, Found("user", key, value, 0, 1), 0, author=OWNER)

    async def refuse(self, chat: int, at: int) -> None:
        async with self.database.write() as session:
            facts = Facts(session, self.owner)
            if known := await facts.known(self.chats[chat]):
                await facts.remove([known[at % len(known)].fact.id])

    async def edit(self, chat: int, at: int, keep_following: bool) -> None:
        if message := await self._message(chat, at):
            async with self.database.write() as session:
                await MessageTree(session, self.owner).replace(
                    message, MessageDraft("user", "new"), keep_following=keep_following
                )

    async def activate(self, chat: int, at: int) -> None:
        if message := await self._message(chat, at):
            async with self.database.write() as session:
                others = await Messages(session, self.owner).alternatives(message)
                await MessageTree(session, self.owner).activate(others[at % len(others)])

    async def exclude(self, chat: int, at: int, stands: bool) -> None:
        if message := await self._message(chat, at):
            async with self.database.write() as session:
                tree = MessageTree(session, self.owner)
                await (tree.exclude(message) if stands else tree.include(message))

    async def forget(self, chat: int, at: int) -> None:
        if message := await self._message(chat, at):
            async with self.database.write() as session:
                await MessageTree(session, self.owner).forget(message)

    async def delete(self, chat: int, at: int) -> None:
        if message := await self._message(chat, at):
            async with self.database.write() as session:
                deletions = Deletions(session, self.owner)
                await deletions.delete_message(message.id, await deletions.with_copies(message))

    async def delete_chat(self, chat: int, _at: int) -> None:
        async with self.database.write() as session:
            await Deletions(session, self.owner).delete_session(self.chats.pop(chat))

    async def branch(self, chat: int, at: int) -> None:
        if message := await self._message(chat, at):
            async with self.database.write() as session:
                row = await Sessions(session, self.owner).get(self.chats[chat])
                assert row is not None
                made = await Sessions(session, self.owner).create(
                    persona_id=row.persona_id,
                    user_id=row.user_id,
                    title=None,
                    memory={},
                    branched_from=message,
                )
                await MessageTree(session, self.owner).copy_path(message, made.id)
            self.chats.append(made.id)

    async def meet_another(self, chat: int, at: int) -> None:
        async with self.database.write() as session:
            await Sessions(session, self.owner).update(
                self.chats[chat], {"persona_id": self.personas[at % len(self.personas)]}
            )

    async def keep_all(self, change: Callable[[], Awaitable[None]]) -> None:
        """Read the blocks of all windows, and keep them after a change."""
        read: list[tuple[str, str | None, FactBlock]] = []
        async with self.database.write() as session:
            for session_id in self.chats:
                row = await Sessions(session, self.owner).get(session_id)
                history = await self._history(session, session_id)
                for turn in range(history.turn_count):
                    known_before = await Facts(session, self.owner).known_before(session_id, turn)
                    assert known_before is not None
                    assert row is not None
                    block_id = await FactBlocks(session, self.owner).begin(session_id, turn, known_before)
                    read.append((block_id, row.persona_id, await history.facts_anew(turn, MOST)))
        await change()
        async with self.database.write() as session:
            for block_id, persona_id, block in read:
                await FactBlocks(session, self.owner).finish(
                    block_id, block, MOST, persona_id, ENCODER.fingerprint
                )

    async def compare(self) -> None:
        async with self.database.read() as session:
            for session_id in self.chats:
                history = await self._history(session, session_id)
                for turn in range(history.turn_count):
                    kept = await FactBlocks(session, self.owner).get(
                        session_id, turn, MOST, ENCODER.fingerprint
                    )
                    self.used += kept is not None
                    for most in (MOST, MOST // 2):
                        assert await history.facts(turn, most) == await history.facts_anew(turn, most)

    async def _history(self, session: Any, session_id: str) -> StoredHistory:
        return await StoredHistory.open(session, self.owner, session_id, ENCODER)

    async def _message(self, chat: int, at: int) -> MessageRow | None:
        async with self.database.read() as session:
            rows = await Messages(session, self.owner).list(
                self.chats[chat], after=None, limit=1000, newest_first=False
            )
        return rows[at % len(rows)] if rows else None

    async def _know(
        self, chat: int, message: MessageRow | None, found: Found, enters_at: int, author: str = "rules"
    ) -> None:
        async with self.database.write() as session:
            row = await Sessions(session, self.owner).get(self.chats[chat])
            assert row is not None
            await Facts(session, self.owner).add_one(
                row,
                found,
                persona_id=row.persona_id,
                text=f"Tom, {found.key}: {found.value}" if found.value else "",
                author=author,
                said_at=message.created_at if message and author != OWNER else datetime.now(UTC),
                enters_at=enters_at,
                message_id=message.id if message else None,
            )


def step(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(st.just(name), st.integers(0, 3), st.integers(0, 9), *arguments)


TELL = step(
    "tell",
    st.sampled_from(KEYS),
    st.sampled_from(VALUES),
    st.sampled_from([None, None, "", "tea"]),
    st.integers(0, 1),
)
STEPS = st.one_of(
    TELL,
    TELL,
    TELL,
    st.tuples(st.just("say"), st.integers(0, 2), st.integers(1, 2)),
    step("put_down", st.sampled_from(KEYS), st.sampled_from(VALUES), st.booleans()),
    step("refuse"),
    step("edit", st.booleans()),
    step("activate"),
    step("exclude", st.booleans()),
    step("forget"),
    step("delete"),
    step("delete_chat"),
    step("branch"),
    step("meet_another"),
)


@settings(max_examples=10, deadline=None)
@given(steps=st.lists(STEPS, min_size=3, max_size=7))
def test_a_kept_block_is_what_reading_all_that_is_known_gives_after_any_changes(
    empty_database: Place, steps: list[tuple[Any, ...]]
) -> None:
    asyncio.run(_run(empty_database, steps))


@settings(max_examples=2, deadline=None)
@given(steps=st.lists(STEPS, min_size=3, max_size=7))
def test_a_block_that_is_kept_in_postgresql_is_too(
    postgres_database: Place, steps: list[tuple[Any, ...]]
) -> None:
    asyncio.run(_run(postgres_database, steps))


async def _run(place: Place, steps: list[tuple[Any, ...]]) -> None:
    database = Database(place)
    try:
        async with database.write() as session:
            row = await Sessions(session, "x").create(persona_id=None, user_id=None, title=None, memory={})
        user = User(database, owner=row.id)  # another owner in each run
        await user.meet()
        for each in steps:
            # What was read before the change is kept after it, and then what stands.
            await user.keep_all(lambda each=each: user.do(*each))  # type: ignore[misc]
            await user.compare()
    finally:
        await database.close()


def test_what_is_told_in_the_window_lets_its_block_stand_and_what_has_left_it_does_not(
    any_database: Place,
) -> None:
    """A kept block is used as long as nothing changes in its window: else nothing would be gained."""

    async def told(at: int) -> int:
        database = Database(any_database)
        user = User(database)
        await user.meet()
        await user.say(0, 8)
        await user.bring_up()

        async def tell() -> None:
            await user.do("tell", 0, at, "home", "Oslo", None, 0)

        await user.keep_all(tell)
        await user.compare()
        await database.close()
        return user.used

    windows = 10 + 2 + 2  # of the three chats
    # Told in the last turn, it is in none of them; in the third one, in those of the chat from the fourth on.
    assert asyncio.run(told(19)) == windows
    assert asyncio.run(told(4)) == windows - 7
