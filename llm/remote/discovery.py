"""What a server tells of itself: its models, the context window, and which of its APIs takes token ids."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from llm.errors import ModelNotFoundError, RemoteServerError, RemoteUnavailableError
from llm.remote.server import NOT_THERE, RemoteServer

Api = Literal["completions", "chat"]


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model on a server. None where the server does not say; `context_window` is in tokens."""

    name: str
    context_window: int | None
    parameters: int | None


def find_model(server: RemoteServer, name: str | None) -> RemoteModel:
    """The server's model of that name, or its only one.

    Raises ModelNotFoundError, naming those that there are, and RemoteServerError.
    """
    listed = _listed_models(server)
    if listed is None and name is not None:
        return RemoteModel(name, _llama_cpp_window(server), None)
    names = sorted(listed or {})
    if name is None:
        if len(names) != 1:
            raise ModelNotFoundError(f"{server.shown_url} serves {_in_words(names)}, and none is named")
        [name] = names
    # Ollama lists a model with its tag, and takes it without.
    entry = (listed or {}).get(name) or (listed or {}).get(f"{name}:latest")
    if entry is None:
        raise ModelNotFoundError(f"{server.shown_url} does not serve {name!r}; it serves {_in_words(names)}")
    meta = entry.get("meta") or {}
    return RemoteModel(name, entry.get("max_model_len") or _llama_cpp_window(server), meta.get("n_params"))


def find_api(server: RemoteServer, model: str, probe: Sequence[int]) -> Api:
    """`completions` if the server takes the ids of `probe` as they are, else `chat`.

    It generates one token to find out. Raises RemoteServerError if the server is not well.
    """
    body = {"model": model, "prompt": list(probe), "max_tokens": 1, "temperature": 0}
    try:
        usage = server.post("/v1/completions", body).get("usage") or {}
    except RemoteServerError as error:
        if error.status is None or isinstance(error, RemoteUnavailableError):
            raise
        return "chat"
    return "completions" if usage.get("prompt_tokens") == len(probe) else "chat"


def _listed_models(server: RemoteServer) -> dict[str, dict[str, Any]] | None:
    """The entries of `/v1/models` by their names; None if there is no such list."""
    try:
        answer = server.get("/v1/models")
    except RemoteServerError as error:
        if error.status in NOT_THERE:
            return None
        raise
    try:
        return {str(entry["id"]): entry for entry in answer["data"]}
    except (KeyError, TypeError):
        raise server.fault("/v1/models", f"answered no list of models: {answer}") from None


def _llama_cpp_window(server: RemoteServer) -> int | None:
    """The window of one slot of llama.cpp's server, in tokens."""
    try:
        window = server.get("/props")["default_generation_settings"]["n_ctx"]
    except (KeyError, TypeError):
        return None
    except RemoteServerError as error:
        if error.status is None or isinstance(error, RemoteUnavailableError):
            raise
        return None
    return int(window)


def _in_words(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names) or "no model"
