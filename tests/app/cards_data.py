"""Character cards as other programs write them."""

import base64
import json
import struct
import zlib
from typing import Any

from app.cards.png import SIGNATURE, plain_picture

Json = dict[str, Any]

V2: Json = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "name": "Seraphina",
    "data": {
        "name": "Seraphina",
        "description": "{{char}} guards the forest.\r\nShe knows {{user}}.",
        "personality": "caring, protective",
        "scenario": "A glade at dawn.",
        "first_mes": "*She wakes.* Hello, {{user}}!",
        "mes_example": (
            "<START>\n{{user}}: Who are you?\n{{char}}: *smiles* Seraphina.\nAnd you?\n"
            "<start>\n{{user}}: Hi\n{{char}}: Hello\n{{user}}: Bye\nSeraphina: Farewell\n"
            "<START>\n{{char}}: I speak alone.\n"
        ),
        "creator_notes": "우리의 숲 🌲",
        "system_prompt": "{{original}} Write as {{char}}.",
        "post_history_instructions": "Stay gentle.",
        "alternate_greetings": ["Good evening.", ""],
        "character_book": {"entries": [{"keys": ["glade"], "content": "It is safe.", "x": 1.5}]},
        "tags": ["fantasy"],
        "creator": "someone",
        "character_version": "1",
        "extensions": {"depth_prompt": {"depth": 4, "prompt": ""}, "fav": False},
        "unknown": [None, 12345678901234567890],
    },
}
V3: Json = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": V2["data"] | {"nickname": "Sera", "group_only_greetings": [], "creation_date": 1700000000},
}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def picture_of(*chunks: bytes) -> bytes:
    """A picture with further chunks before its end."""
    end = chunk(b"IEND", b"")
    plain = plain_picture()
    assert plain.startswith(SIGNATURE)
    assert plain.endswith(end)
    return plain.removesuffix(end) + b"".join(chunks) + end


def packed(card: Json) -> bytes:
    return base64.b64encode(json.dumps(card).encode())
