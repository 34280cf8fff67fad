"""`perdure chat`: a chat in the terminal, against a running service or one in this process."""

import json
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.cli.client import Json, ServiceClient, ServiceError, service_client
from app.cli.context_bar import context_bar

HELP = {
    "/memory": "show the memory strategy; `/memory sliding_window turns=5` switches to another",
    "/facts": "show what is known of you and the persona, and what said so",
    "/prefixes": "`/prefixes on` lets `system:`, `ci:` and `qa:` begin a message here; `/prefixes off` not",
    "/persona": "show the persona; `/persona You are a pirate.` gives this chat a new one",
    "/context": "show what is in the window; `/context What now?` what would be, for that message",
    "/regenerate": "ask for another reply in the place of the last one, which is kept",
    "/edit": "`/edit My name is Bob.` says your last message differently, and asks for a reply to it",
    "/branch": "go on in a new session that begins with this chat; this one is kept",
    "/pin": "keep your last message and its reply in every window",
    "/exclude": "keep your last message and its reply out of every window",
    "/forget": "forget your last message and all behind it, for good",
    "/help": "show this",
    "/quit": "leave (also Ctrl-D); the chat is kept",
}


def chat(
    url: Annotated[
        str | None, typer.Option(help="A running service. Without: the local one, or one in this process.")
    ] = None,
    session: Annotated[str | None, typer.Option(help="Id of a session to go on with.")] = None,
    persona: Annotated[str | None, typer.Option(help="Instructions of a new session's persona.")] = None,
    name: Annotated[str, typer.Option(help="Name of a new session's persona.")] = "persona",
    memory: Annotated[
        str | None, typer.Option(help="Memory of a new session, such as 'sliding_window turns=5'.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="0 is greedy.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest reply, in tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same replies.")] = None,
) -> None:
    """Chat in the terminal. Ctrl-C ends a reply; /help shows the commands."""
    asked = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    sampling = {name: value for name, value in asked.items() if value is not None}
    console = Console(highlight=False)
    console.print("[dim]opening the service ...[/dim]")
    with service_client(url) as client:
        session_id = session or _new_session(client, name, persona, memory)
        console.print(f"[dim]session {session_id}, served by {client.where}; /help shows the commands[/dim]")
        TerminalChat(console, client, session_id, sampling).run()


class TerminalChat:
    """Reads lines, sends messages, runs commands."""

    def __init__(self, console: Console, client: ServiceClient, session_id: str, sampling: Json) -> None:
        self._console = console
        self._client = client
        self._session = f"/v1/sessions/{session_id}"
        self._sampling = sampling
        self._speaker = self._persona_name()
        self._commands: dict[str, Callable[[str], None]] = {
            "/memory": self._memory,
            "/facts": self._facts,
            "/prefixes": self._prefixes,
            "/persona": self._persona,
            "/context": self._context,
            "/regenerate": self._regenerate,
            "/edit": self._edit,
            "/branch": self._branch,
            "/pin": self._pin,
            "/exclude": self._exclude,
            "/forget": self._forget,
            "/help": self._help,
        }

    def run(self) -> None:
        self._show_latest()
        while True:
            try:
                line = self._console.input("[bold green]you[/bold green] ").strip()
            except (EOFError, KeyboardInterrupt):
                self._console.print()
                return
            if line == "/quit":
                return
            if not line:
                continue
            try:
                self._obey(line) if line.startswith("/") else self._say(line)
            except ServiceError as error:
                self._console.print(f"[red]{error}[/red]")

    def _show_latest(self) -> None:
        page = self._client.get(f"{self._session}/messages", limit=6, order="newest_first")
        for message in reversed(page["data"]):
            typed = (message["prefix"] or "") + message["content"]
            self._console.print(f"{message['role']}: {typed}", style="dim", markup=False)

    def _say(self, content: str) -> None:
        self._show_reply(f"{self._session}/messages", {"content": content})

    def _show_reply(self, path: str, body: Json) -> None:
        self._console.print(f"{self._speaker} ", style="bold cyan", end="", markup=False)
        events = self._client.stream_reply(path, body | self._sampling)
        with closing(events), suppress(KeyboardInterrupt):
            for event, data in events:
                if event == "delta":
                    self._console.print(data["text"], end="", markup=False, soft_wrap=True)
                elif event == "finished":
                    self._console.print()
                    if (sources := data["message"]["sources"]) is not None:
                        show_sources(self._console, sources)
                    self._console.print(f"[dim]{_cost(data['usage'])}[/dim]")
                elif event == "notice":
                    self._console.print(data["notice"], style="dim", markup=False)
                elif event == "error":
                    self._console.print()
                    raise ServiceError(data)
            return
        self._console.print(" [dim](interrupted)[/dim]")

    def _obey(self, line: str) -> None:
        command, _, argument = line.partition(" ")
        obey = self._commands.get(command)
        if obey is None:
            self._console.print(f"[red]no command {command}; /help shows them[/red]")
        else:
            obey(argument.strip())

    def _memory(self, argument: str) -> None:
        if argument:
            self._client.patch(self._session, {"memory": parse_memory(argument)})
        memory = self._client.get(self._session)["memory"]
        table = Table(box=None, show_header=False)
        for name, value in memory.items():
            table.add_row(name, str(value))
        self._console.print(table)

    def _prefixes(self, argument: str) -> None:
        if argument not in ("", "on", "off"):
            self._console.print("on or off? `/prefixes on`")
            return
        if argument:
            self._client.patch(self._session, {"prefixes": argument == "on"})
        are_on = self._client.get(self._session)["prefixes"]
        self._console.print(f"[dim]prefixes are {'on' if are_on else 'off'}[/dim]")

    def _facts(self, _argument: str) -> None:
        facts = self._client.get(f"{self._session}/facts")["data"]
        if not facts:
            self._console.print("nothing is known yet; `/memory facts` keeps facts")
            return
        table = Table(box=None, show_header=False)
        for fact in facts:
            said = f"“{fact['quote']}”" if fact["quote"] else f"by the {fact['author']}"
            table.add_row(
                Text(fact["said_at"][:10], style="dim"), Text(fact["text"]), Text(said, style="dim")
            )
        self._console.print(table)

    def _persona(self, argument: str) -> None:
        if argument:
            persona = self._client.post("/v1/personas", {"name": self._speaker, "instructions": argument})
            self._client.patch(self._session, {"persona_id": persona["id"]})
            self._speaker = self._persona_name()
        session = self._client.get(self._session)
        if session["instructions"] is not None:
            self._console.print("[bold]this chat's own instructions[/bold], by `ci:`")
            self._console.print(session["instructions"], markup=False)
        persona_id = session["persona_id"]
        if persona_id is None:
            self._console.print("no persona; `/persona You are ...` gives this chat one")
            return
        persona = self._client.get(f"/v1/personas/{persona_id}")
        self._console.print(f"[bold]{persona['name']}[/bold], {persona['tokens']} tokens")
        self._console.print(persona["instructions"], markup=False)

    def _persona_name(self) -> str:
        persona_id = self._client.get(self._session)["persona_id"]
        return str(self._client.get(f"/v1/personas/{persona_id}")["name"]) if persona_id else "assistant"

    def _context(self, argument: str) -> None:
        asked = {"content": argument} if argument else {}
        context = self._client.get(f"{self._session}/context", **asked)
        self._console.print(context_bar(context, min(self._console.width, 100)))

    def _regenerate(self, _argument: str) -> None:
        self._show_reply(f"/v1/messages/{self._last('assistant')}/regenerate", {})

    def _edit(self, argument: str) -> None:
        if not argument:
            self._console.print("what should it say? `/edit My name is Bob.`")
            return
        self._client.put(f"/v1/messages/{self._last('user')}", {"content": argument})
        self._show_reply(f"{self._session}/reply", {})

    def _branch(self, _argument: str) -> None:
        last = {"message_id": self._last("user", "assistant")}
        session_id = str(self._client.post(f"{self._session}/branch", last)["id"])
        self._session = f"/v1/sessions/{session_id}"
        self._console.print(f"[dim]session {session_id}[/dim]")

    def _pin(self, _argument: str) -> None:
        self._client.put(f"/v1/messages/{self._last('user')}/pin")
        self._console.print("[dim]pinned[/dim]")

    def _exclude(self, _argument: str) -> None:
        self._client.put(f"/v1/messages/{self._last('user')}/exclude")
        self._console.print("[dim]excluded[/dim]")

    def _forget(self, _argument: str) -> None:
        forgotten = self._client.post(f"{self._session}/forget", {"from_message_id": self._last("user")})
        self._console.print(f"[dim]{forgotten['messages']} messages forgotten[/dim]")

    def _last(self, *roles: str) -> str:
        """The id of the newest message of such a role."""
        page = self._client.get(f"{self._session}/messages", limit=50, order="newest_first")
        for message in page["data"]:
            if message["role"] in roles:
                return str(message["id"])
        raise ServiceError({"detail": "nothing has been said yet"})

    def _help(self, _argument: str) -> None:
        table = Table(box=None, show_header=False)
        for command, about in HELP.items():
            table.add_row(f"[bold]{command}[/bold]", about)
        self._console.print(table)


def show_sources(console: Console, sources: list[Json]) -> None:
    """Say what a reply from documents could draw on, or that there was nothing."""
    if not sources:
        console.print("no document tells anything", style="dim")
    for source in sources:
        cited = ", ".join(filter(None, (source["name"], source["place"])))
        console.print(f"source: {cited}", style="dim", markup=False)


def parse_memory(text: str) -> Json:
    """Memory settings from `strategy name=value ...`; values are JSON where they can be."""
    strategy, *pairs = text.split()
    memory: Json = {"strategy": strategy}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            memory[name] = json.loads(value)
        except ValueError:
            memory[name] = value
    return memory


def _new_session(client: ServiceClient, name: str, instructions: str | None, memory: str | None) -> str:
    session: Json = {"title": "terminal chat"}
    if instructions:
        persona = client.post("/v1/personas", {"name": name, "instructions": instructions})
        session["persona_id"] = persona["id"]
    if memory:
        session["memory"] = parse_memory(memory)
    return str(client.post("/v1/sessions", session)["id"])


def _cost(usage: Json) -> str:
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    return (
        f"{usage['prompt_tokens']} tokens in ({cached} cached), {usage['completion_tokens']} out; "
        f"first word after {usage['ttft_ms']:.0f} ms"
    )
