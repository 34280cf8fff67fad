"""Both indexes of recall follow the store: what is said is in them once, what is gone is in neither."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy, rmtree
from typing import NoReturn

import pytest

from app.storage.database import Database
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft
from app.storage.recall_tables import PassageRow
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from memory.errors import IndexUnavailableError
from memory.recall.passage import PassageKey
from tests.app.recall_parts import OWNER, Library, new_chat, say


@asynccontextmanager
async def library_in(folder: Path, empty_database: Path, model: str = "words") -> AsyncIterator[Library]:
    path = folder / "perdure.sqlite3"
    if not path.exists():
        copy(empty_database, path)
    database = Database(path)
    library = Library(database, folder, model)
    try:
        yield library
    finally:
        library.close()
        await database.close()


WithLibrary = Callable[[Callable[[Library], Coroutine[None, None, None]]], None]


@pytest.fixture
def with_library(tmp_path: Path, empty_database: Path) -> WithLibrary:
    """Runs some work on a library that has nothing in it yet."""

    def run(work: Callable[[Library], Coroutine[None, None, None]]) -> None:
        async def do() -> None:
            async with library_in(tmp_path, empty_database) as library:
                await work(library)

        asyncio.run(do())

    return run


def test_what_is_said_is_in_both_indexes_once(with_library: WithLibrary) -> None:
    async def work(library: Library) -> None:
        chat = await new_chat(library.database)
        for number in range(3):
            await say(
                library.database, chat, ("user", f"question {number}"), ("assistant", f"answer {number}")
            )
            for _ in range(2):
                await library.bring_up(chat)
                await library.check()
        [keys] = (await library.stored()).values()
        assert keys == {PassageKey(chat, number) for number in range(6)}
        assert library.embedder.embedded == 6

    with_library(work)


def test_system_notes_blank_and_unfinished_messages_are_no_passages(with_library: WithLibrary) -> None:
    async def work(library: Library) -> None:
        chat = await new_chat(library.database)
        await say(library.database, chat, ("system", "a note"), ("user", "hello"), ("assistant", "  \n"))
        [reply] = await say(library.database, chat, ("assistant", "half a"))
        async with library.database.write() as session:
            session.add(reply)
            reply.status = "generating"
        await library.bring_up(chat)
        assert list((await library.stored()).values()) == [{PassageKey(chat, 0)}]
        async with library.database.write() as session:
            session.add(reply)
            reply.status, reply.content = "interrupted", "half a reply"
        await library.bring_up(chat)
        assert list((await library.stored()).values()) == [{PassageKey(chat, 0), PassageKey(chat, 1)}]
        await library.check()

    with_library(work)


def test_a_long_message_is_several_passages_and_the_text_of_each_is_the_messages(
    with_library: WithLibrary,
) -> None:
    async def work(library: Library) -> None:
        chat = await new_chat(library.database)
        text = " ".join(f"Sentence number {n} tells of a walk by the sea." for n in range(90))
        await say(library.database, chat, ("user", text), ("assistant", "Nice."))
        await library.bring_up(chat)
        await library.check()
        async with library.database.read() as session:
            query = Sessions(session, OWNER).select(PassageRow).order_by(PassageRow.number)
            rows = (await session.scalars(query)).all()
        assert len(rows) > 4
        assert [row.number for row in rows] == list(range(len(rows)))
        assert " ".join(text[row.start : row.stop] for row in rows[:-1]) == text

    with_library(work)


def test_edits_exclusions_and_forgetting_leave_both_indexes_as_the_chat_stands(
    with_library: WithLibrary,
) -> None:
    async def work(library: Library) -> None:
        database = library.database
        chat = await new_chat(database)
        rows = await say(
            database,
            chat,
            *[("user", f"zebra{n}") if n % 2 == 0 else ("assistant", f"answer {n}") for n in range(10)],
        )
        await library.bring_up(chat)
        [shelf] = await library.shelves()

        async with database.write() as session:
            edited = await MessageTree(session, OWNER).replace(
                rows[4], MessageDraft("user", "quagga"), keep_following=True
            )
        await library.bring_up(chat)
        await library.check()
        assert not library.lexical.search(shelf, "zebra4", 5)
        assert library.lexical.search(shelf, "quagga", 5)
        assert library.embedder.embedded == 11  # what stands behind it was not embedded again

        async with database.write() as session:
            await MessageTree(session, OWNER).exclude(edited)
        await library.bring_up(chat)
        await library.check()
        assert len(library.dense.keys(shelf)) == 8
        async with database.write() as session:
            await MessageTree(session, OWNER).include(edited)
        await library.bring_up(chat)
        await library.check()
        assert len(library.dense.keys(shelf)) == 10
        assert library.embedder.embedded == 13  # the excluded turn, and nothing behind it

        async with database.write() as session:
            assert await MessageTree(session, OWNER).forget(edited) == 6
        await library.bring_up(chat)
        await library.check()
        assert library.dense.keys(shelf) == {PassageKey(chat, number) for number in range(4)}
        assert not [
            path
            for path in (library.folder / "lexical").rglob("*")
            if path.is_file() and (b"quagga" in path.read_bytes() or b"zebra4" in path.read_bytes())
        ]

    with_library(work)


def test_a_chat_moves_to_another_shelf_with_its_persona_and_what_was_said_before_stays(
    with_library: WithLibrary,
) -> None:
    async def work(library: Library) -> None:
        database = library.database
        chat = await new_chat(database)
        await say(database, chat, ("user", "hello"), ("assistant", "good day"))
        await library.bring_up(chat)
        async with database.write() as session:
            await SessionPersonas(session, OWNER).give(chat, "per_2")
        await say(database, chat, ("user", "ahoy"), ("assistant", "arr"))
        await library.bring_up(chat)
        await library.check()
        stored = await library.stored()
        assert sorted(len(keys) for keys in stored.values()) == [2, 2]
        assert {key.number for keys in stored.values() for key in keys} == {0, 1, 2, 3}

    with_library(work)


def test_a_deleted_chat_leaves_neither_shelves_nor_tombstones(with_library: WithLibrary) -> None:
    async def work(library: Library) -> None:
        database = library.database
        chats = [await new_chat(database, user_id=None), await new_chat(database)]
        kept = await new_chat(database)
        for chat in (*chats, kept):
            await say(database, chat, ("user", "the quagga"))
            await library.bring_up(chat)
        for chat in chats:
            async with database.write() as session:
                assert await Sessions(session, OWNER).remove(chat)
            await library.bring_up(chat)
        await library.check()
        async with database.read() as session:
            rows = (await session.scalars(Sessions(session, OWNER).select(PassageRow))).all()
        assert [(row.source, row.is_gone) for row in rows] == [(kept, False)]
        assert len(await library.shelves()) == 1

    with_library(work)


def test_lost_damaged_and_rolled_back_indexes_are_filled_anew(with_library: WithLibrary) -> None:
    async def work(library: Library) -> None:
        chat = await new_chat(library.database)
        rows = await say(library.database, chat, *[("user", f"zebra{n}") for n in range(6)])
        await library.bring_up(chat)
        [shelf] = await library.shelves()

        rmtree(library.folder / "lexical")
        library.lexical.close()
        library.dense.drop(shelf)
        await library.bring_up(chat)
        await library.check()

        async with library.database.write() as session:
            await MessageTree(session, OWNER).forget(rows[3])
        await library.bring_up(chat)
        for index in (library.dense, library.lexical):
            assert index.watermark(shelf) == 2
        # As if from a copy of the folder that was made before: the tombstones are no longer there.
        library.dense.set_watermark(shelf, 1)
        library.lexical.update(shelf, watermark=1)
        await library.bring_up(chat)
        await library.check()
        # As if the database were an older copy.
        library.dense.set_watermark(shelf, 99)
        library.lexical.update(shelf, watermark=99)
        await library.bring_up(chat)
        await library.check()

    with_library(work)


def test_vectors_of_another_model_are_made_anew(tmp_path: Path, empty_database: Path) -> None:
    async def run() -> None:
        async with library_in(tmp_path, empty_database) as library:
            chat = await new_chat(library.database)
            await say(library.database, chat, *[("user", f"zebra{n}") for n in range(6)])
            await library.bring_up(chat)
        async with library_in(tmp_path, empty_database, "other words") as library:
            [shelf] = await library.shelves()
            assert library.lexical.search(shelf, "zebra3", 5)
            assert library.dense.watermark(shelf) == 0
            await library.bring_up(chat)
            await library.check()
            assert library.embedder.embedded == 6

    asyncio.run(run())


def test_a_vector_index_that_fails_is_caught_up_later(with_library: WithLibrary) -> None:
    async def work(library: Library) -> None:
        chat = await new_chat(library.database)
        await say(library.database, chat, ("user", "the quagga"))
        opened, library.dense._open_client = library.dense._open_client, _unavailable
        try:
            await library.bring_up(chat)
        except IndexUnavailableError:
            pass
        else:
            raise AssertionError("it should have failed")
        [shelf] = await library.shelves()
        assert library.lexical.search(shelf, "quagga", 5)
        library.dense._open_client = opened
        await library.bring_up(chat)
        await library.check()

    with_library(work)


def _unavailable() -> NoReturn:
    raise ValueError("nobody answers")
