"""Cards in files: what is whole is read, in each form; what is not is refused with the reason."""

import base64
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.cards import png
from app.cards.examples import parse_examples, render_examples
from app.cards.files import MAX_CARD_BYTES, CardError, picture_with, read_card
from app.cards.mapping import card_of, persona_fields
from app.schemas.personas import NamedPersona
from app.storage.personas import written_persona
from memory.persona import Persona
from tests.app.cards_data import V2, V3, chunk, packed, picture_of
from tests.texts import texts


def imported(card: dict[str, Any]) -> Persona:
    return written_persona(NamedPersona.model_validate(persona_fields(card)).model_dump())


@pytest.mark.parametrize(
    "chunks",
    [
        [chunk(b"tEXt", b"chara\0" + packed(V2))],
        [chunk(b"zTXt", b"chara\0\0" + zlib.compress(packed(V2)))],
        [chunk(b"iTXt", b"chara\0\0\0en\0x\0" + packed(V2))],
        [chunk(b"iTXt", b"chara\0\x01\0\0\0" + zlib.compress(packed(V2)))],
        [chunk(b"tEXt", b"Comment\0hello"), chunk(b"tEXt", b"chara\0" + packed(V2))],
    ],
)
def test_a_card_is_read_from_each_kind_of_text_chunk(chunks: list[bytes]) -> None:
    assert read_card(picture_of(*chunks)) == V2


def test_of_two_cards_in_a_picture_the_v3_one_counts() -> None:
    both = [chunk(b"tEXt", b"chara\0" + packed(V2)), chunk(b"tEXt", b"ccv3\0" + packed(V3))]
    assert read_card(picture_of(*both)) == read_card(picture_of(*both[::-1])) == V3


def test_a_card_put_into_a_picture_comes_instead_of_any_other_and_leaves_the_rest() -> None:
    picture = picture_of(chunk(b"tEXt", b"Comment\0kept"), chunk(b"tEXt", b"ccv3\0" + packed(V3)))
    made = picture_with(V2, picture)
    assert read_card(made) == V2
    assert png.find_texts(made, ["Comment", "ccv3"], max_bytes=99) == {"Comment": b"kept"}
    assert picture_with(V3, made) == picture_with(V3, picture)


BROKEN: list[tuple[bytes, str]] = [
    (b"", "not proper JSON"),
    (b"GIF89a", "not proper JSON"),
    (b"[]", "must be a JSON object"),
    (b'{"spec": NaN}', "not proper JSON"),
    (b'{"spec": 1e999}', "not proper JSON"),
    (b'{"spec": "\\ud800"}', "not proper JSON"),
    (b'{"spec": "a\\u0000"}', "NUL"),
    (b"[" * 100_000, "not proper JSON"),
    (b'{"data":' + b"[" * 64 + b"1" + b"]" * 64 + b"}", "64 deep"),
    (b"{}", "must be chara_card_v2 or chara_card_v3"),
    (b'{"spec": "chara_card_v2"}', "must be an object"),
    (png.plain_picture(), "no character card"),
    (png.plain_picture()[:-6], "cut off"),
    (png.SIGNATURE, "cut off"),
    (png.SIGNATURE + chunk(b"IEND", b""), "header"),
    (png.SIGNATURE + b"\xff\xff\xff\xffIHDR" + bytes(30), "cut off"),
    (picture_of(chunk(b"tEXt", b"chara\0" + packed(V2))[:-1] + b"!"), "checksum"),
    (picture_of(chunk(b"tEXt", b"chara\0=not base64=")), "base64"),
    (picture_of(chunk(b"tEXt", b"chara\0" + base64.b64encode(b"{"))), "not proper JSON"),
    (picture_of(chunk(b"zTXt", b"chara\0\0" + b"not packed")), "cannot be read"),
    (picture_of(chunk(b"zTXt", b"chara\0\0" + zlib.compress(packed(V2))[:-9])), "cut off"),
    (picture_of(chunk(b"zTXt", b"chara\0\0" + zlib.compress(bytes(3 * MAX_CARD_BYTES)))), "more than"),
    (picture_of(chunk(b"tEXt", b"chara\0" + base64.b64encode(b" " * (MAX_CARD_BYTES + 1)))), "at most"),
]


@pytest.mark.parametrize(("file", "problem"), BROKEN)
def test_a_broken_file_is_refused_with_the_reason(file: bytes, problem: str) -> None:
    with pytest.raises(CardError, match=problem):
        read_card(file)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_picture_is_never_read_as_another_card(at: int, value: int, cut: bool) -> None:
    whole = picture_with(V2, png.plain_picture())
    at %= len(whole)
    damaged = whole[:at] if cut else whole[:at] + bytes([value]) + whole[at + 1 :]
    try:
        assert read_card(damaged) == V2
    except CardError:
        assert damaged != whole


def test_a_card_nested_as_deep_as_it_may_be_is_read_and_written() -> None:
    deep: list[Any] = []
    for _ in range(61):
        deep = [deep]
    card = V2 | {"data": V2["data"] | {"deep": deep}}
    assert card_of(imported(card), read_card(json.dumps(card).encode()), None) == card


def test_a_backslash_before_what_looks_like_nul_is_no_nul() -> None:
    card = V2 | {"data": V2["data"] | {"creator": "\\u0000"}}
    assert read_card(json.dumps(card).encode()) == card


def test_a_card_says_who_the_persona_is() -> None:
    persona = imported(V2)
    assert persona.name == "Seraphina"
    assert persona.instructions == (
        "Write as {{char}}.\n\n{{char}} guards the forest.\r\nShe knows {{user}}.\n\nA glade at dawn."
    )
    assert persona.style == "caring, protective\n\n{{char}}: I speak alone."
    assert [(each.user, each.assistant) for each in persona.examples] == [
        ("Who are you?", "*smiles* Seraphina.\nAnd you?"),
        ("Hi", "Hello"),
        ("Bye", "Farewell"),
    ]
    assert persona.greetings == ("*She wakes.* Hello, {{user}}!", "Good evening.")
    assert persona.reminder is not None
    assert (persona.reminder.text, persona.reminder.depth) == ("Stay gentle.", 0)


@pytest.mark.parametrize("card", [V2, V3])
def test_an_unchanged_persona_gives_its_card_back_equal(card: dict[str, Any]) -> None:
    assert card_of(imported(card), card, None) == card


lines = texts.filter(
    lambda text: text.strip() == text and not set(text) & set("<:\x0b\x0c\x1c\x1d\x1e\x85\r\n\u2028\u2029")
)
bodies: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": st.sampled_from(["Anne", "Bo (2)"])},
    optional={
        "instructions": texts,
        "style": lines,
        "facts": st.lists(lines, max_size=2),
        "speech_rules": lines.map(lambda rule: [{"user_id": None, "rule": rule}]),
        "examples": st.lists(st.fixed_dictionaries({"user": lines, "assistant": lines}), max_size=3),
        "greeting": st.one_of(st.none(), lines),
        "alternate_greetings": st.lists(lines, max_size=2),
        "forbidden_phrases": st.lists(lines, max_size=2),
        "user_name": st.one_of(st.none(), lines),
        "reminder": st.one_of(
            st.none(), st.fixed_dictionaries({"text": lines}, optional={"depth": st.integers(0, 9)})
        ),
    },
)


@settings(max_examples=150, deadline=None)
@given(
    body=bodies.filter(lambda body: body.get("instructions", "x").strip()),
    original=st.sampled_from([None, V2, V3]),
)
def test_what_a_persona_says_survives_an_export_and_an_import(
    body: dict[str, Any], original: dict[str, Any] | None
) -> None:
    persona = written_persona(NamedPersona.model_validate(body).model_dump())
    card = card_of(persona, original, None)
    assert imported(card) == persona
    if original:
        kept = ("unknown", "tags", "creator_notes", "character_book")
        assert all(card["data"][field] == original["data"][field] for field in kept)
        assert card["data"]["extensions"]["fav"] is False
    assert card.get("name", persona.name) == persona.name


def test_a_card_is_written_in_the_other_format() -> None:
    persona = imported(V2)
    as_v3 = card_of(persona, V2, "v3")
    assert (as_v3["spec"], as_v3["spec_version"]) == ("chara_card_v3", "3.0")
    assert as_v3["data"] == V2["data"] | {"group_only_greetings": []}
    assert imported(as_v3) == persona


@given(exchanges=st.lists(st.fixed_dictionaries({"user": lines, "assistant": lines}), max_size=4))
def test_examples_are_read_as_they_are_written(exchanges: list[dict[str, str]]) -> None:
    assert parse_examples(render_examples(exchanges), "Anne") == (exchanges, [])


def test_blocks_that_are_no_exchanges_are_kept_as_they_are() -> None:
    text = "A story.\n<START>\n{{char}}: Alone.\n<START>\n{{user}}: Unanswered\n<START>\n  \n<START>"
    assert parse_examples(text, "Anne") == ([], ["A story.", "{{char}}: Alone.", "{{user}}: Unanswered"])
