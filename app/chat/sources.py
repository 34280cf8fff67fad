"""The sources of a reply from documents: which places of which of them stood in its window."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.storage.documents import Documents
from memory.context import Context


async def sources_of(session: AsyncSession, owner: str, context: Context) -> list[dict[str, Any]]:
    """Each place once, in the order of the window; a document deleted meanwhile is named by its citation."""
    cited = dict.fromkeys(
        (each.passage.key.source, each.passage.citation)
        for segment in context.segments
        for each in segment.passages
        if each.passage.message_id is None
    )
    names = await Documents(session, owner).names([document_id for document_id, _ in cited])
    sources = []
    for document_id, citation in cited:
        name = names.get(document_id, citation)
        place = citation.removeprefix(name).removeprefix(", ")
        sources.append({"document_id": document_id, "name": name, "place": place})
    return sources
