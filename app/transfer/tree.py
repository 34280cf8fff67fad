"""The tree of a chat's messages: what a file must keep to, and what follows from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.cards.book import MAX_ENTRIES
from app.transfer.archive import ChatArchive, TransferError
from app.transfer.records import MessageRecord
from memory.messages import Role, starts_new_turn


@dataclass(frozen=True, slots=True)
class Spot:
    """Where in its tree a message stands."""

    position: int
    turn: int
    role: Role
    is_active: bool


def spots(messages: Sequence[MessageRecord], place: str = "") -> dict[str, Spot]:
    """Position and turn of each message, by id. Raises TransferError if they are not the tree of a chat."""
    found: dict[str, Spot] = {}
    taken: set[tuple[str | None, int]] = set()
    active: set[int] = set()
    for message in messages:
        parent = _parent(found, message, place)
        if (message.parent_id, message.alternative) in taken:
            raise _wrong(
                message, place, f"another one has the parent and the alternative {message.alternative}"
            )
        position = parent.position + 1 if parent else 0
        if message.is_active:
            if parent is not None and not parent.is_active:
                raise _wrong(message, place, "is active, and its parent is not")
            if position in active:
                raise _wrong(message, place, "is active, and so is another one in its place")
            active.add(position)
        taken.add((message.parent_id, message.alternative))
        turn = starts_new_turn(parent.role if parent else None, message.role)
        found[message.id] = Spot(
            position, (parent.turn if parent else -1) + turn, message.role, message.is_active
        )
    return found


def check_references(chat: ChatArchive) -> None:
    """Raise TransferError if what the chat has beside its messages does not fit them, or is too much."""
    if len(chat.lore) > MAX_ENTRIES:
        raise TransferError(f"its lorebook may have at most {MAX_ENTRIES} entries", chat.place)
    ids = {message.id for message in chat.messages}
    for entry in chat.lore:
        if entry.message_id is not None and entry.message_id not in ids:
            raise TransferError(
                f"lore entry {entry.id!r} is made of message {entry.message_id!r}, which is not there",
                chat.place,
            )
    watermark = chat.session.facts_watermark
    if watermark is not None and watermark >= len(active_path(chat.messages)):
        raise TransferError("lies behind the last message", f"{chat.place}.facts_watermark")


def check_quotes(chats: Sequence[ChatArchive]) -> None:
    """Raise TransferError if a fact quotes what its message, of any of the chats, does not say."""
    length = {message.id: len(message.content) for chat in chats for message in chat.messages}
    for chat in chats:
        quotes: list[tuple[str | None, int | None, int | None]] = [
            *((fact.message_id, fact.quote_start, fact.quote_end) for fact in chat.facts),
            *((fact.message_id, fact.quote_start, fact.quote_end) for fact in chat.refused_facts),
        ]
        for message_id, start, end in quotes:
            if message_id is not None and message_id not in length:
                raise TransferError(f"a fact is of message {message_id!r}, which is not there", chat.place)
            if message_id is not None and not (start or 0) < (end or 0) <= length[message_id]:
                raise TransferError(f"the quote of a fact is not in message {message_id!r}", chat.place)


def active_path(messages: Sequence[MessageRecord]) -> list[MessageRecord]:
    """The chat as it stands; messages stand behind their parents."""
    return [message for message in messages if message.is_active]


def _parent(found: dict[str, Spot], message: MessageRecord, place: str) -> Spot | None:
    if message.id in found:
        raise _wrong(message, place, "is there twice")
    if message.parent_id is None:
        return None
    if message.parent_id not in found:
        raise _wrong(message, place, f"its parent {message.parent_id!r} is not before it")
    return found[message.parent_id]


def _wrong(message: MessageRecord, place: str, problem: str) -> TransferError:
    return TransferError(f"message {message.id!r}: {problem}", place or "body")
