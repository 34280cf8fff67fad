"""The life of a chat user, step by step, by what a service does to the store."""

from datetime import UTC, datetime
from typing import Any, cast

from app.ids import new_id
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
from app.storage.recall_tables import DocumentRow
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.summaries import Summaries
from app.storage.tables import MessageRow
from app.storage.token_index import TokenIndex
from memory.facts.fact import OWNER, Fact, Found
from memory.messages import Role
from memory.persona import ExampleExchange, Persona, SpeechRule
from memory.recall.chunks import Piece, Place, Span
from memory.reminder import Reminder
from tests.app.cards_data import V2

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
            sources = [{"document_id": "doc_1", "name": "a.md", "place": "line 1"}]
            drafts = [
                MessageDraft("user", question, prefix="qa: "),
                MessageDraft("assistant", "That.", sources=sources),
            ]
            await Messages(session, self.owner).append(self.session_id, drafts)

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


async def life(database: Database, owner: str, steps: list[tuple[Any, ...]]) -> str:
    async with database.write() as session:
        row = await Sessions(session, owner).create(
            persona_id=None, user_id="u", user_name="Dad", title="t", memory=MEMORY
        )
    made = Life(database, owner, row.id)
    for step in steps:
        await made.do(*step)
    return row.id
