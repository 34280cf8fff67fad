"""How likely a model finds the right answer to a question, in the window of a memory."""

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

from evals.answers.chats import AnswersChat, Question
from evals.harness.costs import COSTS
from evals.harness.result import Curve, Figure, Row
from evals.harness.service import EvaluatedService
from evals.harness.windows import Memory
from memory.protocols import ChatEncoder

LONG_AGO = (25, 50, 100, 200, 400, 800)
"""Up to how many turns ago the evidence was said, of a point of the curve."""
BASELINE = "none"
"""The control that a gain is over."""


FIGURES = (
    Figure(
        name="per_token",
        title="per token",
        unit="nats",
        better="higher",
        meaning="Log-probability of the right answer, the mean of its tokens. Date and name, with which a "
        "reply begins as every line does, are given.",
    ),
    Figure(
        name="whole",
        title="whole",
        unit="nats",
        better="higher",
        meaning="Log-probability of the whole answer, the sum over its tokens.",
    ),
    Figure(
        name="gain",
        title="gain",
        unit="nats",
        better="higher",
        meaning="`per token` less that of the same answer without any memory, question by question.",
    ),
    Figure(
        name="evidence",
        title="evidence",
        unit="%",
        better="higher",
        meaning="Lines that answer the question which stand in the window word for word.",
    ),
    *COSTS,
)
CURVES = (
    Curve(title="Gain, by kind of question", x="category", x_title="kind of question", figure="gain"),
    Curve(
        title="Gain, by how long ago the oldest line that answers the question was said",
        x="depth",
        x_title="turns ago, at most",
        figure="gain",
    ),
    Curve(
        title="Evidence in the window, by how long ago its oldest line was said",
        x="depth",
        x_title="turns ago, at most",
        figure="evidence",
    ),
)


def row(
    each: AnswersChat, question: Question, memory: Memory, service: EvaluatedService, encoder: ChatEncoder
) -> Row:
    """All that is measured of one question, but its gain."""
    window = memory.window(each.chat, question.asked)
    computed, of_tokens = window.computed_tokens, None
    reply = f"{each.lead} {question.answer}"
    if window.prompt_tokens + len(encoder.encode_message("assistant", reply)) <= service.context_window:
        scores = service.score(window.messages, [reply], persona_messages=window.persona_messages)
        computed, of_tokens = scores.computed_tokens, behind(each.lead, scores.tokens[0])
    held = [any(text in said for said in window.remembered) for text in question.evidence]
    return {
        "chat": each.chat.name,
        "memory": memory.name,
        "question": question.number,
        "category": question.category,
        "turns_ago": question.turns_ago,
        "depth": next((most for most in LONG_AGO if question.turns_ago <= most), None),
        "per_token": None if of_tokens is None else round(fmean(of_tokens), 4),
        "whole": None if of_tokens is None else round(sum(of_tokens), 4),
        "evidence": sum(held) / len(held),
        "prompt_tokens": window.prompt_tokens,
        "computed_tokens": computed,
        "took_ms": round(window.took_ms, 2),
    }


def behind(lead: str, tokens: Sequence[tuple[str, float]]) -> list[float]:
    """Log-probabilities of the tokens that begin behind the lead: what a reply begins with is given, lest it
    be measured how well a memory shows the form of replies."""
    begins = accumulate((len(text) for text, _ in tokens), initial=0)
    return [each for (_, each), begin in zip(tokens, begins, strict=False) if begin >= len(lead)]


def with_gains(rows: Sequence[Row]) -> list[Row]:
    """The rows with what the memory is worth over none, where both were scored."""
    without = {
        (row["chat"], row["budget"], row["question"]): row["per_token"]
        for row in rows
        if row["memory"] == BASELINE
    }
    return [
        row | {"gain": _gain(row, without.get((row["chat"], row["budget"], row["question"])))} for row in rows
    ]


def _gain(row: Row, baseline: float | None) -> float | None:
    if baseline is None or row["per_token"] is None or row["memory"] == BASELINE:
        return None
    return round(float(row["per_token"]) - baseline, 4)
