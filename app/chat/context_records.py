"""Context records: what was in a window, kept with the reply, and shown with what it says.

A record names messages and a persona's revision, which are never rewritten, and not their texts. What was
told for one reply only, and is kept nowhere else, is in the record itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from itertools import accumulate
from types import MappingProxyType
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.chat.persona import ChatPersona
from app.recall.records import passage_records, piece_keys, recalled_messages
from app.schemas.contexts import ContextView, SegmentMessage
from app.storage.documents import Documents
from app.storage.facts import Facts
from app.storage.messages import Messages
from app.storage.personas import Personas
from app.storage.summaries import Summaries
from app.storage.tables import MessageRow
from llm.engine.interface import ModelInfo, TokenCounts
from memory.context import Context, ContextMessage, Segment
from memory.facts.block import as_message as facts_message
from memory.facts.block import line_of
from memory.messages import Role
from memory.persona import ChatUser, Persona
from memory.summaries.summary import as_message


def context_record(
    context: Context,
    persona: ChatPersona | None,
    cached_tokens: int,
    token_counts: TokenCounts,
    recalled_from: Mapping[str, MessageRow] = MappingProxyType({}),
) -> dict[str, Any]:
    """The record of a context of whose prompt the first `cached_tokens` came from the cache.

    `recalled_from`: the messages that its recalled passages are from, by id.
    """
    starts = accumulate((segment.tokens for segment in context.segments), initial=0)
    return {
        "strategy": context.strategy,
        "persona": _reference(persona) if persona else None,
        "persona_since_turn": persona.since_turn if persona else None,
        "context_window": context.context_window,
        "prompt_tokens": context.tokens,
        "token_counts": token_counts,
        "reply_tokens": context.reply_tokens,
        "cached_tokens": cached_tokens,
        "recall": asdict(context.recall) if context.recall else None,
        "segments": [
            {
                "kind": segment.kind,
                "turn": segment.turn,
                "tokens": segment.tokens,
                "cached_tokens": min(segment.tokens, max(0, cached_tokens - start)),
                "message_ids": [message.id for message in segment.messages if message.id],
                "reason": segment.reason,
                **_told(segment),
            }
            | ({} if segment.since_turn is None else {"since_turn": segment.since_turn})
            | (
                {"summary_id": segment.summary_id, "through_turn": segment.through_turn}
                if segment.summary_id
                else {}
            )
            | ({"fact_ids": list(segment.fact_ids)} if segment.fact_ids else {})
            | ({"passages": passage_records(segment, recalled_from)} if segment.passages else {})
            for segment, start in zip(context.segments, starts, strict=False)
        ],
        "left_out": [
            {
                "first_turn": left_out.first_turn,
                "last_turn": left_out.last_turn,
                "tokens": left_out.tokens,
                "reason": left_out.reason,
            }
            for left_out in context.left_out
        ],
    }


def context_view(
    session_id: str, context: Context, persona: ChatPersona | None, *, cached_tokens: int, model: ModelInfo
) -> ContextView:
    """A context that was just assembled, as a client sees it."""
    texts = [_texts(segment.messages) for segment in context.segments]
    record = context_record(context, persona, cached_tokens, model.token_counts)
    return _view(record, texts, session_id=session_id, model=model.name)


async def recorded_view(session: AsyncSession, owner: str, message_id: str) -> ContextView | None:
    """The context that the reply `message_id` was generated from; None if there is no record of one."""
    messages = Messages(session, owner)
    record = await messages.record(message_id)
    reply = await messages.get(message_id)
    if record is None or reply is None:
        return None
    said = await messages.get_many(
        [message_id for segment in record["segments"] for message_id in _named(segment)]
    )
    pieces = await Documents(session, owner).texts(piece_keys(record))
    persona = await _persona_of(session, owner, record["persona"]) if record["persona"] else None
    texts: list[list[SegmentMessage]] = []
    for segment in record["segments"]:
        spoken: tuple[ContextMessage, ...]
        if "told" in segment:
            spoken = tuple(ContextMessage(**message) for message in segment["told"])
        elif segment["kind"] == "persona":
            spoken = persona.instruction_messages if persona else ()
        elif segment["kind"] == "examples":
            spoken = persona.example_messages if persona else ()
        elif segment["kind"] == "summary":
            summary = await Summaries(session, owner).get(segment["summary_id"])
            spoken = (ContextMessage("system", as_message(summary.text)),) if summary else ()
        elif segment["kind"] == "facts":
            known = await Facts(session, owner).get_many(segment["fact_ids"])
            lines = [line_of(known[fact_id]) for fact_id in segment["fact_ids"] if fact_id in known]
            spoken = (ContextMessage("system", facts_message(lines)),)
        elif "passages" in segment:
            spoken = recalled_messages(segment["passages"], said, pieces)
        else:
            # A branch may outlive the session whose messages its copied records name.
            rows = (said[message_id] for message_id in segment["message_ids"] if message_id in said)
            spoken = tuple(ContextMessage(cast(Role, row.role), row.content, row.id) for row in rows)
        texts.append(_texts(spoken))
    return _view(record, texts, session_id=reply.session_id, model=reply.model or "", message_id=message_id)


def _named(segment: dict[str, Any]) -> list[str]:
    """The messages that a segment of a record names."""
    recalled = (passage["message_id"] for passage in segment.get("passages", ()))
    return [*segment["message_ids"], *(message_id for message_id in recalled if message_id)]


def _told(segment: Segment) -> dict[str, Any]:
    """What is kept of a segment that can be had again neither from messages nor from the persona."""
    is_kept_nowhere = segment.kind in ("reminder", "lore", "note") and not any(
        message.id for message in segment.messages
    )
    if segment.since_turn is None and not is_kept_nowhere:
        return {}
    return {"told": [{"role": each.role, "content": each.content} for each in segment.messages]}


def _reference(persona: ChatPersona) -> dict[str, Any]:
    stored, user = persona.stored, persona.user
    return {"id": stored.id, "revision": stored.revision, "user_id": user.id, "user_name": user.name}


async def _persona_of(session: AsyncSession, owner: str, reference: dict[str, Any]) -> Persona | None:
    """The persona as it was met; records of earlier versions name no user."""
    stored = await Personas(session, owner).get(reference["id"], reference["revision"])
    user = ChatUser(reference.get("user_id"), reference.get("user_name"))
    return ChatPersona(stored, user).met if stored else None


def _texts(spoken: Iterable[ContextMessage]) -> list[SegmentMessage]:
    return [SegmentMessage(id=message.id, role=message.role, content=message.content) for message in spoken]


def _view(
    record: dict[str, Any],
    texts: list[list[SegmentMessage]],
    *,
    session_id: str,
    model: str,
    message_id: str | None = None,
) -> ContextView:
    segments = [
        segment | {"messages": spoken} for segment, spoken in zip(record["segments"], texts, strict=True)
    ]
    turns = [segment["turn"] for segment in segments if segment["turn"] is not None]
    return ContextView.model_validate(
        record
        | {
            "session_id": session_id,
            "message_id": message_id,
            "model": model,
            "turns": turns,
            "segments": segments,
        }
    )
