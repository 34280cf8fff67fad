"""`/v1/personas`."""

import asyncio
from dataclasses import asdict
from http import HTTPStatus

from fastapi import APIRouter, Response

from app.api.dependencies import (
    Cursor,
    Limit,
    OwnerDep,
    Service,
    ServiceDep,
    cut_page,
    decode_listing_cursor,
    listing_place,
)
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.chat.persona import check_fits
from app.errors import NotFoundProblem, PersonaInUseProblem
from app.schemas.listings import Page
from app.schemas.personas import PersonaCreate, PersonaUpdate, PersonaView
from app.storage.idempotency import IdempotencyKeys
from app.storage.personas import Personas, StoredPersona, written_persona
from memory.persona import ChatUser, persona_tokens

router = APIRouter(prefix="/v1/personas", tags=["personas"], route_class=IdempotentRoute)


@router.post("", status_code=HTTPStatus.CREATED, dependencies=[IDEMPOTENT])
async def create_persona(body: PersonaCreate, service: ServiceDep, owner: OwnerDep) -> PersonaView:
    """Create a persona. One that leaves no room for a turn in the context window is refused."""
    persona = written_persona(body.model_dump(exclude={"public"}))
    await check_fits(service.model, service.settings, persona)
    async with service.database.write() as session:
        stored = await Personas(session, owner).create(persona, public=body.public)
        await IdempotencyKeys(session, owner).keep("persona", id=stored.id)
    return await persona_view(stored, service)


@router.get("")
async def list_personas(
    service: ServiceDep, owner: OwnerDep, limit: Limit = 50, cursor: Cursor = None
) -> Page[PersonaView]:
    """List personas, newest first."""
    async with service.database.read() as session:
        stored = await Personas(session, owner).list(after=decode_listing_cursor(cursor), limit=limit + 1)
    page, next_cursor = cut_page(stored, limit, listing_place)
    return Page(
        data=[await persona_view(persona, service) for persona in page],
        next_cursor=next_cursor,
    )


@router.get("/{persona_id}")
async def get_persona(persona_id: str, service: ServiceDep, owner: OwnerDep) -> PersonaView:
    async with service.database.read() as session:
        stored = await Personas(session, owner).get(persona_id)
    return await persona_view(found_persona(stored, persona_id), service)


@router.patch("/{persona_id}")
async def update_persona(
    persona_id: str, body: PersonaUpdate, service: ServiceDep, owner: OwnerDep
) -> PersonaView:
    """Change fields of a persona. Chats use the new revision from their next turn on."""
    changes = body.model_dump(exclude_unset=True)
    public = changes.pop("public", None)
    while True:
        async with service.database.read() as session:
            before = found_persona(await Personas(session, owner).get(persona_id), persona_id)
        persona = written_persona(changes, before.persona)
        # Outside the transaction: a remote tokeniser may take its time.
        await check_fits(service.model, service.settings, persona)
        async with service.database.write() as session:
            stored = await Personas(session, owner).revise(before, persona, public=public)
        if stored is not None:
            return await persona_view(stored, service)


@router.delete("/{persona_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_persona(persona_id: str, service: ServiceDep, owner: OwnerDep) -> Response:
    """Delete a persona that no session uses."""
    async with service.database.write() as session:
        personas = Personas(session, owner)
        found_persona(await personas.get(persona_id, to_remove=True), persona_id)
        if using := await personas.sessions_using(persona_id):
            raise PersonaInUseProblem(
                f"{using} chat sessions use persona {persona_id}; give them another or delete them first",
                sessions=using,
            )
        await personas.remove(persona_id)
    return Response(status_code=HTTPStatus.NO_CONTENT)


def found_persona(stored: StoredPersona | None, persona_id: str) -> StoredPersona:
    if stored is None:
        raise NotFoundProblem(f"persona {persona_id} does not exist")
    return stored


async def persona_view(stored: StoredPersona, service: Service) -> PersonaView:
    persona = stored.persona
    tokens = await asyncio.to_thread(persona_tokens, persona, service.model.tokenizer, ChatUser())
    return PersonaView.model_validate(
        asdict(persona)
        | {
            "id": stored.id,
            "revision": stored.revision,
            "public": stored.public,
            "tokens": tokens,
            "created_at": stored.created_at,
            "updated_at": stored.updated_at,
        }
    )
