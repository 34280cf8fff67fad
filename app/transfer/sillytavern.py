"""SillyTavern's chats: JSON lines, the first about the chat. Swipes are alternatives of a message.

What is hidden from its prompts (`is_system`) is an excluded message here; a narrator speaks as the system.
"""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from app.transfer.archive import Archive, ChatHead, SpokenMessage, TransferError, Writer
from app.transfer.drafting import ChatDraft, name_of, time_of
from app.transfer.files import Value
from memory.messages import Role

FORMAT = "sillytavern"

_COMPACT = re.compile(r"(\d{4})-(\d\d?)-(\d\d?) ?@(\d\d?)h ?(\d\d?)m ?(\d\d?)s(?: ?(\d{1,3})ms)?")
_SPOKEN = "%B %d, %Y %I:%M%p"
"""`2023-8-6 @21h 08m 44s 565ms` and `June 19, 2023 4:13pm`: how earlier versions wrote times."""


def recognise(values: Sequence[Value]) -> bool:
    first = values[0].value
    return isinstance(first, dict) and ({"user_name", "character_name"} <= first.keys() or "mes" in first)


def read(values: Sequence[Value]) -> Archive:
    """Raises TransferError. Messages without text are left out and counted."""
    archive = Archive(FORMAT)
    first = values[0].value
    if not isinstance(first, dict):
        raise TransferError("must be an object", values[0].at())
    has_header = "mes" not in first
    head = first if has_header else {}
    draft = ChatDraft(
        archive,
        values[0].at(),
        title=name_of(head.get("character_name")),
        user_name=_user_name(head.get("user_name")),
        created_at=_time(head.get("create_date")),
    )
    for value in values[1 if has_header else 0 :]:
        _read_line(archive, draft, value)
    return archive


def _read_line(archive: Archive, draft: ChatDraft, line: Value) -> None:
    said = line.value
    if not isinstance(said, dict):
        raise TransferError("must be an object", line.at())
    text = said.get("mes")
    if not isinstance(text, str):
        raise TransferError("must be a text", line.at("mes"))
    swipes, chosen = _swipes(line, text)
    times = [_time(said.get("send_date"))] * len(swipes)
    details = said.get("swipe_info")
    if isinstance(details, list) and len(swipes) > 1:
        for number, detail in enumerate(details[: len(swipes)]):
            if isinstance(detail, dict):
                times[number] = _time(detail.get("send_date")) or times[number]
    behind = draft.last.id if draft.last else None
    hidden = _flag(line, "is_system") and not _is_narrator(said)
    for number, swipe in enumerate(swipes):
        if not swipe.strip():
            archive.left_out["a message without text" if number == chosen else "a swipe without text"] += 1
            continue
        message = draft.add(
            _role(line),
            swipe,
            line.at("mes"),
            behind=behind,
            is_active=number == chosen,
            created_at=times[number],
            is_excluded=hidden and number == chosen,
        )
        if number == chosen:
            draft.last = message


def _swipes(line: Value, text: str) -> tuple[list[str], int]:
    """What was said in the place of a message, and which of it stands: that is `text`, edited perhaps."""
    swipes, chosen = line.value.get("swipes"), line.value.get("swipe_id", 0)
    if not swipes:
        return [text], 0
    if not isinstance(swipes, list) or not all(isinstance(swipe, str) for swipe in swipes):
        raise TransferError("must be a list of texts", line.at("swipes"))
    if not isinstance(chosen, int) or isinstance(chosen, bool) or not 0 <= chosen < len(swipes):
        raise TransferError(f"must be the number of one of {len(swipes)} swipes", line.at("swipe_id"))
    return [*swipes[:chosen], text, *swipes[chosen + 1 :]], chosen


def _role(line: Value) -> Role:
    if _flag(line, "is_user"):
        return "user"
    return "system" if _is_narrator(line.value) else "assistant"


def _is_narrator(said: dict[str, Any]) -> bool:
    extra = said.get("extra")
    return isinstance(extra, dict) and extra.get("type") == "narrator"


def _flag(line: Value, name: str) -> bool:
    flag = line.value.get(name, False)
    if not isinstance(flag, bool):
        raise TransferError("must be true or false", line.at(name))
    return flag


def _user_name(value: Any) -> str | None:
    return None if value == "unused" else name_of(value)


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return time_of(value)
    if found := _COMPACT.fullmatch(value.strip()):
        try:
            *parts, milliseconds = (int(part or 0) for part in found.groups())
            time = datetime(*parts, milliseconds * 1000, tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:
            return None
        return time_of(time.isoformat())
    try:
        return time_of(datetime.strptime(value.strip(), _SPOKEN).replace(tzinfo=UTC).isoformat())
    except ValueError:
        return time_of(value)


def _begin(head: ChatHead) -> bytes:
    return _line(
        {
            "user_name": head.user_name,
            "character_name": head.persona_name,
            "create_date": _written(head.created_at),
            "chat_metadata": {},
        }
    )


def _message(head: ChatHead, message: SpokenMessage, _number: int) -> bytes:
    names = {"user": head.user_name, "assistant": head.persona_name, "system": "System"}
    said: dict[str, Any] = {
        "name": names[message.role],
        "is_user": message.role == "user",
        "is_system": message.is_excluded,
        "send_date": _written(message.created_at),
        "mes": message.content,
        "extra": {"type": "narrator"} if message.role == "system" else {},
    }
    if len(message.alternatives) > 1:
        said["swipe_id"] = message.chosen
        said["swipes"] = [content for content, _ in message.alternatives]
        said["swipe_info"] = [{"send_date": _written(time)} for _, time in message.alternatives]
    return _line(said)


def _written(time: datetime) -> str:
    return time.isoformat(timespec="microseconds")


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"


WRITER = Writer("application/jsonl", _begin, _message, b"")
