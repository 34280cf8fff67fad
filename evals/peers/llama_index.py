"""LlamaIndex's `Memory`, with its own store (SQLite in memory)."""

import asyncio

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import Memory

from memory.messages import Role
from memory.protocols import ChatEncoder

ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


class LlamaIndexMemory:
    """`PeerMemory` whose newest messages take `token_limit` tokens at most, chat format included."""

    def __init__(self, token_limit: int, encoder: ChatEncoder) -> None:
        self._loop = asyncio.Runner()
        self._memory = Memory.from_defaults(
            session_id="chat",
            token_limit=token_limit,
            chat_history_token_ratio=1.0,
            token_flush_size=max(1, token_limit * 3 // 10),
            tokenizer_fn=lambda text: encoder.encode_message("user", text),
        )

    def messages(self, asked: str) -> list[tuple[Role, str]]:  # noqa: ARG002
        held = self._loop.run(self._memory.aget())
        return [(ROLES[each.role.value], str(each.content)) for each in held]

    def take_turn(self, said: str, replied: str) -> None:
        turn = [ChatMessage(said, role="user"), ChatMessage(replied, role="assistant")]
        self._loop.run(self._memory.aput_messages(turn))
