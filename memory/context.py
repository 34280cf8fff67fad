"""The context: the segments that the model gets for one reply, in order, and what was left out."""

from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

from memory.messages import Role
from memory.recall.passage import Passage

SegmentKind = Literal[
    "persona",
    "examples",
    "pinned",
    "facts",
    "summary",
    "turn",
    "reminder",
    "lore",
    "recalled",
    "note",
    "message",
    "generation_prompt",
]


@dataclass(frozen=True, slots=True)
class ContextMessage:
    """What was said, by whom; `id` where it is a stored message."""

    role: Role
    content: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class RecalledPassage:
    """A passage that a `recalled` segment tells. `why` it was found, and with which `score`, is recall's own
    word; `tokens`: about what it takes of the segment.
    """

    passage: Passage
    score: float
    why: str
    tokens: int


@dataclass(frozen=True, slots=True)
class RecallReport:
    """How recall was asked for a context. `behind`: how many messages of the scope were not indexed yet;
    `degraded`: why not all could be searched; None: it was.
    """

    scope: str
    behind: int = 0
    degraded: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the context. A `turn`, or a `pinned` one, has its number and all its messages:
    turns are never cut.

    A `summary` has its id, and stands for the turns before `through_turn`; `facts` have those of the facts
    that they tell, and what is `recalled` has the passages. `messages` say the same as
    `token_ids`, for whoever renders them for another model. `since_turn`: of a persona whose instructions
    the chat's own stand in the place of, from that turn on.
    """

    kind: SegmentKind
    token_ids: tuple[int, ...]
    reason: str
    messages: tuple[ContextMessage, ...] = ()
    turn: int | None = None
    summary_id: str | None = None
    through_turn: int | None = None
    fact_ids: tuple[str, ...] = ()
    passages: tuple[RecalledPassage, ...] = ()
    since_turn: int | None = None

    @property
    def tokens(self) -> int:
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A range of turns, both ends included, that is stored but not in the window."""

    first_turn: int
    last_turn: int
    tokens: int
    reason: str


@dataclass(frozen=True, slots=True)
class Context:
    """What the model gets. Its tokens are exactly the concatenation of its segments' tokens.

    `tokens + reply_tokens <= context_window` always holds. `strategy` is the name and the parameters.
    `recall`: None if it was not asked. `preamble_tokens`: how many of the first are the persona with its
    examples; of these `public_tokens` are the text of a persona marked public.
    """

    segments: tuple[Segment, ...]
    left_out: tuple[LeftOut, ...]
    strategy: dict[str, Any]
    context_window: int
    reply_tokens: int
    recall: RecallReport | None = None
    preamble_tokens: int = 0
    public_tokens: int = 0

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(chain.from_iterable(segment.token_ids for segment in self.segments))

    @property
    def tokens(self) -> int:
        return sum(segment.tokens for segment in self.segments)

    @property
    def spoken(self) -> tuple[tuple[str, str], ...]:
        """What the context says, as (role, content)."""
        return tuple(
            (message.role, message.content) for segment in self.segments for message in segment.messages
        )

    @property
    def turns(self) -> tuple[int, ...]:
        """The numbers of the stored turns that the window holds."""
        return tuple(segment.turn for segment in self.segments if segment.turn is not None)
