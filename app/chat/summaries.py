"""The summaries of a session, as its owner sees and edits them."""

import asyncio

from app.chat.states import OpenState
from app.errors import NoSummaryProblem, SummaryTooLargeProblem
from app.schemas.summaries import SummaryView
from app.storage.database import Database
from app.storage.summaries import Summaries
from app.storage.tables import SummaryRow
from app.storage.token_index import unpack_ids
from app.upkeep.summarisers import Summarisers
from memory.assembly import ChatState
from memory.strategies.summarising import SummarisingStrategy, summarising

EDITOR = "user"


class SessionSummaries:
    """Shows and edits what upkeep has written."""

    def __init__(self, database: Database, summarisers: Summarisers, open_state: OpenState) -> None:
        self._database = database
        self._summarisers = summarisers
        self._open_state = open_state

    async def list(self, owner: str, session_id: str, limit: int) -> list[SummaryView]:
        """The newest first. Raises NotFoundProblem, and NoSummaryProblem if the memory does not summarise."""
        strategy, in_use = await self._in_use(owner, session_id)
        async with self._database.read() as session:
            rows = await Summaries(session, owner).list(session_id, strategy.recipe, limit)
        return [_view(row, in_use=in_use is not None and row.id == in_use.id) for row in rows]

    async def edit(self, owner: str, session_id: str, text: str) -> SummaryView:
        """Replace the text of the summary in use; those made ahead of the next cut are made anew.

        Raises like `list`, NoSummaryProblem also if there is none yet, and SummaryTooLargeProblem.
        """
        strategy, in_use = await self._in_use(owner, session_id)
        if in_use is None:
            raise NoSummaryProblem(
                "nothing has left the session's window yet, so there is no summary to edit"
            )
        token_ids = await asyncio.to_thread(self._summarisers.encode, text)
        if len(token_ids) > strategy.summary_tokens:
            raise SummaryTooLargeProblem(
                f"the text takes {len(token_ids)} tokens; a summary of the session may take "
                f"{strategy.summary_tokens}",
                tokens=len(token_ids),
                max_summary_tokens=strategy.summary_tokens,
            )
        async with self._database.write() as session:
            summaries = Summaries(session, owner)
            await summaries.replace_after(session_id, strategy.recipe, in_use.through_turn)
            row = await summaries.add_one(
                session_id,
                recipe=strategy.recipe,
                through_turn=in_use.through_turn,
                enters_at=in_use.enters_at,
                author=EDITOR,
                text=text,
                token_ids=token_ids,
                fingerprint=self._summarisers.encoder.fingerprint,
            )
        return _view(row, in_use=True)

    async def _in_use(self, owner: str, session_id: str) -> tuple[SummarisingStrategy, SummaryRow | None]:
        """The session's strategy, and the summary that stands in its next context."""
        async with self._open_state(owner, session_id) as (chat, _), self._database.read() as session:
            strategy = _summarising(chat)
            first_turn = await strategy.first_turn(chat.history, chat.room())
            row = await Summaries(session, owner).of_window(session_id, strategy.recipe, first_turn)
            return strategy, row


def _summarising(chat: ChatState) -> SummarisingStrategy:
    if (strategy := summarising(chat.strategy)) is not None:
        return strategy
    raise NoSummaryProblem(f"the session's memory, {chat.strategy.strategy}, makes no summaries")


def _view(row: SummaryRow, *, in_use: bool) -> SummaryView:
    return SummaryView(
        id=row.id,
        session_id=row.session_id,
        through_turn=row.through_turn,
        author=row.author,
        text=row.text,
        tokens=len(unpack_ids(row.token_ids)),
        in_use=in_use,
        created_at=row.created_at,
    )
