"""What was exported and imported again is equal: over random histories in a real database."""

import asyncio
import json
import re
import shutil
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Select, select

from app.ids import new_id
from app.recall.shelving import shelve
from app.schemas.lore import LoreEntryFields
from app.storage.database import Database
from app.storage.document_passages import DocumentPassages
from app.storage.documents import Documents
from app.storage.facts import Facts
from app.storage.lorebooks import SessionLore
from app.storage.marks import MarkKind, Marks
from app.storage.message_tree import MessageTree
from app.storage.messages import MessageDraft, Messages
from app.storage.persona_cards import PersonaCards
from app.storage.personas import Personas
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.summaries import Summaries
from app.storage.tables import DocumentRow, MessageRow, Table
from app.storage.token_index import TokenIndex, bring_up
from app.transfer.archive import Archive
from app.transfer.exports import export_all, export_session
from app.transfer.formats import Format, read_file
from app.transfer.from_store import StoredRecords
from app.transfer.into_store import Intake
from app.transfer.new_rows import new_rows
from memory.facts.fact import OWNER, Fact, Found
from memory.messages import ROLES, Role
from memory.persona import ExampleExchange, Persona, SpeechRule
from memory.recall.chunks import Piece, Place, Span
from memory.reminder import Reminder
from tests.app.cards_data import V2
from tests.app.test_storage import ByteEncoder

MEMORY = {"strategy": "buffer"}
USAGE: dict[str, Any] = {
    "prompt_tokens": 1,
    "completion_tokens": 1,
    "total_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 0},
    "token_counts": "exact",
    "ttft_ms": 1.5,
    "duration_ms": 2.5,
    "dtype": "bfloat16",
}
ID = re.compile(r"\b(?:per|ses|msg|sum|lor|fac|doc)_[0-9a-f]{24}\b")
ENCODER = ByteEncoder()
NEW_BY_DESIGN = {
    "message_marks": {"id"},
    "lore_entries": {"number"},
    "refused_facts": {"id"},
    "shelves": {"id", "last_change", "purged_at", "tidied_to"},
    "passages": {"shelf_id", "change"},
}
"""What is in no file and follows from nothing in it; of numbers only the order is kept. Shelves and passages
are made anew from what is in the file; how often they have changed is theirs alone."""

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


class Life:
    """A user's sessions, made by what a service does to them."""

    def __init__(self, database: Database, owner: str, session_id: str) -> None:
        self.database = database
        self.owner = owner
        self.session_id = session_id
        self.newest_id = session_id

    async def do(self, name: str, *arguments: Any) -> None:
        await getattr(self, f"_{name}")(*arguments)

    async def _append(self, said: list[tuple[Role, str]]) -> None:
        async with self.database.write() as session:
            drafts = [MessageDraft(*message) for message in said]
            await Messages(session, self.owner).append(self.session_id, drafts)

    async def _prefixed(self, question: str) -> None:
        """A question to documents, and its answer."""
        async with self.database.write() as session:
            drafts = [MessageDraft("user", question, prefix="qa: "), MessageDraft("assistant", "That.")]
            [_, reply] = await Messages(session, self.owner).append(self.session_id, drafts)
            reply.sources = [{"document_id": "doc_1", "name": "a.md", "place": "line 1"}]

    async def _edit(self, at: int, content: str, keep_following: bool) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                draft = MessageDraft(cast(Role, message.role), content)
                await MessageTree(session, self.owner).replace(message, draft, keep_following=keep_following)

    async def _activate(self, at: int) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                others = await Messages(session, self.owner).alternatives(message)
                await MessageTree(session, self.owner).activate(others[0])

    async def _forget(self, at: int) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                await MessageTree(session, self.owner).forget(message)

    async def _mark(self, at: int, kind: MarkKind, stands: bool) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                marks = Marks(session, self.owner)
                await (marks.mark(message, kind) if stands else marks.unmark(message, kind))

    async def _reply(self, at: int, token_ids: list[int]) -> None:
        """A message gets what only generated replies have."""
        message = await self._on_path(at)
        async with self.database.write() as session:
            summaries = await Summaries(session, self.owner).list(self.session_id, "r", 1)
            lore = await SessionLore(session, self.owner).list(self.session_id)
            messages, row = (
                Messages(session, self.owner),
                await Sessions(session, self.owner).get(self.session_id),
            )
            assert row is not None
            if message is None or await messages.record(message.id) is not None:
                return
            await TokenIndex(session, self.owner).keep_sampled(message, token_ids, "bytes")
            persona = {"id": row.persona_id, "revision": 1, "user_id": "u"} if row.persona_id else None
            known = [each.fact.id for each in await Facts(session, self.owner).known(self.session_id)]
            named = [each.id for each in summaries], [each.entry.id for each in lore], known
            documents = await Documents(session, self.owner).list(after=None, limit=9, user_id=None)
            recalled = [passage_record(message)]
            recalled += [passage_record(message, each) for each in documents if each.status == "ready"]
            await messages.keep_record(message, context_record(message, persona, *named, recalled))
            stored = await messages.get(message.id)
            assert stored is not None
            stored.status, stored.finish_reason, stored.model = "interrupted", "cancelled", "m"
            stored.usage = USAGE | {"seed": at}

    async def _regenerate(self, at: int, content: str) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                draft = MessageDraft(cast(Role, message.role), content, model="m")
                other = await Messages(session, self.owner).add_alternative(message, draft)
                await MessageTree(session, self.owner).activate(other)

    async def _settings(self, depth: int, budget: int, title: str | None) -> None:
        async with self.database.write() as session:
            changes: dict[str, Any] = {"lore_scan_depth": depth, "lore_token_budget": budget, "title": title}
            changes |= {"memory": {"strategy": "sliding_window", "turns": budget + 1}}
            changes |= {"prefixes": depth % 2 == 1, "instructions": title}
            changes |= {"client_metadata": {"title": title} if title else {}}
            row = await Sessions(session, self.owner).update(self.session_id, changes)
            assert row is not None
            await SessionPersonas(session, self.owner).give(self.session_id, row.persona_id, title)

    async def _lore(self, at: int, of_message: bool, content: str) -> None:
        message = await self._on_path(at)
        message_id = message.id if message and of_message else None
        async with self.database.write() as session:
            await SessionLore(session, self.owner).create(
                self.session_id,
                message_id=message_id,
                content=None if message_id else content,
                settings=LoreEntryFields(keys=["k"], insertion_order=at).model_dump(),
            )

    async def _summary(self, turn: int, text: str) -> None:
        async with self.database.write() as session:
            summaries = Summaries(session, self.owner)
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

    async def _fact(self, at: int, of_message: bool, value: str) -> None:
        message = await self._on_path(at) if of_message else None
        await self._know(self.session_id, value, message.id if message else None, None)

    async def _correct(self, at: int, value: str) -> None:
        """In the newest session, of what one of the first tells."""
        if facts := await self._facts():
            wrong = facts[at % len(facts)]
            await self._know(self.newest_id, value, wrong.message_id, wrong.value, is_owner=True)

    async def _refuse(self, at: int) -> None:
        if facts := await self._facts():
            async with self.database.write() as session:
                await Facts(session, self.owner).remove([facts[at % len(facts)].id])

    async def _read(self, at: int) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                await Facts(session, self.owner).set_watermark(self.session_id, message.position)

    async def _know(
        self, session_id: str, value: str, message_id: str | None, ends: str | None, *, is_owner: bool = False
    ) -> None:
        async with self.database.write() as session:
            row = await Sessions(session, self.owner).get(session_id)
            assert row is not None
            await Facts(session, self.owner).add_one(
                row,
                Found("user", "likes", value, 0, 1, ends),
                persona_id=row.persona_id,
                text=f"Dad, likes: {value}",
                author="rules" if message_id and not is_owner else OWNER,
                said_at=datetime.now(UTC),
                enters_at=1,
                message_id=message_id,
            )

    async def _facts(self) -> list[Fact]:
        async with self.database.read() as session:
            known = await Facts(session, self.owner).known(self.session_id)
            return [each.fact for each in known if each.session_id == self.session_id]

    async def _persona(self, name: str, deleted: bool) -> None:
        async with self.database.write() as session:
            personas, sessions = Personas(session, self.owner), Sessions(session, self.owner)
            before = await personas.create(Persona(name=name, instructions="", facts=("old",)))
            persona = Persona(
                name=name,
                instructions="Be.",
                style="Old.",
                greeting="Hello",
                alternate_greetings=("Hi",),
                facts=("new",),
                forbidden_phrases=("No",),
                user_name="You",
                examples=(ExampleExchange("a", "b"),),
                speech_rules=(SpeechRule(None, "politely"),),
                reminder=Reminder("mind {{date}}", 1),
            )
            stored = await personas.revise(before, persona)
            assert stored is not None
            await PersonaCards(session, self.owner).keep(stored.id, V2)
            await SessionPersonas(session, self.owner).give(self.session_id, stored.id)
            if deleted:
                await sessions.update(self.session_id, {"persona_id": None})
                await personas.remove(stored.id)
            else:
                await sessions.update(self.session_id, {"persona_id": stored.id})

    async def _branch(self, at: int) -> None:
        if message := await self._on_path(at):
            async with self.database.write() as session:
                branch = await Sessions(session, self.owner).create(
                    persona_id=None, user_id="u", title="branch", memory=MEMORY, branched_from=message
                )
                await MessageTree(session, self.owner).copy_path(message, branch.id)
            self.newest_id = branch.id

    async def _document(self, pieces: int, of_user: bool, status: str) -> None:
        """As many more pieces than one; the same number is the same document."""
        sha256, user_id = f"{pieces:064x}", "u" if of_user else None
        async with self.database.write() as session:
            documents = Documents(session, self.owner)
            if await documents.same(user_id, sha256) is not None:
                return
            made = await documents.create(
                new_id("doc"), user_id=user_id, name="a.pdf", media_type="m", size=pieces, sha256=sha256
            )
            if status == "ready":
                place = Place(("Heading",), Span("page", 1, 2))
                read = [Piece(f"piece {number}", place) for number in range(pieces + 1)]
                await documents.finish(made.id, read, 2)
                await DocumentPassages(session, self.owner).shelve(made)
            elif status == "failed":
                await documents.fail(made.id, "it cannot be read")

    async def _on_path(self, at: int) -> MessageRow | None:
        async with self.database.read() as session:
            rows = await Messages(session, self.owner).list(
                self.session_id, after=None, limit=1000, newest_first=False
            )
        return rows[at % len(rows)] if rows else None


def context_record(
    message: MessageRow,
    persona: dict[str, Any] | None,
    summaries: list[str],
    lore: list[str],
    facts: list[str],
    recalled: list[dict[str, Any]],
) -> dict[str, Any]:
    counts: dict[str, Any] = {"turn": None, "tokens": 1, "cached_tokens": 0, "message_ids": []}
    turn = counts | {"kind": "turn", "turn": message.turn, "reason": "r"}
    told = {"told": [{"role": "system", "content": "{{not}} a template"}]}
    telling = [
        *(
            counts | {"kind": "summary", "reason": "r", "summary_id": each, "through_turn": 1}
            for each in summaries
        ),
        *(
            counts | {"kind": "lore", "reason": f"lorebook entry {each}: 'k' is in it"} | told
            for each in lore
        ),
        counts | {"kind": "facts", "reason": "what is known", "fact_ids": facts},
        counts | {"kind": "note", "reason": "a note"} | told,
        counts | {"kind": "recalled", "reason": "it matters", "passages": recalled},
    ]
    return {
        "strategy": MEMORY,
        "persona": persona,
        "context_window": 9,
        "prompt_tokens": 1,
        "reply_tokens": 1,
        "cached_tokens": 0,
        "segments": [turn | {"message_ids": [message.id, *filter(None, [message.parent_id])]}, *telling],
        "left_out": [{"first_turn": 0, "last_turn": 0, "tokens": 3, "reason": "r"}],
    }


def passage_record(message: MessageRow, document: DocumentRow | None = None) -> dict[str, Any]:
    """A recalled passage of a message, or of a document, in a context record."""
    said = {"speaker": "Dad", "said_at": "2026-01-01T00:00:00+00:00", "citation": ""}
    read: dict[str, Any] = {"speaker": "", "said_at": None, "citation": "a.pdf, page 1"}
    return {
        "source": document.id if document else message.session_id,
        "number": 0,
        "message_id": None if document else message.id,
        "turn": None if document else message.turn,
        "score": 0.5,
        "why": "near in meaning",
        "tokens": 3,
        "starts_at": -1 if document else 0,
        "characters": 1,
    } | (read if document else said)


async def exported(database: Database, owner: str, session_id: str | None = None) -> bytes:
    """Of one session, or everything."""
    pieces = (
        export_session(database, owner, session_id, "perdure") if session_id else export_all(database, owner)
    )
    return b"".join([piece async for piece in pieces])


def normalised(file: bytes) -> str:
    """The file with each id as the number of where it first appears."""
    names: dict[str, str] = {}
    return ID.sub(lambda found: names.setdefault(found[0], f"id {len(names)}"), file.decode())


def without_unread(file: bytes) -> bytes:
    """The file without the documents that are not ready: what is exported of an import of it."""
    records = [json.loads(line) for line in file.splitlines()]
    kept = [each for each in records if each.get("status") not in ("processing", "failed")]
    kept[-1]["records"] = len(kept) - 2
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in kept)


async def imported(database: Database, owner: str, archive: Archive) -> dict[str, str]:
    """The new ids by those in the archive."""
    memories = [chat.session.memory or MEMORY for chat in archive.chats]
    async with database.write() as session:
        intake = Intake(session, owner)
        new = new_rows(archive, memories, await intake.documents_there(archive))
        await intake.store(new)
    return dict(new.names)


async def sessions_imported(database: Database, owner: str, file: bytes) -> list[str]:
    archive = read_file(file, "auto", lossy=False)
    names = await imported(database, owner, archive)
    return [names[chat.session.id] for chat in archive.chats]


async def stored_rows(database: Database, owner: str) -> dict[str, list[dict[str, Any]]]:
    """All there is in a database, by table, what is derived from all chats brought up."""
    async with database.read() as session:
        session_ids = await StoredRecords(session, owner).session_ids()
    for session_id in session_ids:
        await bring_up(database, owner, session_id, ENCODER, ENCODER.fingerprint)
        await shelve(database, owner, session_id)
    async with database.read() as session:
        return {
            table.name: [dict(row) for row in (await session.execute(_of(table, owner))).mappings()]
            for table in Table.metadata.sorted_tables
        }


def in_file(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """What is left of the rows of a database if nothing is left of messages that are forgotten, and of
    documents that are not ready."""
    said = {row["id"]: row["content"] for row in rows["messages"] if row["forgotten_at"]}
    kept = {name: [row for row in table if row.get("message_id") not in said] for name, table in rows.items()}
    kept["messages"] = [row for row in rows["messages"] if row["id"] not in said]
    kept["lore_entries"] = [
        row | {"message_id": None, "content": said[row["message_id"]]} if row["message_id"] in said else row
        for row in rows["lore_entries"]
    ]
    kept["documents"] = [row for row in rows["documents"] if row["status"] == "ready"]
    return kept


def as_lines(rows: dict[str, list[dict[str, Any]]], names: dict[str, str]) -> dict[str, list[str]]:
    """Each row as a text that says all of its columns, with `names` for the ids in them."""

    def line(table: str, row: dict[str, Any]) -> str:
        kept = {name: value for name, value in row.items() if name not in NEW_BY_DESIGN.get(table, ())}
        text = json.dumps(kept, sort_keys=True, default=repr)
        return ID.sub(lambda found: names.get(found[0], found[0]), text)

    return {table: sorted(line(table, row) for row in each) for table, each in rows.items()}


def _of(table: Any, owner: str) -> Select[Any]:
    return select(table).where(table.c.owner == owner)


async def life(database: Database, owner: str, steps: list[tuple[Any, ...]]) -> str:
    async with database.write() as session:
        row = await Sessions(session, owner).create(
            persona_id=None, user_id="u", user_name="Dad", title="t", memory=MEMORY
        )
    made = Life(database, owner, row.id)
    for step in steps:
        await made.do(*step)
    return row.id


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
            # Receipts are of what is in no file any more; responses are under addresses of this service.
            if table.name not in ("deletions", "responses")
            for column in table.columns
        }
        assert columns - filled == set()

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
