"""Peers among the memories that are compared: given every turn of a chat once, and nothing of another."""

from collections.abc import Sequence

import pytest

from app.settings import Settings
from evals.harness.chats import Asked, Chat
from evals.harness.counting import turn_tokens
from evals.harness.errors import EvaluationError
from evals.harness.memories import memories
from evals.harness.service import evaluated_service
from evals.harness.windows import Memory
from evals.peers.catalog import PACKAGES, PEERS
from evals.peers.filled import FilledMemory
from llm.text.chat_format import ChatTokenizer
from memory.messages import Role
from memory.persona import Persona

BUDGET = 300
ASKED = Asked("Where do I live now?")
GENERATES = {"langchain:ConversationSummaryMemory", "langchain:ConversationSummaryBufferMemory", "mem0"}


def chat(name: str, turns: int = 20) -> Chat:
    said = tuple(
        (f"I walked past house {turn} of {name}.", "Did you like it there?") for turn in range(turns)
    )
    return Chat(name, said, Persona("Pippa", "You are Pippa, who listens."))


class Everything:
    """A peer that sends all that it was given."""

    def __init__(self) -> None:
        self.said: list[tuple[Role, str]] = []

    def messages(self, asked: str) -> Sequence[tuple[Role, str]]:  # noqa: ARG002
        return self.said

    def take_turn(self, said: str, replied: str) -> None:
        self.said += [("user", said), ("assistant", replied)]


def test_a_peer_takes_each_turn_of_a_chat_once_and_its_window_has_persona_and_question(
    tokenizer: ChatTokenizer,
) -> None:
    made: list[Everything] = []

    def make() -> Everything:
        made.append(Everything())
        return made[-1]

    memory = FilledMemory("peer", {}, tokenizer, make)
    for name in ("one", "two", "one", "two"):
        for _ in range(2):
            window = memory.window(chat(name), ASKED)
            assert window.messages[0] == ("system", "You are Pippa, who listens.")
            assert window.messages[-1] == ("user", ASKED.content)
            assert window.messages[1:-1:2] == [("user", said) for said, _ in chat(name).turns]
            ids = [tokenizer.encode_message(role, content) for role, content in window.messages[1:]]
            preamble = tokenizer.encode_preamble("You are Pippa, who listens.")
            whole = sum(map(len, ids)) + len(preamble) + len(tokenizer.generation_prompt)
            assert window.prompt_tokens == whole
    assert len(made) == 2


def test_a_peer_that_is_not_installed_is_named_with_the_extra_that_it_is_in(
    tokenizer: ChatTokenizer, service_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evals.peers.catalog.find_spec", lambda _package: None)
    with evaluated_service(settings, service_url) as service:
        for name in PEERS:
            with pytest.raises(EvaluationError, match=rf"{name} is not installed: .*perdure\[peers\]"):
                memories([name], BUDGET, service, tokenizer, turn_tokens=30)


@pytest.mark.parametrize("name", [name for name in PEERS if name not in GENERATES])
def test_a_peer_keeps_its_budget_and_has_something_of_the_chat(
    tokenizer: ChatTokenizer, service_url: str, settings: Settings, name: str
) -> None:
    pytest.importorskip(PACKAGES[name.partition(":")[0]], reason="peers are an optional extra")
    with evaluated_service(settings, service_url) as service:
        on_average = turn_tokens(tokenizer, chat("one").turns[0])
        memory: Memory
        [memory] = memories([name], BUDGET, service, tokenizer, turn_tokens=on_average)
        window = memory.window(chat("one"), ASKED)
        said = [content for _, content in window.messages[1:-1]]
        assert any("house" in text for text in said)
        # LangChain's documents are bounded by their number alone.
        slack = 2 if "VectorStore" in name else 1.1
        tokens = sum(len(tokenizer.encode_message(role, text)) for role, text in window.messages[1:-1])
        assert 0 < tokens <= BUDGET * slack
