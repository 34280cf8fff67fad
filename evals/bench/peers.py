"""Which peers are here, opened on the same weights as our engine."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from app.settings import Settings
from evals.bench.runners import DecodingRunner, Runner
from llm.catalog import ensure_model
from llm.loading import DtypeName
from llm.packages import PACKAGED_MODELS

CACHE_REUSE = 16
BF16 = "transformers bf16"
FP32 = "transformers fp32"
LLAMA = "llama-cpp-python"
SERVER = "llama-server"
PEER_NAMES = (BF16, FP32, LLAMA, SERVER)


@dataclass(frozen=True, slots=True)
class PeerChoice:
    """Which peers are wanted. `llama_server`: the path of llama.cpp's own server; by default that on PATH."""

    names: tuple[str, ...] = PEER_NAMES
    llama_server: Path | None = None


@dataclass(frozen=True, slots=True)
class Peers:
    """Those who take part beside our engine; `missing` says why others do not."""

    decoding: list[DecodingRunner] = field(default_factory=list)
    servers: list[Runner] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[Runner]:
        return [*self.decoding, *self.servers]


@contextmanager
def open_peers(settings: Settings, threads: int, choice: PeerChoice) -> Iterator[Peers]:
    """The peers that are wanted and here, until the end of the block."""
    peers = Peers()
    folder = ensure_model(settings.model, settings.models_folder)
    gguf = _gguf_of(settings)
    if BF16 in choice.names:
        _add_transformers(peers, folder, "bfloat16", threads)
    if FP32 in choice.names:
        _add_transformers(peers, folder, "float32", threads)
    if gguf is None:
        wanted = (name for name in (LLAMA, SERVER) if name in choice.names)
        peers.missing.extend(f"{name}: {settings.model} is no GGUF file" for name in wanted)
    else:
        if LLAMA in choice.names:
            _add_llama(peers, gguf, threads)
        if SERVER in choice.names:
            _add_llama_server(peers, gguf, threads, choice.llama_server)
    with ExitStack() as stack:
        for peer in peers.all:
            stack.enter_context(closing(peer))
        yield peers


def _add_transformers(peers: Peers, folder: Path, dtype: DtypeName, threads: int) -> None:
    from evals.bench.transformers_peer import TransformersRunner

    peers.decoding.append(TransformersRunner(folder, dtype, threads))


def _add_llama(peers: Peers, gguf: Path, threads: int) -> None:
    if find_spec("llama_cpp") is None:
        peers.missing.append(f"{LLAMA}: not installed (pip install 'perdure[bench]')")
        return
    from evals.bench.llama_peer import LlamaRunner

    peers.decoding.append(LlamaRunner(gguf, threads))


def _add_llama_server(peers: Peers, gguf: Path, threads: int, program: Path | None) -> None:
    on_path = shutil.which(SERVER)
    found = program or (Path(on_path) if on_path else None)
    if found is None:
        peers.missing.append(f"{SERVER}: not on PATH, and no path given by --llama-server")
        return
    from evals.bench.llama_server import LlamaServerRunner

    peers.servers.append(LlamaServerRunner(found, gguf, threads))
    peers.servers.append(LlamaServerRunner(found, gguf, threads, cache_reuse=CACHE_REUSE))


def _gguf_of(settings: Settings) -> Path | None:
    """The GGUF file that the settings' model is, or was converted from."""
    if settings.model in PACKAGED_MODELS:
        return next((settings.models_folder / settings.model).glob("*.gguf"), None)
    path = Path(settings.model).expanduser()
    return path if path.suffix == ".gguf" and path.is_file() else None
