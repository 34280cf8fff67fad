"""What a window holds of a fact, and what the model makes of it."""

import re
from collections.abc import Sequence

from evals.harness.costs import COSTS
from evals.harness.errors import EvaluationError
from evals.harness.result import Curve, Figure, Row
from evals.harness.service import EvaluatedService, Scores
from evals.harness.windows import Memory, Window
from evals.retention.chats import RetentionChat, Told
from evals.retention.language import Language

PLACES = 5
"""Into so many parts a window is divided, to see where in it a fact is found best."""
ROOM_TO_ANSWER = 64
"""Tokens that an answer may take."""
REPLY_TOKENS = 32

FIGURES = (
    Figure(
        name="held",
        title="current",
        unit="%",
        better="higher",
        meaning="Facts, told once or changed, of which the value that holds now is in the window.",
    ),
    Figure(
        name="stale",
        title="only old",
        unit="%",
        better="lower",
        meaning="Facts, changed or taken back, of which the window has the old value and not what ended it.",
    ),
    Figure(
        name="right",
        title="right",
        unit="%",
        better="higher",
        meaning="Facts with a value now whose right answer the model finds likelier than the same answer "
        "with any of the seven other values of its kind. By chance: 12.5%.",
    ),
    Figure(
        name="margin",
        title="margin",
        unit="nats",
        better="higher",
        meaning="Log-probability of the right answer less that of the likeliest wrong one.",
    ),
    Figure(
        name="prefers_old",
        title="prefers old",
        unit="%",
        better="lower",
        meaning="Changed facts of which the model finds the old value likelier than the new. By chance: 50%.",
    ),
    Figure(
        name="exact",
        title="replies",
        unit="%",
        better="higher",
        meaning="Facts with a value now that the model's likeliest reply tells, and no other of the kind.",
    ),
    *COSTS,
)
CURVES = (
    Curve(
        title="Current facts in the window, by how long ago they were told",
        x="depth",
        x_title="turns ago",
        figure="held",
    ),
    Curve(
        title="Right answers, by how long ago the fact was told",
        x="depth",
        x_title="turns ago",
        figure="right",
    ),
    Curve(
        title="Right answers where the fact is in the window, by its place there",
        x="place",
        x_title="place in the window: 0 is its beginning, 1 its end",
        figure="right",
    ),
)


def row(
    chat: RetentionChat,
    told: Told,
    memory: Memory,
    service: EvaluatedService,
    *,
    with_scores: bool,
    with_replies: bool,
) -> Row:
    """All that is measured of one fact, asked for at the end of its chat."""
    window = memory.window(chat.chat, told.asked)
    scored: Row = dict.fromkeys(("right", "margin", "prefers_old", "exact"))
    computed = window.computed_tokens
    fits = window.prompt_tokens + ROOM_TO_ANSWER <= service.context_window
    if with_scores and fits and told.value is not None:
        scores = service.score(window.messages, told.answers, persona_messages=window.persona_messages)
        computed = scores.computed_tokens
        scored |= _scored(told, scores)
    if with_replies and fits and told.value is not None:
        reply = service.reply(
            window.messages, max_tokens=REPLY_TOKENS, persona_messages=window.persona_messages
        )
        scored["exact"] = _is_exact(told, reply)
    return {
        "chat": chat.chat.name,
        "memory": memory.name,
        "language": chat.language.name,
        "seed": chat.seed,
        "fact": told.kind.name,
        "state": told.state,
        "depth": told.depth,
        "turns_ago": len(chat.chat.turns) - 1 - told.turn,
        **_held(told, window, chat.language),
        **scored,
        "prompt_tokens": window.prompt_tokens,
        "computed_tokens": computed,
        "took_ms": round(window.took_ms, 2),
    }


def _held(told: Told, window: Window, language: Language) -> Row:
    texts = window.remembered
    has_old = told.old is not None and tells(texts, told.old)
    if told.value is None:
        lines = [line for text in texts for line in text.splitlines() if tells([line], str(told.old))]
        is_ended = any(word in line.casefold() for line in lines for word in language.ended)
        return {"held": None, "stale": has_old and not is_ended, "place": None}
    has_value = tells(texts, told.value)
    return {
        "held": has_value,
        "stale": None if told.old is None else has_old and not has_value,
        "place": _place(texts, told.value),
    }


def tells(texts: Sequence[str], value: str) -> bool:
    return any(_of(value).search(text) for text in texts)


def _of(value: str) -> re.Pattern[str]:
    """Korean particles follow a word without a space; other words end where they end."""
    ends = r"\b" if value.isascii() else ""
    return re.compile(rf"(?<!\w){re.escape(value)}{ends}", re.IGNORECASE)


def _place(texts: Sequence[str], value: str) -> float | None:
    """The middle of the part of the window, by characters, that the value is last told in; 0 to 1."""
    whole = "\n".join(texts)
    found = [match.start() for match in _of(value).finditer(whole)]
    return (min(int(PLACES * found[-1] / len(whole)), PLACES - 1) + 0.5) / PLACES if found else None


def _scored(told: Told, scores: Scores) -> Row:
    right, *wrong = scores.log_probabilities
    if len(wrong) != len(told.kind.values) - 1:
        raise EvaluationError(f"{len(told.kind.values)} answers were to be scored; {len(wrong) + 1} were")
    old = None
    if told.old is not None:
        others = [value for value in told.kind.values if value != told.value]
        old = wrong[others.index(told.old)]
    return {
        "right": right > max(wrong),
        "margin": round(right - max(wrong), 4),
        "prefers_old": None if old is None else old > right,
    }


def _is_exact(told: Told, reply: str) -> bool:
    return [value for value in told.kind.values if tells([reply], value)] == [told.value]
