"""JSON as strangers send it: nothing is let in that could not be stored or written again."""

import json
from math import isfinite
from typing import Any

MAX_DEPTH = 64


class StrictJsonError(ValueError):
    """A text is not proper JSON, or says what cannot be stored. `path` leads to the value, `a.0.b`."""

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(problem)
        self.path = path


def read_json(text: str, max_depth: int = MAX_DEPTH) -> Any:
    """The value that a JSON text holds. Raises StrictJsonError.

    Refused are NaN and infinities, NUL, unpaired surrogates, and what is nested deeper than `max_depth`.
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise StrictJsonError(
            f"not proper JSON: {error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    except (ValueError, RecursionError) as error:
        raise StrictJsonError(f"not proper JSON: {error}") from None
    _check(value, max_depth)
    return value


def _check(value: Any, max_depth: int) -> None:
    open_values: list[tuple[Any, tuple[Any, ...], int]] = [(value, (), 0)]
    while open_values:
        each, path, depth = open_values.pop()
        problem = None
        if isinstance(each, str):
            problem = _problem_of_text(each)
        elif isinstance(each, float):
            problem = None if isfinite(each) else "not proper JSON: a number that is not finite"
        elif isinstance(each, dict | list):
            if depth >= max_depth:
                problem = f"may be nested {max_depth} deep at most"
            elif isinstance(each, dict):
                problem = next(filter(None, map(_problem_of_text, each)), None)
            if problem is None:
                inside = each.items() if isinstance(each, dict) else enumerate(each)
                open_values += [(child, (path, name), depth + 1) for name, child in inside]
        if problem is not None:
            raise StrictJsonError(problem, _written(path))


def _problem_of_text(text: str) -> str | None:
    if "\0" in text:
        return "must not contain the NUL character"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "not proper JSON: an unpaired surrogate"
    return None


def _written(path: tuple[Any, ...]) -> str:
    """A path as text; paths are linked from the last name to the first, so that making one costs nothing."""
    names: list[str] = []
    while path:
        path, name = path
        names.append(str(name))
    return ".".join(reversed(names)).encode(errors="backslashreplace").decode()
