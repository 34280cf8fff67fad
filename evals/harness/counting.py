"""Counts tokens here as the service does there."""

from collections.abc import Sequence
from functools import lru_cache

from app.settings import Settings
from evals.harness.chats import Chat, as_messages
from evals.harness.errors import EvaluationError
from evals.harness.service import FULL_MEMORY, EvaluatedService
from llm.catalog import ensure_tokenizer
from llm.progress import Progress, silent
from llm.text.chat_format import ChatTokenizer
from memory.protocols import ChatEncoder


class CountingOnce:
    """A `ChatEncoder` that remembers what it encoded: the same turns are tried for many questions."""

    def __init__(self, encoder: ChatEncoder) -> None:
        self._encoder = encoder
        self.encode_message = lru_cache(maxsize=100_000)(encoder.encode_message)

    def encode_preamble(self, system: str | None) -> tuple[int, ...]:
        return self._encoder.encode_preamble(system)

    @property
    def generation_prompt(self) -> tuple[int, ...]:
        return self._encoder.generation_prompt


def service_encoder(
    service: EvaluatedService, settings: Settings, chat: Chat, progress: Progress = silent
) -> ChatEncoder:
    """The tokeniser of the model that the settings name, which must be that of the service.

    Raises EvaluationError if the service counts the turns of the chat otherwise.
    """
    folder = ensure_tokenizer(settings.model, settings.models_folder, progress)
    encoder = CountingOnce(ChatTokenizer(folder))
    view, _ = service.context(service.session(chat, FULL_MEMORY))
    for segment in view["segments"]:
        if segment["kind"] == "turn" and segment["tokens"] != turn_tokens(
            encoder, chat.turns[segment["turn"]]
        ):
            raise EvaluationError(
                f"the service counts tokens otherwise than {settings.model} does here: set PERDURE_MODEL to "
                f"the model of the service, {service.models[0]['id']}"
            )
    return encoder


def turn_tokens(encoder: ChatEncoder, turn: tuple[str, str]) -> int:
    """Tokens of a turn, chat template included."""
    return sum(len(encoder.encode_message(role, content)) for role, content in as_messages([turn]))


def mean_turn_tokens(encoder: ChatEncoder, chats: Sequence[Chat]) -> float:
    turns = [turn for chat in chats for turn in chat.turns]
    return sum(turn_tokens(encoder, turn) for turn in turns) / len(turns)
