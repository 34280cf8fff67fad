"""A service with a tiny model: a reply takes a moment, however long it is asked to be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.models.chat import start_engine
from app.models.embedding import SentenceEmbedder
from app.server import create_app
from app.settings import Settings
from app.web_server import serve_in_thread
from llm.loading import load_model
from llm.text.chat_format import ChatTokenizer
from tests.llm.tiny import CHAT_VOCABULARY, save_tiny_llama


@contextmanager
def tiny_service(
    folder: Path, tokenizer: ChatTokenizer, embedder: SentenceEmbedder, **changes: Any
) -> Iterator[str]:
    """Its URL. All that it has is in the folder, which is empty; `changes`: to its settings."""
    weights = folder / "tiny"
    weights.mkdir()
    save_tiny_llama(weights, vocab_size=CHAT_VOCABULARY, max_position_embeddings=512)
    settings = Settings(home=folder / "home", reply_tokens=4, **changes)
    model = start_engine(load_model(str(weights), weights), tokenizer, settings)
    with serve_in_thread(create_app(settings, model, embedder)) as url:
        yield url
