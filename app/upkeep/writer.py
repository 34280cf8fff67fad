"""The model of this service as a writer of notes: what is asked of it off the turn's path."""

import asyncio
from uuid import uuid4

from app.models.chat import ChatModel
from llm.engine.interface import Failed, Finished, GenerationRequest, SamplingParameters
from llm.errors import ModelError, PromptTooLongError, QueueFullError
from memory.errors import NotWrittenError

GOOD_WRITER_PARAMETERS = 1_000_000_000
"""From this size on a model writes better notes than are made without one."""


class ModelWriter:
    """Has the chat's model write."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model

    @property
    def author(self) -> str:
        return self._model.engine.model.name

    def is_meant_by(self, choice: str) -> bool:
        """Whether a strategy with that choice of a writer means the model: `llm`, or `auto` if it is good."""
        parameters = self._model.engine.model.parameters
        if choice == "auto":
            # One of a remote server that does not say is most likely large.
            return parameters is None or parameters >= GOOD_WRITER_PARAMETERS
        return choice == "llm"

    async def write(self, instructions: str, source: str, max_tokens: int) -> str:
        """The model's answer to a user's message under a system message. Raises NotWrittenError."""
        tokenizer = self._model.tokenizer
        prompt = (
            *tokenizer.encode_preamble(instructions),
            *tokenizer.encode_message("user", source),
            *tokenizer.generation_prompt,
        )
        # A name of its own, by which it is dropped from the cache: no chat would take it along when it goes.
        conversation = f"note {uuid4()}"
        request = GenerationRequest(
            prompt=prompt,
            sampling=SamplingParameters(max_tokens=max_tokens, temperature=0.0),
            conversation=conversation,
            messages=(("system", instructions), ("user", source)),
        )
        try:
            generation = self._model.engine.submit(request)
        except (QueueFullError, PromptTooLongError, ModelError) as error:
            raise NotWrittenError(f"the model cannot write it now: {error}") from error
        try:
            async for event in generation:
                match event:
                    case Finished(text=text):
                        return text
                    case Failed(error=why):
                        raise NotWrittenError(f"the model could not finish it: {why}")
        finally:
            generation.cancel()
            await asyncio.to_thread(self._model.engine.forget, conversation)
        raise NotWrittenError("the model's stream ended without a last event")
