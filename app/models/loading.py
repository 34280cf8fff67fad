"""Models of sentence-transformers: where they lie, and what is said of one that cannot be loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llm.errors import ModelNotFoundError


def folder_or_id(name: str) -> str:
    """The folder of that name, if there is one; else it is an id of the hub."""
    folder = Path(name).expanduser()
    return str(folder) if folder.exists() else name


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Around the library as it loads a model, named in words. Raises ModelNotFoundError, in one line."""
    try:
        yield
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelNotFoundError(f"{what} could not be loaded: {reason}") from error
