"""Conversations in LoCoMo's format: sessions of turns, and questions with the turns that answer them.

Each session counts as a chat of its own. A turn with an image says its caption too.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from memory.recall.passage import Passage, PassageKey

SINGLE_HOP, ADVERSARIAL = 4, 5
CATEGORIES = {
    1: "multi-hop",
    2: "temporal",
    3: "open-domain",
    SINGLE_HOP: "single-hop",
    ADVERSARIAL: "adversarial",
}

_SESSION = re.compile(r"session_(\d+)")
_TURN_ID = re.compile(r"D:?(\d+):(\d+)")
_DATE = "%I:%M %p on %d %B, %Y"


class DataError(Exception):
    """A file that is not in LoCoMo's format; the text says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question; `evidence`: the passages that answer it. `answer`: none of adversarial questions, which
    ask for what was not said."""

    text: str
    category: int
    evidence: frozenset[PassageKey]
    answer: str | None


@dataclass(frozen=True, slots=True)
class Conversation:
    """`passages` oldest first. All questions are asked at `asked_at`, after the last session."""

    name: str
    passages: tuple[Passage, ...]
    questions: tuple[Asked, ...]
    asked_at: datetime


@dataclass(slots=True)
class Skipped:
    """What of a file could not be used: questions without evidence, and evidence that names no turn."""

    questions: int = 0
    evidence: list[str] = field(default_factory=list)


def read_locomo(path: Path) -> tuple[list[Conversation], Skipped]:
    """The conversations of a file, and what was skipped. Raises DataError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(data, list) or not data:
        raise DataError(f"{path}: a list of conversations is expected")
    skipped = Skipped()
    conversations = []
    for number, sample in enumerate(data):
        try:
            conversations.append(_conversation(sample, number, skipped))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{path}: conversation {number} is not in LoCoMo's format: {type(error).__name__} {error}"
            ) from error
    return conversations, skipped


def _conversation(sample: Mapping[str, Any], number: int, skipped: Skipped) -> Conversation:
    name = str(sample.get("sample_id", number))
    passages = dict(_turns(name, sample["conversation"]))
    questions = []
    for asked in sample["qa"]:
        text, category = str(asked["question"]), int(asked["category"])
        evidence = frozenset(_evidence(asked.get("evidence") or [], passages, skipped))
        if evidence:
            questions.append(Asked(text, category, evidence, _answer(asked, category)))
        else:
            skipped.questions += 1
    last = max(passage.said_at for passage in passages.values() if passage.said_at)
    return Conversation(name, tuple(passages.values()), tuple(questions), last + timedelta(days=1))


def _answer(asked: Mapping[str, Any], category: int) -> str | None:
    """Some answers are numbers: years, mostly."""
    return None if category == ADVERSARIAL else str(asked.get("answer") or "").strip() or None


def _turns(name: str, conversation: Mapping[str, Any]) -> Iterator[tuple[tuple[int, int], Passage]]:
    numbers = sorted(int(found[1]) for key in conversation if (found := _SESSION.fullmatch(key)))
    for session in numbers:
        said_at = datetime.strptime(conversation[f"session_{session}_date_time"], _DATE).replace(tzinfo=UTC)
        for place, turn in enumerate(conversation[f"session_{session}"]):
            found = _TURN_ID.fullmatch(turn["dia_id"])
            if found is None:
                raise ValueError(f"turn id {turn['dia_id']!r}")
            caption = f" [{turn['blip_caption']}]" if turn.get("blip_caption") else ""
            yield (
                (int(found[1]), int(found[2])),
                Passage(
                    PassageKey(f"{name}/{session:03}", place),
                    turn["text"] + caption,
                    speaker=turn["speaker"],
                    role="user" if turn["speaker"] == conversation["speaker_a"] else "assistant",
                    said_at=said_at + timedelta(seconds=place),
                    turn=place,
                    message_id=f"{name}/{turn['dia_id']}",
                ),
            )


def _evidence(
    said: list[str], passages: Mapping[tuple[int, int], Passage], skipped: Skipped
) -> Iterator[PassageKey]:
    """The turns that evidence names; some strings name several, some are malformed, some name no turn."""
    for text in said:
        turns = [(int(session), int(turn)) for session, turn in _TURN_ID.findall(text)]
        known = [turn for turn in turns if turn in passages]
        if not known or len(known) < len(turns):
            skipped.evidence.append(text)
        for turn in known:
            yield passages[turn].key
