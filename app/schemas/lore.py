"""Lorebooks over the wire, in and out."""

from datetime import datetime

from pydantic import BaseModel, Field, model_validator

from app.cards.book import MAX_BUDGET, MAX_DEPTH
from app.fields import Name, Text, Wire


class LoreEntryFields(Wire):
    """What calls an entry, and where it enters."""

    keys: list[Name] = Field([], max_length=100, description="Any of them calls the entry.")
    secondary_keys: list[Name] = Field([], max_length=100)
    selective: bool = Field(False, description="Any of `secondary_keys` must have been said, too.")
    constant: bool = Field(False, description="It enters always.")
    case_sensitive: bool = False
    enabled: bool = True
    insertion_order: int = Field(0, ge=-1_000_000, le=1_000_000, description="Smaller ones go first.")


class LoreEntryCreate(LoreEntryFields):
    """An entry with a text of its own, or made of a message of the session."""

    content: Text | None = None
    message_id: Name | None = Field(None, description="The entry tells what this message says.")

    @model_validator(mode="after")
    def _one_text(self) -> "LoreEntryCreate":
        if (self.content is None) == (self.message_id is None):
            raise ValueError("give either content or message_id")
        return self


class LoreEntryUpdate(LoreEntryFields):
    """Fields that are not given stay as they are. With `content`, it tells no message any more."""

    content: Text = ""


class LoreEntryView(BaseModel):
    id: str
    content: str
    message_id: str | None
    keys: list[str]
    secondary_keys: list[str]
    selective: bool
    constant: bool
    case_sensitive: bool
    enabled: bool
    insertion_order: int
    created_at: datetime


class LorebookUpdate(Wire):
    """Fields that are not given stay as they are."""

    scan_depth: int = Field(0, ge=0, le=MAX_DEPTH)
    token_budget: int = Field(0, ge=0, le=MAX_BUDGET)


class LorebookView(BaseModel):
    scan_depth: int = Field(description="So many of the newest turns, and the new message, are searched.")
    token_budget: int = Field(description="What the entries may take of a context, in tokens.")
    entries: list[LoreEntryView]
