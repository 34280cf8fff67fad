"""What goes over the wire of scores."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from app.fields import MOST_MESSAGES, PersonaMessages, PlainText, Wire

MOST_CANDIDATES = 64

Candidate = Annotated[PlainText, Field(min_length=1)]


class SpokenMessage(Wire):
    role: Literal["system", "user", "assistant"]
    content: PlainText


class ScoresCreate(Wire):
    """Texts, each of which an assistant's reply to the messages may begin with."""

    messages: list[SpokenMessage] = Field(min_length=1, max_length=MOST_MESSAGES)
    persona_messages: PersonaMessages = None
    candidates: list[Candidate] = Field(
        min_length=1,
        max_length=MOST_CANDIDATES,
        description="Each must fit the context window behind the messages, and all together an empty one.",
    )


class ScoredToken(BaseModel):
    text: str = Field(description="Empty where it ends inside a character, which goes with its last token.")
    log_probability: float


class ScoredCandidate(BaseModel):
    tokens: list[ScoredToken]
    log_probability: float = Field(description="The sum over its tokens.")


class ScoresView(BaseModel):
    """The candidates in their order. Log-probabilities are natural, and before any sampling setting."""

    candidates: list[ScoredCandidate]
    prompt_tokens: int
    cached_tokens: int = Field(description="Of the prompt; they were not computed for this request.")
    took_ms: float = Field(description="In the model, with the wait for it.")
