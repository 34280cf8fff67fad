"""The lorebooks of a chat session, its own and its persona's, and what of them a message calls."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.cards.book import book_of
from app.chat.persona import ChatPersona
from app.storage.history import StoredHistory
from app.storage.lorebooks import SessionLore
from app.storage.persona_cards import PersonaCards
from app.storage.tables import SessionRow
from memory.lore import CalledLore, Lorebook, called_lore
from memory.protocols import ChatEncoder


@dataclass(frozen=True, slots=True)
class OpenLorebook:
    """A lorebook, and what is searched for its keys: (where, text), the newest first."""

    book: Lorebook
    said: tuple[tuple[str, str], ...]

    def called(self, encoder: ChatEncoder) -> CalledLore:
        return called_lore(self.book, self.said, encoder)


async def open_lorebooks(
    session: AsyncSession,
    row: SessionRow,
    persona: ChatPersona | None,
    content: str | None,
    history: StoredHistory,
) -> tuple[OpenLorebook, ...]:
    """The books that have entries, each with the turns that it searches and the message `content`."""
    owner = history.owner
    books = [await session_lorebook(session, owner, row)]
    if persona:
        book = await PersonaCards(session, owner).book(persona.stored.id)
        names = persona.stored.persona.names_for(persona.user)
        books.insert(0, book_of(book, names) or Lorebook(()))
    books = [book for book in books if book.entries]
    if not books:
        return ()
    first = max(0, history.turn_count - max(book.scan_depth for book in books))
    turns = list(await history.messages(first))[::-1] if first < history.turn_count else []
    new = [("the new message", content)] if content is not None else []
    return tuple(
        OpenLorebook(
            book,
            (
                *new,
                *(
                    (f"turn {message.turn}", message.content)
                    for message in turns
                    if message.turn >= history.turn_count - book.scan_depth
                ),
            ),
        )
        for book in books
    )


async def session_lorebook(session: AsyncSession, owner: str, row: SessionRow) -> Lorebook:
    """The session's own book."""
    stored = await SessionLore(session, owner).list(row.id)
    return Lorebook(tuple(each.entry for each in stored), row.lore_scan_depth, row.lore_token_budget)
