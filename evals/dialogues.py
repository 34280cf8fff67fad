"""Real text to chat with: dialogues of Synthetic-Persona-Chat and of PersonaChat. The data is kept elsewhere.

Synthetic-Persona-Chat (Jandaghi et al. 2023, arXiv:2312.10007) is a CSV file with the columns
`user 1 personas`, `user 2 personas` and `Best Generated Conversation`. PersonaChat (Zhang et al. 2018,
arXiv:1801.07243), in the form of ConvAI2, is a text of numbered lines: `1 your persona: ...`, and further on
a message, its reply and candidates for it, with tabs between them; each dialogue begins with the number 1.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import pairwise
from pathlib import Path

COLUMNS = ("user 1 personas", "user 2 personas", "Best Generated Conversation")

_SAID = re.compile(r"(User [12]):(.*)")
_NUMBERED = re.compile(r"(\d+) (.*)")
_PERSONA = re.compile(r"(your|partner's) persona:(.*)")
_NOTHING_SAID = "__SILENCE__"


class DialoguesError(ValueError):
    """A file that cannot be read or is in neither format; the text names file and line, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue of two people. `exchanges`: what the first one says, and what the second one replies to it.

    `persona` is the second one's, a fact a line.
    """

    persona: str
    exchanges: tuple[tuple[str, str], ...]

    @property
    def messages(self) -> tuple[str, ...]:
        """What the first one says."""
        return tuple(message for message, _ in self.exchanges)


def read_dialogues(path: Path) -> list[Dialogue]:
    """The dialogues of a file in either format; its beginning tells which. Raises DialoguesError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DialoguesError(f"{path} cannot be read: {error}") from error
    if _NUMBERED.match(text):
        return list(_of_convai2(path, text.rstrip("\n").split("\n")))
    return list(_of_csv(path, text))


def _of_csv(path: Path, text: str) -> Iterator[Dialogue]:
    reader = csv.DictReader(StringIO(text, newline=""))
    try:
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise DialoguesError(
                f"{path}:1 lacks the columns {', '.join(missing)}, and does not begin with a number, "
                "as PersonaChat does"
            )
        begins = reader.line_num + 1
        for row in reader:
            absent = [column for column in COLUMNS if row[column] is None]
            if absent:
                raise DialoguesError(f"{path}:{begins} ends before the column {absent[0]}")
            lines = row["Best Generated Conversation"].splitlines()
            yield Dialogue(row["user 2 personas"].strip(), _exchanges(lines))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DialoguesError(f"{path}:{reader.line_num} is not CSV: {error}") from error


def _exchanges(lines: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Each message of User 1 with the reply that follows it; lines of nobody are passed over."""
    found = (_SAID.match(line) for line in lines)
    said = [(line[1], text) for line in found if line and (text := line[2].strip())]
    return tuple(
        (message, reply)
        for (first, message), (second, reply) in pairwise(said)
        if (first, second) == ("User 1", "User 2")
    )


def _of_convai2(path: Path, lines: Sequence[str]) -> Iterator[Dialogue]:
    persona: list[str] = []
    exchanges: list[tuple[str, str]] = []
    expected = 1
    for place, line in enumerate(lines, 1):
        numbered = _NUMBERED.fullmatch(line)
        if numbered is None:
            raise DialoguesError(f"{path}:{place} does not begin with a number and a space")
        number, text = int(numbered[1]), numbered[2]
        if number == 1 and place > 1:
            yield Dialogue("\n".join(persona), tuple(exchanges))
            persona, exchanges = [], []
        elif number != expected:
            raise DialoguesError(f"{path}:{place} has the number {number}; {expected} is expected, or 1")
        expected = number + 1
        if told := _PERSONA.fullmatch(text):
            if told[1] == "your":
                persona.append(told[2].strip())
            continue
        message, tab, rest = text.partition("\t")
        reply = rest.partition("\t")[0].strip()
        if not tab or not reply:
            raise DialoguesError(f"{path}:{place} has no tab with a reply behind it")
        if message.strip() not in ("", _NOTHING_SAID):
            exchanges.append((message.strip(), reply))
    yield Dialogue("\n".join(persona), tuple(exchanges))
