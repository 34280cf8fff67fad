"""What is asked for evidence, by name: the newest turns, an index alone, the fused search, a service."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import groupby

from evals.harness.service import EvaluatedService, SaidLine
from evals.recall.locomo import Conversation
from evals.recall.shelf import Shelves
from llm.progress import Progress, silent
from memory.recall.passage import Passage, PassageKey
from memory.recall.protocols import Hit
from memory.recall.ranking import Ranked
from memory.recall.search import HITS, Question

Search = Callable[[str], Awaitable[Sequence[Ranked]]]
"""The passages that are found for a question, best first."""
LIMIT = 1000
"""Passages that a search gives here: all that it ranks."""


def shelf_searches(
    conversation: Conversation, shelves: Shelves, progress: Progress = silent
) -> dict[str, Search]:
    """`newest`, `dense` and `lexical`, one index alone, and `fused`, what the service does."""
    name = conversation.name
    searcher = shelves.fill(name, conversation.passages, progress)
    by_key = {passage.key: passage for passage in conversation.passages}

    def found(hits: Sequence[Hit]) -> list[Ranked]:
        return [Ranked(by_key[hit.key], hit.score, "found") for hit in hits]

    async def lexical(text: str) -> Sequence[Ranked]:
        return found(shelves.lexical.search(name, text, HITS))

    async def dense(text: str) -> Sequence[Ranked]:
        [vector] = shelves.embedder.embed([text])
        return found(shelves.dense.search(name, vector, HITS))

    async def fused(text: str) -> Sequence[Ranked]:
        return await searcher.search(Question(text, conversation.asked_at, (name,)), LIMIT)

    return {"newest": _newest(conversation), "dense": dense, "lexical": lexical, "fused": fused}


def served_searches(conversation: Conversation, service: EvaluatedService) -> dict[str, Search]:
    """`newest`, and `served`: a search of that service, which is told the conversation."""
    told = [list(passages) for _, passages in groupby(conversation.passages, lambda each: each.key.source)]
    user_id, message_ids = service.tell([[_as_line(each) for each in passages] for passages in told])
    by_id: Mapping[str, Passage] = {
        message_id: passage
        for ids, passages in zip(message_ids, told, strict=True)
        for message_id, passage in zip(ids, passages, strict=True)
    }

    async def served(text: str) -> Sequence[Ranked]:
        found: dict[PassageKey, Ranked] = {}
        for hit in service.search(user_id, text):  # of a long message several pieces may be found
            passage = by_id[hit["message_id"]]
            found.setdefault(passage.key, Ranked(passage, hit["score"], hit["why"]))
        return list(found.values())

    return {"newest": _newest(conversation), "served": served}


def _newest(conversation: Conversation) -> Search:
    async def newest(_text: str) -> Sequence[Ranked]:
        return [Ranked(passage, 0.0, "new") for passage in reversed(conversation.passages)]

    return newest


def _as_line(passage: Passage) -> SaidLine:
    assert passage.role is not None
    assert passage.said_at is not None
    return SaidLine(passage.role, passage.speaker, passage.text, passage.said_at)
