"""LangChain's `trim_messages` in a benchmark, with what flatters it: history in memory, counts stored."""

from collections.abc import Awaitable, Callable, Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, trim_messages

from memory.messages import Message

KINDS = {"user": HumanMessage, "assistant": AIMessage}


def trim_chooser(messages: Sequence[Message], token_budget: int) -> Callable[[], Awaitable[int]]:
    """Chooses a context once; gives how many messages it has."""
    history = [
        KINDS[each.role](each.content, additional_kwargs={"tokens": len(each.token_ids)}) for each in messages
    ]

    def stored_counts(some: Sequence[BaseMessage]) -> int:
        return sum(message.additional_kwargs["tokens"] for message in some)

    async def choose() -> int:
        chosen = trim_messages(
            history, strategy="last", max_tokens=token_budget, token_counter=stored_counts, start_on="human"
        )
        return len(chosen)

    return choose
