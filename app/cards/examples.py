"""The example dialogues of a card: one text, of blocks behind `<START>` whose lines name their speaker."""

import re
from collections.abc import Sequence

_START = re.compile(r"<START>", re.IGNORECASE)


def parse_examples(text: str, name: str) -> tuple[list[dict[str, str]], list[str]]:
    """The exchanges, and the blocks that are no exchanges: without a user, or told and not spoken."""
    speaker = re.compile(
        rf"\s*(?:(\{{\{{user\}}\}}|<USER>)|\{{\{{char\}}\}}|<BOT>|{re.escape(name)})\s*:", re.IGNORECASE
    )
    exchanges: list[dict[str, str]] = []
    others: list[str] = []
    for block in _START.split(text):
        if not block.strip():
            continue
        said = _said(block.strip(), speaker)
        users, replies = said[::2], said[1::2]
        if said and len(users) == len(replies) and all(said):
            exchanges += [
                {"user": user, "assistant": reply} for user, reply in zip(users, replies, strict=True)
            ]
        else:
            others.append(block.strip())
    return exchanges, others


def _said(block: str, speaker: re.Pattern[str]) -> list[str]:
    """What user and character say by turns, the user first; nothing if the block is not of this form."""
    said: list[str] = []
    for line in block.splitlines():
        found = speaker.match(line)
        if found is None:
            if not said:
                return []
            said[-1] += "\n" + line
            continue
        is_user = found[1] is not None
        if not said and not is_user:
            return []
        text = line[found.end() :].strip()
        if is_user == (len(said) % 2 == 0):
            said.append(text)
        else:
            said[-1] += "\n" + text
    return [text.strip() for text in said]


def render_examples(exchanges: Sequence[dict[str, str]]) -> str:
    """The exchanges as a card has them."""
    return "\n".join(
        f"<START>\n{{{{user}}}}: {each['user']}\n{{{{char}}}}: {each['assistant']}" for each in exchanges
    )
