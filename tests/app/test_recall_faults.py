"""A kill or a fault at any point of indexing loses and doubles nothing."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.recall import shelving
from app.storage.database import Database
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from memory.errors import IndexUnavailableError
from memory.recall.passage import PassageKey
from tests.app.recall_parts import OWNER, Library, new_chat, say

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("kind", "after"), [("lexical", 2), ("dense", 3)])
def test_indexing_that_is_killed_is_gone_on_with(
    tmp_path: Path, empty_database: Path, monkeypatch: pytest.MonkeyPatch, kind: str, after: int
) -> None:
    copy(empty_database, tmp_path / "perdure.sqlite3")
    monkeypatch.setattr(shelving, "BATCH", 10)

    async def prepare() -> str:
        database = Database(tmp_path / "perdure.sqlite3")
        chat = await new_chat(database)
        for number in range(5):
            await say(database, chat, *[("user", f"remark {number} {n}") for n in range(10)])
            await shelving.shelve(database, OWNER, chat)  # as after replies: a change of the shelf each
        await say(database, chat, *[("user", f"a last remark {n}") for n in range(10)])
        await database.close()
        return chat

    chat = asyncio.run(prepare())
    with subprocess.Popen(
        [sys.executable, "-m", "tests.app.recall_worker", str(tmp_path), chat],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        for line in worker.stdout:
            after -= line.strip() == kind
            if not after:
                break
        worker.send_signal(signal.SIGKILL)

    async def finish() -> None:
        database = Database(tmp_path / "perdure.sqlite3")
        library = Library(database, tmp_path)
        [shelf] = await library.shelves()
        before = library.dense.count(shelf)
        assert before < 60
        await library.bring_up(chat)
        await library.check()
        assert library.dense.keys(shelf) == {PassageKey(chat, number) for number in range(60)}
        assert library.embedder.embedded == 60 - before
        library.close()
        await database.close()

    asyncio.run(finish())


class Faults(RuleBasedStateMachine):
    """Chats change in every way while indexing is cut off anywhere; brought up, all three agree."""

    empty_database: Path

    @initialize()
    def start(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        home = Path(self.folder.name)
        copy(self.empty_database, home / "perdure.sqlite3")
        self.database = Database(home / "perdure.sqlite3")
        self.library = Library(self.database, home)
        for index in self.library.indexing.indexes:
            index.batch = 3
        self.chats = [self.do(new_chat(self.database, user_id=user)) for user in ("tom", "tom", None)]
        self.words = 0

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    @rule(chat=st.integers(0, 2), count=st.integers(1, 5))
    def speak(self, chat: int, count: int) -> None:
        self.words += 1
        said = [("user" if n % 2 == 0 else "assistant", f"word{self.words} {n}") for n in range(count)]
        self.do(say(self.database, self.chats[chat], *said))  # type: ignore[arg-type]

    @rule(chat=st.integers(0, 2), at=st.integers(0, 9), how=st.sampled_from(["edit", "exclude", "forget"]))
    def change(self, chat: int, at: int, how: str) -> None:
        async def work() -> None:
            async with self.database.write() as session:
                rows = await Messages(session, OWNER).list(
                    self.chats[chat], after=None, limit=100, newest_first=False
                )
                if not rows:
                    return
                message, tree = rows[at % len(rows)], MessageTree(session, OWNER)
                if how == "edit":
                    draft = MessageDraft("user", f"edited {self.words}")
                    await tree.replace(message, draft, keep_following=at % 2 == 0)
                elif how == "exclude":
                    await tree.exclude(message)
                else:
                    await tree.forget(message)

        self.do(work())

    @rule(chat=st.integers(0, 1), persona=st.sampled_from([None, "per_1", "per_2"]))
    def switch(self, chat: int, persona: str | None) -> None:
        async def work() -> None:
            async with self.database.write() as session:
                await SessionPersonas(session, OWNER).give(self.chats[chat], persona)

        self.do(work())

    @rule(chat=st.integers(0, 2))
    def delete(self, chat: int) -> None:
        async def work() -> None:
            user_id = None
            async with self.database.write() as session:
                row = await Sessions(session, OWNER).get(self.chats[chat])
                user_id = row.user_id if row else None
                await Sessions(session, OWNER).remove(self.chats[chat])
            self.chats[chat] = await new_chat(self.database, user_id=user_id)

        self.do(work())

    @rule(
        chat=st.integers(0, 2),
        index=st.integers(0, 1),
        method=st.sampled_from(["apply", "rewrite", "drop"]),
        call=st.integers(0, 3),
        is_late=st.booleans(),
    )
    def fail(self, chat: int, index: int, method: str, call: int, is_late: bool) -> None:
        """Indexing is cut off at one call of an index, before what it does or behind it."""
        kept = self.library.indexing.indexes[index]
        original = getattr(kept, method)
        setattr(kept, method, _failing(original, call, is_late))
        try:
            self.do(self.library.bring_up(self.chats[chat]))
        except IndexUnavailableError:
            pass
        finally:
            setattr(kept, method, original)

    @rule()
    def bring_up(self) -> None:
        for chat in self.chats:
            self.do(self.library.bring_up(chat))
        self.do(self.library.check())

    @invariant()
    def nothing_stands_twice(self) -> None:
        if hasattr(self, "library"):
            stored = self.do(self.library.stored()).values()
            assert sum(map(len, stored)) == len(set().union(*stored))

    def teardown(self) -> None:
        if hasattr(self, "library"):
            self.bring_up()
            self.library.close()
            self.do(self.database.close())
            self.loop.close()
            self.folder.cleanup()


def _failing(original: Callable[..., Any], call: int, is_late: bool) -> Callable[..., Any]:
    calls = iter(range(1000))

    def method(*args: Any) -> Any:
        if next(calls) != call:
            return original(*args)
        if is_late:
            original(*args)
        raise IndexUnavailableError("cut off")

    return method


def test_whatever_happens_both_indexes_come_to_hold_what_the_store_says(empty_database: Path) -> None:
    Faults.empty_database = empty_database
    run_state_machine_as_test(
        Faults,
        settings=settings(
            max_examples=6,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
