"""Problem documents, over the wire."""

from pydantic import BaseModel, Field


class ProblemView(BaseModel):
    """A problem document (RFC 9457). Further members carry the numbers; see docs/errors.md."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = Field(
        [], description='`{"field": ..., "problem": ...}` for each field that is wrong, where fields are.'
    )


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str


class ErrorView(BaseModel):
    """An error in the form of OpenAI's API: what a problem document says, on its addresses."""

    error: ErrorDetail
