"""Real text to chat with: dialogues in the format of Synthetic-Persona-Chat.

A CSV file with the columns `user 1 personas`, `user 2 personas` and `Best Generated Conversation`
(Jandaghi et al. 2023, arXiv:2312.10007). The data is not part of this project.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

COLUMNS = ("user 1 personas", "user 2 personas", "Best Generated Conversation")


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A dialogue of two people. `messages` are what the first one says, `replies` what the second one says.

    `persona` is the second one's.
    """

    persona: str
    messages: tuple[str, ...]
    replies: tuple[str, ...]


def read_dialogues(path: Path) -> list[Dialogue]:
    """Raises ValueError if the file has not the columns of the format."""
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
        return [_dialogue(row) for row in reader]


def _dialogue(row: dict[str, str]) -> Dialogue:
    lines = row["Best Generated Conversation"].splitlines()
    return Dialogue(row["user 2 personas"].strip(), _said_by("User 1:", lines), _said_by("User 2:", lines))


def _said_by(speaker: str, lines: list[str]) -> tuple[str, ...]:
    said = (line.removeprefix(speaker).strip() for line in lines if line.startswith(speaker))
    return tuple(message for message in said if message)
