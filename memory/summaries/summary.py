"""What a summary is, and how the model gets it."""

from dataclasses import dataclass

from memory.fence import fenced

OPENING = "What was said before, in short:"


@dataclass(frozen=True, slots=True)
class Summary:
    """The turns before `through_turn`, in short, written by `author`: a model, a method, or a user.

    An empty `text`: these turns say nothing, and the context needs no segment for them.

    `token_ids` are those that the model gets, chat template included.
    """

    id: str
    text: str
    through_turn: int
    author: str
    token_ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        return len(self.token_ids)


def as_message(text: str) -> str:
    """The content of the system message that a summary stands in the context as."""
    return f"{OPENING}\n{fenced(text)}"
