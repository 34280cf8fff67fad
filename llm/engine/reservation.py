"""A place in a queue, held for one request."""

from collections.abc import Callable

from llm.engine.interface import Generation, Reservation


class HeldPlace:
    """`llm.engine.interface.Reservation`: `start` uses a place that has been taken, `give_back` frees it."""

    def __init__(self, start: Callable[[], Generation], give_back: Callable[[], None]) -> None:
        self._start = start
        self._give_back = give_back
        self._is_held = True

    def submit(self) -> Generation:
        generation = self._start()
        self._is_held = False
        return generation

    def release(self) -> None:
        if self._is_held:
            self._is_held = False
            self._give_back()


def submit_at_once(place: Reservation) -> Generation:
    """Use a place, or give it back if that fails."""
    try:
        return place.submit()
    finally:
        place.release()
