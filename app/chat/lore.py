"""The lorebooks of a chat session, its own and its persona's, and what of them a message calls."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from app.cards.book import book_of
from app.chat.persona import ChatPersona
from app.storage.history import StoredHistory
from app.storage.lorebooks import SessionLore
from app.storage.sessions import StandingSession
from memory.lore import CalledLore, Lorebook, called_lore
from memory.protocols import ChatEncoder


@dataclass(frozen=True, slots=True)
class OpenLorebook:
    """A lorebook, and what is searched for its keys: (where, text), the newest first."""

    book: Lorebook
    said: tuple[tuple[str, str], ...]

    def called(self, encoder: ChatEncoder) -> CalledLore:
        return called_lore(self.book, self.said, encoder)


async def lorebooks(
    session: AsyncSession, owner: str, chat: StandingSession, persona: ChatPersona | None
) -> list[Lorebook]:
    """The books that have entries: the persona's, then the session's own."""
    books, row = [], chat.row
    if persona:
        names = persona.stored.persona.names_for(persona.user)
        books.append(book_of(persona.book, names) or Lorebook(()))
    if chat.has_lore:
        own = tuple(each.entry for each in await SessionLore(session, owner).list(row.id))
        books.append(Lorebook(own, row.lore_scan_depth, row.lore_token_budget))
    return [book for book in books if book.entries]


async def open_lorebooks(
    books: Sequence[Lorebook], content: str | None, history: StoredHistory
) -> tuple[OpenLorebook, ...]:
    """Some books, each with the turns that it searches and the message `content`."""
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
