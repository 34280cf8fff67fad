"""The benchmarks, on a tiny model: what they count is right. How long anything takes is not looked at."""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.settings import Settings
from evals.bench.batch import BatchSizes
from evals.bench.decode import DecodeSizes
from evals.bench.llama_server import LlamaServerRunner, ServerError
from evals.bench.ours import our_engine
from evals.bench.plan import Planner
from evals.bench.report import Goal, Report, Row, median_of_ratios, percentile, ratio_goal, rotated
from evals.bench.restore import AGAIN, FROM_DISK, RestoreSizes
from evals.bench.run import Setup, bench_batch, bench_decode, bench_restore, bench_turns
from evals.bench.script import read_script
from evals.bench.turns import EXACT, STEPPED, TurnSizes, row_name
from llm.engine.blocks import BLOCK_TOKENS
from llm.engine.local_engine import WORTH_PREPARING
from llm.packages import PACKAGED_MODELS
from llm.text.chat_format import ChatEncoding
from memory.assembly import Limits
from memory.strategies.buffer import Buffer
from memory.strategies.sliding_window import SlidingWindow

DIALOGUES = """user 1 personas,user 2 personas,Best Generated Conversation
"I bake.","I sail. I sing.","User 1: Do you sail?
User 2: Every day of the year.
User 1: And where to?
User 2: To the islands, and back."
"""
PEERS = ("transformers bf16", "transformers fp32")


@pytest.fixture
def setup(settings: Settings) -> Setup:
    return Setup(settings, threads=1)


def as_json(report: Report) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(json.dumps(report.as_dict()))
    assert parsed["benchmark"] == report.benchmark
    assert parsed["machine"]["threads"] == 1
    assert {"torch", "transformers"} <= set(parsed["machine"]["versions"])
    for section in parsed["sections"]:
        assert section["rows"], section["name"]
    return parsed


def rows_of(report: Report, section: int) -> dict[str, Row]:
    return {row.name: row for row in report.sections[section].rows}


def test_turns_compute_little_under_our_window_and_whole_windows_under_the_exact_one(setup: Setup) -> None:
    sizes = TurnSizes(
        turns=8,
        wide_turns=2,
        appended_turns=2,
        long_turns=8,
        idle_s=0.2,
        turn_tokens=30,
        wide_tokens=300,
        appended_tokens=200,
    )
    report = bench_turns(setup, sizes)
    as_json(report)
    assert len(report.sections) == 4
    window = rows_of(report, 0)
    names = ("perdure", *PEERS)
    assert set(window) == {row_name(name, policy) for policy in (STEPPED, EXACT) for name in names}
    for row in window.values():
        assert len(row.rounds) == sizes.turns
    ours = window[row_name("perdure", STEPPED)].figures["tokens computed a turn"]
    assert ours * 2 < window[row_name("perdure", EXACT)].figures["tokens computed a turn"]
    for peer in PEERS:
        assert all(turn["computed"] == turn["prompt"] for turn in window[row_name(peer, EXACT)].rounds)
    for row in rows_of(report, 2).values():
        assert row.figures["tokens computed a turn"] < row.figures["prompt, tokens"] / 2
    [with_idle_time] = report.sections[3].rows
    assert len(with_idle_time.rounds) == sizes.long_turns


def test_a_window_that_moved_is_computed_in_idle_time(settings: Settings) -> None:
    script = read_script(None)
    with our_engine(settings) as engine:
        model = engine.model
        planner = Planner(model.tokenizer, script.persona, Limits(8192, 64, 64))
        planned = planner.plan(script.turns(model.tokenizer, 20, 30), SlidingWindow(turns=4), 12)
        with closing(engine.new_chat(0)) as chat:
            for turn, following in pairwise(planned):
                chat.first_token(turn.prompt)
                chat.take_reply(turn.with_reply)
                chat.prepare(turn.coming_prefixes)
                new = len(following.prompt) - len(turn.coming_prefixes[0]) + WORTH_PREPARING
                while len(following.prompt) - chat.cached_tokens(following.prompt) > new:
                    time.sleep(0.01)  # the test's own limit ends it if nothing is prepared


@pytest.mark.parametrize(
    "strategy", [SlidingWindow(turns=3), SlidingWindow(turns=3, retention_ratio=1.0), Buffer()]
)
def test_histories_match_whatever_the_policy(
    strategy: SlidingWindow | Buffer, tokenizer: ChatEncoding
) -> None:
    script = read_script(None)
    turns = script.turns(tokenizer, 12, 20)
    planned = Planner(tokenizer, script.persona, Limits(8192, 64, 64)).plan(turns, strategy, 4)
    assert len(planned) == 8
    asks = tokenizer.generation_prompt
    for number, turn in enumerate(planned, start=4):
        user, assistant = turns[number]
        assert turn.prompt[-len(user.token_ids + asks) :] == user.token_ids + asks
        assert turn.with_reply == turn.prompt[: -len(asks)] + assistant.token_ids
        assert turn.with_reply[: len(turn.prompt)] == turn.prompt
    for turn, following in pairwise(planned):
        assert following.prompt[: len(turn.coming_prefixes[0])] == turn.coming_prefixes[0]


def test_a_script_is_read_from_dialogues_or_made_the_same_every_time(tmp_path: Path) -> None:
    data = tmp_path / "dialogues.csv"
    data.write_text(DIALOGUES, encoding="utf-8")
    script = read_script(data)
    assert script.persona == "I sail. I sing."
    assert script.said == (
        ("Do you sail?", "Every day of the year."),
        ("And where to?", "To the islands, and back."),
    )
    assert read_script(None) == read_script(None)
    data.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks the columns"):
        read_script(data)


def test_decode_measures_everybody_at_every_length_and_computes_whole_prompts(setup: Setup) -> None:
    sizes = DecodeSizes(rounds=2, tokens=4, contexts=(20, 100), prefill=64)
    report = bench_decode(setup, sizes)
    as_json(report)
    assert len(report.sections[0].rows) == 2 * 3
    for row in report.sections[0].rows:
        assert len(row.rounds) == sizes.rounds
        assert row.figures["tokens/s"] > 0
    for row in report.sections[1].rows:
        assert all(taken["computed"] == sizes.prefill for taken in row.rounds)


def test_batch_measures_streams_and_gaps_and_stores_a_persona_once(setup: Setup) -> None:
    sizes = BatchSizes(
        rounds=1, streams=(1, 8), prompt=20, tokens=4, long_prompt=300, persona_chats=4, persona=200
    )
    report = bench_batch(setup, sizes)
    as_json(report)
    assert len(report.sections[0].rows) == 2 * 3
    gaps = rows_of(report, 1)
    assert set(gaps) == {"perdure, 1 stream", "perdure, 8 streams"}
    for row in gaps.values():
        assert row.figures["worst gap, ms"] >= row.figures["median gap, ms"]
    stored = rows_of(report, 2)
    assert set(stored) == {"one owner", "an owner each"}
    for row in stored.values():
        assert row.figures["personas stored"] <= 1 + sizes.persona_chats * BLOCK_TOKENS / sizes.persona
        assert row.figures["KV stored, MB"] < row.figures["KV if each had its own, MB"] / 2
    assert all(goal.is_met for goal in report.sections[2].goals)


def test_restore_computes_the_new_tokens_alone_and_leaves_nothing_behind(setup: Setup) -> None:
    sizes = RestoreSizes(rounds=1, tokens=160, new_tokens=10)
    report = bench_restore(setup, sizes)
    as_json(report)
    rows = rows_of(report, 0)
    assert set(rows) == {FROM_DISK, AGAIN, *PEERS}
    assert rows[FROM_DISK].figures["tokens computed"] <= sizes.new_tokens + BLOCK_TOKENS
    assert rows[FROM_DISK].figures["on disk, MB"] > 0
    assert rows[AGAIN].figures["tokens computed"] == sizes.tokens + sizes.new_tokens
    assert not setup.settings.home.exists()


def test_the_command_prints_tables_or_json_and_says_who_is_missing(
    bench: Callable[..., dict[str, Any]],
) -> None:
    restore = ["restore", "--rounds", "1", "--threads", "1"]
    report = bench(*restore, "--no-peers")
    assert report["settings"]["rounds"] == 1
    assert [row["name"] for row in report["sections"][0]["rows"]] == [FROM_DISK, AGAIN]
    assert all(len(row["rounds"]) == 1 for row in report["sections"][0]["rows"])
    done = CliRunner().invoke(app, ["bench", *restore], env={"COLUMNS": "120"})
    assert done.exit_code == 0, done.output
    assert "at most 0.25" in done.stdout
    assert "is no GGUF file" in done.stdout
    done = CliRunner().invoke(app, ["bench", *restore, "--peer", "nobody"])
    assert done.exit_code == 2
    assert "no peer nobody" in done.output


def test_goals_are_judged_by_the_median_of_the_ratios_within_rounds() -> None:
    ours = [{"ms": 1.0}, {"ms": 10.0}, {"ms": 3.0}]
    theirs = [{"ms": 2.0}, {"ms": 40.0}, {"ms": 4.0}]
    assert median_of_ratios(ours, theirs, "ms") == 0.5
    rows = [Row("ours", {}, list(ours)), Row("theirs", {}, list(theirs))]
    assert ratio_goal(rows, "ours", "theirs", "ms", 0.5).is_met is True
    assert ratio_goal(rows, "ours", "theirs", "ms", 0.4).is_met is False
    assert ratio_goal(rows, "ours", "theirs", "ms", 0.6, "at least").is_met is False
    assert ratio_goal(rows, "ours", "nobody", "ms", 0.5).is_met is None
    assert Goal("x", 2.0, 2.0, "at least").is_met is True
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.5) == 2.0
    assert percentile([4.0, 1.0, 3.0, 2.0], 0.95) == 4.0
    assert rotated([1, 2, 3], 4) == [2, 3, 1]


def test_llama_cpp_goes_on_from_a_prefix_and_decodes_streams_together(models_folder: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is an optional extra")
    from evals.bench.llama_peer import LlamaRunner

    name = "smollm2-135m-instruct"
    gguf = models_folder / name / Path(PACKAGED_MODELS[name].member).name
    with closing(LlamaRunner(gguf, threads=1)) as runner:
        with closing(runner.new_chat(64)) as chat:
            prompt = tuple(range(100, 116))
            assert chat.first_token(prompt).computed_tokens == 16
            chat.take_reply((*prompt, 7, 8))
            assert chat.first_token((*prompt, 7, 8, 9)).computed_tokens == 1
            assert chat.first_token((*prompt[:10], 1)).computed_tokens == 1
            assert len(chat.decode(prompt, 3)) == 3
        times = runner.decode_together([prompt, prompt[:9]], 3)
    assert [len(stream) for stream in times] == [3, 3]


SERVER = """#!{python}
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_GET(self):
        self.answer({{}})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer({{"timings": {{"prompt_n": len(asked["prompt"])}}}})

HTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def program(folder: Path, text: str) -> Path:
    path = folder / "llama-server"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o700)
    return path


def test_a_server_is_started_asked_and_ended(tmp_path: Path) -> None:
    """With a stand-in that speaks the two routes which are used: the real one is no Python package."""
    server = program(tmp_path, SERVER.format(python=sys.executable))
    runner = LlamaServerRunner(server, tmp_path / "no.gguf", threads=1, cache_reuse=16)
    chat = runner.new_chat(64)
    assert chat.first_token([1, 2, 3]).computed_tokens == 3
    chat.close()
    with pytest.raises(ProcessLookupError):
        os.kill(chat.pid, 0)


def test_a_server_that_does_not_start_is_said_to(tmp_path: Path) -> None:
    server = program(tmp_path, "#!/bin/sh\nexit 3\n")
    with pytest.raises(ServerError, match="ended with 3"):
        LlamaServerRunner(server, tmp_path / "no.gguf", threads=1).new_chat(64)
