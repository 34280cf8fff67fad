"""The secrets of API keys: how they look, and what is stored of them."""

import secrets
from hashlib import sha256

MARK = "prd_"
SHOWN = len(MARK) + 8


def new_secret() -> str:
    """256 random bits, after a mark by which people and scanners of leaks know what it is."""
    return MARK + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """What is stored, and looked up.

    SHA-256 and no slow password hash: those make guessing of *likely* secrets dear, and among 2^256 random
    ones none is likelier. Looking the digest up tells nothing by its time either: whoever does not know the
    secret cannot choose how far the digest of a guess agrees with a stored one.
    """
    return sha256(secret.encode()).hexdigest()


def shown(secret: str) -> str:
    """The beginning of a secret, by which its owner knows it again in a list."""
    return secret[:SHOWN]
