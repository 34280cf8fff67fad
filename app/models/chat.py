"""The model of this service: its engine, and its tokeniser, opened by the settings."""

from collections.abc import Callable
from dataclasses import dataclass

from app.models.remote import open_remote_model
from app.settings import Settings, SettingsError
from llm.engine.interface import Engine
from llm.engine.local_engine import LocalEngine
from llm.loading import LoadedModel, dtype_for, load_model
from llm.progress import Progress, silent
from llm.text.chat_format import ChatEncoding, ChatTokenizer
from memory.persona import ROOM_FOR_A_MESSAGE

PERSONA_SHARES = {"smollm2-135m-instruct": 0.65}
"""Shares with which the personas of a model hold, at little cost to the rest of a window
(docs/evaluation.md). What is not measured is left as it was trained."""


def _always_well() -> None:
    """A model in this process is there as long as the process is."""


@dataclass(frozen=True, slots=True)
class ChatModel:
    """An engine and the tokeniser of its model. `context_window` is what the service uses of it.

    `check` raises ModelError if the model cannot be reached; it blocks.
    """

    engine: Engine
    tokenizer: ChatEncoding
    check: Callable[[], None] = _always_well

    @property
    def context_window(self) -> int:
        return self.engine.model.context_window


def open_chat_model(settings: Settings, progress: Progress = silent) -> ChatModel:
    """Load the model that the settings name, fetching it first if need be, or reach its server. Blocks.

    Raises ModelError if it cannot be had, SettingsError if the settings want of it what it cannot do.
    """
    if settings.remote_url is not None:
        if settings.persona_share:
            raise SettingsError("PERDURE_PERSONA_SHARE is of a model that runs here, not of a remote one")
        engine, tokenizer = open_remote_model(settings.remote_url, settings, progress)
        try:
            _check_room(settings, engine.model.context_window)
        except SettingsError:
            engine.close()
            raise
        return ChatModel(engine, tokenizer, engine.check)
    loaded = load_model(
        settings.model,
        settings.models_folder,
        dtype=dtype_for(settings.device) if settings.dtype == "auto" else settings.dtype,
        decode_weights=settings.decode_weights,
        device=settings.device,
        progress=progress,
    )
    return start_engine(loaded, ChatTokenizer(loaded.folder), settings)


def start_engine(loaded: LoadedModel, tokenizer: ChatTokenizer, settings: Settings) -> ChatModel:
    """An engine of its own for a model and a tokeniser that are loaded already."""
    own_window = loaded.config.context_window
    context_window = min(settings.context_window or own_window, own_window)
    _check_room(settings, context_window)
    engine = LocalEngine(
        loaded,
        tokenizer,
        context_window=context_window,
        kv_cache_bytes=settings.kv_cache_mb * 2**20,
        max_running=settings.max_running,
        max_waiting_tokens=settings.max_waiting_tokens,
        queue_timeout_s=settings.queue_timeout_s,
        threads=settings.threads,
        prompt_lookup=settings.prompt_lookup,
        preamble_share=_preamble_share(loaded, settings),
        kv_folder=settings.kv_folder,
        kv_folder_bytes=settings.kv_disk_mb * 2**20,
    )
    return ChatModel(engine, tokenizer)


def _preamble_share(loaded: LoadedModel, settings: Settings) -> float | None:
    """What of attention a persona keeps."""
    if settings.persona_share is None:
        return PERSONA_SHARES.get(loaded.name)
    return settings.persona_share or None


def _check_room(settings: Settings, context_window: int) -> None:
    if settings.reply_tokens + ROOM_FOR_A_MESSAGE > context_window:
        raise SettingsError(
            f"PERDURE_REPLY_TOKENS is {settings.reply_tokens}: a context window of {context_window} tokens "
            f"leaves less than {ROOM_FOR_A_MESSAGE} for a message beside it"
        )
