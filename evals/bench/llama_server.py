"""llama.cpp's own server in a benchmark: started on loopback, asked over HTTP, ended by its process id."""

import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from evals.bench.runners import FirstToken

START_TIMEOUT_S = 60.0
REQUEST_TIMEOUT_S = 600.0


class ServerError(Exception):
    """The server did not start."""


class LlamaServerRunner:
    """`evals.bench.runners.Runner`. Each chat is a server of its own, so that none evicts another's cache.

    `cache_reuse`: tokens of the shortest piece that it moves to another place in the context instead of
    computing it (`--cache-reuse`; the result is approximate). 0, its default: only a common prefix is kept.
    """

    def __init__(self, program: Path, gguf: Path, threads: int, cache_reuse: int = 0) -> None:
        self.name = f"llama-server --cache-reuse {cache_reuse}" if cache_reuse else "llama-server"
        self._command = [str(program), "--model", str(gguf), "--host", "127.0.0.1", "--parallel", "1"]
        self._command += ["--threads", str(threads), "--threads-batch", str(threads), "--no-webui"]
        if cache_reuse:
            self._command += ["--cache-reuse", str(cache_reuse)]

    def new_chat(self, room: int) -> "LlamaServerChat":
        return LlamaServerChat([*self._command, "--ctx-size", str(room)])

    def close(self) -> None:
        """Chats hold all there is."""


class LlamaServerChat:
    """`evals.bench.runners.Chat` with a server process of its own."""

    def __init__(self, command: Sequence[str]) -> None:
        port = _free_port()
        self._process = subprocess.Popen(
            [*command, "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=REQUEST_TIMEOUT_S)
        try:
            self._wait_until_ready()
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def first_token(self, prompt: Sequence[int]) -> FirstToken:
        began = time.perf_counter()
        computed = self._complete(prompt, 1)
        return FirstToken(time.perf_counter() - began, computed)

    def take_reply(self, token_ids: Sequence[int]) -> None:
        self._complete(token_ids, 0)

    def close(self) -> None:
        self._client.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _complete(self, prompt: Sequence[int], tokens: int) -> int:
        """Ask for so many tokens; how many of the prompt the server says it has computed."""
        answer = self._client.post(
            "/completion",
            json={"prompt": list(prompt), "n_predict": tokens, "temperature": 0, "cache_prompt": True},
        )
        answer.raise_for_status()
        return int(answer.json()["timings"]["prompt_n"])

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end:
            if (code := self._process.poll()) is not None:
                raise ServerError(f"{self._process.args!r} ended with {code}")
            try:
                if self._client.get("/health").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise ServerError(f"the server was not ready after {START_TIMEOUT_S:.0f} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
