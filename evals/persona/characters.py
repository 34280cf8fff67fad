"""Who talks in the chats: characters with facts, a way to speak, examples of it, and lines of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

from evals.persona.rules import Rule
from memory.persona import ExampleExchange, Persona, SpeechRule
from memory.reminder import Reminder

INSTRUCTIONS = {
    "English": "You are {{char}}. You chat with {{user}}, and always stay who you are.",
    "Korean": "너는 {{char}}이다. {{user}}와 대화하면서 언제나 너 자신으로 남는다.",
}


@dataclass(frozen=True, slots=True)
class Line:
    """What somebody says, and the message that it answers."""

    asked: str
    said: str


@dataclass(frozen=True, slots=True)
class Character:
    """`lines`: what this one would say and another would not; `examples` are none of them.

    `rule`: how it speaks, where that can be checked.
    """

    name: str
    language: str
    facts: tuple[str, ...]
    examples: tuple[Line, ...]
    lines: tuple[Line, ...]
    rule: Rule | None = None

    def persona(self, *, with_examples: bool, reminder_depth: int | None) -> Persona:
        """The persona of this character; the reminder repeats what is true of it, with None there is none."""
        rule = self.rule.text if self.rule else ""
        reminder = " ".join(filter(None, ("{{char}}:", *self.facts, rule)))
        return Persona(
            name=self.name,
            instructions=INSTRUCTIONS[self.language],
            examples=tuple(ExampleExchange(each.asked, each.said) for each in self.examples)
            if with_examples
            else (),
            facts=self.facts,
            speech_rules=(SpeechRule(None, rule),) if rule else (),
            reminder=None if reminder_depth is None else Reminder(reminder, reminder_depth),
        )


@dataclass(frozen=True, slots=True)
class Pair:
    """Two characters in the same chat, each of whom is the other's distractor. `name`: of the chat."""

    name: str
    characters: tuple[Character, Character]

    @property
    def language(self) -> str:
        return self.characters[0].language

    def questions(self) -> dict[str, list[tuple[int, str]]]:
        """Every message that a line answers, with the lines that do: whose, and what is said."""
        asked: dict[str, list[tuple[int, str]]] = {}
        for owner, character in enumerate(self.characters):
            for line in character.lines:
                asked.setdefault(line.asked, []).append((owner, line.said))
        return asked


def paired(characters: Sequence[Character], name: str) -> list[Pair]:
    """The first with the second, the third with the fourth, and so on."""
    couples = zip(characters[::2], characters[1::2], strict=False)
    return [Pair(f"{name} {number}", couple) for number, couple in enumerate(couples)]
