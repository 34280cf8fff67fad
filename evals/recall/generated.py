"""Chats of `eval retention` as conversations: facts of one message each, amid small talk."""

from collections.abc import Iterator, Sequence
from itertools import product

from evals.harness.chats import as_messages
from evals.recall.locomo import SINGLE_HOP, Asked, Conversation
from evals.retention.chats import LANGUAGES, RetentionChat, retention_chat
from memory.recall.passage import Passage, PassageKey

TURNS = 200


def generated_conversations(seeds: Sequence[int]) -> Iterator[Conversation]:
    """One in each language for each seed. Each kind of fact is asked for once, in the same order in all."""
    for language, seed in product(LANGUAGES.values(), seeds):
        made = retention_chat(seed, language, TURNS)
        name = made.chat.name.replace(" ", "-")
        questions = tuple(
            Asked(told.kind.question, SINGLE_HOP, frozenset([PassageKey(name, 2 * told.turn)]), told.value)
            for told in sorted(made.told, key=lambda told: language.kinds.index(told.kind))
        )
        yield Conversation(name, tuple(_passages(made, name)), questions, made.chat.said_at(TURNS))


def _passages(made: RetentionChat, name: str) -> Iterator[Passage]:
    for number, (role, text) in enumerate(as_messages(made.chat.turns)):
        turn = number // 2
        said_at = made.chat.said_at(turn)
        yield Passage(PassageKey(name, number), text, role.capitalize(), role, said_at, turn)
