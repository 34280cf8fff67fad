"""The coming windows of chats: what their next prompts begin with is computed while nobody waits."""

import asyncio

import structlog

from app.chat.foreground import Foreground
from app.chat.persona import preamble_of
from app.chat.states import SessionStates
from app.errors import NotFoundProblem
from app.telemetry.tracing import following
from llm.engine.interface import Engine
from memory.errors import MemoryLayerError
from memory.lookahead import coming_prefixes

log = structlog.get_logger()


class NextWindows:
    """Prepares windows on one engine, one task a session."""

    def __init__(self, engine: Engine, states: SessionStates, foreground: Foreground) -> None:
        self._engine = engine
        self._states = states
        self._foreground = foreground
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def soon(self, owner: str, session_id: str) -> None:
        """Prepare the session's coming windows as it stands now, in the background."""
        if not self._engine.can_prepare:
            return
        self.stop(session_id)
        task = asyncio.create_task(self._prepare(owner, session_id), name=f"next window of {session_id}")
        self._tasks[session_id] = task
        task.add_done_callback(lambda done: self._ended(session_id, done))

    def stop(self, session_id: str) -> None:
        """Choose no windows of the session any more: it is about to change."""
        if (task := self._tasks.pop(session_id, None)) is not None:
            task.cancel()

    async def close(self) -> None:
        """Wait for what is being chosen."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def _ended(self, session_id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(session_id) is task:
            del self._tasks[session_id]

    async def _prepare(self, owner: str, session_id: str) -> None:
        try:
            await self._foreground.let_pass()
            with following("prepare", {"perdure.session": session_id}):
                async with self._states.open(owner, session_id) as (chat, _):
                    prefixes = await coming_prefixes(chat)
        except (MemoryLayerError, NotFoundProblem):
            return  # the next message meets it, and says so
        except Exception:
            log.exception("the next window could not be prepared", session=session_id)
            return
        self._engine.prepare(prefixes, owner, session_id, preamble_of(chat))
