"""Characters that are made from a seed, two for a chat, with nothing in common but what they are asked."""

import random
from collections.abc import Sequence

from evals.persona import english, korean
from evals.persona.characters import Character, Line, Pair
from evals.persona.rules import ENGLISH, KOREAN, Rule
from evals.persona.topics import Topic

NAMES = {"English": english.NAMES, "Korean": korean.NAMES}
VOICES: dict[str, Sequence[tuple[Rule, Sequence[Topic]]]] = {
    "English": [(rule, english.TOPICS) for rule in ENGLISH],
    "Korean": [(KOREAN[level], topics) for level, topics in korean.TOPICS.items()],
}
"""By language: ways to speak, and what is said in them."""
LANGUAGES = tuple(VOICES)
SHOWN = 2
"""Topics that a character's examples are about."""


def made_pair(language: str, seed: int) -> Pair:
    """Two characters of other names and other traits; the same for the same seed.

    Of every topic both are asked one question, of those that their examples tell the second.
    """
    chance = random.Random(f"{language} {seed}")
    names = chance.sample(NAMES[language], 2)
    voices = [chance.choice(VOICES[language]) for _ in names]
    topics = voices[0][1]
    shown = chance.sample(range(len(topics)), SHOWN)
    asked = [1 if number in shown else chance.choice((0, 1)) for number in range(len(topics))]
    drawn = [chance.sample(range(len(topic.traits)), 2) for topic in topics]

    def character(who: int) -> Character:
        rule, topics = voices[who]
        traits = [topic.traits[places[who]] for topic, places in zip(topics, drawn, strict=True)]

        def line(number: int, question: int) -> Line:
            said = (traits[number].told, traits[number].follows)[question]
            return Line(topics[number].questions[question], rule.spoken(said))

        return Character(
            name=names[who],
            language=language,
            facts=tuple(trait.fact for trait in traits),
            examples=tuple(line(number, 0) for number in shown),
            lines=tuple(line(number, question) for number, question in enumerate(asked)),
            rule=rule,
        )

    return Pair(f"{language} {seed}", (character(0), character(1)))
