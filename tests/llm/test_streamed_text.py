"""Text while it is generated: whole characters, and nothing of a stop string."""

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from llm.text.chat_format import ChatTokenizer
from llm.text.detokenizer import REPLACEMENT, Detokenizer, ids_of_text
from llm.text.stop_strings import StopStrings
from tests.texts import texts


@settings(max_examples=200, deadline=None)
@given(text=texts)
def test_streamed_text_is_the_decoded_text(chat_tokenizer: ChatTokenizer, text: str) -> None:
    ids = chat_tokenizer.encode_text(text)
    assume(chat_tokenizer.decode(ids) == text)  # this vocabulary lacks some bytes of unassigned characters
    assume(not text.endswith(REPLACEMENT))  # at the end it cannot be told from an unfinished character
    detokenizer = Detokenizer(chat_tokenizer.decode)
    pieces = [detokenizer.add(token_id) for token_id in ids]
    assert "".join(pieces) + detokenizer.end() == text
    if REPLACEMENT not in text:
        assert all(REPLACEMENT not in piece for piece in pieces), "no half characters go out"


@settings(max_examples=100, deadline=None)
@given(ids=st.lists(st.integers(17, 49151), max_size=60))
def test_any_ids_at_all_stream_to_their_text(chat_tokenizer: ChatTokenizer, ids: list[int]) -> None:
    detokenizer = Detokenizer(chat_tokenizer.decode)
    streamed = "".join(detokenizer.add(token_id) for token_id in ids) + detokenizer.end()
    assert streamed.rstrip(REPLACEMENT) == chat_tokenizer.decode(ids).rstrip(REPLACEMENT)


@st.composite
def fragment_heavy_ids(draw: st.DrawFn, tokenizer: ChatTokenizer) -> list[int]:
    """Ids as a confused model may sample them: characters broken off anywhere, between whole ones."""
    ids: list[int] = []
    for piece in draw(st.lists(st.sampled_from(["🦭", "한", "ß", "a", " the", "👩‍👩‍👧", "€"]), max_size=12)):
        whole = tokenizer.encode_text(piece)
        start = draw(st.integers(0, len(whole) - 1))
        ids += whole[start : draw(st.integers(start + 1, len(whole)))]
    return ids


@settings(max_examples=500, deadline=None)
@given(data=st.data())
def test_broken_characters_cost_none_of_the_whole_ones_around_them(
    chat_tokenizer: ChatTokenizer, data: st.DataObject
) -> None:
    ids = data.draw(fragment_heavy_ids(chat_tokenizer))
    detokenizer = Detokenizer(chat_tokenizer.decode)
    streamed = "".join(detokenizer.add(token_id) for token_id in ids) + detokenizer.end()
    assert streamed.rstrip(REPLACEMENT) == chat_tokenizer.decode(ids).rstrip(REPLACEMENT)


def test_a_character_of_several_tokens_comes_out_once_whole(chat_tokenizer: ChatTokenizer) -> None:
    ids = chat_tokenizer.encode_text("a🦭b")
    assert len(ids) > 4
    detokenizer = Detokenizer(chat_tokenizer.decode)
    assert [piece for token_id in ids if (piece := detokenizer.add(token_id))] == ["a", "🦭", "b"]


def test_an_unfinished_character_at_the_end_is_dropped_from_text_and_ids(
    chat_tokenizer: ChatTokenizer,
) -> None:
    ids = chat_tokenizer.encode_text("a🦭")[:-1]
    detokenizer = Detokenizer(chat_tokenizer.decode)
    text = "".join(detokenizer.add(token_id) for token_id in ids) + detokenizer.end()
    assert text == "a"
    kept = ids_of_text(ids, text, chat_tokenizer.decode, chat_tokenizer.encode_text)
    assert kept == ids[:1]


@settings(max_examples=200, deadline=None)
@given(text=texts, data=st.data())
def test_kept_ids_decode_to_the_kept_text_and_begin_as_generated(
    chat_tokenizer: ChatTokenizer, text: str, data: st.DataObject
) -> None:
    ids = chat_tokenizer.encode_text(text)
    assume(chat_tokenizer.decode(ids) == text)
    cut = text[: data.draw(st.integers(0, len(text)))]
    kept = ids_of_text(ids, cut, chat_tokenizer.decode, chat_tokenizer.encode_text)
    assert chat_tokenizer.decode(kept) == cut
    same = next((i for i, (a, b) in enumerate(zip(kept, ids, strict=False)) if a != b), len(kept))
    assert chat_tokenizer.decode(ids[: same + 1]) != cut or same == len(kept)


letters = st.text(alphabet="abc", max_size=30)


@settings(max_examples=500)
@given(
    text=letters, stops=st.lists(st.text(alphabet="abc", min_size=1, max_size=5), max_size=3), data=st.data()
)
def test_however_a_text_is_cut_it_ends_before_its_first_stop_string(
    text: str, stops: list[str], data: st.DataObject
) -> None:
    ends = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    expected = text[: min(ends)[1]] if ends else text

    matcher = StopStrings(stops)
    out, rest = "", text
    while rest and not matcher.found:
        size = data.draw(st.integers(1, len(rest)))
        out += matcher.add(rest[:size])
        assert expected.startswith(out), "nothing that is not part of the reply has gone out"
        rest = rest[size:]
    if not matcher.found:
        out += matcher.end()
    assert out == expected
    assert matcher.found == bool(ends)


def test_text_that_cannot_become_a_stop_string_is_not_held_back() -> None:
    matcher = StopStrings(["END"])
    assert matcher.add("abE") == "ab"
    assert matcher.add("x") == "Ex"
    assert matcher.end() == ""
