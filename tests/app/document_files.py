"""Files as people and attackers make them."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import docx
import openpyxl


def pdf(pages: Sequence[str]) -> bytes:
    """A PDF with those texts, by hand (ISO 32000-1, 7.5)."""
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, page in enumerate(pages):
        lines = b" ".join(b"(%s) Tj T*" % line.encode() for line in page.split("\n"))
        drawn = b"BT /F1 12 Tf 14 TL 72 720 Td %s ET" % lines
        objects += [
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R"
            b" /Resources << /Font << /F1 3 0 R >> >> >>" % (5 + 2 * number),
            b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn),
        ]
    file, places = b"%PDF-1.4\n", b""
    for number, content in enumerate(objects, start=1):
        places += b"%010d 00000 n \n" % len(file)
        file += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    count = len(objects) + 1
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(file))
    return file + b"xref\n0 %d\n0000000000 65535 f \n" % count + places + trailer


def docx_file() -> bytes:
    document = docx.Document()
    document.add_heading("Guide", 0)
    document.add_paragraph("Welcome aboard.")
    document.add_heading("Safety", 1)
    document.add_paragraph("Wear a vest.")
    table = document.add_table(rows=3, cols=2)
    for row, texts in zip(table.rows, (("Item", "Price"), ("Rope", "3"), ("Sail", "40")), strict=True):
        for cell, text in zip(row.cells, texts, strict=True):
            cell.text = text
    return saved(document)


def xlsx_file(rows: Sequence[Sequence[object]] = (("Item", "Price"), ("Rope", 3.0), ("Sail", 40.5))) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Prices"
    for row in rows:
        sheet.append(list(row))
    return saved(book)


def saved(document: object) -> bytes:
    file = io.BytesIO()
    document.save(file)  # type: ignore[attr-defined]
    return file.getvalue()


def zipped(parts: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as container:
        for name, content in parts.items():
            container.writestr(name, content)
    return file.getvalue()


def with_part(office_file: bytes, name: str, content: bytes) -> bytes:
    """The file with one part of it changed, or added."""
    with zipfile.ZipFile(io.BytesIO(office_file)) as container:
        parts = {entry: container.read(entry) for entry in container.namelist()}
    return zipped(parts | {name: content})


def overlapping_zip(name: str, times: int) -> bytes:
    """A ZIP whose entries are all the same bytes: `name`, and as many more."""
    packed = zlib.compress(b"<x/>" + b" " * 1000)[2:-4]
    crc = zlib.crc32(b"<x/>" + b" " * 1000)
    sizes = struct.pack("<III", crc, len(packed), 1004)
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 0x21) + sizes
    file = local + struct.pack("<HH", len(name), 0) + name.encode() + packed
    directory = b""
    for each in [name] * (times + 1):
        head = b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 0x21) + sizes
        directory += head + struct.pack("<HHHHHII", len(each), 0, 0, 0, 0, 0, 0) + each.encode()
    count = times + 1
    end = struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), len(file), 0)
    return file + directory + b"PK\x05\x06" + end


CUT_SHEET = (
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    b'<dimension ref="A1:B2"/><sheetData><row>'
)

BILLION_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + n, b"&%c;" % (97 + n) * 10) for n in range(9))
    + b"]><x>&j;</x>"
)
