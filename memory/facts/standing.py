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


def standing(facts: Sequence[Fact]) -> Standing:
    """What stands of facts that are given in the order in which they were said."""
    held: dict[tuple[str, str], list[Fact]] = {}
    superseded: dict[str, str] = {}
    merged: dict[str, str] = {}
    for fact in facts:
        subject = fact.subject.casefold()
        of_key = held.setdefault((subject, fact.key), [])
        opposed = held.get((subject, OPPOSITES.get(fact.key, "")), [])
        ended = [each for each in of_key if fact.ends is not None and _ends(fact.ends, each.value)]
        twin = next((each for each in of_key if each not in ended and same(each.value, fact.value)), None)
        if fact.value:
            ended += [each for each in opposed if same(each.value, fact.value)]
            if holds_one(fact.key):
                ended += [each for each in of_key if each is not twin and each not in ended]
        for each in ended:
            superseded[each.id] = fact.id
            held[subject, each.key].remove(each)
        if twin is not None:
            merged[fact.id] = twin.id
        elif fact.value:
            of_key.append(fact)
    left = {each.id for of_key in held.values() for each in of_key}
    return Standing(tuple(fact for fact in facts if fact.id in left), superseded, merged)


def same(value: str, other: str) -> bool:
    """Whether two values say the same, but for their form or a word of many."""
    words, others = set(words_of(value)), set(words_of(other))
    if words == others:
        return bool(words) or value.strip() == other.strip()
    shared = len(words & others) / max(1, len(words | others))
    return shared >= NEAR and not any(char.isdigit() for word in words ^ others for char in word)


def _ends(ends: str, value: str) -> bool:
    return not ends or same(ends, value)
