"""The formats that are read and written, and which of them a file is in."""

from collections.abc import Callable, Sequence
from typing import Literal

from app.transfer import chatgpt, openai, perdure, pippagpt, sillytavern
from app.transfer.archive import Archive, TransferError, Writer
from app.transfer.files import Value, read_values

Format = Literal["perdure", "openai", "chatgpt", "sillytavern", "pippagpt"]
WrittenFormat = Literal["perdure", "openai", "sillytavern", "pippagpt"]

RECOGNISED_BY: dict[Format, Callable[[Sequence[Value]], bool]] = {
    "perdure": perdure.recognise,
    "chatgpt": chatgpt.recognise,
    "sillytavern": sillytavern.recognise,
    "pippagpt": pippagpt.recognise,
    "openai": openai.recognise,
}
"""In the order in which they are tried."""

WRITERS: dict[WrittenFormat, Writer] = {
    "openai": openai.WRITER,
    "sillytavern": sillytavern.WRITER,
    "pippagpt": pippagpt.WRITER,
}
"""All but our own, which has more than the chat as it stands."""


def read_file(file: bytes, file_format: Format | Literal["auto"], *, lossy: bool) -> Archive:
    """What a file holds. Raises TransferError, which says where reading stopped."""
    values = read_values(file)
    if file_format == "auto":
        file_format = _recognised(values)
    match file_format:
        case "perdure":
            return perdure.read(values)
        case "openai":
            return openai.read(values, lossy=lossy)
        case "chatgpt":
            return chatgpt.read(values)
        case "sillytavern":
            return sillytavern.read(values)
        case "pippagpt":
            return pippagpt.read(values)


def _recognised(values: Sequence[Value]) -> Format:
    for name, recognises in RECOGNISED_BY.items():
        if recognises(values):
            return name
    raise TransferError(f"begins like none of the formats {', '.join(RECOGNISED_BY)}", values[0].at())
