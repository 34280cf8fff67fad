"""The character cards that personas were imported from, kept whole."""

from typing import Any

from app.storage.repository import Repository
from app.storage.tables import PersonaCardRow


class PersonaCards(Repository):
    """The cards of one owner's personas."""

    async def keep(self, persona_id: str, card: dict[str, Any]) -> None:
        book = card["data"].get("character_book")
        self.add(PersonaCardRow(persona_id=persona_id, card=card, book=book))
        await self.session.flush()

    async def get(self, persona_id: str) -> dict[str, Any] | None:
        query = self.select(PersonaCardRow).where(PersonaCardRow.persona_id == persona_id)
        row = (await self.session.scalars(query)).one_or_none()
        return row.card if row else None
