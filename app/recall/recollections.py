"""What is recalled for a message, on its way into the context: a fault costs the reply that, and no more."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from app.errors import NotFoundProblem
from app.recall.service import Recall, Recollection
from app.storage.tables import MessageRow
from memory.context import RecallReport
from memory.protocols import ChatEncoder
from memory.recall.found import Found
from memory.recall.ranking import Ranked
from memory.strategies.recalling import RecallScope

log = structlog.get_logger()

RECALL_WAIT_S = 2.0
"""After this a reply goes on without what recall would have found."""


async def recollect(
    recall: Recall,
    owner: str,
    session_id: str,
    text: str,
    *,
    scope: RecallScope,
    documents: bool,
    encoder: ChatEncoder,
    asked: MessageRow | None,
) -> Found:
    """What was said before and matters for a message of that text; what `documents` say too, if asked to.

    `asked`: the message, if it is stored: neither it nor what came after it is recalled. Raises
    NotFoundProblem if there is no such session.
    """
    found = await _in_time(lambda: recall.of_session(owner, session_id, text, scope, documents=documents))
    ranked = found.ranked if asked is None else _said_before(asked, found.ranked)
    return Found(ranked, encoder, RecallReport(scope, found.behind, found.degraded))


async def recollect_documents(
    recall: Recall, owner: str, user_id: str | None, text: str, *, encoder: ChatEncoder
) -> Found:
    """What everybody's documents, and those of the user, say for a question of that text."""
    found = await _in_time(lambda: recall.of_documents(owner, user_id, text))
    return Found(found.ranked, encoder, RecallReport("documents", found.behind, found.degraded))


async def _in_time(search: Callable[[], Awaitable[Recollection]]) -> Recollection:
    """What the search finds, in time and without a fault; else nothing, and why."""
    try:
        async with asyncio.timeout(RECALL_WAIT_S):
            return await search()
    except NotFoundProblem:
        raise
    except TimeoutError:
        return Recollection((), degraded=f"nothing was found within {RECALL_WAIT_S:g} seconds")
    except Exception:
        log.exception("recall failed")
        return Recollection((), degraded="the search failed; the service's log says why")


def _said_before(asked: MessageRow, ranked: Sequence[Ranked]) -> list[Ranked]:
    return [
        each
        for each in ranked
        if each.passage.key.source != asked.session_id
        or each.passage.turn is None
        or each.passage.turn < asked.turn
    ]
