"""Field types that refuse what must not be stored: NUL, unpaired surrogates, blanks, absurd numbers."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from memory.templates import clock_template

MAX_CHARACTERS = 262_144
MOST_MESSAGES = 4096
"""That one request can say."""


class Wire(BaseModel):
    """Base of what comes in: unknown fields are refused, types are taken as they are."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _no_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the NUL character")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _no_clock(text: str) -> str:
    if template := clock_template(text):
        raise ValueError(
            f"must not contain {template}: it would change with every turn and void what is cached of the "
            "chat; only the reminder, near the end of the window, may have it"
        )
    return text


def _sensible_time(time: datetime) -> datetime:
    if not 1900 <= time.year <= 2200:
        raise ValueError("must lie between the years 1900 and 2200")
    return time.astimezone(UTC)


PlainText = Annotated[str, Field(max_length=MAX_CHARACTERS), AfterValidator(_no_nul)]
Text = Annotated[
    str, Field(min_length=1, max_length=MAX_CHARACTERS), AfterValidator(_no_nul), AfterValidator(_not_blank)
]
Name = Annotated[
    str, Field(min_length=1, max_length=256), AfterValidator(_no_nul), AfterValidator(_not_blank)
]
StopString = Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_no_nul)]
PersonaMessages = Annotated[
    int | None,
    Field(
        ge=0,
        le=MOST_MESSAGES,
        description="How many of the first messages tell the persona, a system message with examples behind: "
        "they keep their share of attention, where the model has one for a persona. By default the system "
        "message that comes first, if one does.",
    ),
]
Metadata = Annotated[
    dict[
        Annotated[str, Field(max_length=64), AfterValidator(_no_nul)],
        Annotated[str, Field(max_length=512), AfterValidator(_no_nul)],
    ],
    Field(max_length=16),
]
"""What a client keeps with something of its own, within the bounds of OpenAI's API."""
StableText = Annotated[Text, AfterValidator(_no_clock)]
StablePlainText = Annotated[PlainText, AfterValidator(_no_clock)]
StableLine = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    AfterValidator(_no_nul),
    AfterValidator(_not_blank),
    AfterValidator(_no_clock),
]
"""A short text of a persona; like the other stable ones, with no template that stands for the clock."""
Time = Annotated[AwareDatetime, Field(strict=False), AfterValidator(_sensible_time)]
"""A time with its zone, in ISO 8601."""
