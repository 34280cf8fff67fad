"""The chat format: what a chat template puts around messages, in pieces that can be joined.

A template renders a whole conversation; here each message is rendered alone, and a conversation is the
concatenation of its messages, so that what begins with the same messages begins with the same ids. The
pieces are found by rendering sentinels with the model's own template. Where that template is not of this
kind (it refuses system messages, melts them into the first turn, or rewrites older turns), the pieces are
our rendering.
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Literal

from llm.text.tokenizer import Tokenizer

Role = Literal["system", "user", "assistant"]
Render = Callable[..., str]
FrameParts = tuple[tuple[int, ...], str, str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands before and after the content of a message."""

    head: str
    tail: str


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """The pieces. `preamble` frames a system message that begins the conversation.

    `stop` ends a reply where the model has no token for it.
    """

    preamble: Frame
    default_preamble: str
    system: Frame
    user: Frame
    assistant: Frame
    generation_prompt: str
    stop: tuple[str, ...] = ()

    @property
    def around_messages(self) -> tuple[object, ...]:
        """What the ids of messages rest on: not the preamble, where some templates have the date."""
        frames = (self.system, self.user, self.assistant)
        return (*map(astuple, frames), self.generation_prompt)


PLAIN = ChatFormat(
    preamble=Frame("", "\n\n"),
    default_preamble="",
    system=Frame("System: ", "\n"),
    user=Frame("User: ", "\n"),
    assistant=Frame("Assistant: ", "\n"),
    generation_prompt="Assistant: ",
    stop=("\nUser:", "\nSystem:"),
)
"""For models without a chat template."""

SYSTEM, USER, REPLY, USER_AGAIN, SYSTEM_AGAIN = (f"sentinel-{name}-here" for name in "vwxyz")


def derive_format(render: Render) -> ChatFormat | None:
    """Find the pieces of the template that `render(messages, ask=...)` applies; None if it has none."""
    try:
        only_user = _Rendering(render, ("user", USER))
        with_reply = _Rendering(render, ("user", USER), ("assistant", REPLY))
        two_turns = _Rendering(render, ("user", USER), ("assistant", REPLY), ("user", USER_AGAIN))
        user_tail = only_user.after(USER)
        # Of a reply that others follow: some templates put thoughts into the last one.
        reply_head = _behind(two_turns.between(USER, REPLY), user_tail)
        reply_tail = with_reply.after(REPLY)
        user_head = _behind(two_turns.between(REPLY, USER_AGAIN), reply_tail)
        asked = render([{"role": "user", "content": USER}], ask=True)
        # A space before a reply is part of its first token, which the model is to choose.
        generation_prompt = _behind(asked, only_user.text) or reply_head.rstrip(" ")
    except Exception:  # a template may raise anything at all
        return None
    before_user = only_user.before(USER)
    user = Frame(user_head, user_tail)
    default_preamble = before_user.removesuffix(user_head)
    preamble, system = _system_frames(render, user, reply_tail) or (
        Frame(default_preamble + user_head, user_tail),
        user,
    )
    return ChatFormat(
        preamble=preamble,
        default_preamble=default_preamble,
        system=system,
        user=user,
        assistant=Frame(reply_head, reply_tail),
        generation_prompt=generation_prompt,
    )


def _system_frames(render: Render, user: Frame, reply_tail: str) -> tuple[Frame, Frame] | None:
    """Frames of a first and of a later system message; None if the template has no such message."""
    try:
        first = _Rendering(render, ("system", SYSTEM), ("user", USER))
        between = first.between(SYSTEM, USER)
        if not between.endswith(user.head) or first.after(USER) != user.tail:
            return None
        preamble = Frame(first.before(SYSTEM), between.removesuffix(user.head))
        # A template that melts the system message into the first user message frames no message.
        if not preamble.tail.strip():
            return None
    except Exception:  # a template may raise anything at all
        return None
    try:
        later = _Rendering(
            render, ("user", USER), ("assistant", REPLY), ("system", SYSTEM_AGAIN), ("user", USER_AGAIN)
        )
        head = _behind(later.between(REPLY, SYSTEM_AGAIN), reply_tail)
        tail = later.between(SYSTEM_AGAIN, USER_AGAIN).removesuffix(user.head)
    except Exception:  # a template may raise anything at all
        return preamble, user
    return preamble, Frame(head, tail)


class _Rendering:
    """The template's text of some messages, cut at their contents."""

    def __init__(self, render: Render, *messages: tuple[Role, str]) -> None:
        self.text = render([{"role": role, "content": content} for role, content in messages])

    def before(self, content: str) -> str:
        return self.text[: self.text.index(content)]

    def after(self, content: str) -> str:
        return self.text[self.text.index(content) + len(content) :]

    def between(self, first: str, second: str) -> str:
        start = self.text.index(first) + len(first)
        return self.text[start : self.text.index(second, start)]


def _behind(text: str, start: str) -> str:
    """`text` without `start`, with which it must begin."""
    if not text.startswith(start):
        raise ValueError(f"{text!r} does not begin with {start!r}")
    return text[len(start) :]


class ChatEncoding(ABC):
    """Messages to token ids, by a chat format and a vocabulary, wherever that vocabulary is.

    `memory.protocols.ChatEncoder` is its user's view. `fingerprint` identifies vocabulary and frames: ids of
    messages made under one are valid under it only. A subclass sets `format`, `special_tokens`, `special_ids`
    and `fingerprint`, and then calls `_encode_pieces`.
    """

    format: ChatFormat
    special_tokens: tuple[str, ...]
    special_ids: frozenset[int]
    generation_prompt: tuple[int, ...]
    end_of_turn_ids: frozenset[int]
    fingerprint: str
    vocabulary_size: int | None = None
    """Every id is less; None if a server keeps it to itself."""
    text_start: tuple[int, ...] = ()
    """What the model has been trained to see before any text that is no chat."""

    @abstractmethod
    def encode_text(self, text: str) -> tuple[int, ...]:
        """Ids of plain text. What looks like a control token becomes ordinary tokens."""

    @abstractmethod
    def encode_template(self, text: str) -> tuple[int, ...]:
        """Ids of a piece of the chat template, in which control tokens are meant."""

    @abstractmethod
    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids, which hold no control tokens or have them left out."""

    def encode_preamble(self, system: str | None) -> tuple[int, ...]:
        """What stands before the first turn: the system message, or what the template puts there itself."""
        if system is None:
            return self.encode_template(self.format.default_preamble)
        return self._encode_framed(self.format.preamble, system)

    def encode_message(self, role: Role, content: str) -> tuple[int, ...]:
        """A message with all that the template puts around it."""
        frames = {
            "system": self.format.system,
            "user": self.format.user,
            "assistant": self.format.assistant,
        }
        return self._encode_framed(frames[role], content)

    def encode_reply(self, generated_ids: Sequence[int]) -> tuple[int, ...]:
        """A reply made of the very ids that were generated, as it stands in later contexts."""
        return (*self.generation_prompt, *generated_ids, *self._reply_tail)

    def _encode_framed(self, frame: Frame, content: str) -> tuple[int, ...]:
        """Control tokens of the frame as such; plain text and the content between them as one text.

        As one, because the merges of a tokeniser cross from the frame's words into the content.
        """
        head_ids, before, after, tail_ids = self._parts(frame)
        return (*head_ids, *self.encode_text(before + content + after), *tail_ids)

    def _parts(self, frame: Frame) -> FrameParts:
        if frame not in self._split_frames:
            self._split_frames[frame] = self._split(frame)
        return self._split_frames[frame]

    def _split(self, frame: Frame) -> FrameParts:
        """The control tokens at either end of a frame, and the texts between them and the content."""
        head_end = max((self._end_of_last(token, frame.head) for token in self.special_tokens), default=0)
        tail_start = min(
            (frame.tail.find(token) for token in self.special_tokens if token in frame.tail),
            default=len(frame.tail),
        )
        return (
            self.encode_template(frame.head[:head_end]),
            frame.head[head_end:],
            frame.tail[:tail_start],
            self.encode_template(frame.tail[tail_start:]),
        )

    @staticmethod
    def _end_of_last(token: str, text: str) -> int:
        start = text.rfind(token)
        return start + len(token) if start >= 0 else 0

    def _encode_pieces(self, end_ids: frozenset[int] = frozenset()) -> None:
        """Set what is the same for every message. `end_ids`: the model's own end tokens, if they are known.

        A reply ends with one of them, or with the control token that the format puts behind a reply.
        """
        self._split_frames: dict[Frame, FrameParts] = {}
        self.generation_prompt = self.encode_template(self.format.generation_prompt)
        self._reply_tail = self.encode_template(self.format.assistant.tail)
        ends = {token_id for token_id in self._reply_tail[:1] if token_id in self.special_ids}
        self.end_of_turn_ids = end_ids | ends


class ChatTokenizer(Tokenizer, ChatEncoding):
    """The tokeniser of a chat model in a folder here, with its chat format."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        derived = derive_format(self.render) if self.has_chat_template else None
        self.format = derived or PLAIN
        self._encode_pieces(self.end_ids)
        identity = self.vocabulary_digest() + repr(self.format.around_messages).encode()
        self.fingerprint = hashlib.sha256(identity).hexdigest()[:32]
