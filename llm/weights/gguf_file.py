"""GGUF files, turned once into a model folder in Hugging Face format, from which loading is quick.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from safetensors.torch import save_file

from llm.checksums import FileRecord, record_files, sha256_of, sizes_match, verify_files
from llm.errors import CorruptModelError, UnsupportedModelError
from llm.progress import Progress
from llm.weights.gguf_config import hf_config
from llm.weights.gguf_tensors import hf_tensors

CONVERSION = 3
"""Counts changes to what a conversion writes; folders of an older count are converted again."""

MANIFEST = "conversion.json"


class _Source(TypedDict):
    bytes: int
    modified_ns: int
    sha256: str


class _Manifest(TypedDict):
    conversion: int
    source: _Source
    files: dict[str, FileRecord]


def is_converted(gguf: Path, folder: Path) -> bool:
    """Whether `folder` holds a whole conversion of the file as it is now: by sizes and times, so quick."""
    manifest, stat = _manifest(folder), gguf.stat()
    return (
        manifest is not None
        and (manifest["source"]["bytes"], manifest["source"]["modified_ns"])
        == (stat.st_size, stat.st_mtime_ns)
        and sizes_match(folder, manifest["files"])
    )


def convert(gguf: Path, folder: Path, progress: Progress) -> None:
    """Write the model of `gguf`, dequantised to float32, with its tokeniser, to `folder`.

    What was in `folder` is replaced as a whole, or not at all; it stays if it came from a file of the
    same contents. Raises CorruptModelError or UnsupportedModelError. The caller sees to it that nobody
    else converts to the same folder meanwhile.
    """
    stat = gguf.stat()
    source: _Source = {
        "bytes": stat.st_size,
        "modified_ns": stat.st_mtime_ns,
        "sha256": sha256_of(gguf),
    }
    known = _manifest(folder)
    if known and known["source"]["sha256"] == source["sha256"] and sizes_match(folder, known["files"]):
        _write_manifest(folder, source, known["files"])
        return
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _write_model(gguf, partial, progress)
        _write_manifest(partial, source, record_files(partial))
        _sync(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def verify_conversion(folder: Path) -> None:
    """Read every file of a conversion. Raises CorruptModelError naming the one that is not as written."""
    manifest = _manifest(folder)
    if manifest is None:
        raise CorruptModelError(f"{folder} holds no whole conversion of a GGUF file")
    verify_files(folder, manifest["files"])


def _manifest(folder: Path) -> _Manifest | None:
    """None if there is none, or one of another version."""
    try:
        manifest: _Manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return manifest if manifest["conversion"] == CONVERSION else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_manifest(folder: Path, source: _Source, files: dict[str, FileRecord]) -> None:
    manifest: _Manifest = {"conversion": CONVERSION, "source": source, "files": files}
    partial = folder / (MANIFEST + ".partial")
    partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    partial.replace(folder / MANIFEST)


def _write_model(gguf: Path, folder: Path, progress: Progress) -> None:
    reader = _read(gguf)
    try:
        config = hf_config(reader)
    except (TypeError, ValueError, KeyError, ArithmeticError) as error:
        raise CorruptModelError(f"the metadata of {gguf} are not whole: {error!r}") from error
    tensors = hf_tensors(reader, config, progress)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    progress("converting the tokeniser", 0, 1)
    _save_tokenizer(gguf, folder)
    progress("converting the tokeniser", 1, 1)


def _read(gguf: Path) -> Any:
    from gguf import GGUFReader

    class BoundedReader(GGUFReader):
        """Refuses to read behind the end of the file: the library reads nothing there, again and again until
        memory runs out, where an array claims to be longer than the file."""

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            if offset + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError(f"it ends within what stands at byte {offset}")
            return super()._get(offset, dtype, count, override_order)

    try:
        return BoundedReader(gguf)
    except Exception as error:  # whatever the reader stumbles over in bytes that are no GGUF
        raise CorruptModelError(f"{gguf} is not a whole GGUF file: {error}") from error


def _save_tokenizer(gguf: Path, folder: Path) -> None:
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    except Exception as error:  # transformers names no class for a vocabulary that it cannot make out
        raise UnsupportedModelError(f"the tokeniser in {gguf} cannot be read: {error!r}") from error
    tokenizer.save_pretrained(folder)


def _sync(folder: Path) -> None:
    """Bring the files to the disk, so that a renamed folder is whole even after a power cut."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
