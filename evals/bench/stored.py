"""A long chat in a real database, and choosing a context from it as the service does."""

from collections.abc import Sequence

from app.storage.database import Database
from app.storage.history import StoredHistory
from app.storage.messages import MessageDraft, Messages
from app.storage.sessions import Sessions
from app.storage.summaries import Summaries
from app.storage.token_index import TokenIndex
from evals.bench.script import NAME
from llm.text.chat_format import ChatTokenizer
from memory.assembly import ChatState, Limits, NewMessage, assemble
from memory.context import Context
from memory.messages import Message
from memory.persona import Persona, persona_segments
from memory.strategies.base import Strategy
from memory.summaries.summary import as_message

OWNER = "bench"
LIMITS = Limits(context_window=8192, reply_tokens=256, usual_reply_tokens=256)
STORED_AT_ONCE = 2000


class StoredChat:
    """One session of `database`, whose messages follow each other as they are stored."""

    def __init__(self, database: Database, tokenizer: ChatTokenizer, persona: str, session_id: str) -> None:
        self._database = database
        self._tokenizer = tokenizer
        self._persona = persona_segments(Persona(NAME, persona), tokenizer)
        self._session_id = session_id

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

    async def choose(self, strategy: Strategy, message: Message) -> Context:
        """The context for that message, from the database on."""
        said = NewMessage(message.id, message.content, message.token_ids)
        async with self._database.read() as session:
            chat = ChatState(
                persona=self._persona,
                strategy=strategy,
                history=await StoredHistory.open(session, OWNER, self._session_id, self._tokenizer),
                generation_prompt=self._tokenizer.generation_prompt,
                limits=LIMITS,
            )
            return await assemble(chat, said)
