"""What made characters are, and what they say of it.

Of each topic there are two questions, and for each fact a line that answers either: the first line tells the
fact, the second only follows from it.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Trait:
    """A fact, and what one of whom it is true says to the two questions of its topic."""

    fact: str
    told: str
    follows: str


@dataclass(frozen=True, slots=True)
class Topic:
    """Two questions, and the traits of which a character has one."""

    questions: tuple[str, str]
    traits: Sequence[Trait]


def topic(first: str, second: str, *traits: tuple[str, str, str]) -> Topic:
    return Topic((first, second), [Trait(*trait) for trait in traits])
