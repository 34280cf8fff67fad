"""What is told of the rows: the figures of `perdure eval persona`, and what they mean."""

from collections.abc import Sequence

from evals.harness.costs import COSTS
from evals.harness.result import Figure

NOTES = (
    "Everything but the persona is the same in both windows: what was said in the chat, and how it was "
    "chosen. By chance a line is likelier under its own persona in 50%.",
    "The small talk is that of `eval retention`; its replies follow no rule of speech.",
    "Controls know no reminder, and stand in the tables without one only.",
    "What does not fit the context window is not scored.",
)


def figures(turns: Sequence[int], *, with_replies: bool, with_judge: bool) -> tuple[Figure, ...]:
    """`turns`: after how many lines are asked for, from few to many."""
    own = [
        Figure(
            name=f"likelier_{turn}",
            title=f"turn {turn}",
            unit="%",
            better="higher",
            meaning=f"Own lines, of those that are asked for after {turn} turns.",
        )
        for turn in turns
    ]
    change = Figure(
        name="change",
        title="change",
        unit="%",
        better="higher",
        meaning=f"Points of that from {turns[0]} turns to {turns[-1]}, line by line. Below 0 it fades.",
    )
    return (
        *own,
        *([change] if len(turns) > 1 else []),
        *OF_LINES,
        *(OF_REPLIES if with_replies else ()),
        *(OF_JUDGED if with_judge else ()),
        *COSTS[:1],
    )


OF_LINES = (
    Figure(
        name="likelier",
        title="own lines",
        unit="%",
        better="higher",
        meaning="Lines of a character that the model finds likelier under its own persona than under the one "
        "of another.",
    ),
    Figure(
        name="margin",
        title="margin",
        unit="nats",
        better="higher",
        meaning="Log-probability of a line under its own persona less that under the other.",
    ),
    Figure(
        name="facts",
        title="facts",
        unit="%",
        better="higher",
        meaning="Facts of the persona that stand in the window.",
    ),
)
OF_REPLIES = (
    Figure(
        name="rule_kept",
        title="rule kept",
        unit="%",
        better="higher",
        meaning="Replies that keep the persona's rule of speech, of those in which it shows.",
    ),
    Figure(
        name="recites",
        title="recites",
        unit="%",
        better="lower",
        meaning="Replies that tell two facts of the persona or more, word for word.",
    ),
)
OF_JUDGED = (
    Figure(
        name="contradicts",
        title="contradicts",
        unit="%",
        better="lower",
        meaning="Replies that contradict a fact of the persona, says the NLI model.",
    ),
)
