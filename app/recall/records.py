"""What was recalled, in context records: which part of which message, never its text.

So what is deleted or forgotten is gone from the records of other chats too.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.messages import Messages
from app.storage.tables import MessageRow
from memory.context import Context, ContextMessage, RecalledPassage, Segment
from memory.recall.fill import recalled_text
from memory.recall.passage import Passage, PassageKey

GONE = "(no longer there)"


def passage_records(segment: Segment, sources: Mapping[str, MessageRow]) -> list[dict[str, Any]]:
    """One for each passage of a `recalled` segment. `sources`: the messages that they are from, by id."""
    return [_record(each, sources) for each in segment.passages]


def _record(recalled: RecalledPassage, sources: Mapping[str, MessageRow]) -> dict[str, Any]:
    passage = recalled.passage
    source = sources.get(passage.message_id or "")
    return {
        "source": passage.key.source,
        "number": passage.key.number,
        "message_id": passage.message_id,
        "turn": passage.turn,
        "speaker": passage.speaker,
        "said_at": passage.said_at.isoformat() if passage.said_at else None,
        "citation": passage.citation,
        "score": round(recalled.score, 4),
        "why": recalled.why,
        "tokens": recalled.tokens,
        "starts_at": source.content.find(passage.text) if source else -1,
        "characters": len(passage.text),
    }


async def source_messages(session: AsyncSession, owner: str, context: Context) -> dict[str, MessageRow]:
    """The messages that the passages of a context are from, by id."""
    ids = {each.passage.message_id for segment in context.segments for each in segment.passages}
    return await Messages(session, owner).get_many([each for each in ids if each])


def recalled_messages(
    records: list[dict[str, Any]], said: Mapping[str, MessageRow], pieces: Mapping[PassageKey, str]
) -> tuple[ContextMessage, ...]:
    """What a `recalled` segment told, as far as it is still there. `said`: messages by id; `pieces`: texts of
    documents."""
    passages = [_passage(record, said.get(record["message_id"] or ""), pieces) for record in records]
    return (ContextMessage("system", recalled_text(passages)),)


def piece_keys(record: dict[str, Any]) -> list[PassageKey]:
    """The pieces of documents that a context record names."""
    return [
        PassageKey(each["source"], each["number"])
        for segment in record["segments"]
        for each in segment.get("passages", ())
        if each["message_id"] is None
    ]


def _passage(record: dict[str, Any], source: MessageRow | None, pieces: Mapping[PassageKey, str]) -> Passage:
    key = PassageKey(record["source"], record["number"])
    start, text = record["starts_at"], pieces.get(key, GONE)
    if source is not None and source.forgotten_at is None and start >= 0:
        text = source.content[start : start + record["characters"]]
    return Passage(
        key,
        text,
        speaker=record["speaker"],
        said_at=datetime.fromisoformat(record["said_at"]) if record["said_at"] else None,
        turn=record["turn"],
        message_id=record["message_id"],
        citation=record["citation"],
    )
