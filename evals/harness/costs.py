"""What a window costs, whatever is asked: figures that every evaluation of memories has."""

from evals.harness.result import Figure

COSTS = (
    Figure(
        name="prompt_tokens",
        title="prompt",
        unit="tokens",
        better="lower",
        meaning="Tokens of the whole prompt: what the memory chose, and the question.",
    ),
    Figure(
        name="computed_tokens",
        title="computed",
        unit="tokens",
        better="lower",
        meaning="Those of them that no cache held, one question after another about the same chat.",
    ),
    Figure(
        name="took_ms",
        title="chosen in",
        unit="ms",
        better="lower",
        meaning="How long it took to choose the window; of strategies with the way over HTTP.",
    ),
)
