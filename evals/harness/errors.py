"""What keeps an evaluation from going on, in words for whoever started it."""


class EvaluationError(Exception):
    """The message names what is wrong, and where."""
