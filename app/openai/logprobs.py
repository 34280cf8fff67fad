"""Log-probabilities of tokens, as chat completions and as completions write them."""

from collections.abc import Sequence
from typing import Any

from llm.engine.interface import ChosenToken
from llm.text.chat_format import ChatEncoding

REPLACEMENT = "\ufffd"


class TokenTexts:
    """Tokens by what they say. Of one that is no whole character there is no text to give."""

    def __init__(self, encoding: ChatEncoding) -> None:
        self._encoding = encoding
        self._special = dict(zip(sorted(encoding.special_ids), encoding.special_tokens, strict=True))
        # Some tokenisers leave the space out of the first token of a text: it is read behind another.
        self._anchor = encoding.encode_text("a")[-1:]
        self._anchor_text = encoding.decode(self._anchor)

    def text(self, token_id: int) -> str:
        if token_id in self._special:
            return self._special[token_id]
        return self._encoding.decode([*self._anchor, token_id])[len(self._anchor_text) :]

    def of_chat(self, tokens: Sequence[ChosenToken]) -> dict[str, Any]:
        return {
            "content": [
                {
                    **self._entry(token.token_id, token.logprob),
                    "top_logprobs": [self._entry(*each) for each in token.likeliest],
                }
                for token in tokens
            ],
            "refusal": None,
        }

    def of_text(self, tokens: Sequence[ChosenToken], offset: int) -> dict[str, Any]:
        """`offset`: characters of the answer before them."""
        texts = [self.text(token.token_id) for token in tokens]
        offsets = [offset + sum(map(len, texts[:place])) for place in range(len(texts))]
        return {
            "tokens": texts,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [
                {self.text(token_id): logprob for token_id, logprob in reversed(token.likeliest)}
                for token in tokens
            ],
            "text_offset": offsets,
        }

    def _entry(self, token_id: int, logprob: float) -> dict[str, Any]:
        text = self.text(token_id)
        return {
            "token": text,
            "logprob": logprob,
            "bytes": None if REPLACEMENT in text else list(text.encode()),
        }
