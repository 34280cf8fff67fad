"""What the chats of a language are made of: kinds of facts, and topics of small talk with their words.

A language is a TOML file beside this one.
"""

import random
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTICLE = re.compile(r"\{(\w+)\}\((\w+)/(\w+)\)")
FIRST_SYLLABLE, LAST_SYLLABLE, FINALS, FINAL_L = 0xAC00, 0xD7A3, 28, 8


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fact. In its sentences `{v}` is the value, in `endings` the one that holds no longer.

    No value is a part of another's or of any small talk, so that one found in a window tells the fact.
    """

    name: str
    values: tuple[str, ...]
    tellings: tuple[str, ...]
    changes: tuple[str, ...]
    question: str
    answer: str
    endings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Topic:
    """Lines of a user and of who replies. Words in braces are drawn, the same for line and reply."""

    lines: tuple[str, ...]
    replies: tuple[str, ...]
    words: Mapping[str, tuple[str, ...]]

    def exchange(self, chance: random.Random) -> tuple[str, str]:
        drawn = {name: chance.choice(words) for name, words in self.words.items()}
        line, reply = chance.choice(self.lines), chance.choice(self.replies)
        return _capital(filled(line, **drawn)), _capital(filled(reply, **drawn))


@dataclass(frozen=True, slots=True)
class Language:
    """`ended`: words of which one stands beside a value that holds no longer."""

    name: str
    kinds: tuple[Kind, ...]
    topics: tuple[Topic, ...]
    acknowledgements: tuple[str, ...]
    ended: tuple[str, ...]


def read_language(file: str) -> Language:
    content = tomllib.loads((Path(__file__).parent / file).read_text(encoding="utf-8"))
    shared = _tuples(content["words"])
    return Language(
        content["name"],
        tuple(Kind(**_tuples(kind)) for kind in content["kinds"]),
        tuple(
            Topic(tuple(topic["lines"]), tuple(topic["replies"]), shared | _tuples(topic["words"]))
            for topic in content["topics"]
        ),
        tuple(content["acknowledgements"]),
        tuple(content["ended"]),
    )


def filled(sentence: str, **values: str) -> str:
    """The sentence with its values. Of Korean particles, `{v}(을/를)`, the one that fits the value's end."""

    def fitting(found: re.Match[str]) -> str:
        name, after_final, after_vowel = found.groups()
        return f"{{{name}}}{_particle(values[name], after_final, after_vowel)}"

    return PARTICLE.sub(fitting, sentence).format(**values)


def _particle(value: str, after_final: str, after_vowel: str) -> str:
    if not FIRST_SYLLABLE <= (last := ord(value[-1])) <= LAST_SYLLABLE:
        return after_vowel
    final = (last - FIRST_SYLLABLE) % FINALS
    if not final or (final == FINAL_L and after_final == "으로"):
        return after_vowel
    return after_final


def _tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in table.items()}


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
