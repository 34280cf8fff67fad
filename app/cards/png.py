"""Texts in PNG files: the chunks `tEXt`, `zTXt` and `iTXt` (https://www.w3.org/TR/png-3/#11textinfo).

Only the framing is read; the picture itself is passed on as it is.
"""

import struct
import zlib
from collections.abc import Collection, Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT_KINDS = (b"tEXt", b"zTXt", b"iTXt")
_SIZE = (256, 384)
_COLOUR = bytes((74, 84, 104))


class PngError(ValueError):
    """The file is no whole PNG, or a text in it cannot be read; the message says where."""


def find_texts(png: bytes, keywords: Collection[str], *, max_bytes: int) -> dict[str, bytes]:
    """The first text of each keyword, where there is one. Raises PngError, also for more than `max_bytes`."""
    found: dict[str, bytes] = {}
    for kind, data in _chunks(png):
        keyword, _, rest = data.partition(b"\0")
        name = keyword.decode("latin-1")
        if kind in _TEXT_KINDS and name in keywords and name not in found:
            found[name] = _text(kind, rest, max_bytes)
    return found


def with_text(png: bytes, keyword: str, text: bytes, *, instead_of: Collection[str]) -> bytes:
    """The picture with a `tEXt` chunk, and without the text chunks of the keywords `instead_of`."""
    parts = [SIGNATURE]
    for kind, data in _chunks(png):
        if kind in _TEXT_KINDS and data.partition(b"\0")[0].decode("latin-1") in instead_of:
            continue
        if kind == b"IEND":
            parts.append(_chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text))
        parts.append(_chunk(kind, data))
    return b"".join(parts)


def plain_picture() -> bytes:
    """A small picture of one colour."""
    width, height = _SIZE
    rows = (b"\0" + _COLOUR * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"".join(
        (SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(rows, 9)), _chunk(b"IEND", b""))
    )


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Kind and data of each chunk, the last one IEND."""
    if not png.startswith(SIGNATURE):
        raise PngError("the file does not begin like a PNG")
    at, kind = len(SIGNATURE), b""
    while kind != b"IEND":
        if at + 8 > len(png):
            raise PngError(f"the PNG is cut off after {len(png)} bytes")
        length, kind = struct.unpack_from(">I4s", png, at)
        end = at + 8 + length
        if end + 4 > len(png):
            raise PngError(f"the PNG is cut off inside the chunk at byte {at}")
        if at == len(SIGNATURE) and kind != b"IHDR":
            raise PngError("the PNG does not begin with its header")
        data = png[at + 8 : end]
        if zlib.crc32(png[at + 4 : end]) != struct.unpack_from(">I", png, end)[0]:
            raise PngError(f"the PNG is damaged: the checksum of the chunk at byte {at} is wrong")
        yield kind, data
        at = end + 4


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _text(kind: bytes, rest: bytes, max_bytes: int) -> bytes:
    """The text behind a keyword."""
    if kind == b"tEXt":
        text, packed = rest, False
    elif kind == b"zTXt":
        text, packed = rest[1:], True
    else:
        packed = rest[:1] == b"\x01"
        text = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return _inflate(text, max_bytes) if packed else _bounded(text, max_bytes)


def _inflate(packed: bytes, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(packed, max_bytes + 1)
    except zlib.error as error:
        raise PngError(f"a compressed text of the PNG cannot be read: {error}") from error
    if len(text) <= max_bytes and not inflater.eof:
        raise PngError("a compressed text of the PNG is cut off")
    return _bounded(text, max_bytes)


def _bounded(text: bytes, max_bytes: int) -> bytes:
    if len(text) > max_bytes:
        raise PngError(f"a text of the PNG has more than {max_bytes} bytes")
    return text
