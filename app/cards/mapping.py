"""What of a card a persona says, and the card of what a persona says.

A card is kept whole. On export it is given back as it came, but for what has changed in the persona since.
"""

import re
from copy import deepcopy
from dataclasses import asdict
from typing import Any

from app.cards.examples import parse_examples, render_examples
from app.cards.files import SPECS, CardError, Json, Spec, spec_of
from memory.persona import Persona

OWN = "perdure"
"""Where a card's `extensions` hold what cards have no field for."""

_ORIGINAL = re.compile(r"\{\{original\}\}", re.IGNORECASE)
_OWN_FIELDS: Json = {"facts": [], "speech_rules": [], "forbidden_phrases": [], "user_name": None}

_TEXTS = (
    "name",
    "description",
    "personality",
    "scenario",
    "first_mes",
    "mes_example",
    "creator_notes",
    "system_prompt",
    "post_history_instructions",
    "creator",
    "character_version",
)

SOURCES = {
    "name": "data.name",
    "instructions": "data.description",
    "style": "data.personality",
    "examples": "data.mes_example",
    "greeting": "data.first_mes",
    "alternate_greetings": "data.alternate_greetings",
    "reminder": "data.post_history_instructions",
} | {name: f"data.extensions.{OWN}.{name}" for name in _OWN_FIELDS}
"""The field of a card that a field of a persona comes from, or the first of several."""


def persona_fields(card: Json) -> Json:
    """A persona that says what the card says, as the body of a request. Raises CardError.

    Prompts lose their `{{original}}`: there is none. Example blocks that are no exchanges go to the style.
    """
    data = card["data"]
    name = _text(data, "name")
    exchanges, others = parse_examples(_text(data, "mes_example"), name)
    about = (_without_original(data, "system_prompt"), _text(data, "description"), _text(data, "scenario"))
    own = _own(data)
    reminder = _without_original(data, "post_history_instructions")
    greetings = _greetings(data)
    return {
        "name": name,
        "instructions": _joined(*about),
        "style": _joined(_text(data, "personality"), *others),
        "examples": exchanges,
        "greeting": _text(data, "first_mes") if _text(data, "first_mes").strip() else None,
        "alternate_greetings": [greeting for greeting in greetings if greeting.strip()],
        "reminder": {"text": reminder, "depth": own.get("reminder_depth", 0)} if reminder.strip() else None,
        **{field: own.get(field, default) for field, default in _OWN_FIELDS.items()},
    }


def card_of(persona: Persona, original: Json | None, spec: Spec | None) -> Json:
    """A card of the persona as it is; `original`: the one that it came from, whose format it has without
    `spec`.
    """
    card = deepcopy(original) if original else _empty_card()
    spec = spec or spec_of(card)
    if spec != spec_of(card):
        card["spec"], card["spec_version"] = SPECS[spec]
        if spec == "v3":
            card["data"].setdefault("group_only_greetings", [])
    for field, value in _changes(persona_plain(persona), persona_fields(card), card["data"]).items():
        card["data"][field] = value
        if field in card:  # some programs write the fields of the first format beside `data`
            card[field] = value
    return card


def persona_plain(persona: Persona) -> Json:
    """The persona as plain data, lists and all."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in asdict(persona).items()
    }


def _changes(now: Json, then: Json, data: Json) -> Json:
    """Fields of the card's `data` that must change, so that it says what the persona says now."""
    changes: Json = {}

    def has_changed(*fields: str) -> bool:
        return any(now[field] != then[field] for field in fields)

    if has_changed("name"):
        changes["name"] = now["name"]
    if has_changed("instructions"):
        changes |= {"description": now["instructions"], "scenario": "", "system_prompt": ""}
    if has_changed("style", "examples"):
        changes |= {"personality": now["style"], "mes_example": render_examples(now["examples"])}
    if has_changed("greeting"):
        changes["first_mes"] = now["greeting"] or ""
    if has_changed("alternate_greetings"):
        changes["alternate_greetings"] = now["alternate_greetings"]
    if has_changed("reminder"):
        changes["post_history_instructions"] = now["reminder"]["text"] if now["reminder"] else ""
    if has_changed("reminder", *_OWN_FIELDS):
        own = {field: now[field] for field, default in _OWN_FIELDS.items() if now[field] != default}
        if now["reminder"] and now["reminder"]["depth"]:
            own["reminder_depth"] = now["reminder"]["depth"]
        others = {name: value for name, value in data.get("extensions", {}).items() if name != OWN}
        changes["extensions"] = others | ({OWN: own} if own else {})
    return changes


def _empty_card() -> Json:
    name, version = SPECS["v2"]
    data: Json = {**dict.fromkeys(_TEXTS, ""), "alternate_greetings": [], "tags": [], "extensions": {}}
    return {"spec": name, "spec_version": version, "data": data}


def _text(data: Json, field: str) -> str:
    text = data.get(field, "")
    if not isinstance(text, str):
        raise CardError("must be a text", f"data.{field}")
    return text


def _without_original(data: Json, field: str) -> str:
    text = _text(data, field)
    return _ORIGINAL.sub("", text).strip() if _ORIGINAL.search(text) else text


def _greetings(data: Json) -> list[str]:
    greetings = data.get("alternate_greetings", [])
    if not isinstance(greetings, list) or not all(isinstance(each, str) for each in greetings):
        raise CardError("must be a list of texts", "data.alternate_greetings")
    return greetings


def _own(data: Json) -> dict[str, Any]:
    extensions = data.get("extensions", {})
    if not isinstance(extensions, dict):
        raise CardError("must be an object", "data.extensions")
    own = extensions.get(OWN, {})
    if not isinstance(own, dict):
        raise CardError("must be an object", f"data.extensions.{OWN}")
    return own


def _joined(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part.strip())
