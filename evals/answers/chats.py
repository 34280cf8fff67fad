"""LoCoMo's conversations as chats that memories are given, and the questions that have an answer.

Each line begins with who said it and when, as the answers are about both people and about dates.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from evals.harness.chats import Asked, Chat
from evals.harness.errors import EvaluationError
from evals.recall.locomo import CATEGORIES, Conversation
from memory.recall.passage import Passage, PassageKey


@dataclass(frozen=True, slots=True)
class Question:
    """`number`: among all of its conversation. `evidence`: the lines that answer it, the oldest of which was
    said `turns_ago`."""

    number: int
    asked: Asked
    answer: str
    category: str
    evidence: tuple[str, ...]
    turns_ago: int


@dataclass(frozen=True, slots=True)
class AnswersChat:
    """`lead`: what a reply to a question begins with, as every line does."""

    chat: Chat
    lead: str
    questions: tuple[Question, ...]


@dataclass(slots=True)
class _Turn:
    message: list[Passage]
    reply: list[Passage]


def answers_chat(conversation: Conversation) -> AnswersChat:
    """Raises EvaluationError if only one of the two says anything."""
    turns = _turns(conversation)
    chat = Chat(
        conversation.name,
        tuple((_text(turn.message), _text(turn.reply)) for turn in turns),
        times=tuple(turn.message[0].said_at for turn in turns if turn.message[0].said_at),
    )
    passages = {passage.key: passage for passage in conversation.passages}
    turn_of = {
        passage.key: number for number, turn in enumerate(turns) for passage in (*turn.message, *turn.reply)
    }
    replying = next(passage.speaker for passage in conversation.passages if passage.role == "assistant")
    questions = tuple(_questions(conversation, passages, turn_of, len(turns)))
    return AnswersChat(chat, _lead(conversation.asked_at, replying), questions)


def chosen(chats: Sequence[AnswersChat], most: int, seed: int) -> list[AnswersChat]:
    """Up to so many of the questions, drawn by the seed, from each chat as many as from any other."""
    in_turn = sorted((rank, place) for place, each in enumerate(chats) for rank in range(len(each.questions)))
    of_chat = Counter(place for _, place in in_turn[:most])
    return [
        replace(each, questions=_drawn(each, of_chat[place], seed))
        for place, each in enumerate(chats)
        if of_chat[place]
    ]


def _drawn(each: AnswersChat, count: int, seed: int) -> tuple[Question, ...]:
    drawn = random.Random(f"{seed} {each.chat.name}").sample(each.questions, count)
    return tuple(sorted(drawn, key=lambda question: question.number))


def _turns(conversation: Conversation) -> list[_Turn]:
    """A message is all that the one says until the other does. What the other says before anything else
    stands with the first message, and what the one says last of all with the last reply."""
    turns: list[_Turn] = []
    for passage in conversation.passages:
        is_users = passage.role == "user"
        if not turns or (is_users and turns[-1].reply):
            turns.append(_Turn([passage], []))
        elif is_users or all(each.role != "user" for each in turns[-1].message):
            turns[-1].message.append(passage)
        else:
            turns[-1].reply.append(passage)
    if len(turns) > 1 and not turns[-1].reply:
        last = turns.pop()
        turns[-1].reply += last.message
    if not turns[-1].reply:
        raise EvaluationError(f"conversation {conversation.name} is no dialogue: only one says anything")
    return turns


def _text(passages: Sequence[Passage]) -> str:
    return "\n".join(map(_line, passages))


def _line(passage: Passage) -> str:
    assert passage.said_at is not None
    return f"{_lead(passage.said_at, passage.speaker)} {passage.text}"


def _lead(said_at: datetime, speaker: str) -> str:
    return f"[{said_at.day} {said_at:%B %Y}] {speaker}:"


def _questions(
    conversation: Conversation,
    passages: dict[PassageKey, Passage],
    turn_of: dict[PassageKey, int],
    turns: int,
) -> Iterator[Question]:
    for number, asked in enumerate(conversation.questions):
        if asked.answer is None:
            continue
        evidence = sorted(asked.evidence)
        at = sorted({turn_of[key] for key in evidence})
        yield Question(
            number=number,
            asked=Asked(asked.text, tuple(at)),
            answer=asked.answer,
            category=CATEGORIES[asked.category],
            evidence=tuple(passages[key].text for key in evidence),
            turns_ago=turns - 1 - at[0],
        )
