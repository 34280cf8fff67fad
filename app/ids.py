"""Identifiers: a prefix that says of what, and 96 random bits."""

import secrets
from typing import Literal

Prefix = Literal[
    "per",
    "ses",
    "msg",
    "mrk",
    "sum",
    "lor",
    "fac",
    "fbl",
    "doc",
    "shf",
    "del",
    "key",
    "cmpl",
    "chatcmpl",
    "resp",
]


def new_id(prefix: Prefix) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"
