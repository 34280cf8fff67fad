"""`/v1/documents`: files whose text can be recalled."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import FormData, UploadFile

from app.api.dependencies import (
    Cursor,
    Limit,
    OwnerDep,
    Service,
    ServiceDep,
    cut_page,
    decode_listing_cursor,
    decode_position_cursor,
    listing_place,
    user_asked_for,
)
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.documents.formats import UnknownFormatError
from app.documents.reading import DocumentError
from app.errors import (
    BodyTooLargeProblem,
    DocumentRefusedProblem,
    InvalidProblem,
    NotFoundProblem,
    UnknownFormatProblem,
)
from app.fields import Name
from app.schemas.documents import (
    DocumentSearch,
    DocumentView,
    FoundPiecesView,
    FoundPieceView,
    PieceView,
    PlaceView,
)
from app.schemas.listings import Page
from app.storage.documents import Documents, citation
from app.storage.recall_tables import DocumentPieceRow, DocumentRow

PATH = "/v1/documents"
FORM_BYTES = 65_536
"""What a request may have beside the file."""

router = APIRouter(prefix=PATH, tags=["documents"], route_class=IdempotentRoute)

UPLOAD = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {"type": "string", "format": "binary"},
                "user_id": {"type": "string", "description": "Whose it is; none: everybody's."},
            },
        }
    }
}
_NAME: TypeAdapter[str] = TypeAdapter(Name)


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={
        200: {"model": DocumentView, "description": "The same bytes were there already"},
        202: {"model": DocumentView, "description": "It is being read"},
    },
    openapi_extra={"requestBody": {"required": True, "content": UPLOAD}},
    dependencies=[IDEMPOTENT],
)
async def add_document(
    request: Request, response: Response, service: ServiceDep, owner: OwnerDep
) -> DocumentView:
    """Add a file: pdf, docx, xlsx, csv, html, md, txt or source code.

    The answer comes when it has been read, or within seconds with the status `processing`: then look again.
    """
    async with request.form(max_files=1, max_fields=1) as form:
        file, name, user_id = _upload(form)
        user_id = user_asked_for(owner, user_id)
        max_bytes = service.settings.document_mb * 2**20
        if (file.size or 0) > max_bytes:
            raise BodyTooLargeProblem(f"a document may have at most {max_bytes} bytes", max_bytes=max_bytes)
        try:
            row, is_new = await service.library.add(owner, user_id, name, file.file)
        except UnknownFormatError as error:
            raise UnknownFormatProblem(f"{name}: {error}", name=name) from error
        except DocumentError as error:
            raise DocumentRefusedProblem(f"{name}: {error}", name=name) from error
    if row.status == "processing":
        response.status_code = HTTPStatus.ACCEPTED
    elif not is_new:
        response.status_code = HTTPStatus.OK
    return _view(row, service)


@router.get("")
async def list_documents(
    service: ServiceDep,
    owner: OwnerDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    user_id: Annotated[str | None, Query(max_length=256)] = None,
) -> Page[DocumentView]:
    """List documents, newest first; of one user, if asked to."""
    if user_id is not None:
        user_asked_for(owner, user_id)
    async with service.database.read() as session:
        rows = await Documents(session, owner).list(
            after=decode_listing_cursor(cursor), limit=limit + 1, user_id=user_id
        )
    page, next_cursor = cut_page(rows, limit, listing_place)
    return Page(
        data=[_view(row, service) for row in page],
        next_cursor=next_cursor,
    )


@router.post("/search")
async def search_documents(body: DocumentSearch, service: ServiceDep, owner: OwnerDep) -> FoundPiecesView:
    """Find pieces of everybody's documents, and of a user's: by words and by sense, best first, with why."""
    found = await service.chat.recall.of_documents(
        owner, user_asked_for(owner, body.user_id), body.query, limit=body.limit
    )
    return FoundPiecesView(
        data=[
            FoundPieceView(
                document_id=each.passage.key.source,
                number=each.passage.key.number,
                text=each.passage.text,
                citation=each.passage.citation,
                score=round(each.score, 6),
                why=each.why,
            )
            for each in found.ranked
        ],
        behind=found.behind,
        degraded=found.degraded,
    )


@router.get("/{document_id}")
async def get_document(document_id: str, service: ServiceDep, owner: OwnerDep) -> DocumentView:
    async with service.database.read() as session:
        return _view(_found(await Documents(session, owner).get(document_id), document_id), service)


@router.get("/{document_id}/pieces")
async def list_pieces(
    document_id: str, service: ServiceDep, owner: OwnerDep, limit: Limit = 50, cursor: Cursor = None
) -> Page[PieceView]:
    """What is recalled of a document: its text in pieces, in order, each with its place."""
    async with service.database.read() as session:
        documents = Documents(session, owner)
        document = _found(await documents.get(document_id), document_id)
        rows = await documents.pieces(document_id, after=decode_position_cursor(cursor), limit=limit + 1)
    page, next_cursor = cut_page(rows, limit, lambda row: (row.number,))
    return Page(
        data=[_piece(document, row) for row in page],
        next_cursor=next_cursor,
    )


@router.delete("/{document_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_document(document_id: str, service: ServiceDep, owner: OwnerDep) -> Response:
    """Delete a document with all its pieces, even while it is being read."""
    if not await service.library.remove(owner, document_id):
        raise _not_there(document_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def _upload(form: FormData) -> tuple[UploadFile, str, str | None]:
    """The file of a form, its name without folders, and whose it is. Raises InvalidProblem."""
    if unknown := form.keys() - {"file", "user_id"}:
        raise InvalidProblem.of_field(min(unknown), "there is no such field")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidProblem.of_field("file", "a file is needed, as multipart/form-data with its name")
    name = "".join(c for c in (file.filename or "").replace("\\", "/").split("/")[-1] if c.isprintable())
    user_id = form.get("user_id")
    return file, _text("file", name), None if user_id is None else _text("user_id", user_id)


def _text(field: str, value: Any) -> str:
    try:
        return _NAME.validate_python(value, strict=True)
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise InvalidProblem.of_field(
            field, f"its name: {problem}" if field == "file" else problem
        ) from error


def _found(row: DocumentRow | None, document_id: str) -> DocumentRow:
    if row is None:
        raise _not_there(document_id)
    return row


def _not_there(document_id: str) -> NotFoundProblem:
    return NotFoundProblem(f"document {document_id} does not exist")


def _view(row: DocumentRow, service: Service) -> DocumentView:
    fields = {name: getattr(row, name) for name in DocumentView.model_fields if name != "progress"}
    return DocumentView(progress=service.library.progress(row), **fields)


def _piece(document: DocumentRow, row: DocumentPieceRow) -> PieceView:
    return PieceView(
        number=row.number,
        text=row.text,
        place=PlaceView.model_validate(row.place),
        citation=citation(document.name, row.place),
    )
