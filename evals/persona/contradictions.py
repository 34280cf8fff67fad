"""Whether a reply contradicts what is true of a persona, by a model of natural language inference."""

from collections.abc import Sequence
from typing import Protocol

from evals.harness.errors import EvaluationError


class Judge(Protocol):
    def contradicts(self, facts: Sequence[str], reply: str) -> bool:
        """Whether the reply contradicts any of the facts."""
        ...


class NliModel:
    """A cross-encoder of sentence-transformers that knows the label `contradiction`; its folder or hub id."""

    def __init__(self, name: str) -> None:
        """Raises EvaluationError if it cannot be loaded, or tells no contradictions."""
        from sentence_transformers import CrossEncoder  # noqa: PLC0415 - slow, and not always wanted

        try:
            self._model = CrossEncoder(name)
        except (OSError, ValueError) as error:
            raise EvaluationError(f"the NLI model {name} cannot be loaded: {error}") from error
        labels = {number: label.lower() for number, label in self._model.config.id2label.items()}
        found = [number for number, label in labels.items() if label.startswith("contradict")]
        if len(found) != 1:
            raise EvaluationError(
                f"the NLI model {name} has no label `contradiction`, but {', '.join(labels.values())}"
            )
        [self._contradiction] = found

    def contradicts(self, facts: Sequence[str], reply: str) -> bool:
        if not reply.strip():
            return False
        scores = self._model.predict([(fact, reply) for fact in facts])
        return bool((scores.argmax(axis=1) == self._contradiction).any())
