"""The model of this service: its engine, and its tokeniser, opened by the settings."""

from dataclasses import dataclass

from app.settings import Settings
from llm.engine.interface import Engine
from llm.engine.local_engine import LocalEngine
from llm.loading import LoadedModel, load_model
from llm.text.chat_format import ChatTokenizer


@dataclass(frozen=True, slots=True)
class ChatModel:
    """An engine and the tokeniser of its model. `context_window` is what the service uses of it."""

    engine: Engine
    tokenizer: ChatTokenizer

    @property
    def context_window(self) -> int:
        return self.engine.model.context_window


def open_chat_model(settings: Settings) -> ChatModel:
    """Load the model that the settings name, fetching it first if need be. Blocks.

    Raises ModelError if it cannot be had.
    """
    loaded = load_model(settings.model, settings.models_folder, dtype=settings.dtype)
    return start_engine(loaded, settings)


def start_engine(loaded: LoadedModel, settings: Settings) -> ChatModel:
    """An engine of its own for a model that is loaded already."""
    tokenizer = ChatTokenizer(loaded.folder)
    own_window = loaded.config.context_window
    engine = LocalEngine(
        loaded,
        tokenizer,
        context_window=min(settings.context_window or own_window, own_window),
        max_waiting=settings.max_waiting,
        kv_cache_bytes=settings.kv_cache_mb * 2**20,
        threads=settings.threads,
    )
    return ChatModel(engine, tokenizer)
