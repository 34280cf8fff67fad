"""How long work says how far it is: the stage, how much of it is done, and of how much."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]


def silent(_stage: str, _done: int, _total: int) -> None:
    """Progress that nobody looks at."""
