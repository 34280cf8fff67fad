"""Imports over the wire."""

from pydantic import BaseModel, Field

from app.transfer.formats import Format


class ImportedView(BaseModel):
    id: str
    imported_from: str | None = Field(description="Its id in the file, if it had one.")


class ImportedSessionView(ImportedView):
    title: str | None
    messages: int = Field(description="How many, alternatives among them.")


class ImportedDocumentView(ImportedView):
    name: str
    was_there: bool = Field(description="The user, or everybody, had the same bytes already.")


class ImportView(BaseModel):
    """What an import made. All of it is new, but documents that were there: importing a file twice makes
    its sessions and personas twice."""

    format: Format
    sessions: list[ImportedSessionView]
    personas: list[ImportedView]
    documents: list[ImportedDocumentView]
    left_out: dict[str, int] = Field(description="What could not be taken in, by what it was; counts.")
