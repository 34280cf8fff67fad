"""Templates in what the author of a persona wrote: `{{user}}`, `{{char}}`, and in a reminder the clock.

Each is replaced once, so that a name which looks like a template stays what it is. Unknown ones stay too.
"""

import re
from collections.abc import Mapping
from datetime import datetime

_TEMPLATE = re.compile(r"\{\{(user|char|date|time)\}\}", re.IGNORECASE)
_CLOCK = ("date", "time")


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with the templates that `values` names, in lower case, replaced."""
    return _TEMPLATE.sub(lambda found: values.get(found[1].lower(), found[0]), text)


def clock_values(now: datetime) -> dict[str, str]:
    """What `{{date}}` and `{{time}}` stand for, to the minute."""
    return {"date": now.strftime("%Y-%m-%d"), "time": now.strftime("%H:%M")}


def clock_template(text: str) -> str | None:
    """The first template of `text` that stands for the clock, as it is written there."""
    return next((found[0] for found in _TEMPLATE.finditer(text) if found[1].lower() in _CLOCK), None)
