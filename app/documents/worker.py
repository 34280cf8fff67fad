"""A process that reads one file into pieces, under limits that the system enforces, and ends.

What a hostile file does to a reader it does here, and not to the service. Started as
`python -m app.documents.worker` with the job as JSON on standard input; on standard output, a line of JSON
for each piece, for progress (`done`, `of`), and at the end `{"end": {...}}` or `{"refused": ...}`.
"""

import json
import os
import resource
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from app.documents.formats import Kind
from app.documents.reading import DocumentError, Limits, Report
from memory.recall.chunks import Block, Piece, Row, chunk

Reader = Callable[[Path, Limits, Report], Iterator[Block]]

MAX_DEPTH = 2000
"""Of recursion, for files that are nested deep on purpose."""


def main() -> None:
    """Do the job that stands on standard input."""
    job = json.load(sys.stdin)
    limits = Limits(**job["limits"])
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    # Libraries may print what they like.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _confine(limits)

    def say(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    try:
        _read(job, limits, say)
    except DocumentError as error:
        say({"refused": str(error)})
    except MemoryError:
        say({"refused": f"reading it takes more than {limits.memory_mb} MiB of memory"})
    except RecursionError:
        say({"refused": "it is nested too deep"})
    except Exception as error:  # a library may raise anything over a broken file
        say({"refused": f"it is broken: {type(error).__name__}: {error}"})


def _confine(limits: Limits) -> None:
    """No more memory, processor time and files than that; replies go first."""
    os.nice(10)
    sys.setrecursionlimit(MAX_DEPTH)
    memory = limits.memory_mb * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (limits.seconds, limits.seconds + 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _read(job: dict[str, Any], limits: Limits, say: Callable[[dict[str, Any]], None]) -> None:
    count = _counter(job["tokenizer"])
    read = _reader(job["kind"])
    last = -1

    def report(done: int, of: int) -> None:
        nonlocal last
        percent = 100 * done // max(of, 1)
        if percent != last:
            last = percent
            say({"done": done, "of": of})

    characters = pieces = pages = 0
    for piece in chunk(_clean(read(Path(job["path"]), limits, report)), count, limits.piece_tokens):
        characters += len(piece.text)
        if characters > limits.characters:
            raise DocumentError(f"it has more than {limits.characters} characters of text")
        pieces += 1
        if piece.place.span and piece.place.span.unit == "page":
            pages = piece.place.span.last
        say({"piece": _wire(piece)})
    if not pieces:
        raise DocumentError("it has no text")
    say({"end": {"pieces": pieces, "pages": pages or None}})


def _reader(kind: Kind) -> Reader:
    """Only what this file needs is imported."""
    if kind == "pdf":
        from app.documents.pdf import read_pdf as read
    elif kind == "docx":
        from app.documents.docx import read_docx as read
    elif kind in ("xlsx", "csv"):
        from app.documents.sheets import read_csv, read_xlsx

        return read_xlsx if kind == "xlsx" else read_csv
    elif kind == "html":
        from app.documents.html import read_html as read
    else:
        from app.documents.text import read_code, read_markdown, read_text

        return {"markdown": read_markdown, "text": read_text, "code": read_code}[kind]
    return read


def _counter(tokenizer_file: str) -> Callable[[str], int]:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(tokenizer_file)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def _wire(piece: Piece) -> dict[str, Any]:
    span = piece.place.span
    return {
        "text": piece.text,
        "headings": piece.place.headings,
        "span": asdict(span) if span else None,
    }


def _clean(blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks without characters that cannot be stored: NUL, and halves of surrogate pairs."""
    for block in blocks:
        if isinstance(block, Row):
            cells, columns = (tuple(map(_storable, texts)) for texts in (block.cells, block.columns))
            yield replace(block, cells=cells, columns=columns)
        else:
            yield replace(block, text=_storable(block.text))


def _storable(text: str) -> str:
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


if __name__ == "__main__":
    main()
