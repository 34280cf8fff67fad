"""Which summariser keeps more: facts told amid small talk, looked for in the summary at the end.

    python -m evals.summaries --seeds 3

Chats are made from seeds. A fact is kept if its name and its number stand in the summary. Beside the two
summarisers: the newest sentences, and random ones, within the same tokens.
"""

import asyncio
import json
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from app.models.chat import open_chat_model
from app.models.embedding import SentenceEmbedder
from app.settings import Settings
from app.upkeep.summarisers import Summarisers
from memory.messages import Message
from memory.strategies.summary_buffer import SummaryBuffer
from memory.summaries.extractive import sentences
from memory.summaries.summariser import CountTokens, Names, Summariser, Task

NAMES = (
    "Hanna",
    "Bruno",
    "Marta",
    "Zeno",
    "Ilse",
    "Oskar",
    "Noor",
    "Pavel",
    "Ruth",
    "Viktor",
    "Wilma",
    "Yara",
)
FACTS = (
    "My cousin {name} lives in house number {number}.",
    "I met {name} on the {number}th of the month.",
    "{name} owes me {number} euros.",
    "My friend {name} turned {number} last week.",
    "{name} has read the letter {number} times by now.",
)
SMALL_TALK = (
    "How was your day?",
    "The weather has been all right, I suppose.",
    "I had some tea and looked out of the window.",
    "What do you think about that?",
    "It was a long afternoon, but a pleasant one.",
    "I could not sleep very well last night.",
    "Do you like music in the evening?",
    "There was nothing good to watch, as always.",
    "I keep meaning to tidy up, and then I do not.",
    "The neighbours were rather loud again.",
)
REPLIES = (
    "That sounds nice. Tell me more!",
    "I see. And how did that make you feel?",
    "Oh, I know what you mean.",
    "Really? I would not have thought so.",
)


@dataclass(frozen=True, slots=True)
class Fact:
    name: str
    number: str

    def stands_in(self, text: str) -> bool:
        return any(self.name in line and self.number in line for line in text.splitlines())


class Newest:
    """The newest sentences that fit."""

    author = "newest sentences"

    def __init__(self, count_tokens: CountTokens) -> None:
        self._count_tokens = count_tokens

    async def summarise(self, task: Task) -> str:
        return self._fitting(_lines(task)[::-1], task)

    def _fitting(self, lines: Sequence[str], task: Task) -> str:
        """As many of the first lines as fit, in the order of the chat."""
        chosen: set[str] = set()
        for line in lines:
            if self._count_tokens("\n".join([*chosen, line])) > task.max_tokens:
                break
            chosen.add(line)
        return "\n".join(line for line in dict.fromkeys(_lines(task)) if line in chosen)


class Random(Newest):
    """Sentences by chance."""

    author = "random sentences"

    async def summarise(self, task: Task) -> str:
        lines = list(dict.fromkeys(_lines(task)))
        random.Random(len(lines)).shuffle(lines)
        return self._fitting(lines, task)


def main(
    seeds: Annotated[int, typer.Option(help="How many chats.")] = 3,
    turns: Annotated[int, typer.Option(help="Turns of a chat.")] = 60,
    facts: Annotated[int, typer.Option(help="Facts told in a chat.", max=len(NAMES))] = 12,
    step: Annotated[int, typer.Option(help="Turns that are summarised at a time.")] = 10,
    max_tokens: Annotated[int, typer.Option(help="Tokens of a summary at most.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print the share of facts that each summariser keeps."""
    settings = Settings()
    model = open_chat_model(settings)
    summarisers = Summarisers(model, SentenceEmbedder(settings))
    count = summarisers.count_tokens
    compared: list[Summariser] = [
        summarisers.of(SummaryBuffer(summariser="extractive")),
        summarisers.of(SummaryBuffer(summariser="llm")),
        Newest(count),
        Random(count),
    ]
    labels = ["extractive", f"llm ({model.engine.model.name})", "newest sentences", "random sentences"]
    try:
        kept = {
            label: [_kept(summariser, seed, turns, facts, step, max_tokens) for seed in range(seeds)]
            for label, summariser in zip(labels, compared, strict=True)
        }
    finally:
        model.engine.close()
    if as_json:
        print(
            json.dumps(
                {"seeds": seeds, "turns": turns, "facts": facts, "max_tokens": max_tokens, "kept": kept}
            )
        )
        return
    table = Table("summariser", "facts kept", title=f"{facts} facts in {turns} turns, {max_tokens} tokens")
    for label, shares in kept.items():
        table.add_row(label, f"{statistics.mean(shares):.0%}")
    Console().print(table)


def _kept(summariser: Summariser, seed: int, turns: int, facts: int, step: int, max_tokens: int) -> float:
    told, messages = _chat(seed, turns, facts)
    summary = ""
    for start in range(0, turns, step):
        part = [message for message in messages if start <= message.turn < start + step]
        task = Task(summary, part, Names(assistant="Pippa"), max_tokens)
        summary = asyncio.run(summariser.summarise(task))
    return statistics.mean(fact.stands_in(summary) for fact in told)


def _chat(seed: int, turns: int, facts: int) -> tuple[list[Fact], list[Message]]:
    chance = random.Random(seed)
    names = chance.sample(NAMES, facts)
    told = [Fact(name, str(chance.randint(11, 99))) for name in names]
    at = dict(zip(chance.sample(range(turns), facts), told, strict=True))
    messages = []
    for turn in range(turns):
        parts = chance.sample(SMALL_TALK, 2)
        if (fact := at.get(turn)) is not None:
            parts.insert(1, chance.choice(FACTS).format(name=fact.name, number=fact.number))
        messages.append(Message(f"{turn}-user", turn, "user", " ".join(parts), ()))
        messages.append(Message(f"{turn}-reply", turn, "assistant", chance.choice(REPLIES), ()))
    return told, messages


def _lines(task: Task) -> list[str]:
    new = [
        f"{task.names.of(message.role)}: {sentence}"
        for message in task.turns
        for sentence in sentences(message.content)
    ]
    return [*task.previous.splitlines(), *new]


if __name__ == "__main__":
    typer.run(main)
