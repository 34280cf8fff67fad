"""Exports and imports of chat sessions, of personas, of all of a user's, and of everything."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from tempfile import TemporaryFile
from typing import IO, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from app.api.dependencies import OwnerDep, Service, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.errors import InvalidProblem
from app.schemas.transfer import ImportView
from app.settings import Settings
from app.strict_json import StrictJsonError, read_json
from app.transfer.exports import export_all, export_persona, export_session, export_user
from app.transfer.formats import WRITERS, Format, WrittenFormat

router = APIRouter(prefix="/v1", tags=["transfer"], route_class=IdempotentRoute)

JSONL = "application/jsonl"
LINES: dict[int | str, dict[str, Any]] = {200: {"content": {JSONL: {"schema": {"type": "string"}}}}}
BATCHED_BYTES = 64 * 1024

FILE: dict[str, Any] = {
    "required": True,
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("application/json", JSONL)
    },
}
FormatQuery = Annotated[
    Format | Literal["auto"], Query(alias="format", description="`auto`: recognised by how the file begins.")
]
MemoryQuery = Annotated[
    str | None,
    Query(max_length=4096, description="JSON: memory settings for all that is imported, not its own."),
]
LossyQuery = Annotated[
    bool, Query(description="`openai`: leave out and count what is no text, instead of refusing the file.")
]


@router.get(
    "/sessions/{session_id}/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/json": {"schema": {}}, JSONL: {"schema": {"type": "string"}}}}},
)
async def export_one_session(
    session_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    file_format: Annotated[
        WrittenFormat,
        Query(alias="format", description="`perdure` has all of it, others the chat as it stands."),
    ] = "perdure",
) -> StreamingResponse:
    """A session as a file that can be imported again."""
    pieces = export_session(service.database, owner, session_id, file_format)
    media_type = JSONL if file_format == "perdure" else WRITERS[file_format].media_type
    return await _answered(pieces, session_id, media_type, service.settings)


@router.get("/personas/{persona_id}/export", response_class=StreamingResponse, responses=LINES)
async def export_one_persona(persona_id: str, service: ServiceDep, owner: OwnerDep) -> StreamingResponse:
    """A persona with all its revisions and its card, as a file that can be imported again."""
    return await _answered(
        export_persona(service.database, owner, persona_id), persona_id, JSONL, service.settings
    )


@router.get("/export", response_class=StreamingResponse, responses=LINES)
async def export_everything(service: ServiceDep, owner: OwnerDep) -> StreamingResponse:
    """All sessions, all personas and all documents, as a file that can be imported again."""
    return await _answered(export_all(service.database, owner), "perdure", JSONL, service.settings)


@router.get("/users/{user_id:path}/export", response_class=StreamingResponse, responses=LINES)
async def export_all_of_user(user_id: str, service: ServiceDep, owner: OwnerDep) -> StreamingResponse:
    """All of a user: sessions, the personas in them, documents; as a file that can be imported again."""
    return await _answered(export_user(service.database, owner, user_id), "user", JSONL, service.settings)


@router.post(
    "/sessions/import",
    status_code=HTTPStatus.CREATED,
    openapi_extra={"requestBody": FILE},
    dependencies=[IDEMPOTENT],
)
async def import_session(
    request: Request,
    service: ServiceDep,
    owner: OwnerDep,
    file_format: FormatQuery = "auto",
    memory: MemoryQuery = None,
    lossy: LossyQuery = False,
) -> ImportView:
    """Make a new session of a file that holds one chat. Doing it twice makes two."""
    return await _import(request, service, owner, file_format, memory, lossy=lossy, one_session=True)


@router.post(
    "/import", status_code=HTTPStatus.CREATED, openapi_extra={"requestBody": FILE}, dependencies=[IDEMPOTENT]
)
async def import_all(
    request: Request,
    service: ServiceDep,
    owner: OwnerDep,
    file_format: FormatQuery = "auto",
    memory: MemoryQuery = None,
    lossy: LossyQuery = False,
) -> ImportView:
    """Make new sessions, personas and documents of all that a file holds, or of nothing of it."""
    return await _import(request, service, owner, file_format, memory, lossy=lossy, one_session=False)


async def _import(
    request: Request,
    service: Service,
    owner: str,
    file_format: Format | Literal["auto"],
    memory: str | None,
    *,
    lossy: bool,
    one_session: bool,
) -> ImportView:
    return await service.imports.take_in(
        owner,
        await request.body(),
        file_format,
        memory=None if memory is None else _memory(memory),
        lossy=lossy,
        one_session=one_session,
    )


def _memory(text: str) -> dict[str, Any]:
    try:
        memory = read_json(text)
    except StrictJsonError as error:
        raise InvalidProblem.of_field("memory", str(error)) from None
    if not isinstance(memory, dict):
        raise InvalidProblem.of_field("memory", "must be a JSON object")
    return memory


async def _answered(
    pieces: AsyncIterator[bytes], name: str, media_type: str, settings: Settings
) -> StreamingResponse:
    """Answer with all of the pieces or, with what making one raises, with none.

    They wait for the client in a file: a slow one would hold a connection to the database.
    """
    file = TemporaryFile(dir=settings.home)  # noqa: SIM115, closed with the answer
    try:
        async for batch in _batched(pieces):
            await asyncio.to_thread(file.write, batch)
        headers = {
            "Content-Disposition": f"attachment; filename={json.dumps(name)}",
            "Content-Length": str(file.tell()),
        }
        await asyncio.to_thread(file.seek, 0)
    except BaseException:
        file.close()
        raise
    return StreamingResponse(_read(file), media_type=media_type, headers=headers)


async def _batched(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces in chunks of a sensible size."""
    chunk = bytearray()
    async for piece in pieces:
        chunk += piece
        if len(chunk) >= BATCHED_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)


def _read(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(BATCHED_BYTES):
            yield chunk
