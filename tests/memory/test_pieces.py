"""Long messages are cut into pieces that lose nothing and that the embedding model reads whole."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from memory.recall.pieces import pieces

TEXTS = st.lists(
    st.sampled_from(
        ["The sea. ", "word ", "a" * 90 + " ", "日本語の文。", "\n\n", "Really?! ", "x" * 700, "—"]
    ),
    max_size=120,
).map("".join)


@given(TEXTS)
def test_pieces_follow_each_other_and_leave_out_nothing_but_space(text: str) -> None:
    found = pieces(text)
    at = 0
    for start, stop in found:
        assert start < stop
        assert not text[at:start].strip()
        assert text[start:stop] == text[start:stop].strip()
        at = stop
    assert not text[at:].strip()


def test_short_messages_are_one_piece_and_blank_ones_none() -> None:
    assert pieces(" hello \n") == [(1, 6)]
    assert pieces(" \n") == pieces("") == []


def test_pieces_end_where_sentences_end() -> None:
    text = "This is the story of a walk along the northern coast. " * 40
    found = pieces(text)
    assert len(found) > 3
    assert all(text[start:stop].endswith("coast.") for start, stop in found)


def test_the_embedding_model_reads_every_piece_to_its_end(models_folder: Path) -> None:
    from transformers import AutoTokenizer

    from llm.catalog import EMBEDDING_MODEL, ensure_model

    tokenizer = AutoTokenizer.from_pretrained(ensure_model(EMBEDDING_MODEL, models_folder))
    for text in (
        "Antidisestablishmentarianism notwithstanding, Grandmother's quixotic zeppelin meandered. " * 30,
        "https://example.org/a/b?c=d&e=f#g " * 60,
        "私は昨日、海辺を散歩しました。" * 40,
        "{'key': [1, 2, 3.14159], \"other\": None} " * 50,
        "ыыы приветствую многоуважаемых " * 60,
    ):
        for start, stop in pieces(text):
            assert len(tokenizer(text[start:stop])["input_ids"]) <= 256 - 16
