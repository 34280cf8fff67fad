"""The model of this service: its engine, and its tokeniser, opened by the settings."""

from collections.abc import Callable
from dataclasses import dataclass

from llm.engine.local_engine import LocalEngine
from llm.loading import load_model
from llm.text.chat_format import ChatTokenizer

from app.settings import Settings
from llm.engine.interface import Engine


@dataclass(frozen=True, slots=True)
class ChatModel:
    """An engine and the tokeniser of its model. `context_window` is what the service uses of it."""

    engine: Engine
    tokenizer: ChatTokenizer

    @property
    def context_window(self) -> int:
        return self.engine.model.context_window


Progress = Callable[[str, int, int], None]
"""Told of a stage, how much of it is done, and of how much."""


def open_chat_model(settings: Settings, progress: Progress | None = None) -> ChatModel:
    """Load the model that the settings name, fetching it first if need be. Blocks.

    Raises ModelError if it cannot be had.
    """
    loaded = load_model(settings.model, settings.models_folder, dtype=settings.dtype, progress=progress)
    tokenizer = ChatTokenizer(loaded.folder)
    engine = LocalEngine(
        loaded,
        tokenizer,
        context_window=min(
            settings.context_window or loaded.config.context_window, loaded.config.context_window
        ),
        max_waiting=settings.max_waiting,
        kv_cache_bytes=settings.kv_cache_mb * 2**20,
        threads=settings.threads,
    )
    return ChatModel(engine, tokenizer)
