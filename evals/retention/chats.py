"""Chats made from seeds: facts told, changed and taken back at known depths, amid small talk."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from evals.harness.chats import Asked, Chat
from evals.harness.errors import EvaluationError
from evals.retention.language import Kind, Language, filled, read_language

LANGUAGES = {language.name: language for language in map(read_language, ("english.toml", "korean.toml"))}
DEPTHS = (0, 5, 10, 20, 40, 70, 100, 130, 160, 190)
"""How many turns follow the last that was said of a fact."""
BEFORE = 8
"""So many turns there are at least before a fact is changed, for what it was before."""
TRIES = 20
TWO_LINES = 0.25
"""In so many turns the user says two things."""

State = Literal["told", "changed", "ended"]


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of a kind of fact: `value` holds now, and `old` did before. One that ended has no value.

    `turn`: where it was told last; `depth`: how many turns follow that, as it was meant, for what has no room
    there stands in the turn beside it.
    """

    kind: Kind
    state: State
    value: str | None
    old: str | None
    turn: int
    depth: int

    @property
    def asked(self) -> Asked:
        return Asked(self.kind.question, (self.turn,))

    @property
    def answers(self) -> Sequence[str]:
        """The right answer first, then one for each other value of the kind, the old one among them."""
        others = [each for each in self.kind.values if each != self.value]
        values = others if self.value is None else [self.value, *others]
        return [filled(self.kind.answer, v=value) for value in values]


@dataclass(frozen=True, slots=True)
class RetentionChat:
    chat: Chat
    language: Language
    seed: int
    told: tuple[Told, ...]


def retention_chat(seed: int, language: Language, turns: int) -> RetentionChat:
    """The same for the same seed, language and length. Raises EvaluationError if it is too short."""
    chance = random.Random(f"retention {seed} {language.name}")
    depths = [depth for depth in DEPTHS if depth + BEFORE <= turns]
    if len(depths) < 2:
        raise EvaluationError(f"a chat of {turns} turns is too short; take {DEPTHS[1] + BEFORE} or more")
    said: dict[int, str] = {}
    told = tuple(_tell(chance, said, _plan(chance, seed, language, depths), turns))
    used: set[str] = set()
    exchanges = [_exchange(chance, language, said.get(turn), used) for turn in range(turns)]
    return RetentionChat(Chat(f"{language.name} {seed}", tuple(exchanges)), language, seed, told)


def _plan(
    chance: random.Random, seed: int, language: Language, depths: Sequence[int]
) -> list[tuple[Kind, State, int]]:
    """Which kind of fact comes to which state, and how many turns before the end.

    At each depth one is told once, and another is changed or, at every third, taken back: each where another
    seed has the other.
    """
    kinds = list(language.kinds)
    chance.shuffle(kinds)
    plan: list[tuple[Kind, State, int]] = []
    for number, depth in enumerate(depths):
        ends = (number + seed) % 3 == 2
        ending = next(kind for kind in kinds if kind.endings or not ends)
        kinds.remove(ending)
        plan.append((ending, "ended" if ends else "changed", depth))
    return [*plan, *((kind, "told", depth) for kind, depth in zip(kinds, depths, strict=False))]


def _tell(
    chance: random.Random, said: dict[int, str], plan: Sequence[tuple[Kind, State, int]], turns: int
) -> Iterator[Told]:
    """Put what is told into `said`, by its turn; each turn tells one thing."""
    placed = []
    for kind, state, depth in plan:
        turn = max(each for each in range(turns - depth) if each not in said)
        said[turn] = ""
        placed.append((kind, state, depth, turn))
    # Those that were told first have the fewest turns before them to choose from.
    for kind, state, depth, turn in sorted(placed, key=lambda each: each[-1]):
        new, old = chance.sample(kind.values, 2)
        if state == "told":
            said[turn] = filled(chance.choice(kind.tellings), v=new)
            yield Told(kind, state, new, None, turn, depth)
            continue
        before = chance.choice([each for each in range(turn) if each not in said])
        said[before] = filled(chance.choice(kind.tellings), v=old)
        if state == "changed":
            said[turn] = filled(chance.choice(kind.changes), v=new)
            yield Told(kind, state, new, old, turn, depth)
        else:
            said[turn] = filled(chance.choice(kind.endings), v=old)
            yield Told(kind, state, None, old, turn, depth)


def _exchange(chance: random.Random, language: Language, told: str | None, used: set[str]) -> tuple[str, str]:
    """A turn of small talk; a fact that is told stands alone in it, or before or behind other things."""
    line, reply = _small_talk(chance, language, used)
    if told is None:
        if chance.random() < TWO_LINES:
            line = f"{_small_talk(chance, language, used)[0]} {line}"
        return line, reply
    parts = chance.choice(([told], [line, told], [told, line]))
    return " ".join(parts), reply if parts[-1] is line else chance.choice(language.acknowledgements)


def _small_talk(chance: random.Random, language: Language, used: set[str]) -> tuple[str, str]:
    """A line and its reply; none that was `used`, as far as there are others."""
    for _ in range(TRIES):
        line, reply = chance.choice(language.topics).exchange(chance)
        if line not in used:
            break
    used.add(line)
    return line, reply
