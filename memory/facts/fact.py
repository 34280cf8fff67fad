"""What a fact is, what an extractor finds, and which keys hold one value at a time."""

import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime

from memory.fence import one_line

USER = "user"
PERSONA = "persona"

OWNER = "owner"
"""The author of what the owner of a chat put down."""

TO_REMEMBER = "to remember"
"""The key of what somebody asked to remember: the value is their sentence."""

_ONE_VALUE = frozenset(
    {
        "name", "age", "birthday", "home", "origin", "job", "employer", "school", "relationship",
        "mother", "father", "husband", "wife", "spouse", "partner", "boyfriend", "girlfriend", "fiancé",
    }
)  # fmt: skip
OPPOSITES = {"likes": "dislikes", "dislikes": "likes"}
"""Keys of which a value under one ends the same value under the other."""
NEGATIVE = frozenset({"dislikes", "does not eat"})
"""Keys whose sentences are negations."""

_WORD = re.compile(r"[^\W_]+")
_ARTICLES = frozenset({"a", "an", "the", "my", "our", "some"})


@dataclass(frozen=True, slots=True)
class Found:
    """What an extractor finds in a message: `content[start:end]` is the quote that says it.

    `ends`: the value under that key which no longer holds, "" for every one. With an empty `value` nothing
    takes its place.
    """

    subject: str
    key: str
    value: str
    start: int
    end: int
    ends: str | None = None


@dataclass(frozen=True, slots=True)
class Fact:
    """A fact as it is kept; `said_at` dates it. `text` is how it is told, "" if it only ends another.

    `message_id` and the span of the quote are None where the owner put it down.
    """

    id: str
    subject: str
    key: str
    value: str
    text: str
    author: str
    said_at: datetime
    ends: str | None = None
    message_id: str | None = None
    quote_start: int | None = None
    quote_end: int | None = None


def holds_one(key: str) -> bool:
    """Whether a newer value of this key takes the place of the older."""
    return key in _ONE_VALUE or key.startswith("favourite ")


def told(found: Found, user_name: str, persona_name: str) -> str:
    """How a fact is told in the window: one line."""
    if not found.value:
        return ""
    subject = {USER: user_name, PERSONA: persona_name}.get(found.subject, found.subject)
    return one_line(f"{subject}, {found.key}: {found.value}")


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text for comparing: their form and articles make no difference."""
    words = _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return tuple(word for word in words if word not in _ARTICLES) or tuple(words)
