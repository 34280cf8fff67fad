"""A real Chroma server for the tests."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memory.errors import IndexUnavailableError
from memory.recall.dense import ChromaIndex, chroma_server


@contextmanager
def running_chroma(folder: Path) -> Iterator[str]:
    """`chroma run` on a free port; gives its URL once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    chroma = Path(sys.executable).parent / "chroma"
    command = [str(chroma), "run", "--path", str(folder), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            url = f"http://127.0.0.1:{port}"
            asking = ChromaIndex(chroma_server(url), "none")
            for _ in range(200):
                try:
                    asking.ping()
                    break
                except IndexUnavailableError:
                    time.sleep(0.05)
            yield url
        finally:
            server.terminate()
