"""Runs one benchmark: opens our engine and its peers, and makes the report."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from app.models.embedding import SentenceEmbedder
from app.settings import Settings
from evals.bench.batch import BatchBenchmark, BatchSizes
from evals.bench.choose import ChooseBenchmark, ChooseSizes
from evals.bench.decode import DecodeBenchmark, DecodeSizes
from evals.bench.load import LoadBenchmark, LoadSizes
from evals.bench.lookup import measure_lookup
from evals.bench.machine import Machine, this_machine
from evals.bench.ours import our_engine
from evals.bench.own_service import own_service
from evals.bench.peers import PeerChoice, Peers, open_peers
from evals.bench.recall import RecallBenchmark, RecallSizes
from evals.bench.report import Report, Section
from evals.bench.restore import RestoreBenchmark, RestoreSizes
from evals.bench.script import Script, read_script
from evals.bench.turns import TurnBenchmark, TurnSizes
from evals.bench.windows import WindowBenchmark, WindowSizes
from llm.catalog import ensure_model
from llm.loading import dtype_for
from llm.progress import Progress, silent
from llm.text.chat_format import ChatTokenizer
from memory.summaries.extractive import ExtractiveSummariser
from memory.summaries.summary import as_message

AMX_NOTE = (
    "this processor has AMX, which torch uses for bf16 prompts. llama.cpp uses it only if it was built for "
    "it: where it was not, the comparison of prefill flatters us."
)

RECALL_NOTE = (
    "the vectors of the bulk are mixed from real ones, two and some noise for each text; those of questions, "
    "and of what is indexed against bare encoding, are the model's own."
)

Measure = Callable[[Settings, Peers, Script, Progress], list[Section]]
Count = Callable[[ChatTokenizer, Script], tuple[list[Section], list[str]]]
"""A benchmark that needs the tokeniser alone: its tables, and what must be known to read them."""
Sizes = (
    TurnSizes | DecodeSizes | BatchSizes | RestoreSizes | WindowSizes | ChooseSizes | RecallSizes | LoadSizes
)


@dataclass(frozen=True, slots=True)
class Setup:
    """What every benchmark is started with. `data`: dialogues to chat with (see `evals.dialogues`)."""

    settings: Settings
    threads: int = 2
    data: Path | None = None
    peers: PeerChoice = field(default_factory=PeerChoice)
    progress: Progress = silent


def bench_turns(setup: Setup, sizes: TurnSizes) -> Report:
    def measure(settings: Settings, peers: Peers, script: Script, progress: Progress) -> list[Section]:
        with our_engine(settings) as engine:
            return TurnBenchmark(engine, peers, script, sizes, progress).run()

    return _report("turns", setup, sizes, measure)


def bench_decode(setup: Setup, sizes: DecodeSizes) -> Report:
    def measure(settings: Settings, peers: Peers, script: Script, progress: Progress) -> list[Section]:
        with our_engine(_plain(settings)) as engine:
            sections = DecodeBenchmark(engine, peers, script, sizes, progress).run()
            with our_engine(settings.model_copy(update={"prompt_lookup": True})) as guessing:
                return [*sections, measure_lookup(engine, guessing, script, sizes, progress)]

    return _report("decode", setup, sizes, measure)


def bench_batch(setup: Setup, sizes: BatchSizes) -> Report:
    def measure(settings: Settings, peers: Peers, script: Script, progress: Progress) -> list[Section]:
        with our_engine(_plain(settings)) as engine:
            return BatchBenchmark(engine, peers, script, sizes, progress).run()

    return _report("batch", setup, sizes, measure)


def bench_restore(setup: Setup, sizes: RestoreSizes) -> Report:
    def measure(settings: Settings, peers: Peers, script: Script, progress: Progress) -> list[Section]:
        return RestoreBenchmark(settings, peers, script, sizes, progress).run()

    return _report("restore", setup, sizes, measure)


def bench_windows(setup: Setup, sizes: WindowSizes, *, with_peers: bool) -> Report:
    def count(tokenizer: ChatTokenizer, script: Script) -> tuple[list[Section], list[str]]:
        summariser = ExtractiveSummariser(
            SentenceEmbedder(setup.settings).embed,
            lambda text: len(tokenizer.encode_message("system", as_message(text))),
        )
        benchmark = WindowBenchmark(
            tokenizer, summariser, script, sizes, with_peers=with_peers, progress=setup.progress
        )
        return benchmark.run(), benchmark.notes

    return _report_without_model("windows", setup, sizes, count)


def bench_choose(setup: Setup, sizes: ChooseSizes, *, with_peers: bool) -> Report:
    def count(tokenizer: ChatTokenizer, script: Script) -> tuple[list[Section], list[str]]:
        benchmark = ChooseBenchmark(tokenizer, script, sizes, with_peers=with_peers, progress=setup.progress)
        return benchmark.run(), benchmark.notes

    return _report_without_model("choose", setup, sizes, count)


def bench_recall(setup: Setup, sizes: RecallSizes) -> Report:
    machine = this_machine(setup.threads)
    script = read_script(setup.data)
    sections = RecallBenchmark(setup.settings, script, sizes, setup.progress).run()
    settings = {"embedding_model": setup.settings.embedding_model, "text": script.source, **asdict(sizes)}
    return Report("recall", machine, settings, sections, [RECALL_NOTE])


def bench_load(setup: Setup, sizes: LoadSizes, url: str | None) -> Report:
    """Against the service at `url`, or one of its own."""
    machine = this_machine(setup.threads)
    script = read_script(setup.data)
    key = setup.settings.api_key
    with nullcontext(url) if url else own_service(setup.settings) as address:
        benchmark = LoadBenchmark(
            address, key.get_secret_value() if key and url else None, script, sizes, setup.progress
        )
        sections = benchmark.run()
    settings = {"service": url or "its own"} | _settings(setup.settings, script, sizes)
    return Report("load", machine, settings, sections, benchmark.notes)


def _report_without_model(benchmark: str, setup: Setup, sizes: Sizes, count: Count) -> Report:
    machine = this_machine(setup.threads)
    script = read_script(setup.data)
    model = setup.settings.model
    tokenizer = ChatTokenizer(ensure_model(model, setup.settings.models_folder))
    sections, notes = count(tokenizer, script)
    settings = {"tokeniser": model, "text": script.source, **asdict(sizes)}
    return Report(benchmark, machine, settings, sections, notes)


def _plain(settings: Settings) -> Settings:
    """One token a step, as the peers do."""
    return settings.model_copy(update={"prompt_lookup": False})


def _report(benchmark: str, setup: Setup, sizes: Sizes, measure: Measure) -> Report:
    machine = this_machine(setup.threads)
    script = read_script(setup.data)
    # Nothing of a benchmark is to lie on the disk beside the user's chats.
    settings = setup.settings.model_copy(update={"threads": setup.threads, "kv_disk_mb": 0})
    with open_peers(settings, setup.threads, setup.peers) as peers:
        sections = measure(settings, peers, script, setup.progress)
    return Report(
        benchmark=benchmark,
        machine=machine,
        settings=_settings(settings, script, sizes),
        sections=sections,
        notes=_notes(machine, peers),
    )


def _settings(settings: Settings, script: Script, sizes: Sizes) -> dict[str, Any]:
    return {
        "model": settings.model,
        "dtype": dtype_for(settings.device) if settings.dtype == "auto" else settings.dtype,
        "decode_weights": settings.decode_weights,
        "threads": settings.threads,
        "text": script.source,
        **asdict(sizes),
    }


def _notes(machine: Machine, peers: Peers) -> list[str]:
    notes = [f"left out: {missing}" for missing in peers.missing]
    if machine.has_amx:
        notes.append(AMX_NOTE)
    return notes
