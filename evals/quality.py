"""What each number format costs in quality on chat text; the figures are kept beside the models."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from evals.bench.script import Script, read_script
from llm.loading import DtypeName, load_model
from llm.model.packed import DecodeForm
from llm.progress import Progress, silent
from llm.quality import Chat, Quality, compare
from llm.text.chat_format import ChatEncoding, ChatTokenizer

FORMATS: tuple[tuple[DtypeName, DecodeForm], ...] = (
    ("float32", "int8"),
    ("float32", "int4"),
    ("bfloat16", "same"),
    ("bfloat16", "int8"),
    ("bfloat16", "int4"),
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens; each chat's reply is what goes on in the text."""

    chats: int = 12
    prompt: int = 200
    reply: int = 100


def measure(
    model: str, models_folder: Path, data: Path | None, sizes: Sizes, progress: Progress = silent
) -> dict[str, Quality]:
    """By number format. Keeps the figures in the models' folder, for `known_quality`. Blocks for minutes."""
    script = read_script(data)
    exact = load_model(model, models_folder, progress=progress)
    chats = list(_chats(script, ChatTokenizer(exact.folder), sizes))
    measured: dict[str, Quality] = {}
    for done, (dtype, form) in enumerate(FORMATS):
        progress("measuring number formats", done, len(FORMATS))
        other = load_model(model, models_folder, dtype=dtype, decode_weights=form)
        measured[other.number_format] = compare(exact.decoder, other.decoder, chats)
    progress("measuring number formats", len(FORMATS), len(FORMATS))
    known = {name: asdict(quality) for name, quality in measured.items()}
    found = {"text": script.source, "formats": known}
    path = _path(models_folder)
    path.write_text(json.dumps(_read(path) | {model: found}, indent=1), encoding="utf-8")
    return measured


def known_quality(model: str, models_folder: Path) -> tuple[str, dict[str, Quality]] | None:
    """The text that a model was last measured on, and what was found; None if it never was."""
    try:
        found = _read(_path(models_folder))[model]
        return found["text"], {name: Quality(**figures) for name, figures in found["formats"].items()}
    except (KeyError, TypeError):  # never measured, or by another version
        return None


def _chats(script: Script, tokenizer: ChatEncoding, sizes: Sizes) -> Iterator[Chat]:
    for ids in islice(script.chats(tokenizer, sizes.prompt + sizes.reply), sizes.chats):
        yield Chat(ids[: sizes.prompt], ids[sizes.prompt :])


def _path(models_folder: Path) -> Path:
    return models_folder / "quality.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
