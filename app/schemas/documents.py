"""Documents as they go over the wire."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from app.fields import Name, Text, Wire


class DocumentView(BaseModel):
    id: str
    user_id: str | None = Field(description="Whose it is; null: everybody's.")
    name: str
    media_type: str
    bytes: int
    sha256: str
    status: Literal["processing", "ready", "failed"]
    progress: float = Field(description="How much of it has been read, from 0 to 1.")
    error: str | None = Field(description="Why it failed.")
    pages: int | None = Field(description="Of a PDF: its last page with text.")
    pieces: int
    created_at: datetime


class DocumentSearch(Wire):
    """A question to everybody's documents, and to those of a user."""

    query: Text
    user_id: Name | None = None
    limit: int = Field(10, ge=1, le=100)


class FoundPieceView(BaseModel):
    document_id: str
    number: int
    text: str
    citation: str
    score: float
    why: str


class FoundPiecesView(BaseModel):
    """What was found, best first."""

    data: list[FoundPieceView]
    behind: int = Field(description="Documents that might be found too, but are not indexed yet.")
    degraded: str | None = Field(description="Why only a part of the indexes was asked; null: all were.")


class SpanView(BaseModel):
    """Both ends are included; they count from 1."""

    unit: Literal["page", "line", "row"]
    first: int
    last: int


class PlaceView(BaseModel):
    headings: list[str] = Field(description="Those above it, outermost first; the sheet of a workbook.")
    span: SpanView | None


class PieceView(BaseModel):
    number: int
    text: str
    place: PlaceView
    citation: str = Field(description="The document's name and the place, as a model is shown them.")
