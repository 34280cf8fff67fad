"""pippaGPT's conversations: a JSON list of messages with `role` and `content`, or as LangChain's
`messages_to_dict` makes it.
"""

import json
from collections.abc import Sequence
from typing import Any

from app.transfer.archive import Archive, ChatHead, SpokenMessage, TransferError, Writer
from app.transfer.drafting import ChatDraft
from app.transfer.files import Value
from memory.messages import Role

FORMAT = "pippagpt"
ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "ai": "assistant",
    "assistant": "assistant",
}
TYPES: dict[Role, str] = {"system": "system", "user": "human", "assistant": "ai"}


def recognise(values: Sequence[Value]) -> bool:
    messages = values[0].value
    if len(values) > 1 or not isinstance(messages, list) or not messages:
        return False
    first = messages[0]
    return isinstance(first, dict) and ("data" in first or first.get("role") in ("human", "ai"))


def read(values: Sequence[Value]) -> Archive:
    """Raises TransferError. Messages without text are left out and counted."""
    archive = Archive(FORMAT)
    if len(values) > 1 or not isinstance(values[0].value, list):
        raise TransferError("must be one list of messages", values[0].at())
    draft = ChatDraft(archive, values[0].at())
    for number, message in enumerate(values[0].value):
        place = Value(str(number), message)
        if not isinstance(message, dict):
            raise TransferError("must be an object", place.at())
        named = "type" if "data" in message else "role"
        role = message.get(named)
        if not isinstance(role, str) or role not in ROLES:
            raise TransferError(f"must be one of {', '.join(ROLES)}", place.at(named))
        path = ("data", "content") if "data" in message else ("content",)
        content = message.get("data", message)
        content = content.get("content") if isinstance(content, dict) else None
        if not isinstance(content, str):
            raise TransferError("must be a text", place.at(*path))
        if content.strip():
            draft.say(ROLES[role], content, place.at(*path))
        else:
            archive.left_out["a message without text"] += 1
    return archive


def _message(_head: ChatHead, message: SpokenMessage, number: int) -> bytes:
    said: dict[str, Any] = {"type": TYPES[message.role], "data": {"content": message.content}}
    return (b"\n" if number == 0 else b",\n") + json.dumps(said, ensure_ascii=False).encode()


WRITER = Writer("application/json", lambda _head: b"[", _message, b"\n]\n")
