"""A model on a remote server, opened by the settings: what it is asked at the start, and what it must say."""

import hashlib

from app.settings import Settings, SettingsError
from app.telemetry.tracing import trace_headers
from llm.catalog import ensure_tokenizer
from llm.engine.interface import ModelInfo
from llm.errors import ModelNotFoundError, UnsupportedByEngineError
from llm.progress import Progress
from llm.remote.discovery import Api, RemoteModel, find_api, find_model
from llm.remote.engine import RemoteEngine
from llm.remote.server import RemoteServer
from llm.remote.tokenization import Tokenization, find_tokenization
from llm.remote.tokenizer import SAMPLE, ServerTokenizer, is_same_vocabulary
from llm.text.chat_format import ChatEncoding, ChatTokenizer


def open_remote_model(url: str, settings: Settings, progress: Progress) -> tuple[RemoteEngine, ChatEncoding]:
    """The engine and the tokeniser of the model at `url`. Blocks.

    Raises SettingsError naming what to set if the server does not say what must be known, ModelError if
    server or tokeniser cannot be had.
    """
    server = RemoteServer(
        url,
        key=settings.remote_key.get_secret_value() if settings.remote_key else None,
        timeout_s=settings.remote_timeout_s,
        retries=settings.remote_retries,
        headers=trace_headers,
    )
    try:
        return _open(server, settings, progress)
    except BaseException:
        server.close()
        raise


def _open(server: RemoteServer, settings: Settings, progress: Progress) -> tuple[RemoteEngine, ChatEncoding]:
    progress(f"asking {server.shown_url}", 0, 1)
    model = _model(server, settings)
    tokenizer = _tokenizer(server, model, settings, progress)
    api: Api = (
        find_api(server, model.name, tokenizer.encode_text(SAMPLE))
        if settings.remote_api == "auto"
        else settings.remote_api
    )
    progress(f"asking {server.shown_url}", 1, 1)
    info = ModelInfo(
        name=model.name,
        architecture="unknown",
        parameters=model.parameters,
        context_window=_context_window(server, model, settings),
        dtype="unknown",
        device="remote",
        fingerprint=hashlib.sha256(f"{server.shown_url} {model.name}".encode()).hexdigest()[:16],
        token_counts="exact" if api == "completions" else "estimated",
        details={"url": server.shown_url, "api": api},
    )
    engine = RemoteEngine(server, tokenizer, info, api=api, max_waiting_tokens=settings.max_waiting_tokens)
    return engine, tokenizer


def _model(server: RemoteServer, settings: Settings) -> RemoteModel:
    try:
        return find_model(server, settings.remote_model)
    except ModelNotFoundError as error:
        raise SettingsError(f"PERDURE_REMOTE_MODEL names no model of the server: {error}") from error


def _tokenizer(
    server: RemoteServer, model: RemoteModel, settings: Settings, progress: Progress
) -> ChatEncoding:
    tokenization = find_tokenization(server, model.name)
    if settings.remote_tokenizer is not None:
        return _local_tokenizer(settings.remote_tokenizer, tokenization, settings, progress)
    wanted = "set PERDURE_REMOTE_TOKENIZER to the model's tokeniser, by name, path or hub id"
    if tokenization is None:
        raise SettingsError(f"{server.shown_url} has no /tokenize to count tokens with: {wanted}")
    try:
        return ServerTokenizer(tokenization, model.name)
    except UnsupportedByEngineError as error:
        raise SettingsError(f"{error}: {wanted}") from error


def _local_tokenizer(
    name: str, tokenization: Tokenization | None, settings: Settings, progress: Progress
) -> ChatTokenizer:
    tokenizer = ChatTokenizer(ensure_tokenizer(name, settings.models_folder, progress))
    if tokenization is not None and not is_same_vocabulary(tokenizer, tokenization):
        raise SettingsError(
            f"PERDURE_REMOTE_TOKENIZER is {name!r}: it gives other token ids than the server's own tokeniser"
        )
    return tokenizer


def _context_window(server: RemoteServer, model: RemoteModel, settings: Settings) -> int:
    known = [window for window in (settings.context_window, model.context_window) if window is not None]
    if not known:
        raise SettingsError(
            f"{server.shown_url} does not say how large its context window is: set PERDURE_CONTEXT_WINDOW to "
            "the number of tokens that it serves"
        )
    return min(known)
