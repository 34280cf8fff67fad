"""What several processes may do one at a time: claims, replies that are left behind, and limits of keys."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from app.access.limits import Allowances
from app.access.principal import KeyLimits, Principal
from app.chat.abandoned import interrupt_abandoned
from app.chat.locks import SessionLocks
from app.errors import ConcurrencyLimitProblem, RateLimitProblem, SessionBusyProblem
from app.recall.indexing import Indexing
from app.recall.shelving import shelve
from app.storage.claims import chat_claim
from app.storage.database import Database
from app.storage.messages import MessageDraft, Messages
from app.storage.shared_claims import ClaimLostError
from app.storage.shelves import Shelves
from memory.recall.dense import ChromaIndex, chroma_server
from memory.recall.kept import KeptDense, KeptLexical
from memory.recall.lexical import TantivyIndex
from tests.app.conftest import Work
from tests.app.recall_parts import OWNER, WordEmbedder, new_chat, say

CUT = text(
    "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
)


async def cut_off(database: Database) -> None:
    """End the connections that hold claims, as a server does that starts anew."""
    async with database.write() as session:
        await session.execute(CUT)


async def lock_or_not(locks: SessionLocks, chat: str) -> bool:
    try:
        await locks.acquire(chat, wait_s=0)
    except SessionBusyProblem:
        return False
    return True


def test_one_process_at_a_time_has_the_lock_of_a_chat(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        one, two, three = (SessionLocks(database.claims) for database in databases)
        assert await lock_or_not(one, "a")
        assert not await lock_or_not(two, "a")
        assert await lock_or_not(two, "b"), "another chat"
        with pytest.raises(SessionBusyProblem, match=r"after 0\.2 s of waiting"):
            await two.acquire("a", wait_s=0.2)
        waiting = asyncio.create_task(two.acquire("a", wait_s=30))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await one.release("a")
        await waiting
        assert not await lock_or_not(three, "a")
        await databases[1].close()
        assert await lock_or_not(three, "a"), "a process that has ended holds nothing"

    at_once(work)


def test_a_wait_that_is_given_up_leaves_no_lock_behind(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        one, two, _ = (SessionLocks(database.claims) for database in databases)
        for pause_ms in range(20):
            waiting = asyncio.create_task(one.acquire("c", wait_s=30))
            await asyncio.sleep(pause_ms / 1000)
            if not waiting.cancel():
                await one.release("c")
            await asyncio.wait([waiting])
            await two.acquire("c", wait_s=5)
            await two.release("c")

    at_once(work)


def test_a_process_that_takes_a_chat_again_and_again_lets_others_have_their_turn(
    at_once: Callable[[Work], None],
) -> None:
    async def work(databases: list[Database]) -> None:
        greedy, modest = (SessionLocks(database.claims) for database in databases[:2])

        async def once() -> None:
            await modest.acquire("d", wait_s=60)
            await modest.release("d")

        waiting, turns = asyncio.create_task(once()), 0
        while not waiting.done() and turns < 20:
            turns += 1
            await greedy.acquire("d", wait_s=60)
            await asyncio.sleep(0.05)
            await greedy.release("d")
        assert turns < 10
        await waiting

    at_once(work)


def test_a_process_that_has_lost_its_claim_writes_to_the_chat_no_more(
    at_once: Callable[[Work], None],
) -> None:
    async def work(databases: list[Database]) -> None:
        chat = await new_chat(databases[0])
        locks = SessionLocks(databases[0].claims)
        await locks.acquire(chat, wait_s=0)
        await cut_off(databases[1])
        assert await lock_or_not(SessionLocks(databases[1].claims), chat)
        with pytest.raises(ClaimLostError):
            async with databases[0].write() as session:
                await Messages(session, OWNER).append(chat, [MessageDraft("assistant", "Late")])
        async with databases[1].write() as session:
            await Messages(session, OWNER).append(chat, [MessageDraft("user", "Mine")])
        await locks.release(chat)
        assert not await lock_or_not(locks, chat), "letting go of what is lost frees nothing of another's"
        async with databases[2].read() as session:
            rows = await Messages(session, OWNER).list(chat, after=None, limit=9, newest_first=False)
        assert [row.content for row in rows] == ["Mine"]

    at_once(work)


def test_only_replies_that_no_process_generates_are_interrupted(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        chats = [await new_chat(databases[0]) for _ in range(2)]
        locks = SessionLocks(databases[0].claims)
        for chat in chats:
            await locks.acquire(chat, wait_s=0)
            async with databases[0].write() as session:
                said = [MessageDraft("user", "Hi"), MessageDraft("assistant", "He", status="generating")]
                await Messages(session, OWNER).append(chat, said)
        await locks.release(chats[1])
        assert await interrupt_abandoned(databases[1]) == [(OWNER, chats[1])]
        await databases[0].close()
        assert await interrupt_abandoned(databases[2]) == [(OWNER, chats[0])]
        async with databases[1].read() as session:
            for chat in chats:
                last = await Messages(session, OWNER).last(chat)
                assert last is not None
                assert (last.status, last.content) == ("interrupted", "He")

    at_once(work)


def test_what_is_called_is_heard_by_the_others(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        heard: list[asyncio.Queue[str]] = [asyncio.Queue() for _ in databases]
        for database, calls in zip(databases, heard, strict=True):
            database.claims.heard_by(calls.put_nowait)
            await database.claims.take(chat_claim(str(id(database))), waits=False)
        await databases[0].claims.call("chat")
        assert await heard[1].get() == await heard[2].get() == "chat"

    at_once(work)


def principal(limits: KeyLimits) -> Principal:
    return Principal("shop", key_id="key_1", limits=limits)


def test_requests_and_tokens_of_a_key_are_counted_over_all_processes(at_once: Callable[[Work], None]) -> None:
    async def work(databases: list[Database]) -> None:
        shop = principal(KeyLimits(requests_per_minute=7, tokens_per_minute=100))
        everywhere = [Allowances(database) for database in databases]

        async def ask(number: int) -> bool:
            try:
                await everywhere[number % 3].of("key_1", shop).take_request()
            except RateLimitProblem as problem:
                assert 1 <= int(problem.headers["Retry-After"]) <= 9
                return False
            return True

        assert sum(await asyncio.gather(*map(ask, range(24)))) == 7
        one, two, three = (each.of("key_1", shop) for each in everywhere)
        for allowance, prompt in ((one, 40), (two, 50)):
            [place] = await allowance.begin_generations(1, prompt)
            allowance.end_generation(place, 30)
        for each in everywhere:
            await each.close()
        with pytest.raises(RateLimitProblem, match=r"100 tokens a minute"):
            await three.begin_generations(1, 1)
        assert three.headers()["X-RateLimit-Remaining-Tokens"] == "0"
        other = principal(KeyLimits(requests_per_minute=8))
        await everywhere[0].of("key_1", other).take_request()  # other limits begin anew

    at_once(work)


def test_generations_at_a_time_are_counted_over_all_processes_and_end_with_theirs(
    at_once: Callable[[Work], None],
) -> None:
    async def work(databases: list[Database]) -> None:
        shop = principal(KeyLimits(concurrent_generations=3))
        everywhere = [Allowances(database) for database in databases]
        one, two, three = (each.of("key_1", shop) for each in everywhere)
        places = await one.begin_generations(2, 10)
        with pytest.raises(ConcurrencyLimitProblem):
            await two.begin_generations(2, 10)
        await two.begin_generations(1, 10)
        with pytest.raises(ConcurrencyLimitProblem):
            await three.begin_generations(1, 10)
        one.end_generation(places[0], 5)
        await everywhere[0].close()
        at_once = [three.begin_generations(1, 10) for _ in range(4)]
        began = await asyncio.gather(*at_once, return_exceptions=True)
        assert sum(isinstance(each, ConcurrencyLimitProblem) for each in began) == 3
        with pytest.raises(ConcurrencyLimitProblem):
            await one.begin_generations(1, 10)
        await databases[2].close()
        await one.begin_generations(1, 10)

    at_once(work)


def test_processes_fill_a_collection_of_a_chroma_server_one_at_a_time_and_embed_nothing_twice(
    at_once: Callable[[Work], None], chroma_url: str, tmp_path: Path
) -> None:
    async def work(databases: list[Database]) -> None:
        chat = await new_chat(databases[0])
        await say(databases[0], chat, *[("user", f"zebra {number}") for number in range(30)])
        await shelve(databases[0], OWNER, chat)
        async with databases[0].read() as session:
            [shelf] = await Shelves(session, OWNER).of_session(chat)
        embedder, indexings = WordEmbedder(), []
        for number, database in enumerate(databases):
            dense = KeptDense(ChromaIndex(chroma_server(chroma_url), "words"), embedder)
            dense.batch = 7
            lexical = KeptLexical(TantivyIndex(tmp_path / str(number)))
            indexings.append(Indexing(database, [lexical, dense]))
        await asyncio.gather(*(indexing.bring_up(OWNER, shelf) for indexing in indexings))
        assert embedder.embedded == 30
        for indexing in indexings:
            assert [index.count(shelf) for index in indexing.indexes] == [30, 30]

    at_once(work)
