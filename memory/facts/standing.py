"""Which facts stand: duplicates merged, older ones superseded by newer, ended ones gone.

It is computed from what was said in its order, never stored. So whatever leaves, by an edit or a deletion,
leaves nothing stale behind: what it superseded stands again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memory.facts.fact import OPPOSITES, Fact, holds_one, words_of

NEAR = 0.75
"""Two values are one if they share so many of their words, and all their numbers."""


@dataclass(frozen=True, slots=True)
class Standing:
    """`facts` stand, oldest first. `superseded` and `merged`: ids of others, with those in whose favour."""

    facts: tuple[Fact, ...]
    superseded: Mapping[str, str]
    merged: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Value:
    """A value as it is compared with many others: its words are looked for once."""

    text: str
    words: frozenset[str]

    @classmethod
    def of(cls, text: str) -> "_Value":
        return cls(text.strip(), frozenset(words_of(text)))

    def is_same(self, other: "_Value") -> bool:
        """Whether two values say the same, but for their form or a word of many."""
        if self.words == other.words:
            return bool(self.words) or self.text == other.text
        if self.words.isdisjoint(other.words):
            return False
        is_near = len(self.words & other.words) >= NEAR * len(self.words | other.words)
        return is_near and not any(char.isdigit() for word in self.words ^ other.words for char in word)


@dataclass(frozen=True, slots=True)
class _Held:
    """A fact that stands up to now."""

    fact: Fact
    value: _Value


def standing(facts: Sequence[Fact]) -> Standing:
    """What stands of facts that are given in the order in which they were said."""
    held: dict[tuple[str, str], list[_Held]] = {}
    superseded: dict[str, str] = {}
    merged: dict[str, str] = {}
    for fact in facts:
        subject, value = fact.subject.casefold(), _Value.of(fact.value)
        of_key = held.setdefault((subject, fact.key), [])
        opposed = held.get((subject, OPPOSITES.get(fact.key, "")), [])
        ended = _ended(fact.ends, of_key)
        twin = next((each for each in of_key if each not in ended and each.value.is_same(value)), None)
        if fact.value:
            ended += [each for each in opposed if each.value.is_same(value)]
            if holds_one(fact.key):
                ended += [each for each in of_key if each is not twin and each not in ended]
        for each in ended:
            superseded[each.fact.id] = fact.id
            held[subject, each.fact.key].remove(each)
        if twin is not None:
            merged[fact.id] = twin.fact.id
        elif fact.value:
            of_key.append(_Held(fact, value))
    left = {each.fact.id for of_key in held.values() for each in of_key}
    return Standing(tuple(fact for fact in facts if fact.id in left), superseded, merged)


def _ended(ends: str | None, held: Sequence[_Held]) -> list[_Held]:
    """Those of the facts of one key that no longer hold, by what another says that it ends."""
    if ends is None:
        return []
    value = _Value.of(ends)
    return [each for each in held if not ends or each.value.is_same(value)]
