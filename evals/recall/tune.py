"""Fits the weights of ranking, and shows what they are worth on conversations that they were not fitted on.

    python -m evals.recall.tune locomo10.json

They are fitted on long conversations, where what matters stands among what belongs to it, and on generated
chats, where it stands alone. The loss is listwise: each piece of evidence against all other candidates of its
question, with a penalty on large weights. Each conversation is held out once, and so is each half of the
kinds of facts of generated chats.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch.nn.functional import softplus

from app.cli.progress import stage_progress
from app.models.embedding import SentenceEmbedder
from app.settings import Settings
from evals.recall.generated import generated_conversations
from evals.recall.locomo import Conversation, read_locomo
from evals.recall.shelf import Shelves, temporary_shelves
from llm.progress import Progress
from memory.recall.episodes import episodes_of
from memory.recall.features import FEATURES, features
from memory.recall.ranking import WEIGHTS, spread
from memory.recall.search import Question

PENALTY = 1e-3
COLUMNS = ("recall at 5", "at 10", "at 50", "all sessions in 5")
GENERATED_SEEDS = range(100, 105)
"""Others than those that `eval retention` is run with."""


@dataclass(frozen=True, slots=True)
class Example:
    """The candidates of a question: features [candidates, features], which are evidence, their episodes and
    sources.

    `evidence`: how many turns are evidence, found or not; `sessions`: those that they are of.
    """

    features: NDArray[np.float64]
    is_evidence: NDArray[np.bool_]
    episodes: NDArray[np.intp]
    sources: tuple[str, ...]
    evidence: int
    sessions: frozenset[str]


def main(data: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Print the weights and the table of held-out figures."""
    conversations, _ = read_locomo(data)
    with stage_progress() as progress, temporary_shelves(SentenceEmbedder(Settings())) as shelves:

        def examples(conversation: Conversation) -> list[Example]:
            return asyncio.run(_examples(conversation, shelves, progress))

        given = {conversation.name: examples(conversation) for conversation in conversations}
        of_chats = [examples(chat) for chat in generated_conversations(GENERATED_SEEDS)]
    generated = {
        "generated, every other kind": [each for asked in of_chats for each in asked[::2]],
        "generated, the other kinds": [each for asked in of_chats for each in asked[1::2]],
    }
    everything = given | generated
    fitted = fit(list(chain.from_iterable(everything.values())))
    table = Table("held out", "questions", *COLUMNS, box=None)
    for name, group in (("given", given), ("generated", generated)):
        _add_rows(table, name, group, everything, fitted)
    console = Console()
    console.print(table)
    console.print({name: round(float(weight), 2) for name, weight in zip(FEATURES, fitted, strict=True)})


def _add_rows(
    table: Table,
    name: str,
    group: Mapping[str, Sequence[Example]],
    everything: Mapping[str, Sequence[Example]],
    fitted: NDArray[np.float64],
) -> None:
    """What each of a group reaches when it is held out of everything; and the means of them all."""
    held_out: list[tuple[float, ...]] = []
    for left_out, found in group.items():
        weights = fit([each for other, rest in everything.items() if other != left_out for each in rest])
        figures = [_figures(example, weights) for example in found]
        held_out += figures
        table.add_row(left_out, str(len(found)), *_cells(figures))
    examples = list(chain.from_iterable(group.values()))
    current = np.array([WEIGHTS[feature] for feature in FEATURES])
    table.add_row(f"{name}: held-out mean", str(len(examples)), *_cells(held_out))
    for what, weights in (("fitted on all", fitted), ("as they stand", current)):
        figures = [_figures(example, weights) for example in examples]
        table.add_row(f"{name}: {what}", str(len(examples)), *_cells(figures))


async def _examples(conversation: Conversation, shelves: Shelves, progress: Progress) -> list[Example]:
    searcher = shelves.fill(conversation.name, conversation.passages, progress)
    examples = []
    for number, asked in enumerate(conversation.questions, 1):
        question = Question(asked.text, conversation.asked_at, (conversation.name,))
        passages, found = await searcher.candidates(question)
        episodes, vectors = episodes_of(passages), shelves.embedder.embed_words
        examples.append(
            Example(
                features(asked.text, conversation.asked_at, passages, found, vectors, episodes=episodes),
                np.array([passage.key in asked.evidence for passage in passages]),
                episodes,
                tuple(passage.key.source for passage in passages),
                len(asked.evidence),
                frozenset(key.source for key in asked.evidence),
            )
        )
        progress(f"asking {conversation.name}", number, len(conversation.questions))
    return examples


def fit(examples: Sequence[Example]) -> NDArray[np.float64]:
    """The weights, one for each feature."""
    usable = [example for example in examples if example.is_evidence.any()]
    most = max(len(example.features) for example in usable)
    shape = (len(usable), most)
    x, absent = torch.zeros(*shape, len(FEATURES)), torch.ones(shape, dtype=torch.bool)
    y = torch.zeros(shape)
    for row, example in enumerate(usable):
        count = len(example.features)
        x[row, :count] = torch.from_numpy(example.features).float()
        absent[row, :count] = False
        y[row, :count] = torch.from_numpy(example.is_evidence).float()
    not_rivals = absent | (y > 0)
    weights = torch.zeros(len(FEATURES), requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        scores = x @ weights
        rivals = torch.logsumexp(scores.masked_fill(not_rivals, -1e9), 1, keepdim=True)
        lost = (softplus(rivals - scores) * y).sum(1) / y.sum(1)
        total = lost.mean() + PENALTY * (weights**2).sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach().double().numpy()


def _figures(example: Example, weights: NDArray[np.float64]) -> tuple[float, ...]:
    scores = spread(example.features @ weights, example.episodes)
    order = np.argsort(-scores, kind="stable")
    recalls = [example.is_evidence[order[:top]].sum() / example.evidence for top in (5, 10, 50)]
    sources = list(dict.fromkeys(example.sources[place] for place in order))[:5]
    return (*recalls, float(example.sessions.issubset(sources)))


def _cells(figures: Sequence[tuple[float, ...]]) -> list[str]:
    return [f"{100 * figure:.1f}" for figure in np.mean(figures, axis=0)]


if __name__ == "__main__":
    typer.run(main)
