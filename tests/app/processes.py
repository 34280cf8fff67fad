"""`perdure` in processes of its own: to be killed, stopped, run beside each other.

They are forked from a server that has imported the service already, since that takes longer than most tests.
That the installed command starts from nothing is tested with the commands of the docs.
"""

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

_context = get_context("forkserver")
_context.set_forkserver_preload(["tests.app.preloaded"])


@dataclass
class Done:
    """What a command has said, and how it ended."""

    returncode: int | None
    stdout: str
    stderr: str


class PerdureProcess:
    """A running `perdure` with these arguments, with this test's environment and the one given."""

    def __init__(self, folder: Path, *arguments: str, typed: str = "", **environment: str) -> None:
        streams = [folder / name for name in ("stdin", "stdout", "stderr")]
        for stream in streams:
            stream.write_text(typed if stream.name == "stdin" else "")
        _, self._stdout, self._stderr = streams
        self._process: ForkServerProcess = _context.Process(
            target=_run, args=(arguments, Path.cwd(), dict(os.environ) | environment, streams)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()

    def running(self) -> bool:
        return self._process.is_alive()

    def wait(self, timeout: float = 60) -> int:
        """The status that it ends with: minus the signal's number, if it is killed."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(f"perdure still runs after {timeout} s:\n{self.stderr()}")
        return self._process.exitcode

    def done(self, timeout: float = 60) -> Done:
        return Done(self.wait(timeout), self._stdout.read_text(), self.stderr())

    def stderr(self) -> str:
        return self._stderr.read_text()

    def address(self) -> str:
        """Where a service listens, once it does."""
        while not (found := re.search(r"running on (http://[\d.:]+)", self.stderr())):
            assert self.running(), f"the service did not start:\n{self.stderr()}"
            time.sleep(0.05)
        return found[1]


@contextmanager
def service_processes(
    *homes: Path, **environment: str
) -> Iterator[list[tuple[PerdureProcess, httpx.Client]]]:
    """`perdure serve` for each home folder, started at once, with the default model, on free ports."""
    with TemporaryDirectory() as folder, ExitStack() as clients:
        processes: list[PerdureProcess] = []
        try:
            for home in homes:
                settings = {"PERDURE_HOME": str(home), "PERDURE_CHECKPOINT_S": "0.2"} | environment
                outputs = Path(folder, str(len(processes)))
                outputs.mkdir()
                processes.append(PerdureProcess(outputs, "serve", "--port", "0", **settings))
            urls = [process.address() for process in processes]
            yield [
                (process, clients.enter_context(httpx.Client(base_url=url, timeout=120)))
                for process, url in zip(processes, urls, strict=True)
            ]
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()


@contextmanager
def service_process(home: Path, **environment: str) -> Iterator[tuple[PerdureProcess, httpx.Client]]:
    """One of them."""
    with service_processes(home, **environment) as [running]:
        yield running


def perdure_process(*arguments: str, typed: str = "", **environment: str) -> Done:
    with TemporaryDirectory() as folder:
        return PerdureProcess(Path(folder), *arguments, typed=typed, **{"COLUMNS": "200"} | environment).done(
            120
        )


def _run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], streams: Sequence[Path]
) -> None:
    for number, stream in enumerate(streams):
        os.dup2(os.open(stream, os.O_RDWR), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115, multiprocessing has put nothing in its place
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["perdure", *arguments]

    from app.cli.main import cli

    cli()
