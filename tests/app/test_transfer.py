"""What was exported and imported again is equal: over random histories in a real database."""

import asyncio
import json
import shutil
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.storage.database import Database
from app.storage.facts import Facts
from app.storage.tables import Table
from app.transfer.exports import export_session
from app.transfer.formats import Format, read_file
from app.transfer.from_store import StoredRecords
from memory.messages import ROLES, Role
from tests.app.lives import Life, life
from tests.app.transfer_parts import (
    ID,
    as_lines,
    exported,
    imported,
    in_file,
    normalised,
    sessions_imported,
    stored_rows,
    without_unread,
)

NOT_EXPORTED = {
    "deletions",  # receipts are of what is in no file any more
    "idempotency_keys",  # of requests to this service
    "fact_blocks",  # are read anew of the facts
    "responses",  # are under addresses of this service
    "api_keys",  # what opens this service opens no other
    "key_usage",
    "homes",  # of the processes of this service
    "deletion_homes",
}

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12).filter(
    lambda text: bool(text.strip())
)
NUMBERS = st.integers(0, 99)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"), st.lists(st.tuples(st.sampled_from(ROLES), TEXTS), min_size=1, max_size=4)
        ),
        st.tuples(st.just("edit"), NUMBERS, TEXTS, st.booleans()),
        st.tuples(st.just("activate"), NUMBERS),
        st.tuples(st.just("forget"), NUMBERS),
        st.tuples(st.just("mark"), NUMBERS, st.sampled_from(["pinned", "excluded"]), st.booleans()),
        st.tuples(st.just("reply"), NUMBERS, st.lists(NUMBERS, max_size=3)),
        st.tuples(st.just("regenerate"), NUMBERS, TEXTS),
        st.tuples(st.just("prefixed"), TEXTS),
        st.tuples(st.just("settings"), NUMBERS, NUMBERS, st.none() | TEXTS),
        st.tuples(st.just("lore"), NUMBERS, st.booleans(), TEXTS),
        st.tuples(st.just("summary"), NUMBERS, TEXTS),
        st.tuples(st.just("fact"), NUMBERS, st.booleans(), TEXTS),
        st.tuples(st.just("correct"), NUMBERS, TEXTS),
        st.tuples(st.just("refuse"), NUMBERS),
        st.tuples(st.just("read"), NUMBERS),
        st.tuples(st.just("persona"), TEXTS, st.booleans()),
        st.tuples(st.just("branch"), NUMBERS),
        st.tuples(
            st.just("document"), NUMBERS, st.booleans(), st.sampled_from(["ready", "processing", "failed"])
        ),
    ),
    max_size=12,
)


FULL: list[tuple[Any, ...]] = [
    ("append", [("user", "One"), ("assistant", "\u2028\x85 Ü 🌲"), ("user", "Two"), ("assistant", " ")]),
    ("append", [("user", "Three"), ("assistant", "Forgotten")]),
    ("persona", "Gone", True),
    ("persona", "Anne", False),
    ("settings", 3, 50, "Title"),
    ("lore", 0, True, ""),
    ("lore", 5, True, ""),
    ("lore", 0, False, "Boats float."),
    ("summary", 2, "let go of"),
    ("summary", 1, "short"),
    ("fact", 0, True, "One"),
    ("fact", 2, True, "Refused"),
    ("fact", 4, True, "Forgotten"),
    ("fact", 0, False, "The owner's"),
    ("correct", 0, "Not One"),
    ("refuse", 1),
    ("read", 4),
    ("document", 2, True, "ready"),
    ("document", 1, False, "ready"),
    ("document", 1, True, "failed"),
    ("document", 0, True, "processing"),
    ("reply", 1, [1, 2]),
    ("mark", 0, "pinned", True),
    ("mark", 2, "excluded", True),
    ("mark", 0, "pinned", False),
    ("edit", 2, "2", True),
    ("regenerate", 3, "again"),
    ("mark", 3, "pinned", True),
    ("activate", 3),
    ("reply", 3, []),
    ("forget", 4),
    ("prefixed", "What?"),
    ("branch", 3),
    ("correct", 0, "Not One, says the branch"),
]
"""A life that has of everything."""


Work = Callable[[Database, Database, str], Coroutine[None, None, None]]


class Stores:
    """Two databases for all tests here, and an owner who has nothing in them yet for each piece of work."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.runner = asyncio.Runner()
        self.first, self.second = map(Database, paths)
        self._owners = (f"owner {number}" for number in count())

    def run(self, work: Work) -> None:
        self.runner.run(work(self.first, self.second, next(self._owners)))


@pytest.fixture(scope="module")
def stores(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stores]:
    folder = tmp_path_factory.mktemp("transfer")
    stores = Stores([Path(shutil.copy(empty_database, folder / name)) for name in ("first", "second")])
    with stores.runner:
        yield stores
        for database in (stores.first, stores.second):
            stores.runner.run(database.close())


@settings(max_examples=15, deadline=None)
@example(steps=FULL)
@given(steps=STEPS)
def test_everything_exported_imported_and_exported_again_is_equal(
    stores: Stores, steps: list[tuple[Any, ...]]
) -> None:
    async def work(database: Database, other: Database, owner: str) -> None:
        await life(database, owner, steps)
        first = await exported(database, owner)
        names = await imported(other, owner, read_file(first, "perdure", lossy=False))
        second = await exported(other, owner)
        assert normalised(second) == normalised(without_unread(first))
        assert not set(ID.findall(written_ids(second))) & set(ID.findall(written_ids(first)))
        before, after = await stored_rows(database, owner), await stored_rows(other, owner)
        assert as_lines(after, {}) == as_lines(in_file(before), names)

    stores.run(work)


def test_a_full_life_moves_to_postgresql_and_back(stores: Stores, postgres_database: str) -> None:
    async def work(database: Database, other: Database, owner: str) -> None:
        await life(database, owner, FULL)
        first = await exported(database, owner)
        there = Database(postgres_database)
        await imported(there, owner, read_file(first, "perdure", lossy=False))
        await stored_rows(there, owner)
        second = await exported(there, owner)
        await there.close()
        assert normalised(second) == normalised(without_unread(first))
        await imported(other, owner, read_file(second, "perdure", lossy=False))
        assert normalised(await exported(other, owner)) == normalised(second)

    stores.run(work)


def test_a_full_life_leaves_no_column_empty(stores: Stores) -> None:
    """So a column that is added and neither exported nor made anew is noticed by the test above."""

    async def work(database: Database, _other: Database, owner: str) -> None:
        await life(database, owner, FULL)
        rows = await stored_rows(database, owner)
        filled = {
            (table, name) for table in rows for row in rows[table] for name in row if row[name] is not None
        }
        columns = {
            (table.name, column.name)
            for table in Table.metadata.sorted_tables
            if table.name not in NOT_EXPORTED
            for column in table.columns
        }
        assert columns - filled == {("sessions", "kept_up_at")}, "which is how far the upkeep here is"

    stores.run(work)


def written_ids(file: bytes) -> str:
    """The ids that the records of a file have themselves."""
    return "\n".join(str(json.loads(line).get("id")) for line in file.splitlines())


@settings(max_examples=8, deadline=None)
@given(steps=STEPS)
def test_a_session_imported_where_it_came_from_is_another_equal_one(
    stores: Stores, steps: list[tuple[Any, ...]]
) -> None:
    async def work(database: Database, _other: Database, owner: str) -> None:
        session_id = await life(database, owner, steps)
        first = await exported(database, owner, session_id)
        [once] = await sessions_imported(database, owner, first)
        [twice] = await sessions_imported(database, owner, first)
        assert len({session_id, once, twice}) == 3
        copies = [normalised(await exported(database, owner, each)) for each in (session_id, once, twice)]
        assert copies[0] == normalised(first)
        # What is not in the file is named as before: ids differ, and the order in which they appear does not.
        assert copies[1] == copies[2] == copies[0]

    stores.run(work)


def test_forgotten_messages_are_in_no_export(stores: Stores) -> None:
    async def work(database: Database, _other: Database, owner: str) -> None:
        said = [("user", "stays"), ("assistant", "yes"), ("user", "secret"), ("assistant", "hm")]
        steps = [("append", said), ("lore", 0, True, ""), ("forget", 2)]
        file = await exported(database, owner, await life(database, owner, steps))
        assert b"stays" in file
        assert b"secret" not in file

    stores.run(work)


def test_a_fact_corrected_in_another_chat_comes_without_its_source_in_a_file_without_that_chat(
    stores: Stores,
) -> None:
    async def work(database: Database, other: Database, owner: str) -> None:
        session_id = await life(database, owner, [("append", [("user", "a")]), ("fact", 0, True, "a")])
        made = Life(database, owner, session_id)
        for step in (("branch", 0), ("correct", 0, "b")):
            await made.do(*step)
        file = await exported(database, owner, made.newest_id)
        [copied] = await sessions_imported(other, owner, file)
        async with other.read() as session:
            known = [each.fact for each in await Facts(session, owner).known(copied)]
        assert {each.value: each.message_id is None for each in known} == {"a": False, "b": True}

    stores.run(work)


def test_another_owners_session_cannot_be_exported(stores: Stores) -> None:
    async def work(database: Database, _other: Database, owner: str) -> None:
        session_id = await life(database, owner, [("append", [("user", "mine")])])
        async with database.read() as session:
            stranger = StoredRecords(session, "stranger")
            assert await stranger.session_record(session_id) is None
            assert await stranger.session_ids() == []
            assert [record async for record in stranger.message_records(session_id)] == []

    stores.run(work)


def test_a_chat_of_thousands_of_messages_is_exported_in_pieces_and_comes_back(stores: Stores) -> None:
    said = [(role, f"{role} {turn}") for turn in range(1300) for role in ("user", "assistant")]
    time = datetime(2024, 1, 1, tzinfo=UTC)
    lines = [{"role": role, "content": content} for role, content in said]
    file = json.dumps({"messages": lines}).encode()

    async def work(database: Database, _other: Database, owner: str) -> None:
        archive = read_file(file, "openai", lossy=False)
        archive.chats[0].session = archive.chats[0].session.model_copy(update={"created_at": time})
        names = await imported(database, owner, archive)
        session_id = names[archive.chats[0].session.id]
        pieces = [piece async for piece in export_session(database, owner, session_id, "openai")]
        assert len(pieces) == len(said) + 2
        assert json.loads(b"".join(pieces)) == {"messages": lines}
        again = read_file(await exported(database, owner, session_id), "auto", lossy=False)
        assert [message.content for message in again.chats[0].messages] == [content for _, content in said]

    stores.run(work)


@settings(max_examples=25, deadline=None)
@given(
    said=st.lists(st.tuples(st.sampled_from(ROLES), TEXTS), min_size=1, max_size=8),
    file_format=st.sampled_from(["openai", "pippagpt", "sillytavern"]),
)
def test_the_chat_as_it_stands_comes_back_from_each_format(
    stores: Stores, said: list[tuple[Role, str]], file_format: Format
) -> None:
    async def work(database: Database, _other: Database, owner: str) -> None:
        session_id = await life(database, owner, [("append", said)])
        pieces = export_session(database, owner, session_id, cast(Any, file_format))
        file = b"".join([piece async for piece in pieces])
        archive = read_file(file, "auto", lossy=False)
        assert archive.format == file_format
        messages = archive.chats[0].messages
        assert [(message.role, message.content) for message in messages] == said

    stores.run(work)
