"""What is extracted as facts, and what of it is right: facts told, updated and ended amid all that is none.

    python -m evals.facts --seeds 2

Chats are made from seeds, in English and Korean. Of ten messages four tell a fact, half of those in words
that no pattern of the rules was written for; the others are small talk, questions, suppositions, denials,
other people's words and template text. A fact that is found is right if its message tells it: its value, and
a key of that meaning. Junk is what is found in a message that tells nothing.
"""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.models.chat import open_chat_model
from app.settings import Settings
from app.upkeep.extractors import Extractors
from app.upkeep.writer import ModelWriter
from evals.tellings import ENGLISH, KOREAN, NO_FACTS, Telling
from memory.facts.extractor import Extractor
from memory.facts.fact import Found
from memory.messages import Message
from memory.strategies.facts import Facts


@dataclass(frozen=True, slots=True)
class Said:
    """A message, and the fact that it tells, if it does."""

    message: Message
    telling: Telling | None = None
    value: str = ""

    def is_told_by(self, found: Found) -> bool:
        if self.telling is None or found.key not in self.telling.keys:
            return False
        if self.telling.ends and found.key == "likes":
            return found.ends is not None and (
                not found.ends or self.value.casefold() in found.ends.casefold()
            )
        return self.value.casefold() in found.value.casefold()


@dataclass(slots=True)
class Score:
    """Counts of what was told and found."""

    told: int = 0
    remembered: int = 0
    found: int = 0
    right: int = 0
    junk: int = 0

    def count(self, said: Said, found: Sequence[Found]) -> None:
        right = [each for each in found if said.is_told_by(each)]
        self.told += said.telling is not None
        self.remembered += bool(right)
        self.found += len(found)
        self.right += len(right)
        self.junk += len(found) if said.telling is None else 0

    def shares(self) -> dict[str, float]:
        found = max(1, self.found)
        return {
            "precision": self.right / found,
            "recall": self.remembered / max(1, self.told),
            "junk": self.junk / found,
            "found": self.found,
            "told": self.told,
        }


def main(
    seeds: Annotated[int, typer.Option(help="How many chats in each language.")] = 2,
    messages: Annotated[int, typer.Option(help="The user's messages in a chat.")] = 40,
    extractor: Annotated[list[str] | None, typer.Option(help="`rules` or `llm`; both, if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print precision and recall of each extractor, and how much of what it finds is junk."""
    model = open_chat_model(Settings())
    extractors = Extractors(ModelWriter(model))
    compared = {
        "rules": ("rules", extractors.of(Facts(extractor="rules"))),
        "llm": (f"llm ({model.engine.model.name})", extractors.of(Facts(extractor="llm"))),
    }
    shares: dict[str, dict[str, float]] = {}
    try:
        for name in extractor or compared:
            label, extracts = compared[name]
            assert extracts is not None
            for language, tellings in (("English", ENGLISH), ("Korean", KOREAN)):
                chats = [chat(seed, language, tellings, messages) for seed in range(seeds)]
                shares[f"{label}, {language}"] = asyncio.run(score(extracts, chats)).shares()
    finally:
        model.engine.close()
    if as_json:
        print(json.dumps({"seeds": seeds, "messages": messages, "shares": shares}))
        return
    table = Table("extractor", "precision", "recall", "junk", "found", "told")
    for label, each in shares.items():
        percent = [f"{each[column]:.0%}" for column in ("precision", "recall", "junk")]
        table.add_row(label, *percent, f"{each['found']:.0f}", f"{each['told']:.0f}")
    Console().print(table)


async def score(extractor: Extractor, chats: Sequence[Sequence[Said]]) -> Score:
    counted = Score()
    for said in (said for chat in chats for said in chat):
        counted.count(said, (await extractor.extract(said.message)).found)
    return counted


def chat(seed: int, language: str, tellings: Sequence[Telling], messages: int) -> list[Said]:
    """What the user says: of ten messages four tell a fact, small talk before it in half of them."""
    chance = random.Random(f"{seed} {language}")
    said: list[Said] = []
    small_talk = NO_FACTS[language][1:4:2]
    for turn in range(messages):
        if chance.random() < 0.4:
            telling = chance.choice(tellings)
            value = chance.choice(telling.values)
            content = telling.sentence.format(v=value)
            if chance.random() < 0.5:
                content = f"{chance.choice(small_talk)} {content}"
            said.append(Said(Message(f"msg_{turn}", turn, "user", content, ()), telling, value))
        else:
            content = chance.choice(NO_FACTS[language])
            said.append(Said(Message(f"msg_{turn}", turn, "user", content, ())))
    return said


if __name__ == "__main__":
    typer.run(main)
