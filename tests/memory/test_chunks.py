"""Chunking: nothing is lost, nothing is too large, and each piece knows where it is from."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory.recall.chunks import Block, Code, Heading, Paragraph, Piece, Place, Row, Span, chunk
from memory.recall.cutting import code_units, cut_text
from tests.texts import texts


def words(text: str) -> int:
    return len(text.split())


def octets(text: str) -> int:
    """As a tokeniser without a vocabulary counts."""
    return len(text.encode())


def pieces_of(blocks: Iterable[Block], tokens: int = 20) -> list[Piece]:
    return list(chunk(blocks, words, tokens))


def solid(text: str) -> str:
    return "".join(text.split())


long_texts = st.lists(texts, min_size=1, max_size=8).map("\n".join)
blocks: st.SearchStrategy[Block] = st.one_of(
    st.builds(Heading, texts, st.integers(1, 4)),
    st.builds(Paragraph, long_texts),
    st.builds(Code, long_texts),
    st.builds(Row, st.lists(texts, max_size=5).map(tuple), st.lists(texts, max_size=5).map(tuple)),
)


@given(st.lists(blocks, max_size=8), st.integers(16, 80))
def test_no_piece_is_larger_than_it_may_be(document: list[Block], tokens: int) -> None:
    for piece in chunk(document, octets, tokens):
        assert octets(piece.text) <= tokens
        assert piece.text.strip()


@given(
    st.lists(st.one_of(st.builds(Paragraph, long_texts), st.builds(Code, long_texts))), st.integers(16, 80)
)
def test_the_pieces_are_the_text_in_its_order(document: list[Paragraph | Code], tokens: int) -> None:
    found = "".join(piece.text for piece in chunk(document, octets, tokens))
    assert solid(found) == solid("".join(block.text for block in document))


@given(long_texts, st.integers(1, 40))
def test_what_is_cut_can_be_joined_again(text: str, room: int) -> None:
    for cut in (cut_text, code_units):
        units = list(cut(text, octets, room))
        assert "".join(units) == text
        assert all(octets(unit) <= room or len(unit) == 1 for unit in units)


@given(
    st.lists(
        st.sampled_from(["👩‍👩‍👧‍👦", "🇩🇪", "e\u0301", "👍🏽", "각", "葛\U000e0100", "x"]),
        min_size=1,
        max_size=40,
    )
)
def test_a_cut_never_goes_through_what_a_reader_sees_as_one(characters: list[str]) -> None:
    starts, at = set(), 0
    for character in characters:
        starts.add(at)
        at += len(character)
    at = 0
    for unit in cut_text("".join(characters), octets, 32):
        assert at in starts
        at += len(unit)


@given(st.lists(st.text(alphabet="ab \t.\n", max_size=30), max_size=30), st.integers(2, 12))
def test_line_numbers_are_those_of_the_file(lines: Sequence[str], tokens: int) -> None:
    text = "\n".join(lines)
    all_lines = text.split("\n")
    for kind in (Paragraph, Code):
        for piece in chunk([kind(text, Span("line", 1, len(all_lines)))], words, tokens):
            span = piece.place.span
            assert span is not None
            there = "\n".join(all_lines[span.first - 1 : span.last])
            assert solid(piece.text) in solid(there)


def test_a_piece_has_the_headings_above_it_and_ends_with_its_section() -> None:
    document: list[Block] = [
        Heading("Guide", 1),
        Paragraph("Welcome aboard."),
        Heading("Safety", 2),
        Paragraph("Wear a vest."),
        Paragraph("Hold on."),
        Heading("Fire", 3),
        Paragraph("Shout."),
        Heading("Food", 2),
        Paragraph("Eat."),
    ]
    assert [(str(piece.place), piece.text) for piece in pieces_of(document)] == [
        ("Guide", "Welcome aboard."),
        ("Guide > Safety", "Wear a vest.\n\nHold on."),
        ("Guide > Safety > Fire", "Shout."),
        ("Guide > Food", "Eat."),
    ]


def test_a_heading_with_nothing_under_it_is_not_lost() -> None:
    document: list[Block] = [
        Heading("One", 1),
        Heading("Two", 1),
        Heading("Two a", 2),
        Paragraph("Text."),
        Heading("Three", 1),
    ]
    assert [piece.text for piece in pieces_of(document)] == ["One", "Text.", "Three"]


def test_pieces_end_with_pages() -> None:
    document = [Paragraph(f"On page {n}.", Span("page", n, n)) for n in (1, 2, 2, 3)]
    assert [str(piece.place) for piece in pieces_of(document)] == ["page 1", "page 2", "page 3"]


def test_each_piece_of_a_table_names_its_columns() -> None:
    columns = ("item", "price")
    table = [Row((f"thing {n}", str(n)), columns, Span("row", n, n)) for n in range(2, 12)]
    found = pieces_of(table)
    assert len(found) > 1
    assert all(piece.text.startswith("item | price\nthing ") for piece in found)
    rows = [line for piece in found for line in piece.text.split("\n")[1:]]
    assert rows == [f"thing {n} | {n}" for n in range(2, 12)]
    spans = [piece.place.span for piece in found]
    assert spans[0] is not None
    assert spans[-1] is not None
    assert (spans[0].first, spans[-1].last) == (2, 11)


def test_a_table_too_wide_for_its_columns_names_them_cell_by_cell() -> None:
    columns = tuple(f"column {n}" for n in range(30))
    [first, *_] = pieces_of([Row(tuple(map(str, range(30))), columns, Span("row", 2, 2))])
    assert first.text.startswith("column 0: 0\ncolumn 1: 1\n")


def test_code_is_cut_before_definitions() -> None:
    source = "import os\n\n\ndef one():\n    a b c d\n\n    e f g h\n\n\ndef two():\n    i j k l m n\n"
    found = pieces_of([Code(source, Span("line", 1, 11))], tokens=12)
    assert [piece.text for piece in found] == [
        "import os\n\n\ndef one():\n    a b c d\n\n    e f g h",
        "def two():\n    i j k l m n",
    ]
    assert str(found[-1].place) == "lines 10-11"


def test_a_long_line_that_a_tokeniser_takes_for_one_word_is_cut_all_the_same() -> None:
    [*found] = chunk([Paragraph("x" * 10_000)], words, 50)
    assert max(len(piece.text) for piece in found) <= 600
    assert sum(len(piece.text) for piece in found) == 10_000


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (Place(), ""),
        (Place(("A", "B")), "A > B"),
        (Place((), Span("page", 3, 3)), "page 3"),
        (Place(("Prices",), Span("row", 2, 9)), "Prices, rows 2-9"),
    ],
)
def test_a_place_reads_like_a_citation(place: Place, said: str) -> None:
    assert str(place) == said
