"""Which facts stand, found in the obvious way: each fact is compared with all that stand before it."""

from collections.abc import Sequence

from memory.facts.fact import OPPOSITES, Fact, holds_one, words_of
from memory.facts.standing import NEAR, Standing


def naive_standing(facts: Sequence[Fact]) -> Standing:
    held: list[Fact] = []
    superseded: dict[str, str] = {}
    merged: dict[str, str] = {}
    for fact in facts:
        of_subject = [each for each in held if each.subject.casefold() == fact.subject.casefold()]
        of_key = [each for each in of_subject if each.key == fact.key]
        opposed = [each for each in of_subject if each.key == OPPOSITES.get(fact.key)]
        ends = fact.ends
        gone = [each for each in of_key if ends is not None and (not ends or _is_same(each.value, ends))]
        twin = next((each for each in of_key if each not in gone and _is_same(each.value, fact.value)), None)
        if fact.value:
            gone += [each for each in opposed if _is_same(each.value, fact.value)]
            if holds_one(fact.key):
                gone += [each for each in of_key if each is not twin]
        superseded |= {each.id: fact.id for each in gone}
        held = [each for each in held if each not in gone]
        if twin is not None:
            merged[fact.id] = twin.id
        elif fact.value:
            held.append(fact)
    return Standing(tuple(held), superseded, merged)


def _is_same(value: str, other: str) -> bool:
    words, others = set(words_of(value)), set(words_of(other))
    if not words or not others:
        return words == others and value.strip() == other.strip()
    differing = words ^ others
    is_near = len(words & others) >= NEAR * len(words | others)
    return is_near and not any(char.isdigit() for word in differing for char in word)
