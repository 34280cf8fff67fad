"""Messages, and how they form turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message. `token_ids` are those that the model gets, chat template included."""

    id: str
    turn: int
    role: Role
    content: str
    token_ids: tuple[int, ...]


def starts_new_turn(previous: Role | None, role: Role) -> bool:
    """Whether a message opens a turn, given the role of the message before it.

    A turn is what belongs to one user message: notes to the model, the user message, the replies
    (`system* user? assistant*`). A greeting, or a chat that begins with a reply, is a turn of its own.
    """
    if previous is None:
        return True
    return ROLES.index(role) < ROLES.index(previous) or role == previous == "user"


def number_turns(roles: Sequence[Role], *, last_turn: int = -1, last_role: Role | None = None) -> list[int]:
    """The turn of each of `roles`, which follow a message of `last_role` in turn `last_turn`."""
    turns: list[int] = []
    for role in roles:
        last_turn += starts_new_turn(last_role, role)
        last_role = role
        turns.append(last_turn)
    return turns
