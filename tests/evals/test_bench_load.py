"""The benchmark of load: every turn counts once, measured or as an error. No time is looked at."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.models.chat import open_chat_model
from app.server import create_app
from app.settings import Settings
from app.web_server import serve_in_thread
from evals.bench.load import LoadBenchmark, LoadSizes
from evals.bench.script import read_script
from llm.progress import silent

FIGURES = {
    f"{what} {share}, ms" for what in ("first token", "beside the model") for share in ("p50", "p95")
} | {"tokens/s", "errors", "memory, MB"}


@pytest.fixture(scope="module")
def url(tiny_model: Path, models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("home")
    settings = Settings(
        model=str(tiny_model), models=models_folder, home=home, max_running=1, max_waiting_tokens=60
    )
    with serve_in_thread(create_app(settings, open_chat_model(settings))) as address:
        yield address


def test_a_service_of_its_own_is_loaded_by_each_number_of_clients(
    bench: Callable[..., dict[str, Any]],
) -> None:
    report = bench("load", "--clients", "1", "--clients", "3", "--turns", "2", "--think-s", "0.01")
    [section] = report["sections"]
    assert [row["name"] for row in section["rows"]] == ["1 clients", "3 clients"]
    for row, turns in zip(section["rows"], (2, 6), strict=True):
        assert set(row) >= FIGURES
        assert len(row["rounds"]) + row["errors"] == turns
        assert all(turn["beside the model, ms"] > 0 for turn in row["rounds"])


def test_turns_that_fail_are_counted_by_their_kind_and_chats_go_on_and_are_deleted(url: str) -> None:
    sizes = LoadSizes(clients=(6,), turns=3, think_s=0, reply_tokens=40)
    benchmark = LoadBenchmark(url, None, read_script(None), sizes, silent)
    [section] = benchmark.run()
    [row] = section.rows
    assert len(row.rounds) + row.figures["errors"] == 18
    assert row.rounds
    assert row.figures["errors"] > 0
    assert benchmark.notes
    with httpx.Client(base_url=url) as client:
        assert client.get("/v1/sessions").json()["data"] == []
        assert client.get("/v1/personas").json()["data"] == []


def test_a_service_that_is_not_there_is_said_so(bench: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(AssertionError, match="no service is ready at"):
        bench("load", "--url", "http://127.0.0.1:1")
