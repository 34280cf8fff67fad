"""LlamaIndex's `Memory` in a benchmark, with its own store (SQLite in memory) and stored token counts."""

from collections.abc import Awaitable, Callable, Sequence

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.memory import Memory

from memory.messages import Message

PUT_AT_ONCE = 500
"""Messages: at each put it goes over its whole queue, again and again until that is short enough."""


async def llama_index_chooser(messages: Sequence[Message], token_budget: int) -> Callable[[], Awaitable[int]]:
    """Chooses a context once; gives how many messages it has. To be awaited in one event loop."""
    counts = {each.content: (0,) * len(each.token_ids) for each in messages}
    memory = Memory.from_defaults(
        session_id="chat",
        token_limit=token_budget,
        chat_history_token_ratio=1.0,
        token_flush_size=max(1, token_budget * 3 // 10),
        tokenizer_fn=lambda text: counts.get(text, ()),
    )
    for start in range(0, len(messages), PUT_AT_ONCE):
        part = messages[start : start + PUT_AT_ONCE]
        await memory.aput_messages([ChatMessage(each.content, role=each.role) for each in part])

    async def choose() -> int:
        return len(await memory.aget())

    return choose
