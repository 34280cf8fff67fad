"""Identifiers: a prefix that says of what, and 96 random bits."""

import secrets
from typing import Literal


def new_id(
    prefix: Literal["per", "ses", "msg", "mrk", "sum", "lor", "fac", "doc", "shf", "del", "key"],
) -> str:
    return f"{prefix}_{secrets.token_hex(12)}"
