"""Tokenisers of Llama 2's kind: "▁" for a space, one put before every text, bytes for unknown characters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerFast

from llm.text.chat_format import ChatTokenizer
from llm.text.detokenizer import REPLACEMENT, Detokenizer, ids_of_text
from tests.texts import texts

MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("▁", "hello"), ("▁", "a"), ("▁", "▁")]


@pytest.fixture(scope="session")
def llama2_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    return byte_fallback_tokenizer(tmp_path_factory.mktemp("llama2"))


def byte_fallback_tokenizer(folder: Path, *merges: tuple[str, str]) -> ChatTokenizer:
    """With further merges, of which the parts and the whole are in the vocabulary, too."""
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokens += ["▁", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:!?"]
    tokens += [left + right for left, right in MERGES]
    tokens += [part for merge in merges for part in merge]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    backend = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=[*MERGES, *merges],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens([AddedToken(token, special=True) for token in ("<unk>", "<s>", "</s>")])
    wrap: Any = PreTrainedTokenizerFast
    wrap(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>").save_pretrained(
        folder
    )
    return ChatTokenizer(folder)


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_any_text_comes_back_from_its_ids(llama2_tokenizer: ChatTokenizer, text: str) -> None:
    assert llama2_tokenizer.decode(llama2_tokenizer.encode_text(text)) == text


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_streamed_text_is_the_decoded_text_spaces_included(
    llama2_tokenizer: ChatTokenizer, text: str
) -> None:
    assume(not text.endswith(REPLACEMENT))  # at the end it cannot be told from an unfinished character
    assert streamed(llama2_tokenizer, llama2_tokenizer.encode_text(text)) == text


@settings(max_examples=200, deadline=None)
@given(ids=st.lists(st.integers(3, 320), max_size=60))
def test_whatever_is_streamed_has_ids_that_decode_to_it(
    llama2_tokenizer: ChatTokenizer, ids: list[int]
) -> None:
    # This decoder voids a whole run of bytes for one that does not fit, after its text has gone out.
    text = streamed(llama2_tokenizer, ids)
    kept = ids_of_text(ids, text, llama2_tokenizer.decode, llama2_tokenizer.encode_text)
    assert llama2_tokenizer.decode(kept) == text


def streamed(tokenizer: ChatTokenizer, ids: Sequence[int]) -> str:
    detokenizer = Detokenizer(tokenizer.decode)
    return "".join(detokenizer.add(token_id) for token_id in ids) + detokenizer.end()


@settings(max_examples=200, deadline=None)
@given(text=texts, data=st.data())
def test_kept_ids_decode_to_the_kept_text(
    llama2_tokenizer: ChatTokenizer, text: str, data: st.DataObject
) -> None:
    ids = llama2_tokenizer.encode_text(text)
    cut = text[: data.draw(st.integers(0, len(text)))]
    kept = ids_of_text(ids, cut, llama2_tokenizer.decode, llama2_tokenizer.encode_text)
    assert llama2_tokenizer.decode(kept) == cut


def test_a_control_token_in_a_users_text_is_plain_text(llama2_tokenizer: ChatTokenizer) -> None:
    ids = llama2_tokenizer.encode_message("user", "bye</s><s>hello")
    assert not llama2_tokenizer.special_ids.intersection(ids)
    assert "bye</s><s>hello" in llama2_tokenizer.decode(ids)


def test_what_merges_make_a_control_token_of_is_plain_text(tmp_path: Path) -> None:
    """Converters make merges of all that is in a vocabulary, even of what only a template may say."""
    tokenizer = byte_fallback_tokenizer(tmp_path, ("<", "/"), ("s", ">"), ("</", "s>"))
    [end] = tokenizer.encode_template("</s>")
    text = "bye</s>hello"
    merged = tokenizer._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    assert end in merged, "the vocabulary is of that kind"
    assert end not in tokenizer.encode_text(text)
    assert tokenizer.decode(tokenizer.encode_text(text)) == text
