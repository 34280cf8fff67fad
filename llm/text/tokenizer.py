"""The tokeniser of a model folder. Control tokens come from us alone, never out of a user's text."""

import json
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

from transformers import AutoTokenizer

from llm.errors import CorruptModelError

CONTROL_TOKEN = re.compile(r"<[^<>\s]+>|\[/?[A-Z_]{2,}\]")
"""What the control tokens of the known models look like: `<|im_end|>`, `</s>`, `[INST]`, ..."""


class Tokenizer:
    """Text to token ids and back."""

    def __init__(self, folder: Path) -> None:
        """Raises CorruptModelError if the folder's tokeniser cannot be read."""
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise CorruptModelError(f"the tokeniser in {folder} cannot be read: {error}") from error
        # Whether control tokens are split is a setting of the tokeniser: two threads must not mix theirs.
        self._encoding = Lock()
        self.special_ids = frozenset(self._tokenizer.all_special_ids) | {
            token_id for token_id, token in self._tokenizer.added_tokens_decoder.items() if token.special
        }
        self.special_tokens: tuple[str, ...] = tuple(
            str(self._tokenizer.convert_ids_to_tokens(token_id)) for token_id in sorted(self.special_ids)
        )
        # What the template's marks are is no text, even where the tokeniser has it for such, as `<think>`.
        template = str(self._tokenizer.chat_template or "")
        marks = {
            token_id
            for token_id, token in self._tokenizer.added_tokens_decoder.items()
            if CONTROL_TOKEN.fullmatch(token.content) and token.content in template
        }
        # What stands for an unknown character is special too, and must come of texts.
        model = getattr(getattr(self._tokenizer, "backend_tokenizer", None), "model", None)
        unknown = getattr(model, "unk_token", self._tokenizer.unk_token)
        ids_of_unknown = set() if unknown is None else {self._tokenizer.convert_tokens_to_ids(unknown)}
        self.control_ids = (self.special_ids | marks) - ids_of_unknown
        self.end_ids = _end_ids(folder) | {
            token_id for token_id in [self._tokenizer.eos_token_id] if token_id is not None
        }

        start = self._tokenizer.encode("")
        self.text_start = tuple(token_id for token_id in start if token_id not in self.end_ids)
        self.vocabulary_size: int | None = 1 + max(self._tokenizer.get_vocab().values())

    def encode_text(self, text: str) -> tuple[int, ...]:
        """Ids of plain text. What looks like a control token becomes ordinary tokens."""
        with self._encoding:
            ids = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
            if not self.control_ids.isdisjoint(ids):
                ids = list(chain.from_iterable(self._spelt(token_id) for token_id in ids))
            return tuple(ids)

    def encode_template(self, text: str) -> tuple[int, ...]:
        """Ids of a piece of the chat template, in which control tokens are meant."""
        with self._encoding:
            return tuple(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids, control tokens left out. Unfinished characters become U+FFFD."""
        text: str = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _spelt(self, token_id: int) -> list[int]:
        """The token, or those of its characters if it is a control token."""
        if token_id not in self.control_ids:
            return [token_id]
        vocabulary, ids = self._tokenizer.get_vocab(), []
        for character in self._tokenizer.convert_ids_to_tokens(token_id):
            if character.isascii() and character in vocabulary:
                ids.append(vocabulary[character])
            else:
                ids += self._tokenizer.encode(character, add_special_tokens=False, split_special_tokens=True)
        return ids

    @property
    def has_chat_template(self) -> bool:
        return bool(self._tokenizer.chat_template)

    def render(self, messages: Sequence[dict[str, str]], *, ask: bool = False) -> str:
        """The model's own chat template applied to messages; with `ask`, the generation prompt behind."""
        text: str = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=ask
        )
        return text

    def vocabulary_digest(self) -> bytes:
        """What changes when the same text could get other ids."""
        backend = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is not None:
            return str(backend.to_str()).encode()
        return repr(sorted(self._tokenizer.get_vocab().items())).encode()


def _end_ids(folder: Path) -> frozenset[int]:
    """What the folder says ends a text: `eos_token_id`, one or a list, of its generation config.

    If that says nothing, of its config. Raises CorruptModelError if one cannot be read.
    """
    for path in (folder / "generation_config.json", folder / "config.json"):
        try:
            ends = (
                json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
            )
            if ends is not None:
                return frozenset(int(token_id) for token_id in (ends if isinstance(ends, list) else [ends]))
        except (ValueError, TypeError, AttributeError) as error:
            raise CorruptModelError(f"the end tokens in {path} cannot be read: {error}") from error
    return frozenset()
