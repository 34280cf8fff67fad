"""The service that is evaluated, over HTTP. All that is made there is of users of its own, and deleted."""

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from app.cli.client import Json, ServiceClient, ServiceError
from app.settings import Settings
from app.transfer.perdure import header_line, record_line
from app.transfer.records import (
    EndRecord,
    MessageRecord,
    PersonaRecord,
    Record,
    RevisionRecord,
    SessionRecord,
)
from evals.bench.own_service import own_service
from evals.harness.chats import Chat, Said, as_messages
from evals.harness.errors import EvaluationError
from llm.progress import Progress, silent
from memory.messages import Role
from memory.strategies.remembering import NOT_READ_YET
from memory.strategies.summarising import NOT_YET

PATIENCE_S = 600.0
"""How long upkeep of one chat may take."""
LOOK_S = 0.1
READY_WITHIN_S = 30.0
"""A service that is busy may answer late."""
MOST_FOUND = 100
"""What a search gives at most."""
FULL_MEMORY = {"strategy": "combined", "token_budget": 512, "summary_share": 0.0}
"""What chats are imported with: upkeep then makes all that any strategy wants but its own summaries. Without
one, and with few turns, a context names what no facts are extracted from yet."""
WAITING = (NOT_YET, NOT_READ_YET, "not summarised yet")


@dataclass(frozen=True, slots=True)
class Scores:
    """Log-probabilities, in nats, of replies that begin with each of the candidates.

    `tokens`: of each candidate, text and log-probability token by token.
    """

    log_probabilities: Sequence[float]
    tokens: Sequence[Sequence[tuple[str, float]]]
    prompt_tokens: int
    computed_tokens: int
    took_ms: float


@dataclass(frozen=True, slots=True)
class SaidLine:
    """A message as it was said, by whom and when."""

    role: Role
    speaker: str
    content: str
    said_at: datetime


@dataclass(slots=True)
class _Session:
    id: str
    user_id: str
    memory: Mapping[str, Any]


class EvaluatedService:
    """A running service. Each chat is one session of a user of its own, so that chats never meet in recall.

    As a context manager it deletes at its end what it made, after an error too. Methods raise ServiceError.
    """

    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._run = f"eval-{secrets.token_hex(6)}"
        self._users: list[str] = []
        self._personas: list[str] = []
        self._sessions: dict[str, _Session] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """An error of the deletion must not hide the one that ended the evaluation."""
        try:
            self.delete_all()
        except ServiceError:
            if error is None:
                raise

    @cached_property
    def models(self) -> Sequence[Json]:
        """The model that replies, then the one that embeds, as `GET /v1/models` tells of them."""
        return list(self._client.get("/v1/models")["data"])

    @property
    def told_models(self) -> Json:
        """As results hold them."""
        model, embedding = self.models
        told = ("id", "parameters", "context_window", "dtype", "device", "persona_share")
        return {"model": {name: model[name] for name in told}, "embedding_model": embedding["id"]}

    @property
    def standard_api(self) -> tuple[str, str]:
        """Where clients of OpenAI's API find it, and the key that they send."""
        key = self._client.key
        return f"{self._client.url}/v1", key.get_secret_value() if key else "none"

    @property
    def context_window(self) -> int:
        return int(self.models[0]["context_window"])

    def session(self, chat: Chat, memory: Mapping[str, Any]) -> str:
        """The id of the chat's session, imported when first asked for, with that memory, all upkeep done.

        Raises EvaluationError if upkeep does not catch up.
        """
        session = self._sessions.get(chat.name)
        if session is None:
            session = self._sessions[chat.name] = self._imported(chat)
            self._wait(chat.name, lambda: self._lag(session))
        if session.memory != memory:
            self._client.patch(f"/v1/sessions/{session.id}", {"memory": dict(memory)})
            session.memory = dict(memory)
            self._wait(chat.name, lambda: self._lag(session))
        return session.id

    def tell(self, chats: Sequence[Sequence[SaidLine]]) -> tuple[str, list[list[str]]]:
        """Store chats of a new user with one persona: the user's id and the messages', when all can be found.

        Raises EvaluationError if the indexes do not catch up.
        """
        user_id = self._new_user()
        names = {line.role: line.speaker for chat in chats for line in chat}
        made = {"user_id": user_id, "user_name": names.get("user")}
        if "assistant" in names:
            persona = self._client.post("/v1/personas", {"name": names["assistant"]})
            self._personas.append(persona["id"])
            made["persona_id"] = persona["id"]
        message_ids = []
        for chat in chats:
            session = self._client.post("/v1/sessions", made)
            said = [
                {"role": line.role, "content": line.content, "created_at": line.said_at.isoformat()}
                for line in chat
            ]
            stored = self._client.post(f"/v1/sessions/{session['id']}/messages/append", {"messages": said})
            message_ids.append([message["id"] for message in stored["data"]])
        self._wait("the chats", lambda: self._recall_lag(user_id))
        return user_id, message_ids

    def search(self, user_id: str, query: str) -> list[Json]:
        """What is found of all that the user said and was told, best first."""
        body = {"user_id": user_id, "query": query, "limit": MOST_FOUND}
        return list(self._client.post("/v1/search", body)["data"])

    def context(self, session_id: str, content: str | None = None) -> tuple[Json, float]:
        """What would be in the window now, and how many milliseconds it took to say so."""
        params = {} if content is None else {"content": content}
        began = time.perf_counter()
        view = self._client.get(f"/v1/sessions/{session_id}/context", **params)
        return view, 1000 * (time.perf_counter() - began)

    def score(
        self, messages: Sequence[Said], candidates: Sequence[str], *, persona_messages: int = 0
    ) -> Scores:
        body = {
            "messages": _as_json(messages),
            "candidates": list(candidates),
            "persona_messages": persona_messages,
        }
        began = time.perf_counter()
        answer = self._client.post("/v1/scores", body)
        took_ms = 1000 * (time.perf_counter() - began)
        return Scores(
            [each["log_probability"] for each in answer["candidates"]],
            [
                [(token["text"], token["log_probability"]) for token in each["tokens"]]
                for each in answer["candidates"]
            ],
            answer["prompt_tokens"],
            answer["prompt_tokens"] - answer["cached_tokens"],
            took_ms,
        )

    def reply(self, messages: Sequence[Said], *, max_tokens: int, persona_messages: int = 0) -> str:
        """The likeliest reply to these messages; nothing of it is stored."""
        body = {
            "messages": _as_json(messages),
            "temperature": 0,
            "max_tokens": max_tokens,
            "persona_messages": persona_messages,
        }
        answer = self._client.post("/v1/chat/completions", {"model": self.models[0]["id"], **body})
        return str(answer["choices"][0]["message"]["content"])

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        answer = self._client.post("/v1/embeddings", {"model": self.models[1]["id"], "input": list(texts)})
        return [each["embedding"] for each in answer["data"]]

    def delete_all(self) -> None:
        """Delete all that was made here; the service purges what is derived of it by itself."""
        while self._users:
            self._delete(f"/v1/users/{self._users[-1]}")
            self._users.pop()
        while self._personas:
            self._delete(f"/v1/personas/{self._personas[-1]}")
            self._personas.pop()
        self._sessions.clear()

    def _delete(self, path: str) -> None:
        try:
            self._client.delete(path)
        except ServiceError as error:
            if error.problem.get("status") != 404:
                raise

    def _imported(self, chat: Chat) -> _Session:
        user_id = self._new_user()
        made = self._client.upload(
            "/v1/sessions/import", b"".join(_lines(chat, user_id)), {"format": "perdure"}
        )
        self._personas += [persona["id"] for persona in made["personas"]]
        return _Session(made["sessions"][0]["id"], user_id, FULL_MEMORY)

    def _new_user(self) -> str:
        """Noted before anything is sent for it: what is cut off after that may have been stored."""
        self._users.append(f"{self._run}-{len(self._users)}")
        return self._users[-1]

    @staticmethod
    def _wait(name: str, lag: Callable[[], str | None]) -> None:
        until = time.monotonic() + PATIENCE_S
        while (lagging := lag()) is not None:
            if time.monotonic() > until:
                raise EvaluationError(f"{name}: {lagging} after {PATIENCE_S:.0f} s")
            time.sleep(LOOK_S)

    def _recall_lag(self, user_id: str) -> str | None:
        """What of a user cannot be found yet, in words."""
        recall = self._client.get("/v1/recall/status", user_id=user_id)
        left = recall["waiting"] + recall["behind"]
        return f"{left} messages are not indexed" if left else None

    def _lag(self, session: _Session) -> str | None:
        """What of a session's upkeep is not done yet, in words."""
        if (lag := self._recall_lag(session.user_id)) is not None:
            return lag
        view, _ = self.context(session.id)
        reasons = [part["reason"] for part in (*view["left_out"], *view["segments"])]
        return next((reason for reason in reasons if any(mark in reason for mark in WAITING)), None)


@contextmanager
def evaluated_service(
    settings: Settings, url: str | None = None, key: SecretStr | None = None, progress: Progress = silent
) -> Iterator[EvaluatedService]:
    """The service at `url`, or one of its own on loopback, with these settings and a temporary home."""
    if url is None:
        progress("starting a service", 0, 1)
        with own_service(settings) as own_url, _evaluated(own_url, None) as service:
            progress("starting a service", 1, 1)
            yield service
    else:
        with _evaluated(url, key or settings.api_key) as service:
            yield service


@contextmanager
def _evaluated(url: str, key: SecretStr | None) -> Iterator[EvaluatedService]:
    with closing(ServiceClient(url, key)) as client:
        if not client.is_ready(READY_WITHIN_S):
            raise EvaluationError(f"no service is ready at {url}")
        with EvaluatedService(client) as service:
            yield service


def _as_json(messages: Sequence[Said]) -> list[Json]:
    return [{"role": role, "content": content} for role, content in messages]


def _lines(chat: Chat, user_id: str) -> Iterator[bytes]:
    """The chat as a file in the service's own format."""
    records = list(_records(chat, user_id))
    yield header_line("session")
    yield from map(record_line, records)
    yield record_line(EndRecord(records=len(records)))


def _records(chat: Chat, user_id: str) -> Iterator[Record]:
    began = chat.said_at(0)
    persona_id = None
    if chat.persona is not None:
        persona_id = "persona"
        fields = {**asdict(chat.persona), "revision": 1, "created_at": began.isoformat()}
        revision = RevisionRecord.model_validate_json(json.dumps(fields))
        yield PersonaRecord(
            id=persona_id, created_at=began, updated_at=began, revisions=[revision], card=None
        )
    yield SessionRecord(
        id="session", user_id=user_id, persona_id=persona_id, memory=FULL_MEMORY, created_at=began
    )
    said = as_messages(chat.turns)
    ids: list[str | None] = [None, *(f"message-{number}" for number in range(len(said)))]
    for number, (parent_id, message_id) in enumerate(pairwise(ids)):
        role, content = said[number]
        yield _message(str(message_id), parent_id, role, content, chat, number // 2)


def _message(
    message_id: str, parent_id: str | None, role: Role, content: str, chat: Chat, turn: int
) -> MessageRecord:
    return MessageRecord(
        id=message_id,
        parent_id=parent_id,
        alternative=0,
        is_active=True,
        role=role,
        content=content,
        created_at=chat.said_at(turn),
    )
