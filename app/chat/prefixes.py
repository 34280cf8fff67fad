"""The prefixes of chat messages, `system:`, `ci:` and `qa:`, as they are typed.

What was typed is kept in two parts, `prefix + content`: the second is what is said, and stands in later
windows; the first is heeded for one reply. Reading them again gives the same.
"""

import re
from dataclasses import dataclass
from typing import Literal, cast

from memory.messages import Role

PrefixKind = Literal["system", "ci", "qa"]

DEFAULT_INSTRUCTIONS = "default"
"""`ci: default` gives the chat its persona's own instructions back."""

_PREFIX = re.compile(r"(system|ci|qa):(?:\r\n|[ \r\n])?", re.IGNORECASE)
_LINE_BREAKS = re.compile(r"([\r\n]+)")
_EMPTY: dict[PrefixKind, str] = {
    "system": "`system:` wants a note in its first line",
    "ci": "`ci:` wants instructions, or `ci: default` for the persona's own",
    "qa": "`qa:` wants a question",
}


class PrefixError(ValueError):
    """A prefix with nothing behind it; the message says what it wants."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A message as it was typed: `(prefix or "") + content`. Of an ordinary one only the content is there.

    `note`: what a `system:` adds to a message. Without a message behind it, the note is the `content`, and
    `role` is the system's.
    """

    content: str
    kind: PrefixKind | None = None
    prefix: str | None = None
    note: str | None = None

    @property
    def role(self) -> Role:
        return "system" if self.kind == "system" and self.note is None else "user"


def may_be_typed(content: str) -> bool:
    """Whether a message says something else where prefixes are on."""
    return _PREFIX.match(content) is not None


def read_typed(typed: str) -> Typed:
    """The parts of a message where prefixes are on. Raises PrefixError."""
    begins = _PREFIX.match(typed)
    if begins is None:
        return Typed(typed)
    kind = cast(PrefixKind, begins[1].lower())
    prefix, content = begins[0], typed[begins.end() :]
    if kind != "system":
        if not content.strip():
            raise PrefixError(_EMPTY[kind])
        return Typed(content, kind, prefix)
    note, breaks, message = (*_LINE_BREAKS.split(content, maxsplit=1), "", "")[:3]
    if not note.strip():
        raise PrefixError(_EMPTY[kind])
    if not message.strip():
        return Typed(content, kind, prefix)
    return Typed(message, kind, prefix + note + breaks, note)
