"""The extractor that has a language model write the facts. What its message does not say is dropped."""

import re
from collections.abc import Iterator

from memory.errors import NotWrittenError
from memory.facts.checks import Source
from memory.facts.extractor import Extracted, Extractor, about, distinct
from memory.facts.fact import PERSONA, USER, Found
from memory.messages import Message
from memory.protocols import Write

INSTRUCTIONS = (
    "You note what a message tells about the person who wrote it and will still matter in months: name, age, "
    "home, job, family, pets, likes, allergies, health, plans. Write one line for each fact:\n"
    "subject | key | value | quote\n"
    "The subject is `me` for who wrote the message, or another person's name. The quote is copied from the "
    "message, word for word, and contains the value. Note nothing that is asked, wished, supposed or denied. "
    "If there is nothing to note, write `none`."
)
EXAMPLE = (
    "Example. Message: I've lived in Ghent since May, isn't it cold?\nme | home | Ghent | I've lived in Ghent"
)

MAX_TOKENS = 200
LONGEST_MESSAGE = 4000
"""Characters; a longer message is a pasted text rather than somebody telling of themselves."""

_MYSELF = frozenset({"me", "i", "myself", "user", "the user", "persona", "assistant", "author", "나", "저"})
_KEYS = {
    "likes": ("like", "hobby", "hobbies", "interest", "interests", "love", "loves"),
    "dislikes": ("dislike", "hates", "hate"),
    "home": ("city", "location", "residence", "lives in", "address", "place"),
    "origin": ("hometown", "birthplace", "from"),
    "job": ("occupation", "profession", "work", "career"),
    "employer": ("company", "workplace"),
    "allergies": ("allergy", "allergic to"),
    "pets": ("pet",),
    "birthday": ("birth date", "birthdate", "date of birth"),
    "languages": ("language",),
    "plans": ("plan", "appointment"),
    "relationship": ("marital status",),
}
_KEY_OF = {other: key for key, others in _KEYS.items() for other in others}


class WrittenExtractor:
    """A model writes. Where nothing of what it writes can be read as facts, `otherwise` serves instead."""

    batch = 1

    def __init__(self, write: Write, *, author: str, otherwise: Extractor) -> None:
        self._write = write
        self._author = author
        self._otherwise = otherwise

    async def extract(self, message: Message) -> Extracted:
        subject, source = about(message), Source(message.content)
        if subject is None or source.is_template or not message.content.strip():
            return Extracted((), self._author)
        if len(message.content) > LONGEST_MESSAGE:
            return await self._otherwise.extract(message)
        asked = f"{EXAMPLE}\n\nMessage: {message.content}"
        try:
            written = (await self._write(INSTRUCTIONS, asked, MAX_TOKENS)).strip()
        except NotWrittenError:
            return await self._otherwise.extract(message)
        lines = [line for line in (_fields(line) for line in written.splitlines()) if line]
        if not lines and written.casefold().strip("`. ") != "none":
            return await self._otherwise.extract(message)
        return Extracted(distinct(list(_grounded(lines, subject, source))), self._author)


def _fields(line: str) -> tuple[str, str, str, str] | None:
    """Subject, key, value and quote of a line; None if it is none."""
    parts = [part.strip(" \t`*\"'“”") for part in line.strip().lstrip("-*•0123456789. ").split("|")]
    if len(parts) != 4 or not all(parts) or [part.casefold() for part in parts[:2]] == ["subject", "key"]:
        return None
    return parts[0], parts[1], parts[2], parts[3]


def _grounded(lines: list[tuple[str, str, str, str]], subject: str, source: Source) -> Iterator[Found]:
    for who, key, value, quote in lines:
        span = _span(quote, source.content)
        if span is None:
            continue
        named = subject if who.casefold() in _MYSELF else who
        if named not in (USER, PERSONA) and named.casefold() not in source.content.casefold():
            continue
        plain = " ".join(key.casefold().replace("_", " ").split())
        found = Found(named, _KEY_OF.get(plain, plain), value, *span)
        if source.says(found):
            yield found


def _span(quote: str, content: str) -> tuple[int, int] | None:
    """Where the message says so, whatever the case and the spaces."""
    words = [re.escape(word) for word in quote.split()]
    match = re.search(r"\s+".join(words), content, re.IGNORECASE)
    return match.span() if match else None
