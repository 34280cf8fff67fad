"""The result of an evaluation, in memory and as a file: what was asked, of whom, and a row for each thing
that was asked of each memory."""

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from app.settings import Settings
from evals.bench.machine import this_machine
from evals.harness.chats import Chat
from evals.harness.errors import EvaluationError
from evals.harness.statistics import Estimate, estimate

PACKAGES = ("perdure", "torch", "transformers", "sentence-transformers", "chromadb", "numpy")
Row = dict[str, Any]
TOTAL = ("all",)
"""What a table over all values of a split is named by."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Part):
    """A figure of the rows: the field `name`, a number or true or false, or null where it cannot be had."""

    name: str
    title: str
    unit: Literal["%", "nats", "tokens", "ms", ""]
    better: Literal["higher", "lower"] | None
    meaning: str

    def of(self, rows: Sequence[Row]) -> Estimate | None:
        """Its mean over those of the rows that have it; shares in percent."""
        having = [row for row in rows if row.get(self.name) is not None]
        if not having:
            return None
        return estimate([self.value(row) for row in having], [row["chat"] for row in having])

    def value(self, row: Row) -> float:
        return float(row[self.name]) * (100 if self.unit == "%" else 1)

    def written(self, value: float) -> str:
        decimals = {"nats": 2, "%": 1}.get(self.unit, 0)
        return f"{value:.{decimals}f}"

    @property
    def heading(self) -> str:
        return f"{self.title}, {self.unit}" if self.unit else self.title


class Curve(_Part):
    """A plot: a figure over a field of the rows, one line for each memory."""

    title: str
    x: str
    x_title: str
    figure: str


class Steps(_Part):
    """A plot: several figures, each at its number (`at`, by the figures' names), a line for each memory."""

    title: str
    x_title: str
    at: dict[str, float] = Field(min_length=1)


class Result(_Part):
    """`task`: what was asked; results with the same can be compared. `settings`: who answered, and how.

    A row has the fields `chat` and `memory`, those of `splits`, which tell tables apart, and those of `keys`,
    which together say what it is of. `has_total`: there is a table of all rows, too.
    """

    format: Literal["perdure evaluation"] = "perdure evaluation"
    version: Literal[1] = 1
    evaluation: str
    made_at: datetime
    command: str
    task: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]
    machine: dict[str, Any]
    figures: tuple[Figure, ...] = Field(min_length=1)
    splits: tuple[str, ...]
    has_total: bool = False
    keys: tuple[str, ...]
    curves: tuple[Curve | Steps, ...] = ()
    notes: tuple[str, ...] = ()
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows_are_whole(self) -> "Result":
        needed = {"chat", "memory", *self.splits, *self.keys, *(figure.name for figure in self.figures)}
        for number, row in enumerate(self.rows):
            if missing := needed - row.keys():
                raise ValueError(f"rows.{number}: lacks {', '.join(sorted(missing))}")
        told_by = ("memory", *self.splits, *self.keys)
        if len({tuple(row[name] for name in told_by) for row in self.rows}) < len(self.rows):
            raise ValueError(f"rows: two have the same {', '.join(told_by)}")
        return self

    @property
    def memories(self) -> list[str]:
        """In the order of the rows."""
        return list(dict.fromkeys(row["memory"] for row in self.rows))

    def of(self, memory: str, rows: Sequence[Row]) -> list[Row]:
        return [row for row in rows if row["memory"] == memory]

    def tables_of(self, row: Row) -> list[tuple[Any, ...]]:
        """The tables that a row is in, by the values of `splits`."""
        own = tuple(row[split] for split in self.splits)
        return [TOTAL * len(own), own] if self.has_total else [own]

    def tables(self) -> dict[tuple[Any, ...], list[Row]]:
        """The rows of each."""
        tables: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows:
            for table in self.tables_of(row):
                tables.setdefault(table, []).append(row)
        return tables

    def write(self, file: Path) -> None:
        file.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_result(file: Path) -> Result:
    """Raises EvaluationError if the file holds none."""
    try:
        content = file.read_text(encoding="utf-8")
        return Result.model_validate_json(content)
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{file} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise EvaluationError(
            f"{file} is not the result of an evaluation: {place}: {first['msg']}"
        ) from error


def made_result(evaluation: str, models: Mapping[str, Any], own: Settings, **parts: Any) -> Result:
    """A result with all that is known of itself: when, where, by which command, with which models.

    `own`: of this process, which the machine is told by.
    """
    machine = this_machine(own.threads or os.cpu_count() or 1).as_dict()
    machine.pop("versions")
    return Result(
        evaluation=evaluation,
        made_at=datetime.now(UTC),
        command=shlex.join(["perdure", *sys.argv[1:]]),
        versions={package: version(package) for package in PACKAGES},
        machine=machine,
        settings={**models, **parts.pop("settings")},
        **parts,
    )


def digest(chats: Sequence[Chat]) -> str:
    """Names what was said in chats: another generator of them, or another seed, gives another."""
    text = json.dumps([[chat.name, chat.turns] for chat in chats], ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
