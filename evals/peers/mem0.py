"""mem0 with the service's own model and embeddings, and Chroma in a folder of its own.

It searches what it remembers for the message; beside that it is given the newest turns, each within a half
of the budget, since it is no memory of a conversation by itself.
"""

import os
from collections import deque
from tempfile import TemporaryDirectory

from evals.harness.chats import as_messages
from evals.harness.counting import turn_tokens
from evals.harness.errors import EvaluationError
from evals.harness.service import EvaluatedService
from memory.messages import Role
from memory.protocols import ChatEncoder

os.environ["MEM0_TELEMETRY"] = "False"  # read when it is imported

from mem0 import Memory
from mem0.exceptions import LLMError

MOST_FOUND = 100
REPLY_TOKENS = 512
HEADING = "What you remember of the user:"
USER = {"user_id": "user"}


class Mem0Memory:
    """`PeerMemory`: `memories` tokens of what it finds, and newest turns of `token_budget` tokens.

    With `infer` the model extracts what is to be remembered of each turn; else its messages are kept.
    """

    def __init__(
        self,
        service: EvaluatedService,
        encoder: ChatEncoder,
        *,
        memories: int,
        token_budget: int,
        infer: bool,
    ) -> None:
        self._encoder = encoder
        self._memories = memories
        self._token_budget = token_budget
        self._infer = infer
        self._newest: deque[tuple[str, str]] = deque()
        self._folder = TemporaryDirectory(prefix="perdure-mem0-", ignore_cleanup_errors=True)
        url, key = service.standard_api
        writes, embeds = (model["id"] for model in service.models)
        # Of its ways to OpenAI's API the one that lets plain text be asked for: the service writes no other.
        writer = {
            "model": writes,
            "max_tokens": REPLY_TOKENS,
            "lmstudio_base_url": url,
            "lmstudio_response_format": {"type": "text"},
            "api_key": key,
        }
        embedder = {"model": embeds, "openai_base_url": url, "api_key": key}
        self._memory = Memory.from_config(
            {
                "llm": {"provider": "lmstudio", "config": writer},
                "embedder": {"provider": "openai", "config": embedder},
                "vector_store": {
                    "provider": "chroma",
                    "config": {"collection_name": "chat", "path": f"{self._folder.name}/chroma"},
                },
                "history_db_path": f"{self._folder.name}/history.db",
            }
        )

    def messages(self, asked: str) -> list[tuple[Role, str]]:
        found = self._memory.search(asked, filters=USER, top_k=MOST_FOUND)["results"]
        lines = [HEADING]
        for each in found:
            if self._tokens([*lines, each["memory"]]) > self._memories:
                break
            lines.append(f"- {each['memory']}")
        told: list[tuple[Role, str]] = [("system", "\n".join(lines))] if len(lines) > 1 else []
        return [*told, *as_messages(self._newest)]

    def take_turn(self, said: str, replied: str) -> None:
        turn = [{"role": "user", "content": said}, {"role": "assistant", "content": replied}]
        try:
            self._memory.add(turn, **USER, infer=self._infer)
        except LLMError as error:
            raise EvaluationError(f"mem0: {error}") from error
        self._newest.append((said, replied))
        while sum(turn_tokens(self._encoder, each) for each in self._newest) > self._token_budget:
            self._newest.popleft()

    def _tokens(self, lines: list[str]) -> int:
        return len(self._encoder.encode_message("system", "\n- ".join(lines)))
