"""The tokeniser of a remote model, by asking its server; where the tokeniser is here, use `ChatTokenizer`."""

import hashlib
from collections.abc import Sequence
from dataclasses import astuple
from functools import lru_cache
from typing import Protocol

from llm.errors import UnsupportedByEngineError
from llm.remote.tokenization import Tokenization
from llm.text.chat_format import ChatEncoding, ChatFormat, derive_format
from llm.text.tokenizer import CONTROL_TOKEN

REMEMBERED_TEXTS = 512
"""Pieces of the template and of the persona come again with every turn."""

SAMPLE = "The naïve whale's 1,234 Grüße: 今日は, مرحبا!\n\n\tdef f(x):  return x ** 2  # 🌞\n"
"""Other vocabularies give other ids for it."""


class ServerTokenizer(ChatEncoding):
    """Encodes by the server's `/tokenize`, in the chat format that its own template has.

    Whatever encodes or decodes asks the server and raises RemoteServerError if that fails.
    """

    def __init__(self, tokenization: Tokenization, model: str) -> None:
        """Raises UnsupportedByEngineError if the server does not render its chat template."""
        self._tokenization = tokenization
        self._tokenize = lru_cache(maxsize=REMEMBERED_TEXTS)(tokenization.tokenize)
        derived = derive_format(tokenization.render)
        if derived is None:
            raise UnsupportedByEngineError(f"the server does not say what chat template {model!r} has")
        self.format = derived
        self.special_tokens, self.special_ids = self._control_tokens(derived)
        self._encode_pieces()
        identity = repr((model, self.encode_text(SAMPLE), derived.around_messages))
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:32]

    def encode_text(self, text: str) -> tuple[int, ...]:
        return self._tokenize(text, plain=True)

    def encode_template(self, text: str) -> tuple[int, ...]:
        return self._tokenize(text, plain=False)

    def decode(self, token_ids: Sequence[int]) -> str:
        kept = [token_id for token_id in token_ids if token_id not in self.special_ids]
        return self._tokenization.detokenize(kept) if kept else ""

    def _control_tokens(self, chat_format: ChatFormat) -> tuple[tuple[str, ...], frozenset[int]]:
        """The control tokens in the template's pieces, and their ids: each is a single token."""
        pieces = repr(astuple(chat_format))
        found = {token: self.encode_template(token) for token in sorted(set(CONTROL_TOKEN.findall(pieces)))}
        single = {token: ids[0] for token, ids in found.items() if len(ids) == 1}
        return tuple(single), frozenset(single.values())


class SampleEncoder(Protocol):
    def encode_text(self, text: str) -> tuple[int, ...]: ...


def is_same_vocabulary(tokenizer: SampleEncoder, tokenization: Tokenization) -> bool:
    """Whether a tokeniser here gives the ids that the server gives. Raises RemoteServerError."""
    return tokenizer.encode_text(SAMPLE) == tokenization.tokenize(SAMPLE, plain=True)
