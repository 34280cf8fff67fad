"""Imports over the wire."""

from pydantic import BaseModel, Field

from app.transfer.formats import Format


class ImportedView(BaseModel):
    id: str
    imported_from: str | None = Field(description="Its id in the file, if it had one.")


class ImportedSessionView(ImportedView):
    title: str | None
    messages: int = Field(description="How many, alternatives among them.")


class ImportView(BaseModel):
    """What an import made. Everything in it is new: importing a file twice makes it twice."""

    format: Format
    sessions: list[ImportedSessionView]
    personas: list[ImportedView]
    left_out: dict[str, int] = Field(description="What could not be taken in, by what it was; counts.")
