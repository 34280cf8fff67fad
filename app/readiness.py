"""Whether a chat turn would be served now, part by part, and if not, why.

A part that fails keeps replies from being given or stored; one that is degraded only makes them poorer.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Literal

from app.models.chat import ChatModel
from app.models.embedding import SentenceEmbedder
from app.recall.service import Recall
from app.settings import Settings
from app.storage.database import Database

LEAST_FREE_BYTES = 32 * 2**20
"""With less, neither messages nor indexes can be counted on to be stored."""
WANTED_FREE_BYTES = 512 * 2**20
PROBE_BYTES = 4096
PATIENCE_S = 1.5
"""How long a part may take to answer; who asks waits no longer than that, and asks of the next part too."""

State = Literal["ok", "degraded", "failed"]


@dataclass(frozen=True, slots=True)
class PartState:
    """How a part is; `detail` says why it is not well."""

    status: State
    detail: str | None = None


WELL = PartState("ok")


class Degraded(Exception):  # noqa: N818 - not a fault: replies are given
    """A part does not do all it should."""


class Readiness:
    """Looks at the parts of one service. A look that hangs is waited for by all who ask, and not repeated."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        model: ChatModel,
        recall: Recall,
        embedder: SentenceEmbedder,
    ) -> None:
        self._home = settings.home
        self._recall = recall
        self._embedder = embedder
        self._looks: dict[str, Callable[[], Awaitable[None]]] = {
            "database": database.ping,
            "model": lambda: asyncio.to_thread(model.check),
            "disk": lambda: asyncio.to_thread(_look_at_disk, self._home),
            "home": lambda: asyncio.to_thread(_write_into, self._home),
            "recall": self._look_at_recall,
        }
        self._optional = {"recall"}
        self._looking: dict[str, asyncio.Task[PartState]] = {}

    async def look(self) -> Mapping[str, PartState]:
        """How every part is, in at most `PATIENCE_S` seconds."""
        looking = {name: self._look_at(name) for name in self._looks}
        await asyncio.wait(looking.values(), timeout=PATIENCE_S)
        silent = f"has not answered within {PATIENCE_S:g} s"
        return {
            name: task.result() if task.done() else PartState(self._state_of_fault(name), silent)
            for name, task in looking.items()
        }

    async def close(self) -> None:
        """Look no more."""
        for task in self._looking.values():
            task.cancel()
        if self._looking:
            await asyncio.wait(self._looking.values())

    def _look_at(self, name: str) -> asyncio.Task[PartState]:
        task = self._looking.get(name)
        if task is None:
            task = self._looking[name] = asyncio.create_task(self._state(name), name=f"look at {name}")
            task.add_done_callback(lambda _: self._looking.pop(name, None))
        return task

    async def _state(self, name: str) -> PartState:
        try:
            await self._looks[name]()
        except Degraded as error:
            return PartState("degraded", str(error))
        except Exception as error:
            return PartState(self._state_of_fault(name), str(error) or type(error).__name__)
        return WELL

    def _state_of_fault(self, name: str) -> State:
        return "degraded" if name in self._optional else "failed"

    async def _look_at_recall(self) -> None:
        if not self._embedder.is_fetched:
            raise Degraded(f"the embedding model {self._embedder.name!r} is not here: by words alone")
        if self._recall.faults is not None:
            raise Degraded(f"an index cannot be filled: {self._recall.faults}")
        await self._recall.ping()


def _look_at_disk(home: Path) -> None:
    free = shutil.disk_usage(home).free
    said = f"{home} has only {free / 2**20:.0f} MiB free"
    if free < LEAST_FREE_BYTES:
        raise OSError(f"{said}, and {LEAST_FREE_BYTES / 2**20:.0f} are needed")
    if free < WANTED_FREE_BYTES:
        raise Degraded(said)


def _write_into(home: Path) -> None:
    """Raise OSError unless files can be written there."""
    with TemporaryFile(dir=home, buffering=0) as probe:
        probe.write(bytes(PROBE_BYTES))
