"""How servers tokenise on request: `/tokenize` and `/detokenize`, in the ways of vLLM and of llama.cpp."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Protocol

from transformers.utils.chat_template_utils import render_jinja_template

from llm.errors import RemoteServerError, RemoteUnavailableError
from llm.remote.server import Json, RemoteServer
from llm.text.tokenizer import CONTROL_TOKEN

PROBE = "Hello"
REFUSALS_THAT_COUNT = (401, 403)


class Tokenization(Protocol):
    """A server's tokeniser. Every method asks the server, and raises RemoteServerError."""

    def tokenize(self, text: str, *, plain: bool) -> tuple[int, ...]:
        """Ids of `text`; with `plain`, no control token is made of it."""

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """The text of ids, control tokens included."""

    def render(self, messages: Sequence[dict[str, str]], *, ask: bool = False) -> str:
        """The server's chat template applied to messages; with `ask`, the generation prompt behind."""


def find_tokenization(server: RemoteServer, model: str) -> Tokenization | None:
    """The way in which the server tokenises; None if it does not. Raises RemoteServerError if it is down."""
    for tokenization in (VllmTokenization(server, model), LlamaCppTokenization(server)):
        try:
            if tokenization.tokenize(PROBE, plain=False):
                return tokenization
        except RemoteUnavailableError:
            raise
        except RemoteServerError as error:
            if error.status is None or error.status in REFUSALS_THAT_COUNT:
                raise
    return None


class VllmTokenization:
    """As vLLM does it, and SGLang, which does not render messages."""

    def __init__(self, server: RemoteServer, model: str) -> None:
        self._server = server
        self._model = model

    def tokenize(self, text: str, *, plain: bool) -> tuple[int, ...]:
        ids: list[int] = []
        for piece in _without_control_tokens(text) if plain else [text]:
            if piece:
                body = {"model": self._model, "prompt": piece, "add_special_tokens": False}
                ids += _ids(self._server, self._server.post("/tokenize", body))
        return tuple(ids)

    def detokenize(self, token_ids: Sequence[int]) -> str:
        body = {"model": self._model, "tokens": list(token_ids), "skip_special_tokens": False}
        return _text(self._server, "/detokenize", self._server.post("/detokenize", body), "prompt")

    def render(self, messages: Sequence[dict[str, str]], *, ask: bool = False) -> str:
        body = {"model": self._model, "messages": list(messages), "add_generation_prompt": ask}
        return self.detokenize(_ids(self._server, self._server.post("/tokenize", body)))


class LlamaCppTokenization:
    """As llama.cpp's server does it."""

    def __init__(self, server: RemoteServer) -> None:
        self._server = server
        self._props: Json = {}

    def tokenize(self, text: str, *, plain: bool) -> tuple[int, ...]:
        if not text:
            return ()
        body = {"content": text, "add_special": False, "parse_special": not plain}
        return _ids(self._server, self._server.post("/tokenize", body))

    def detokenize(self, token_ids: Sequence[int]) -> str:
        answer = self._server.post("/detokenize", {"tokens": list(token_ids)})
        return _text(self._server, "/detokenize", answer, "content")

    def render(self, messages: Sequence[dict[str, str]], *, ask: bool = False) -> str:
        # Here, not by its `/apply-template`: that takes a reply at the end for one to be gone on with.
        self._props = self._props or self._server.get("/props")
        rendered: Any = render_jinja_template(
            conversations=[list(messages)],
            chat_template=_text(self._server, "/props", self._props, "chat_template"),
            add_generation_prompt=ask,
            bos_token=self._props.get("bos_token", ""),
            eos_token=self._props.get("eos_token", ""),
        )
        return str(rendered[0][0])


def _without_control_tokens(text: str) -> list[str]:
    """`text` cut behind the first character of each control token: a server finds none in the pieces."""
    cuts = [0, *(found.start() + 1 for found in CONTROL_TOKEN.finditer(text)), len(text)]
    return [text[start:end] for start, end in pairwise(cuts)]


def _ids(server: RemoteServer, answer: Json) -> tuple[int, ...]:
    tokens = answer.get("tokens")
    if not isinstance(tokens, list) or not all(isinstance(token_id, int) for token_id in tokens):
        raise server.fault("/tokenize", f"answered without token ids: {answer}", 200)
    return tuple(tokens)


def _text(server: RemoteServer, path: str, answer: Json, name: str) -> str:
    text = answer.get(name)
    if not isinstance(text, str):
        raise server.fault(path, f"answered without {name!r}: {answer}")
    return text
