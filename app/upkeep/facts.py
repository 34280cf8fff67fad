"""The extraction of facts, message by message up to the newest: a part of the upkeep of a session."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from app.chat.persona import names_with
from app.chat.windows import ChosenWindows
from app.storage.database import Database
from app.storage.facts import Facts
from app.storage.lag import FactLag
from app.storage.repository import owners
from app.storage.session_personas import SessionPersonas
from app.storage.sessions import Sessions
from app.storage.tables import MessageRow
from app.upkeep.extractors import Extractors
from memory.facts.extractor import Extracted
from memory.facts.fact import told
from memory.messages import Message, Role
from memory.strategies import parse_strategy
from memory.strategies.remembering import RememberingStrategy, remembering
from memory.summaries.plan import enters_at


@dataclass(frozen=True, slots=True)
class _Read:
    """Messages, and what they tell."""

    strategy: RememberingStrategy
    messages: Sequence[MessageRow]
    told: Sequence[Extracted]


class FactUpkeep:
    """Extracts the facts of sessions whose strategy keeps them, unless it is switched off.

    It reads what the token index has; bringing that up is left to who calls it.
    """

    def __init__(self, database: Database, extractors: Extractors, windows: ChosenWindows) -> None:
        self._database = database
        self._extractors = extractors
        self._windows = windows

    async def behind(self) -> int:
        """How many messages of all owners no facts are extracted from yet, where they are wanted."""
        async with self._database.read() as session:
            return sum([await FactLag(session, owner).count(self._keeps) for owner in await owners(session)])

    def _keeps(self, memory: dict[str, Any]) -> bool:
        strategy = remembering(parse_strategy(memory))
        return strategy is not None and self._extractors.of(strategy) is not None

    async def extract_next(self, owner: str, session_id: str) -> int | None:
        """Read the next messages; how many facts are new, or None if there is nothing to read."""
        read = await self._read_next(owner, session_id)
        return await self._store(owner, session_id, read) if read else None

    async def _read_next(self, owner: str, session_id: str) -> _Read | None:
        async with self._database.read() as session:
            chat = await Sessions(session, owner).get(session_id)
            strategy = remembering(parse_strategy(chat.memory)) if chat else None
            extractor = self._extractors.of(strategy) if strategy else None
            if strategy is None or extractor is None:
                return None
            messages = await Facts(session, owner).unread(session_id, extractor.batch)
        if not messages:
            return None
        found = [await extractor.extract(_as_message(row)) for row in messages]
        return _Read(strategy, messages, found)

    async def _store(self, owner: str, session_id: str, read: _Read) -> int:
        """Store the facts of messages, unless the chat has changed meanwhile; how many are new."""
        async with self._windows.held(session_id), self._database.write() as session:
            facts = Facts(session, owner)
            chat = await Sessions(session, owner).get(session_id)
            unread = await facts.unread(session_id, len(read.messages))
            if chat is None or [each.id for each in unread] != [each.id for each in read.messages]:
                return 0
            used = await self._windows.first_turn(session, owner, session_id, read.strategy)
            persona_of = await SessionPersonas(session, owner).by_turn(chat)
            names = {
                persona_id: await names_with(session, owner, chat, persona_id)
                for persona_id in {persona_of(message.turn) for message in read.messages}
            }
            count = 0
            for message, extracted in zip(read.messages, read.told, strict=True):
                persona_id = persona_of(message.turn)
                for found in await facts.new_of(message.id, extracted.found):
                    await facts.add_one(
                        chat,
                        found,
                        persona_id=persona_id,
                        text=told(found, names[persona_id].user, names[persona_id].assistant),
                        author=extracted.author,
                        said_at=message.created_at,
                        enters_at=enters_at(message.turn + 1, used),
                        message_id=message.id,
                    )
                    count += 1
            await facts.set_watermark(session_id, read.messages[-1].position)
        return count


def _as_message(row: MessageRow) -> Message:
    return Message(row.id, row.turn, cast(Role, row.role), row.content, ())
