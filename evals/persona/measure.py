"""Asks the characters of each chat for their own lines, under their own persona and under the other's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from evals.harness.chats import Asked, Chat
from evals.harness.result import Row
from evals.harness.service import EvaluatedService
from evals.harness.strategies import STRATEGIES
from evals.harness.windows import Memory, Window
from evals.persona.characters import Character, Pair
from evals.persona.contradictions import Judge
from llm.progress import Progress, silent

ROOM_TO_ANSWER = 128
"""Tokens that a line or a reply may take."""
REPLY_TOKENS = 48
OF_REPLY = ("rule_kept", "recites", "contradicts")


@dataclass(frozen=True, slots=True)
class Telling:
    """How characters are told to the model: with their examples or without, and where they are reminded."""

    with_examples: bool
    reminder_depth: int | None = None

    @property
    def examples(self) -> str:
        return "yes" if self.with_examples else "no"

    @property
    def reminder(self) -> str:
        return "none" if self.reminder_depth is None else str(self.reminder_depth)


@dataclass(frozen=True, slots=True)
class Talk:
    """A pair, and the small talk that their chat is filled with."""

    pair: Pair
    turns: tuple[tuple[str, str], ...]


class Measurement:
    """`memories`: by language, since a turn takes more tokens in one than in another.

    `replies`: how many a character generates in each window, to its first lines.
    """

    def __init__(
        self,
        service: EvaluatedService,
        memories: Mapping[str, Sequence[Memory]],
        replies: int = 0,
        judge: Judge | None = None,
    ) -> None:
        self._service = service
        self._memories = memories
        self._replies = replies
        self._judge = judge

    def rows(
        self,
        talks: Sequence[Talk],
        turns: Sequence[int],
        tellings: Sequence[Telling],
        progress: Progress = silent,
    ) -> list[Row]:
        """One for each line of each character: by number of turns, telling and memory."""
        rows: list[Row] = []
        steps = [
            (*step, memory)
            for step in product(turns, tellings, talks)
            for memory in self._memories[step[-1].pair.language]
            # Controls and peers know no reminder.
            if step[1].reminder_depth is None or memory.name in STRATEGIES
        ]
        for done, (turn, telling, talk, memory) in enumerate(steps, 1):
            about = {
                "chat": talk.pair.name,
                "memory": memory.name,
                "language": talk.pair.language,
                "reminder": telling.reminder,
                "examples": telling.examples,
                "turn": turn,
            }
            chats = _chats(talk, turn, telling)
            rows += [about | row for row in self._of_lines(talk.pair, chats, memory)]
            progress("asking the characters", done, len(steps))
        return rows

    def _of_lines(self, pair: Pair, chats: Sequence[Chat], memory: Memory) -> Iterator[Row]:
        for question, lines in pair.questions().items():
            windows = [memory.window(chat, Asked(question)) for chat in chats]
            fit = all(
                window.prompt_tokens + ROOM_TO_ANSWER <= self._service.context_window for window in windows
            )
            said = [line for _, line in lines]
            scores = (
                [
                    self._service.score(window.messages, said, persona_messages=window.persona_messages)
                    for window in windows
                ]
                if fit
                else None
            )
            for place, (owner, line) in enumerate(lines):
                character, window = pair.characters[owner], windows[owner]
                row: Row = dict.fromkeys(("likelier", "margin", "reply", *OF_REPLY))
                if scores is not None:
                    own, swapped = (scores[who].log_probabilities[place] for who in (owner, 1 - owner))
                    row |= {"likelier": own > swapped, "margin": round(own - swapped, 4)}
                if fit and question in [each.asked for each in character.lines[: self._replies]]:
                    row |= self._reply(character, window)
                yield {
                    "line": f"{owner + 1}: {line}",
                    "asked": question,
                    **row,
                    "facts": _held(character, window),
                    "prompt_tokens": window.prompt_tokens,
                }

    def _reply(self, character: Character, window: Window) -> Row:
        reply = self._service.reply(
            window.messages, max_tokens=REPLY_TOKENS, persona_messages=window.persona_messages
        )
        return {
            "reply": reply,
            "rule_kept": character.rule.kept(reply) if character.rule else None,
            "recites": recites(character, reply),
            "contradicts": self._judge.contradicts(character.facts, reply) if self._judge else None,
        }


def recites(character: Character, reply: str) -> bool:
    """Whether it tells two of the character's facts or more, word for word, whoever asked for one."""
    told = reply.casefold()
    return sum(fact.rstrip(".").casefold() in told for fact in character.facts) > 1


def with_change(rows: Sequence[Row], turns: Sequence[int]) -> list[Row]:
    """The rows with what the figures of numbers of turns are of, None where they are of another.

    `likelier_5` and the like: whether the line is, after 5 turns. `change`, after the most turns: 1 if the
    line has become likelier under its own persona since the fewest, -1 if it no longer is, else 0.
    """
    early = {_place(row): row["likelier"] for row in rows if row["turn"] == turns[0]}
    changed = []
    for row in rows:
        likelier = {f"likelier_{turn}": row["likelier"] if row["turn"] == turn else None for turn in turns}
        now, before = row["likelier"], early[_place(row)]
        is_last = row["turn"] == turns[-1] and None not in (now, before)
        changed.append(row | likelier | {"change": int(now) - int(before) if is_last else None})
    return changed


def _place(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in ("chat", "memory", "reminder", "examples", "line"))


def _chats(talk: Talk, turn: int, telling: Telling) -> list[Chat]:
    """The first turns of the talk, with the one persona and with the other."""
    told = f"{turn} turns, examples {telling.examples}, reminder {telling.reminder}"
    return [
        Chat(
            f"{talk.pair.name}, {number}, {told}",
            talk.turns[:turn],
            character.persona(with_examples=telling.with_examples, reminder_depth=telling.reminder_depth),
        )
        for number, character in enumerate(talk.pair.characters, 1)
    ]


def _held(character: Character, window: Window) -> float:
    """The share of the character's facts that stand in the window."""
    told = "\n".join(window.remembered)
    return sum(fact in told for fact in character.facts) / len(character.facts)
