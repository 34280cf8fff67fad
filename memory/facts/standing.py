"""Which facts stand: duplicates merged, older ones superseded by newer, ended ones gone.

It is computed from what was said in its order, and from nothing else. So whatever leaves, by an edit or a
deletion, leaves nothing stale behind: what it superseded stands again.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

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
    """A value as it is compared with many others. Values that are the same share one of their `signs`."""

    text: str
    words: frozenset[str]
    signs: tuple[tuple[str, ...], ...]

    def is_same(self, other: "_Value") -> bool:
        """Whether two values say the same, but for their form or a word of many."""
        if self.words == other.words:
            return bool(self.words) or self.text == other.text
        if self.words.isdisjoint(other.words):
            return False
        is_near = len(self.words & other.words) >= NEAR * len(self.words | other.words)
        return is_near and not any(char.isdigit() for word in self.words ^ other.words for char in word)


class _Values:
    """Values as they are compared, each looked at once; `texts` are all that there are.

    Of two values that are near each other, take the rarest word that they share: before it stand, in either's
    words from the rarest on, only words that the other lacks, and these are few. So the first few words are
    the signs of a value, each with the numbers, which are the same.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._words = {text: frozenset(words_of(text)) for text in texts}
        self._counts = Counter(chain.from_iterable(self._words.values()))
        self._values: dict[str, _Value] = {}

    def __getitem__(self, text: str) -> _Value:
        if text not in self._values:
            self._values[text] = self._value(text.strip(), self._words[text])
        return self._values[text]

    def _value(self, text: str, words: frozenset[str]) -> _Value:
        if not words:
            return _Value(text, words, ((text,),))
        rarest = sorted(words, key=lambda word: (self._counts[word], word))
        numbers = sorted(word for word in words if any(char.isdigit() for char in word))
        lacking = len(words) - math.ceil(NEAR * len(words))
        return _Value(text, words, tuple((word, *numbers) for word in rarest[: lacking + 1]))


@dataclass(frozen=True, slots=True)
class _Held:
    """A fact that stands up to now; `place`: among all facts."""

    fact: Fact
    value: _Value
    place: int


@dataclass(frozen=True, slots=True)
class _Group:
    """The facts of one key that stand up to now, by their places, found by their values."""

    by_place: dict[int, _Held] = field(default_factory=dict)
    by_sign: defaultdict[tuple[str, ...], dict[int, _Held]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, held: _Held) -> None:
        self.by_place[held.place] = held
        for sign in held.value.signs:
            self.by_sign[sign][held.place] = held

    def remove(self, held: _Held) -> None:
        del self.by_place[held.place]
        for sign in held.value.signs:
            del self.by_sign[sign][held.place]

    def same(self, value: _Value) -> list[_Held]:
        """Those of the same value, oldest first."""
        near = {place: held for sign in value.signs for place, held in self.by_sign.get(sign, {}).items()}
        return [near[place] for place in sorted(near) if near[place].value.is_same(value)]


def standing(facts: Sequence[Fact]) -> Standing:
    """What stands of facts that are given in the order in which they were said."""
    values = _Values(text for fact in facts for text in (fact.value, fact.ends) if text is not None)
    groups: defaultdict[tuple[str, str], _Group] = defaultdict(_Group)
    superseded: dict[str, str] = {}
    merged: dict[str, str] = {}
    for place, fact in enumerate(facts):
        subject, value = fact.subject.casefold(), values[fact.value]
        of_key = groups[subject, fact.key]
        ended: list[_Held] = []
        if fact.ends is not None:
            ended += of_key.same(values[fact.ends]) if fact.ends else of_key.by_place.values()
        twin = next((each for each in of_key.same(value) if each not in ended), None)
        if fact.value:
            if (opposite := OPPOSITES.get(fact.key)) is not None:
                ended += groups[subject, opposite].same(value)
            if holds_one(fact.key):
                ended += [each for each in of_key.by_place.values() if each is not twin and each not in ended]
        for each in ended:
            superseded[each.fact.id] = fact.id
            groups[subject, each.fact.key].remove(each)
        if twin is not None:
            merged[fact.id] = twin.fact.id
        elif fact.value:
            of_key.add(_Held(fact, value, place))
    left = sorted(place for group in groups.values() for place in group.by_place)
    return Standing(tuple(facts[place] for place in left), superseded, merged)
