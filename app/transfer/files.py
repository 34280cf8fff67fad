"""Files as JSON: one document, or one value a line."""

import codecs
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from app.strict_json import StrictJsonError, read_json
from app.transfer.archive import TransferError

MAX_DEPTH = 80
"""More than a character card may have, since personas hold one."""

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Value:
    """A JSON value of a file, and where it stands: `line 3`, or nothing for the one value of a document."""

    place: str
    value: Any

    def at(self, *path: str | int) -> str:
        """Where something inside it stands."""
        return ".".join(str(part) for part in (self.place, *path) if part != "") or "body"


def read_values(file: bytes) -> list[Value]:
    """The values of a JSONL file, or the one value of a JSON file. Raises TransferError."""
    try:
        text = file.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise TransferError(f"is not UTF-8, from byte {error.start} on") from None
    lines = list(_lines(text))
    if not lines:
        raise TransferError("is empty")
    if len(lines) == 1 or not _is_json(lines[0][1]):
        return [_read("", text)]
    return [_read(f"line {number}", line) for number, line in lines]


def validated(model: type[Model], value: Any, place: Value) -> Model:
    """`value` as a record. Raises TransferError with the first field that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise TransferError(detail["msg"], place.at(*detail["loc"])) from None


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _is_json(line: str) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _read(place: str, text: str) -> Value:
    try:
        return Value(place, read_json(text, MAX_DEPTH))
    except StrictJsonError as error:
        raise TransferError(str(error), Value(place, None).at(error.path)) from None
