"""A long chat in a real database, and choosing a context from it as the service does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from app.ids import new_id
from app.storage.database import Database
from app.storage.fact_tables import FactRow
from app.storage.facts import Facts
from app.storage.history import StoredHistory
from app.storage.messages import MessageDraft, Messages
from app.storage.sessions import Sessions
from app.storage.summaries import Summaries
from app.storage.tables import MessageRow
from app.storage.token_index import TokenIndex
from app.upkeep.fact_blocks import read_block
from evals.bench.script import NAME
from llm.text.chat_format import ChatTokenizer
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.context import Context, RecallReport
from memory.facts.block import FactBlock
from memory.messages import Message
from memory.persona import Persona, persona_segments
from memory.recall.found import Found
from memory.recall.passage import Passage, PassageKey
from memory.recall.ranking import Ranked
from memory.strategies.base import Strategy
from memory.strategies.recalling import recalling
from memory.strategies.remembering import RememberingStrategy
from memory.summaries.summary import as_message

OWNER = "bench"
LIMITS = Limits(context_window=8192, reply_tokens=256, usual_reply_tokens=256)
STORED_AT_ONCE = 2000
MOST_FOUND = 10

LIKED = ("music", "books", "films", "walks", "meals", "games", "trips")
CITIES = ("Ghent", "Oslo", "Porto", "Busan", "Turin", "Leeds")


class NothingReady(StoredHistory):
    """As if no facts were read before the window moved."""

    async def facts(self, first_turn: int, max_tokens: int) -> FactBlock:
        return await self.facts_anew(first_turn, max_tokens)


class StoredChat:
    """One session of `database`, whose messages follow each other as they are stored."""

    def __init__(self, database: Database, tokenizer: ChatTokenizer, persona: str, session_id: str) -> None:
        self._database = database
        self._tokenizer = tokenizer
        self._persona = persona_segments(Persona(NAME, persona), tokenizer)
        self._session_id = session_id
        self._stored: list[MessageRow] = []

    @classmethod
    async def create(cls, database: Database, tokenizer: ChatTokenizer, persona: str) -> "StoredChat":
        async with database.write() as session:
            row = await Sessions(session, OWNER).create(
                persona_id=None, user_id=None, title=None, memory={"strategy": "buffer"}
            )
        return cls(database, tokenizer, persona, row.id)

    async def store(self, messages: Sequence[Message]) -> None:
        """Store messages with their token ids, some thousand in a unit of work."""
        for start in range(0, len(messages), STORED_AT_ONCE):
            part = messages[start : start + STORED_AT_ONCE]
            drafts = [MessageDraft(role=message.role, content=message.content) for message in part]
            async with self._database.write() as session:
                rows = await Messages(session, OWNER).append(self._session_id, drafts)
                await TokenIndex(session, OWNER).extend(
                    rows, [message.token_ids for message in part], self._tokenizer.fingerprint
                )
            self._stored += rows

    async def tell(self, every: int) -> None:
        """Store a fact for one in so many messages: new ones, ones told before, and changes."""
        rows = [
            {
                "id": new_id("fac"),
                "session_id": self._session_id,
                "message_id": message.id,
                "quote_start": 0,
                "quote_end": len(message.content),
                "subject": "user",
                "key": key,
                "value": value,
                "text": f"User, {key}: {value}",
                "author": "rules",
                "said_at": message.created_at,
                "enters_at": message.turn + 1,
                "created_at": message.created_at,
            }
            for number, message in enumerate(self._stored[::every])
            for key, value in [_told(number)]
        ]
        async with self._database.write() as session:
            facts = Facts(session, OWNER)
            await facts.insert(FactRow, rows)
            await facts.set_watermark(self._session_id, len(self._stored) - 1)

    async def keep_facts(self, strategy: RememberingStrategy) -> None:
        """Have the facts of the strategy's window ready, as upkeep has."""
        async with self._state(strategy, StoredHistory) as chat:
            first_turn = await strategy.first_turn(chat.history, chat.room())
        await read_block(
            self._database,
            OWNER,
            self._session_id,
            first_turn,
            max_tokens=strategy.fact_tokens,
            encoder=self._tokenizer,
        )

    async def summarise(self, text: str, recipe: str, *, turns: int, every: int) -> None:
        """Store a summary of that text for every so many of the first `turns` turns."""
        token_ids = self._tokenizer.encode_message("system", as_message(text))
        async with self._database.write() as session:
            summaries = Summaries(session, OWNER)
            for through_turn in range(every, turns + 1, every):
                await summaries.add_one(
                    self._session_id,
                    recipe=recipe,
                    through_turn=through_turn,
                    enters_at=through_turn,
                    author="extractive",
                    text=text,
                    token_ids=token_ids,
                    fingerprint=self._tokenizer.fingerprint,
                )

    async def choose(
        self, strategy: Strategy, message: Message, history: type[StoredHistory] = StoredHistory
    ) -> Context:
        """The context for that message, from the database on. What recall found is given."""
        said = NewMessage(message.id, message.content, message.token_ids)
        async with self._state(strategy, history) as chat:
            return await assemble(chat, said)

    @asynccontextmanager
    async def _state(self, strategy: Strategy, history: type[StoredHistory]) -> AsyncIterator[ChatState]:
        async with self._database.read() as session:
            yield ChatState(
                persona=self._persona,
                strategy=strategy,
                history=await history.open(session, OWNER, self._session_id, self._tokenizer),
                generation_prompt=self._tokenizer.generation_prompt,
                limits=LIMITS,
                recalled=self._found(strategy),
            )

    def _found(self, strategy: Strategy) -> Found | None:
        """The first messages of the chat, as what recall found."""
        recalls = recalling(strategy)
        if recalls is None:
            return None
        passages = [
            Passage(
                PassageKey(self._session_id, message.position),
                message.content,
                message.role,
                said_at=message.created_at,
                turn=message.turn,
                message_id=message.id,
            )
            for message in self._stored[:MOST_FOUND]
        ]
        ranked = [Ranked(passage, 1.0, "given") for passage in passages]
        return Found(ranked, self._tokenizer, RecallReport(recalls.scope))


def _told(number: int) -> tuple[str, str]:
    """The key and value of a fact: what adds up, what was told before, what takes another's place."""
    kinds = (
        ("to remember", f"locker {number} opens with {7 * number}"),
        ("likes", f"{LIKED[number % len(LIKED)]} of the year {1900 + number % 97}"),
        ("home", CITIES[number % len(CITIES)]),
        ("dislikes", f"{LIKED[number % len(LIKED)]} of the year {1900 + number % 89}"),
        ("job", f"clerk {number % 50}"),
    )
    return kinds[number % len(kinds)]
