"""`perdure bench`: the engine beside its peers. What is measured, and how, is in `evals.bench`."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from app.cli.client import running_service
from app.cli.progress import stage_progress
from app.settings import Settings

if TYPE_CHECKING:
    from evals.bench.report import Report
    from evals.bench.run import Setup

bench = typer.Typer(help="Measure the engine beside its peers, on this machine.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print everything as JSON, every round of it.")]
Data = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="Dialogues in the format of Synthetic-Persona-Chat."),
]
Threads = Annotated[int, typer.Option(min=1, help="CPU threads of everybody.")]
WithPeers = Annotated[bool, typer.Option("--peers/--no-peers", help="Run the peers that are installed.")]
Peer = Annotated[
    list[str] | None, typer.Option(help="Run this peer, by the name of its row; may be repeated.")
]
Server = Annotated[Path | None, typer.Option(exists=True, help="llama.cpp's own server; else that on PATH.")]
Rounds = Annotated[int, typer.Option(min=1, help="How often everybody takes a turn.")]


@bench.command()
def turns(
    as_json: AsJson = False,
    data: Data = None,
    threads: Threads = 2,
    peers: WithPeers = True,
    peer: Peer = None,
    llama_server: Server = None,
    turns: Annotated[int, typer.Option(min=0, help="Turns with a window of 20 messages.")] = 30,
    wide_turns: Annotated[int, typer.Option(min=0, help="Turns with a window of 4,000 tokens.")] = 6,
    appended_turns: Annotated[int, typer.Option(min=0, help="Turns appended at 2,500 tokens.")] = 10,
    long_turns: Annotated[int, typer.Option(min=0, help="Turns with idle time; 200 for the goal.")] = 60,
    idle_s: Annotated[float, typer.Option(min=0, help="Seconds between those.")] = 2.0,
) -> None:
    """Time to the first token of a chat's next turn. 0 turns leave a kind of chat out."""
    from evals.bench.run import bench_turns
    from evals.bench.turns import TurnSizes

    sizes = TurnSizes(turns, wide_turns, appended_turns, long_turns, idle_s)
    with _setup(data, threads, peers, peer, llama_server) as setup:
        report = bench_turns(setup, sizes)
    _print(report, as_json)


@bench.command()
def decode(
    as_json: AsJson = False,
    data: Data = None,
    threads: Threads = 2,
    peers: WithPeers = True,
    peer: Peer = None,
    rounds: Rounds = 5,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens that are generated.")] = 48,
) -> None:
    """Tokens a second of one stream at 100, 1,000 and 4,000 tokens of context; prefill of 1,024."""
    from evals.bench.decode import DecodeSizes
    from evals.bench.run import bench_decode

    with _setup(data, threads, peers, peer) as setup:
        report = bench_decode(setup, DecodeSizes(rounds, tokens))
    _print(report, as_json)


@bench.command()
def batch(
    as_json: AsJson = False,
    data: Data = None,
    threads: Threads = 2,
    peers: WithPeers = True,
    peer: Peer = None,
    rounds: Rounds = 3,
) -> None:
    """1, 8 and 16 streams together, a long prompt among them, and 16 chats of one persona."""
    from evals.bench.batch import BatchSizes
    from evals.bench.run import bench_batch

    with _setup(data, threads, peers, peer) as setup:
        report = bench_batch(setup, BatchSizes(rounds))
    _print(report, as_json)


@bench.command()
def restore(
    as_json: AsJson = False,
    data: Data = None,
    threads: Threads = 2,
    peers: WithPeers = True,
    peer: Peer = None,
    llama_server: Server = None,
    rounds: Rounds = 5,
) -> None:
    """First token of a chat of 2,000 tokens after a restart: from the disk, and computed again."""
    from evals.bench.restore import RestoreSizes
    from evals.bench.run import bench_restore

    with _setup(data, threads, peers, peer, llama_server) as setup:
        report = bench_restore(setup, RestoreSizes(rounds))
    _print(report, as_json)


@bench.command()
def windows(
    as_json: AsJson = False,
    data: Data = None,
    peers: WithPeers = True,
    turns: Annotated[int, typer.Option(min=2, help="Turns of the chat.")] = 200,
) -> None:
    """Tokens that a chat's turns compute under each strategy, beside LangChain's. No model runs."""
    from evals.bench.run import bench_windows
    from evals.bench.windows import WindowSizes

    with _setup_without_peers(data) as setup:
        report = bench_windows(setup, WindowSizes(turns), with_peers=peers)
    _print(report, as_json)


@bench.command()
def choose(
    as_json: AsJson = False,
    data: Data = None,
    peers: WithPeers = True,
    rounds: Rounds = 30,
    messages: Annotated[
        list[int] | None,
        typer.Option(min=40, help="Messages of a chat; may be repeated. 1,000, 10,000 and 100,000."),
    ] = None,
) -> None:
    """Time to choose a context in a long chat, beside LangChain and LlamaIndex. No model runs."""
    from evals.bench.choose import ChooseSizes
    from evals.bench.run import bench_choose

    sizes = ChooseSizes(rounds, tuple(sorted(set(messages)))) if messages else ChooseSizes(rounds)
    with _setup_without_peers(data) as setup:
        report = bench_choose(setup, sizes, with_peers=peers)
    _print(report, as_json)


@bench.command()
def recall(
    as_json: AsJson = False,
    data: Data = None,
    turns: Annotated[int, typer.Option(min=10, help="Turns of the user who asks.")] = 100_000,
    others: Annotated[int, typer.Option(min=0, help="Others who share the store.")] = 1_000,
    queries: Annotated[int, typer.Option(min=1, help="Questions.")] = 200,
) -> None:
    """Time of a search over what one user said, alone and among others; indexing; lexical engines."""
    from evals.bench.recall import RecallSizes
    from evals.bench.run import bench_recall

    with _setup_without_peers(data) as setup:
        report = bench_recall(setup, RecallSizes(turns=turns, others=others, queries=queries))
    _print(report, as_json)


@bench.command()
def load(
    as_json: AsJson = False,
    data: Data = None,
    url: Annotated[str | None, typer.Option(help="A running service; else one is started.")] = None,
    clients: Annotated[
        list[int] | None, typer.Option(min=1, help="Clients at once; may be repeated. 1, 8 and 32.")
    ] = None,
    turns: Annotated[int, typer.Option(min=1, help="Turns of each client.")] = 10,
    think_s: Annotated[float, typer.Option(min=0, help="Seconds from a reply to the next message.")] = 2.0,
    reply_tokens: Annotated[int, typer.Option(min=1, help="Longest reply.")] = 32,
) -> None:
    """A service under many clients: first token, tokens a second, and what a turn takes beside the model."""
    from evals.bench.load import LoadSizes
    from evals.bench.run import bench_load

    if url and (service := running_service(Settings(), url)):
        service.close()
    sizes = LoadSizes(turns=turns, think_s=think_s, reply_tokens=reply_tokens)
    if clients:
        sizes = replace(sizes, clients=tuple(dict.fromkeys(clients)))
    with _setup_without_peers(data, Settings().threads or os.cpu_count() or 1) as setup:
        report = bench_load(setup, sizes, url)
    _print(report, as_json)


@contextmanager
def _setup_without_peers(data: Path | None, threads: int = 1) -> Iterator["Setup"]:
    with _setup(data, threads, with_peers=False, peers=None) as setup:
        yield setup


@contextmanager
def _setup(
    data: Path | None,
    threads: int,
    with_peers: bool,
    peers: list[str] | None,
    llama_server: Path | None = None,
) -> Iterator["Setup"]:
    from evals.bench.peers import PEER_NAMES, PeerChoice
    from evals.bench.run import Setup

    if unknown := set(peers or ()) - set(PEER_NAMES):
        raise typer.BadParameter(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEER_NAMES)}")
    names = tuple(peers or PEER_NAMES) if with_peers else ()
    with stage_progress() as progress:
        yield Setup(Settings(), threads, data, PeerChoice(names, llama_server), progress)


def _print(report: "Report", as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
        return
    from evals.bench.report import show

    show(report, Console())
