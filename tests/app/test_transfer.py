"""What was exported and imported again is equal: over random histories in a real database."""

import asyncio
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from app.exports import export_session, export_user
from app.storage.database import Database
from app.storage.lorebooks import SessionLore
from app.storage.marks import MarkKind, Marks
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.personas import Personas
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.summaries import Summaries
from app.storage.tables import MessageRow
from app.storage.token_index import TokenIndex
from app.transfer.archive import Archive
from app.transfer.formats import Format, read_file
from app.transfer.from_store import StoredRecords
from app.transfer.into_store import Intake, new_rows
from memory.messages import ROLES, Role
from memory.persona import ExampleExchange, Persona, SpeechRule
from memory.reminder import Reminder

OWNER = "local"
MEMORY = {"strategy": "buffer"}
ID = re.compile(r"\b(?:per|ses|msg|sum)_[0-9a-f]{24}\b")

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
        st.tuples(st.just("lore"), NUMBERS, st.booleans(), TEXTS),
        st.tuples(st.just("summary"), NUMBERS, TEXTS),
        st.tuples(st.just("persona"), TEXTS, st.booleans()),
        st.tuples(st.just("branch"), NUMBERS),
    ),
    max_size=12,
)


class Life:
    """A user's sessions, made by what a service does to them."""

    def __init__(self, database: Database, session_id: str) -> None:
        self.database = database
        self.session_id = session_id

    async def do(self, name: str, *arguments: Any) -> None:
        await getattr(self, f"_{name}")(*arguments)

    async def _append(self, said: list[tuple[Role, str]]) -> None:
        async with self.database.write() as session:
            drafts = [MessageDraft(*message) for message in said]
            await Messages(session, OWNER).append(self.session_id, drafts)

    async def _edit(self, at: int, content: str, keep_following: bool) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                draft = MessageDraft(cast(Role, message.role), content)
                await MessageTree(session, OWNER).replace(message, draft, keep_following=keep_following)

    async def _activate(self, at: int) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                others = await Messages(session, OWNER).alternatives(message)
                await MessageTree(session, OWNER).activate(others[0])

    async def _forget(self, at: int) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                await MessageTree(session, OWNER).forget(message)

    async def _mark(self, at: int, kind: MarkKind, stands: bool) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                marks = Marks(session, OWNER)
                await (marks.mark(message, kind) if stands else marks.unmark(message, kind))

    async def _reply(self, at: int, token_ids: list[int]) -> None:
        """A message gets what only generated replies have."""
        message = await self._on_path(at)
        async with self.database.write() as session:
            messages, row = Messages(session, OWNER), await Sessions(session, OWNER).get(self.session_id)
            assert row is not None
            if message is None or await messages.record(message.id) is not None:
                return
            await TokenIndex(session, OWNER).keep_sampled(message, token_ids, "bytes")
            persona = {"id": row.persona_id, "revision": 1, "user_id": "u"} if row.persona_id else None
            await messages.keep_record(message, context_record(message, persona))
            stored = await messages.get(message.id)
            assert stored is not None
            stored.status, stored.finish_reason, stored.model = "interrupted", "cancelled", "m"

    async def _lore(self, at: int, of_message: bool, content: str) -> None:
        message = await self._on_path(at)
        message_id = message.id if message and of_message else None
        async with self.database.write() as session:
            await SessionLore(session, OWNER).create(
                self.session_id,
                message_id=message_id,
                content=None if message_id else content,
                settings={"keys": ["k"], "insertion_order": at},
            )

    async def _summary(self, turn: int, text: str) -> None:
        async with self.database.write() as session:
            summaries = Summaries(session, OWNER)
            await summaries.replace_after(self.session_id, "r", turn)
            await summaries.add_one(
                self.session_id,
                recipe="r",
                through_turn=turn,
                enters_at=turn,
                author="extractive",
                text=text,
                token_ids=(1, turn),
                fingerprint="bytes",
            )

    async def _persona(self, name: str, deleted: bool) -> None:
        async with self.database.write() as session:
            personas, sessions = Personas(session, OWNER), Sessions(session, OWNER)
            before = await personas.create(Persona(name=name, instructions="", facts=("old",)))
            persona = Persona(
                name=name,
                instructions="Be.",
                examples=(ExampleExchange("a", "b"),),
                speech_rules=(SpeechRule(None, "politely"),),
                reminder=Reminder("mind {{date}}", 1),
            )
            stored = await personas.revise(before, persona)
            assert stored is not None
            await SessionPersonas(session, OWNER).give(self.session_id, stored.id)
            if deleted:
                await sessions.update(self.session_id, {"persona_id": None})
                await personas.remove(stored.id)
            else:
                await sessions.update(self.session_id, {"persona_id": stored.id})

    async def _branch(self, at: int) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                branch = await Sessions(session, OWNER).create(
                    persona_id=None, user_id="u", title="branch", memory=MEMORY, branched_from=message
                )
                await MessageTree(session, OWNER).copy_path(message, branch.id)

    async def _on_path(self, at: int) -> MessageRow | None:
        async with self.database.read() as session:
            rows = await Messages(session, OWNER).list(
                self.session_id, after=None, limit=1000, newest_first=False
            )
        return rows[at % len(rows)] if rows else None


def context_record(message: MessageRow, persona: dict[str, Any] | None) -> dict[str, Any]:
    segment = {"kind": "turn", "turn": message.turn, "tokens": 1, "cached_tokens": 0, "reason": "r"}
    return {
        "strategy": MEMORY,
        "persona": persona,
        "context_window": 9,
        "prompt_tokens": 1,
        "reply_tokens": 1,
        "cached_tokens": 0,
        "segments": [segment | {"message_ids": [message.id, *filter(None, [message.parent_id])]}],
        "left_out": [],
    }


async def exported(database: Database, session_id: str | None = None) -> bytes:
    pieces = (
        export_session(database, OWNER, session_id, "perdure")
        if session_id
        else export_user(database, OWNER, "u")
    )
    return b"".join([piece async for piece in pieces])


def normalised(file: bytes) -> str:
    """The file with each id as the number of where it first appears."""
    names: dict[str, str] = {}
    return ID.sub(lambda found: names.setdefault(found[0], f"id {len(names)}"), file.decode())


async def imported(database: Database, archive: Archive) -> list[str]:
    new = new_rows(archive, [chat.session.memory or MEMORY for chat in archive.chats])
    async with database.write() as session:
        await Intake(session, OWNER).store(new)
    return [new.names[chat.session.id] for chat in archive.chats]


async def life(database: Database, steps: list[tuple[Any, ...]]) -> str:
    async with database.write() as session:
        row = await Sessions(session, OWNER).create(
            persona_id=None, user_id="u", user_name="Dad", title="t", memory=MEMORY
        )
    made = Life(database, row.id)
    for step in steps:
        await made.do(*step)
    return row.id


def in_new_databases(empty: Path, work: Any) -> None:
    """Run `work(database, other)` on two databases of its own."""

    async def run(first: Database, second: Database) -> None:
        try:
            await work(first, second)
        finally:
            await first.close()
            await second.close()

    with TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("a", "b")]
        for path in paths:
            path.write_bytes(empty.read_bytes())
        asyncio.run(run(*map(Database, paths)))


@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_a_user_exported_imported_and_exported_again_is_equal(
    empty_database: Path, steps: list[tuple[Any, ...]]
) -> None:
    async def work(database: Database, other: Database) -> None:
        await life(database, steps)
        first = await exported(database)
        await imported(other, read_file(first, "perdure", lossy=False))
        second = await exported(other)
        assert normalised(second) == normalised(first)
        assert not set(ID.findall(written_ids(second))) & set(ID.findall(written_ids(first)))

    in_new_databases(empty_database, work)


def written_ids(file: bytes) -> str:
    """The ids that the records of a file have themselves."""
    return "\n".join(str(json.loads(line).get("id")) for line in file.splitlines())


@settings(max_examples=30, deadline=None)
@given(steps=STEPS)
def test_a_session_imported_where_it_came_from_is_another_equal_one(
    empty_database: Path, steps: list[tuple[Any, ...]]
) -> None:
    async def work(database: Database, _other: Database) -> None:
        session_id = await life(database, steps)
        first = await exported(database, session_id)
        [once] = await imported(database, read_file(first, "auto", lossy=False))
        [twice] = await imported(database, read_file(first, "auto", lossy=False))
        assert len({session_id, once, twice}) == 3
        copies = [normalised(await exported(database, each)) for each in (session_id, once, twice)]
        assert copies[0] == normalised(first)
        # What is not in the file is named as before: ids differ, and the order in which they appear does not.
        assert copies[1] == copies[2] == copies[0]

    in_new_databases(empty_database, work)


def test_forgotten_messages_are_in_no_export(empty_database: Path) -> None:
    async def work(database: Database, _other: Database) -> None:
        said = [("user", "stays"), ("assistant", "yes"), ("user", "secret"), ("assistant", "hm")]
        steps = [("append", said), ("lore", 0, True, ""), ("forget", 2)]
        file = await exported(database, await life(database, steps))
        assert b"stays" in file
        assert b"secret" not in file

    in_new_databases(empty_database, work)


def test_another_owners_session_cannot_be_exported(empty_database: Path) -> None:
    async def work(database: Database, _other: Database) -> None:
        session_id = await life(database, [("append", [("user", "mine")])])
        async with database.read() as session:
            stranger = StoredRecords(session, "stranger")
            assert await stranger.session_record(session_id) is None
            assert await stranger.sessions_of_user("u") == []
            assert [record async for record in stranger.message_records(session_id)] == []

    in_new_databases(empty_database, work)


def test_a_chat_of_thousands_of_messages_is_exported_in_pieces_and_comes_back(empty_database: Path) -> None:
    said = [(role, f"{role} {turn}") for turn in range(1300) for role in ("user", "assistant")]
    time = datetime(2024, 1, 1, tzinfo=UTC)
    lines = [{"role": role, "content": content} for role, content in said]
    file = json.dumps({"messages": lines}).encode()

    async def work(database: Database, _other: Database) -> None:
        archive = read_file(file, "openai", lossy=False)
        archive.chats[0].session = archive.chats[0].session.model_copy(update={"created_at": time})
        [session_id] = await imported(database, archive)
        pieces = [piece async for piece in export_session(database, OWNER, session_id, "openai")]
        assert len(pieces) == len(said) + 2
        assert json.loads(b"".join(pieces)) == {"messages": lines}
        again = read_file(await exported(database, session_id), "auto", lossy=False)
        assert [message.content for message in again.chats[0].messages] == [content for _, content in said]

    in_new_databases(empty_database, work)


@settings(max_examples=60, deadline=None)
@given(
    said=st.lists(st.tuples(st.sampled_from(ROLES), TEXTS), min_size=1, max_size=8),
    file_format=st.sampled_from(["openai", "pippagpt", "sillytavern"]),
)
def test_the_chat_as_it_stands_comes_back_from_each_format(
    empty_database: Path, said: list[tuple[Role, str]], file_format: Format
) -> None:
    async def work(database: Database, _other: Database) -> None:
        session_id = await life(database, [("append", said)])
        pieces = export_session(database, OWNER, session_id, cast(Any, file_format))
        file = b"".join([piece async for piece in pieces])
        archive = read_file(file, "auto", lossy=False)
        assert archive.format == file_format
        messages = archive.chats[0].messages
        assert [(message.role, message.content) for message in messages] == said

    in_new_databases(empty_database, work)
