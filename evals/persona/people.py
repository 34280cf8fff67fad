"""Characters of real dialogues: a persona, and of what was said in it the lines that rest on it."""

import random
import re
from collections import Counter
from collections.abc import Sequence

from evals.dialogues import Dialogue
from evals.persona.characters import Character, Line

NAME = "Companion"
LINES = 4
"""At most, of a dialogue."""
EXAMPLES = 2
RARE = 0.02
"""The share of dialogues that may have a word, and it still tells who speaks."""

_WORD = re.compile(r"\w{3,}")


def people(dialogues: Sequence[Dialogue], seed: int) -> list[Character]:
    """Those of whom there are lines that rest on their facts, in an order that the seed decides.

    Whose persona is in several dialogues is taken from one of them.
    """
    having = Counter(word for dialogue in dialogues for word in _words(_all_said(dialogue)))
    most = max(2, int(RARE * len(dialogues)))  # a persona may be in more than one dialogue
    rare = frozenset(word for word, count in having.items() if count <= most)
    characters = [_character(dialogue, rare) for dialogue in dialogues]
    found = [character for character in characters if character.lines]
    random.Random(seed).shuffle(found)
    return list({frozenset(character.facts): character for character in found}.values())


def _character(dialogue: Dialogue, rare: frozenset[str]) -> Character:
    """A line rests on the persona if it has words of it that are rare; those with the most go first."""
    telling = _words(dialogue.persona) & rare
    replies = [reply for _, reply in dialogue.exchanges]
    shared = [len(_words(reply) & telling) for reply in replies]
    resting = [place for place, count in enumerate(shared) if count and replies[place] not in replies[:place]]
    lines = sorted(sorted(resting, key=lambda place: -shared[place])[:LINES])
    others = [place for place, count in enumerate(shared) if not count]
    said = [Line(*exchange) for exchange in dialogue.exchanges]
    return Character(
        name=NAME,
        language="English",
        facts=tuple(fact.strip() for fact in dialogue.persona.splitlines() if fact.strip()),
        examples=tuple(said[place] for place in others[:EXAMPLES]),
        lines=tuple(said[place] for place in lines),
    )


def _all_said(dialogue: Dialogue) -> str:
    return "\n".join([dialogue.persona, *(text for exchange in dialogue.exchanges for text in exchange)])


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.casefold()))
