"""What goes over the wire of facts."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from app.fields import Text, Wire
from memory.facts.checks import LONGEST_KEY, LONGEST_VALUE
from memory.fence import one_line

FactValue = Annotated[Text, Field(max_length=LONGEST_VALUE), AfterValidator(one_line)]
FactKey = Annotated[
    Text, Field(max_length=LONGEST_KEY), AfterValidator(one_line), AfterValidator(str.casefold)
]


class FactCreate(Wire):
    """A fact that the owner puts down."""

    subject: FactKey = Field("user", description="`user`, `persona`, or whom else it is about.")
    key: FactKey = Field(description="Such as `name`, `home`, `likes`.")
    value: FactValue


class FactEdit(Wire):
    """What a fact should say."""

    value: FactValue


class FactView(BaseModel):
    """What is known of `subject` under `key`, and which words of which message say so."""

    id: str
    session_id: str = Field(description="The chat that it was told in.")
    subject: str
    key: str
    value: str = Field(description="Empty if it only ends another.")
    ends: str | None = Field(description="The value that no longer holds; empty: every one of that key.")
    text: str = Field(description="How it is told in the window.")
    author: str = Field(description="A model's name, `rules`, or `owner`.")
    message_id: str | None = Field(description="Its source; null for what the owner put down.")
    quote: str | None = Field(description="The words of the message that say so.")
    quote_start: int | None = Field(description="Where they begin, in characters.")
    quote_end: int | None
    said_at: datetime
    superseded_by: str | None = Field(description="The newer fact that took its place, or ended it.")
