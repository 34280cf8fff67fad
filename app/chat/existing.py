"""Sessions and messages that a request names: there, or a problem says that they are not."""

from sqlalchemy.ext.asyncio import AsyncSession

from app.errors import NotActiveProblem, NotFoundProblem
from app.storage.messages import Messages
from app.storage.sessions import Sessions, StandingSession
from app.storage.tables import MessageRow, SessionRow


async def existing_session(session: AsyncSession, owner: str, session_id: str) -> SessionRow:
    """Raises NotFoundProblem."""
    row = await Sessions(session, owner).get(session_id)
    if row is None:
        raise _no_session(session_id)
    return row


async def standing_session(
    session: AsyncSession, owner: str, session_id: str, fingerprint: str
) -> StandingSession:
    """The session as it stands under that tokeniser and template. Raises NotFoundProblem."""
    found = await Sessions(session, owner).as_it_stands(session_id, fingerprint)
    if found is None:
        raise _no_session(session_id)
    return found


async def existing_message(session: AsyncSession, owner: str, message_id: str) -> MessageRow:
    """Raises NotFoundProblem."""
    message = await Messages(session, owner).get(message_id)
    if message is None:
        raise NotFoundProblem(f"message {message_id} does not exist")
    return message


async def active_message(session: AsyncSession, owner: str, message_id: str) -> MessageRow:
    """The message, which must lie on the active path. Raises NotFoundProblem or NotActiveProblem."""
    message = await existing_message(session, owner, message_id)
    if not message.is_active:
        raise NotActiveProblem(
            f"message {message_id} is not part of the chat as it stands; activate it first"
        )
    return message


def _no_session(session_id: str) -> NotFoundProblem:
    return NotFoundProblem(f"session {session_id} does not exist")
