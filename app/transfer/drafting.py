"""Records of chats in other programs' formats, made piece by piece."""

from datetime import UTC, datetime
from typing import Any

from app.fields import MAX_CHARACTERS
from app.transfer.archive import Archive, ChatArchive, TransferError
from app.transfer.records import MarkRecord, MessageRecord, SessionRecord
from memory.messages import Role

MAX_NAME = 256
_MILLISECONDS_FROM = 10**11
"""So large a number is a time in milliseconds, not in seconds (that would be after the year 5000)."""


class ChatDraft:
    """A chat that is being read. Its messages get ids of their own, which are those of no file."""

    def __init__(self, archive: Archive, place: str, *, source_id: str | None = None, **session: Any) -> None:
        number = len(archive.chats)
        self.chat = ChatArchive(SessionRecord(id=f"session {number}", **session), place, source_id)
        self._prefix = f"message {number}."
        self._siblings: dict[str | None, int] = {}
        self.last: MessageRecord | None = None
        archive.chats.append(self.chat)

    def add(
        self,
        role: Role,
        content: str,
        place: str,
        *,
        behind: str | None,
        is_active: bool = True,
        created_at: datetime | None = None,
        is_excluded: bool = False,
        model: str | None = None,
    ) -> MessageRecord:
        """Add a message behind the one of that id. Raises TransferError if its text cannot be stored."""
        if len(content) > MAX_CHARACTERS:
            raise TransferError(f"has {len(content)} characters; a message may have {MAX_CHARACTERS}", place)
        alternative = self._siblings.get(behind, 0)
        self._siblings[behind] = alternative + 1
        message = MessageRecord(
            id=f"{self._prefix}{len(self.chat.messages)}",
            parent_id=behind,
            alternative=alternative,
            is_active=is_active,
            role=role,
            content=content,
            created_at=created_at,
            model=model,
            marks=[MarkRecord(kind="excluded", created_at=created_at)] if is_excluded else [],
        )
        self.chat.messages.append(message)
        return message

    def say(self, role: Role, content: str, place: str, **others: Any) -> None:
        """Add a message behind the last one."""
        self.last = self.add(role, content, place, behind=self.last.id if self.last else None, **others)


def name_of(value: Any) -> str | None:
    """A name or title, cut to the length that one may have; None if it is none."""
    if not isinstance(value, str) or not value.strip():
        return None
    return value.strip()[:MAX_NAME].strip()


def time_of(value: Any) -> datetime | None:
    """A time given in seconds or milliseconds since 1970, or in ISO 8601; None if it is none.

    One without a zone is of UTC.
    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            time = datetime.fromtimestamp(value / (1000 if value >= _MILLISECONDS_FROM else 1), UTC)
        elif isinstance(value, str):
            time = datetime.fromisoformat(value.strip())
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        else:
            return None
    except (ValueError, OverflowError, OSError):
        return None
    return time if 1900 <= time.year <= 2200 else None
