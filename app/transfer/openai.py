"""Messages as OpenAI's chat completions have them: `{"messages": [...]}`, a bare list, or one such a line.

Parts that are no text (images, tool calls) are refused, or with `lossy` left out and counted.
"""

import json
from collections.abc import Sequence
from typing import Any

from app.transfer.archive import Archive, ChatHead, SpokenMessage, TransferError, Writer
from app.transfer.drafting import ChatDraft
from app.transfer.files import Value
from memory.messages import Role

FORMAT = "openai"
ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
NO_SPEAKERS = ("tool", "function")


def recognise(values: Sequence[Value]) -> bool:
    first = values[0].value
    if isinstance(first, dict):
        return isinstance(first.get("messages"), list)
    return isinstance(first, list) and bool(first) and isinstance(first[0], dict) and "role" in first[0]


def read(values: Sequence[Value], *, lossy: bool) -> Archive:
    """Raises TransferError. A message without any text is treated like a part that is none."""
    archive = Archive(FORMAT)
    for value in values:
        messages, path = value.value, list[str]()
        if isinstance(messages, dict):
            messages, path = messages.get("messages"), ["messages"]
        if not isinstance(messages, list):
            raise TransferError("must be a list of messages", value.at(*path))
        draft = ChatDraft(archive, value.at())
        for number, message in enumerate(messages):
            _read_message(archive, draft, Value(value.at(*path, number), message), lossy)
    return archive


def _read_message(archive: Archive, draft: ChatDraft, message: Value, lossy: bool) -> None:
    if not isinstance(message.value, dict):
        raise TransferError("must be an object", message.at())
    losses: list[tuple[str, str]] = []
    role, text = message.value.get("role"), ""
    if not isinstance(role, str) or role not in (*ROLES, *NO_SPEAKERS):
        raise TransferError(f"must be one of {', '.join(ROLES)}", message.at("role"))
    if role in NO_SPEAKERS:
        losses.append((f"a message of role {role}", message.at("role")))
    else:
        text = _text(message, losses)
        losses += [
            (name[:64], message.at(name))
            for name, value in message.value.items()
            if name not in ("role", "content") and value not in (None, [], "")
        ]
        if not text.strip() and not losses:
            losses.append(("a message without text", message.at("content")))
    if losses and not lossy:
        what, place = losses[0]
        raise TransferError(f"{what} cannot be taken in; with lossy=true it is left out", place)
    archive.left_out.update(what for what, _ in losses)
    if role in ROLES and text.strip():
        draft.say(ROLES[role], text, message.at("content"))


def _text(message: Value, losses: list[tuple[str, str]]) -> str:
    """The text of a message's content; adds to `losses` what of it is no text, and where."""
    content = message.value.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise TransferError("must be a text or a list of parts", message.at("content"))
    texts: list[str] = []
    for number, part in enumerate(content):
        place = message.at("content", number)
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise TransferError("must be an object with a type", place)
        if part["type"] not in ("text", "input_text", "output_text"):
            losses.append((f"a part of type {part['type'][:64]}", place))
        elif not isinstance(part.get("text"), str):
            raise TransferError("must be a text", f"{place}.text")
        else:
            texts.append(part["text"])
    return "\n".join(texts)


def written_message(_head: ChatHead, message: SpokenMessage, number: int) -> bytes:
    said: dict[str, Any] = {"role": message.role, "content": message.content}
    return (b"\n" if number == 0 else b",\n") + json.dumps(said, ensure_ascii=False).encode()


WRITER = Writer("application/json", lambda _head: b'{"messages": [', written_message, b"\n]}\n")
