"""Rules of speech that are kept or broken in plain sight, so that no judge is needed to check them."""

from collections.abc import Callable
from dataclasses import dataclass

from evals.persona.speech import Speech, speech_of


@dataclass(frozen=True, slots=True)
class Rule:
    """`text`: as a persona is told it. `spoken`: what is said, as the rule wants it.

    `kept`: whether a reply keeps the rule; None if it does not show.
    """

    text: str
    spoken: Callable[[str], str]
    kept: Callable[[str], bool | None]


def _speaks(level: Speech) -> Callable[[str], bool | None]:
    def kept(reply: str) -> bool | None:
        spoken = speech_of(reply)
        return None if spoken is Speech.UNDECIDED else spoken is level

    return kept


def _as_written(line: str) -> str:
    return line


KOREAN = {
    Speech.PLAIN: Rule("반말로만 말한다.", _as_written, _speaks(Speech.PLAIN)),
    Speech.POLITE: Rule("존댓말로만 말한다.", _as_written, _speaks(Speech.POLITE)),
}
"""Lines of made characters are written in either level, so there is nothing to change in them."""

ENGLISH = (
    Rule(
        'You begin every reply with "Aye!".',
        lambda line: f"Aye! {line}",
        lambda reply: reply.lstrip().startswith("Aye"),
    ),
    Rule("You write in small letters only.", str.lower, lambda reply: reply == reply.lower()),
    Rule(
        'You end every reply with "my friend".',
        lambda line: f"{line.rstrip('.')}, my friend.",
        lambda reply: reply.rstrip(".! ").endswith("my friend"),
    ),
    Rule(
        'You say "indeed" in every reply.',
        lambda line: f"Indeed, {line}",
        lambda reply: "indeed" in reply.lower(),
    ),
)
