"""Models by hub id, from a small hub on loopback that speaks the part of the protocol that is used."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.llm.tiny import save_tiny_llama

COMMIT = "0123456789abcdef0123456789abcdef01234567"

LOAD = """
import sys
from pathlib import Path
from llm.errors import ModelError
from llm.loading import load_model
try:
    loaded = load_model(sys.argv[1], Path(sys.argv[2]))
    print(loaded.config.layers, "layers")
except ModelError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """Serves one repository, `someone/tiny-llama`; gives its address."""
    folder = tmp_path / "repository"
    save_tiny_llama(folder)
    for name in ("notes.bin", "consolidated.safetensors"):
        (folder / name).write_bytes(b"not wanted")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "someone/tiny-llama" not in self.path:
                self._answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            elif "/api/models/" in self.path:
                siblings = [{"rfilename": name} for name in files]
                listing = {"id": "someone/tiny-llama", "sha": COMMIT, "siblings": siblings}
                tree = [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                    for name, data in files.items()
                ]
                self._answer(200, json.dumps(tree if "/tree/" in self.path else listing).encode(), {})
            else:
                self._file(self.path.rsplit("/", 1)[-1])

        do_HEAD = do_GET  # noqa: N815

        def _file(self, name: str) -> None:
            data = files[name]
            headers = {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
            self._answer(200, data, headers)

        def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def load(model: str, models: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    monkeypatch.setenv("HF_HOME", str(models / "cache"))
    done = subprocess.run(
        [sys.executable, "-c", LOAD, model, str(models)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


def test_a_model_is_loaded_by_its_hub_id_and_kept(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    assert load("someone/tiny-llama", models, hub, monkeypatch) == "3 layers"
    kept = models / "hub" / "someone--tiny-llama"
    assert (kept / "model.safetensors").exists()
    assert not (kept / "notes.bin").exists()
    assert not (kept / "consolidated.safetensors").exists()
    assert load("someone/tiny-llama", models, "http://127.0.0.1:1", monkeypatch) == "3 layers"


def test_a_hub_that_does_not_have_it_or_does_not_answer_is_said_so(
    hub: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for endpoint in (hub, "http://127.0.0.1:1"):
        answer = load("someone/unknown", tmp_path / "models", endpoint, monkeypatch)
        assert answer.startswith("ModelNotFoundError the hub did not give 'someone/unknown': ")
