"""Ids of OpenAI's API for what is ours: a conversation is a chat session, a response is a reply."""

from app.errors import NotFoundProblem

CONVERSATION, SESSION = "conv_", "ses_"
RESPONSE, MESSAGE = "resp_", "msg_"


def conversation_id_of(session_id: str) -> str:
    return CONVERSATION + session_id.removeprefix(SESSION)


def session_id_of(conversation_id: str) -> str:
    """Raises NotFoundProblem if that is no id of a conversation."""
    if not conversation_id.startswith(CONVERSATION):
        raise no_such_conversation(conversation_id)
    return SESSION + conversation_id.removeprefix(CONVERSATION)


def response_id_of(message_id: str) -> str:
    return RESPONSE + message_id.removeprefix(MESSAGE)


def message_id_of(response_id: str) -> str | None:
    """The id of the reply; None if that is no id of a response."""
    if not response_id.startswith(RESPONSE):
        return None
    return MESSAGE + response_id.removeprefix(RESPONSE)


def no_such_conversation(conversation_id: str) -> NotFoundProblem:
    return NotFoundProblem(f"the conversation {conversation_id!r} does not exist")
