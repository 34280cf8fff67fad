"""`/v1/personas/import` and `/v1/personas/{id}/card`: character cards in and out."""

import asyncio
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from app.api.dependencies import OwnerDep, Service, ServiceDep
from app.api.idempotency import IDEMPOTENT, IdempotentRoute
from app.api.personas import found_persona, persona_view
from app.cards.book import book_of
from app.cards.files import CardError, Json, Spec, picture_with, read_card
from app.cards.mapping import SOURCES, card_of, persona_fields
from app.cards.png import plain_picture
from app.chat.persona import check_fits
from app.errors import InvalidProblem
from app.schemas.personas import NamedPersona, PersonaView
from app.storage.idempotency import IdempotencyKeys
from app.storage.persona_cards import PersonaCards
from app.storage.personas import Personas, written_persona

router = APIRouter(prefix="/v1/personas", tags=["personas"], route_class=IdempotentRoute)

PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
CARD = {"application/json": {"schema": {"type": "object"}}}
SpecQuery = Annotated[
    Spec | None, Query(description="By default the format in which it was imported, or V2.")
]


@router.post(
    "/import",
    status_code=HTTPStatus.CREATED,
    openapi_extra={"requestBody": {"required": True, "content": CARD | PNG}},
    dependencies=[IDEMPOTENT],
)
async def import_persona(request: Request, service: ServiceDep, owner: OwnerDep) -> PersonaView:
    """Create a persona from a character card, V2 or V3: JSON, or a PNG picture that holds one.

    The card is kept whole, so that an export gives it back as it came.
    """
    card, body = await asyncio.to_thread(_read, await request.body())
    persona = written_persona(body.model_dump())
    await check_fits(service.model, service.settings, persona)
    async with service.database.write() as session:
        stored = await Personas(session, owner).create(persona)
        await PersonaCards(session, owner).keep(stored.id, card)
        await IdempotencyKeys(session, owner).keep("persona", id=stored.id)
    return await persona_view(stored, service)


@router.get("/{persona_id}/card", response_model=None, responses={200: {"content": CARD | PNG}})
async def get_card(
    persona_id: str,
    service: ServiceDep,
    owner: OwnerDep,
    file_format: Annotated[Literal["json", "png"], Query(alias="format")] = "json",
    spec: SpecQuery = None,
) -> dict[str, Any] | Response:
    """The persona as a character card; as PNG, in a plain picture."""
    card = await _card(persona_id, service, owner, spec)
    if file_format == "json":
        return card
    return Response(await asyncio.to_thread(_in_picture, card, plain_picture()), media_type="image/png")


@router.post(
    "/{persona_id}/card",
    response_class=Response,
    responses={200: {"content": PNG}},
    openapi_extra={"requestBody": {"required": True, "content": PNG}},
)
async def put_card_into_picture(
    persona_id: str, request: Request, service: ServiceDep, owner: OwnerDep, spec: SpecQuery = None
) -> Response:
    """The PNG picture of the body with the persona's character card in it. Nothing is stored."""
    picture = await request.body()
    card = await _card(persona_id, service, owner, spec)
    return Response(await asyncio.to_thread(_in_picture, card, picture), media_type="image/png")


async def _card(persona_id: str, service: Service, owner: str, spec: Spec | None) -> Json:
    async with service.database.read() as session:
        stored = found_persona(await Personas(session, owner).get(persona_id), persona_id)
        original = await PersonaCards(session, owner).get(persona_id)
    return card_of(stored.persona, original, spec)


def _in_picture(card: Json, picture: bytes) -> bytes:
    try:
        return picture_with(card, picture)
    except CardError as error:
        raise InvalidProblem.of_field(error.field, str(error)) from error


def _read(file: bytes) -> tuple[Json, NamedPersona]:
    """The card in a file, and the persona that it makes. Raises InvalidProblem with the card's fields."""
    try:
        card = read_card(file)
        book_of(card["data"].get("character_book"), {})
        return card, NamedPersona.model_validate(persona_fields(card))
    except CardError as error:
        raise InvalidProblem.of_field(error.field, str(error)) from error
    except ValidationError as error:
        errors = [
            {"field": SOURCES[str(detail["loc"][0])], "problem": detail["msg"]} for detail in error.errors()
        ]
        text = "; ".join(f"{each['field']}: {each['problem']}" for each in errors)
        raise InvalidProblem(text, errors=errors) from error
