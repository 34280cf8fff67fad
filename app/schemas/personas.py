"""Personas over the wire, in and out."""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from app.fields import Name, StableLine, StablePlainText, StableText, Text, Wire


class Exchange(Wire):
    """One exchange that shows how the persona speaks."""

    user: StableText
    assistant: StableText


class SpeechRuleBody(Wire):
    """How the persona speaks with one user; with `user_id` null, with everybody else."""

    user_id: Name | None
    rule: StableLine


def _one_rule_each(rules: list[SpeechRuleBody]) -> list[SpeechRuleBody]:
    users = [rule.user_id for rule in rules]
    twice = next((user for user in users if users.count(user) > 1), "")
    if twice != "":
        raise ValueError(f"more than one rule for user_id {twice if twice is None else repr(twice)}")
    return rules


class ReminderBody(Wire):
    """A text near the end of the window, against drift. `{{date}}` and `{{time}}` may be in it."""

    text: Text
    depth: int = Field(0, ge=0, le=100, description="How many turns stand between it and the new message.")


class PersonaFields(Wire):
    """What a persona may have beside its name."""

    instructions: StablePlainText = Field("", description="Who it is. Empty: it is told its name.")
    style: StablePlainText = Field("", description="How it speaks.")
    facts: list[StableLine] = Field([], max_length=100, description="What is lastingly true of it.")
    speech_rules: Annotated[list[SpeechRuleBody], AfterValidator(_one_rule_each)] = Field(
        [], max_length=32, description="How it speaks with whom; the session's `user_id` decides."
    )
    examples: list[Exchange] = Field([], max_length=100)
    greeting: StableText | None = Field(
        None, description="First message of a new session, said by the persona."
    )
    alternate_greetings: list[StableText] = Field(
        [], max_length=100, description="Others for a session to choose instead."
    )
    forbidden_phrases: list[Name] = Field(
        [], max_length=16, description="A reply ends before any of these, as before a `stop` string."
    )
    user_name: Name | None = Field(None, description="What `{{user}}` stands for; a session may say another.")
    reminder: ReminderBody | None = None


PUBLIC = Field(False, description="Whether the model's cache of its text may serve other tenants, too.")


class NamedPersona(PersonaFields):
    name: Name


class PersonaCreate(NamedPersona):
    public: bool = PUBLIC


class PersonaUpdate(PersonaFields):
    """Fields that are not given stay as they are."""

    name: Name = ""
    public: bool = PUBLIC


class ExchangeView(BaseModel):
    user: str
    assistant: str


class SpeechRuleView(BaseModel):
    user_id: str | None
    rule: str


class ReminderView(BaseModel):
    text: str
    depth: int


class PersonaView(BaseModel):
    id: str
    revision: int = Field(description="Counts the changes; context records name the one they rest on.")
    name: str
    instructions: str
    style: str
    facts: list[str]
    speech_rules: list[SpeechRuleView]
    examples: list[ExchangeView]
    greeting: str | None
    alternate_greetings: list[str]
    forbidden_phrases: list[str]
    user_name: str | None
    reminder: ReminderView | None
    public: bool
    tokens: int = Field(
        description="What the persona takes of every context window, with a user of whom nothing is known."
    )
    created_at: datetime
    updated_at: datetime
