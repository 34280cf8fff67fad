"""Files that hold a card: JSON, or a PNG picture with the JSON in a text chunk.

V2: https://github.com/malfoyslastname/character-card-spec-v2, chunk `chara`;
V3: https://github.com/kwaroran/character-card-spec-v3, chunk `ccv3`.
"""

import base64
import binascii
import json
from typing import Any, Literal

from app.cards import png
from app.strict_json import StrictJsonError, read_json

Json = dict[str, Any]
Spec = Literal["v2", "v3"]
SPECS: dict[Spec, tuple[str, str]] = {"v2": ("chara_card_v2", "2.0"), "v3": ("chara_card_v3", "3.0")}
KEYWORDS: dict[Spec, str] = {"v2": "chara", "v3": "ccv3"}
MAX_CARD_BYTES = 8 * 2**20


class CardError(ValueError):
    """A file is no card that can be read. `field` is what of the card is wrong, or `body`."""

    def __init__(self, problem: str, field: str = "body") -> None:
        super().__init__(problem)
        self.field = field


def read_card(file: bytes) -> Json:
    """The card in a PNG or JSON file; of a PNG with several the V3 one. Raises CardError."""
    return check_card(_parse(_card_of_png(file) if file.startswith(png.SIGNATURE) else file))


def check_card(card: Any) -> Json:
    """`card`, if it is one by its outline. Raises CardError."""
    if not isinstance(card, dict):
        raise CardError("the card must be a JSON object")
    names = [name for name, _ in SPECS.values()]
    if card.get("spec") not in names:
        raise CardError(f"must be {' or '.join(names)}", "spec")
    if not isinstance(card.get("data"), dict):
        raise CardError("must be an object", "data")
    return card


def spec_of(card: Json) -> Spec:
    return next(spec for spec, (name, _) in SPECS.items() if card["spec"] == name)


def picture_with(card: Json, picture: bytes) -> bytes:
    """The PNG with the card in it, instead of any that is there. Raises CardError if it is no whole PNG."""
    text = base64.b64encode(json.dumps(card, ensure_ascii=False).encode())
    try:
        return png.with_text(picture, KEYWORDS[spec_of(card)], text, instead_of=KEYWORDS.values())
    except png.PngError as error:
        raise CardError(str(error)) from error


def _card_of_png(file: bytes) -> bytes:
    try:
        found = png.find_texts(file, KEYWORDS.values(), max_bytes=2 * MAX_CARD_BYTES)
    except png.PngError as error:
        raise CardError(str(error)) from error
    text = found.get(KEYWORDS["v3"], found.get(KEYWORDS["v2"]))
    if text is None:
        raise CardError("the PNG holds no character card (no text chunk `ccv3` or `chara`)")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise CardError(f"the card in the PNG is not proper base64: {error}") from error


def _parse(text: bytes) -> Any:
    if len(text) > MAX_CARD_BYTES:
        raise CardError(f"a card may have at most {MAX_CARD_BYTES} bytes")
    try:
        return read_json(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise CardError(f"the card is not proper JSON: {error}") from error
    except StrictJsonError as error:
        raise CardError(f"the card: {error}", error.path or "body") from error
