"""Files are read into what stands in them, and hostile ones are refused with what is wrong in them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pypdf import PdfWriter

from app.documents.docx import read_docx
from app.documents.formats import FORMATS, UnknownFormatError, detect, format_of_name
from app.documents.html import read_html
from app.documents.pdf import read_pdf
from app.documents.process import Reading
from app.documents.reading import DocumentError, Limits
from app.documents.sheets import read_csv, read_xlsx
from app.documents.text import read_code, read_markdown, read_text
from app.documents.worker import Reader
from llm.catalog import EMBEDDING_MODEL
from memory.recall.chunks import Block, Code, Heading, Paragraph, Row, Span
from tests.app.document_files import (
    BILLION_LAUGHS,
    CUT_SHEET,
    docx_file,
    overlapping_zip,
    pdf,
    saved,
    with_part,
    xlsx_file,
    zipped,
)

LIMITS = Limits(pages=100, cells=1000, unpacked_mb=8, seconds=20, memory_mb=1024, piece_tokens=200)
ReadWith = Callable[..., list[Block]]


@pytest.fixture
def read(tmp_path: Path) -> ReadWith:
    def read_it(reader: Reader, content: bytes | str, limits: Limits = LIMITS) -> list[Block]:
        file = tmp_path / "file"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return list(reader(file, limits, lambda _done, _of: None))

    return read_it


def rows(first: int, last: int | None = None) -> Span:
    return Span("row", first, last or first)


def lines(first: int, last: int | None = None) -> Span:
    return Span("line", first, last or first)


def test_a_pdf_is_the_text_of_its_pages(read: ReadWith) -> None:
    assert read(read_pdf, pdf(["She sails the black\nship.", "", "It has trea-\nsure."])) == [
        Paragraph("She sails the black ship.", Span("page", 1, 1)),
        Paragraph("It has treasure.", Span("page", 3, 3)),
    ]


def test_a_word_file_is_its_headings_paragraphs_and_tables(read: ReadWith) -> None:
    columns = ("Item", "Price")
    assert read(read_docx, docx_file()) == [
        Heading("Guide", 0),
        Paragraph("Welcome aboard."),
        Heading("Safety", 1),
        Paragraph("Wear a vest."),
        Row(("Rope", "3"), columns, rows(2)),
        Row(("Sail", "40"), columns, rows(3)),
    ]


def test_an_excel_file_is_the_rows_of_its_sheets(read: ReadWith) -> None:
    columns = ("Item", "Price")
    assert read(read_xlsx, xlsx_file()) == [
        Heading("Prices", 1),
        Row(("Rope", "3"), columns, rows(2)),
        Row(("Sail", "40.5"), columns, rows(3)),
    ]


def test_a_table_of_numbers_has_no_names_of_columns(read: ReadWith) -> None:
    assert read(read_csv, "1,2\n3,4\n") == [Row(("1", "2"), (), rows(1)), Row(("3", "4"), (), rows(2))]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_file_is_read_with_the_delimiter_that_it_has(read: ReadWith, delimiter: str) -> None:
    text = f'name{delimiter}said\nAnna{delimiter}"two\nlines"\n\nBert{delimiter}hi\n'
    columns = ("name", "said")
    assert read(read_csv, text) == [
        Row(("Anna", "two\nlines"), columns, rows(2)),
        Row(("Bert", "hi"), columns, rows(4)),
    ]


def test_a_table_with_nothing_but_names_is_not_lost(read: ReadWith) -> None:
    assert read(read_csv, "name,age\n") == [Row(("name", "age"), (), rows(1))]


def test_a_web_page_is_what_its_reader_sees(read: ReadWith) -> None:
    page = """<html><head><title>T</title><style>p {}</style></head><body><script>evil()</script>
        <h1>Top <b>deck</b></h1><p>Hello <i>big</i>
        world<br>and sea</p><div>before <p>inside</p> after</div>
        <p hidden>secret</p><!-- note -->
        <table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>
        <pre>x:\n    y</pre></body>"""
    assert read(read_html, page) == [
        Heading("Top deck", 1),
        Paragraph("Hello big world\nand sea"),
        Paragraph("before"),
        Paragraph("inside"),
        Paragraph("after"),
        Row(("1", "2"), ("a", "b"), rows(2)),
        Code("x:\n    y"),
    ]


def test_markdown_is_read_by_its_structure_with_its_lines(read: ReadWith) -> None:
    text = "---\nauthor: me\n---\n# Guide\n\nHello\nyou.\n\n- one\n- two\n\n```py\nx = 1\n```\n"
    text += "\n| a | b |\n| - | - |\n| 1 | 2 |\n"
    assert read(read_markdown, text) == [
        Code("author: me\n", lines(2)),
        Heading("Guide", 1, lines(4)),
        Paragraph("Hello\nyou.", lines(6, 7)),
        Paragraph("one", lines(9)),
        Paragraph("two", lines(10)),
        Code("x = 1\n", lines(13, 14)),
        Row(("1", "2"), ("a", "b"), lines(18)),
    ]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_text_is_read_in_the_encoding_that_it_has(read: ReadWith, encoding: str) -> None:
    text = "Grüße aus Köln, schöne Mädchen grüßen den König.\r\nEs war ein süßer Äpfelkuchen für die Gäste.\n"
    [block] = read(read_text, text.encode(encoding))
    assert block == Paragraph(text.replace("\r\n", "\n"), lines(1, 3))


def test_code_keeps_its_lines_and_indentation(read: ReadWith) -> None:
    assert read(read_code, "def f():\n    pass\n") == [Code("def f():\n    pass\n", lines(1, 3))]


def encrypted_pdf() -> bytes:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.encrypt("secret", algorithm="RC4-128")
    return saved_pdf(writer)


def saved_pdf(writer: PdfWriter) -> bytes:
    class Saver:
        save = writer.write

    return saved(Saver())


BROKEN: list[tuple[Reader, bytes, str]] = [
    (read_pdf, pdf(["Hello"] * 3)[:400], "the PDF cannot be read"),
    (read_pdf, b"%PDF-1.7\n" + bytes(range(256)) * 20, "the PDF cannot be read"),
    (read_pdf, pdf([""]), "none of its 1 pages has text"),
    (read_pdf, pdf(["x"] * 101), "it has 101 pages, more than 100"),
    (read_pdf, encrypted_pdf(), "encrypted"),
    (read_docx, docx_file()[:-2000], "it has no end, so the file may be cut off"),
    (read_docx, xlsx_file(), "its name says .docx, but its content is xlsx"),
    (read_xlsx, zipped({"a.txt": b"x"}), "its content is some other archive"),
    (read_xlsx, xlsx_file([["x"] * 11] * 100), "it has more than 1000 cells"),
    (
        read_docx,
        with_part(docx_file(), "word/media/bomb.bin", bytes(9 * 2**20)),
        r"unpacks from \d+ bytes to \d+, more than the 8 MiB",
    ),
    (
        read_docx,
        with_part(docx_file(), "word/media/bomb.bin", bytes(7 * 2**20)),
        r"'word/media/bomb.bin' in it unpacks from \d+ bytes to 7340032",
    ),
    (read_docx, overlapping_zip("word/document.xml", 50), "in it share bytes"),
    (read_docx, with_part(docx_file(), "word/document.xml", BILLION_LAUGHS), "declares a document type"),
    (
        read_docx,
        with_part(docx_file(), "word/document.xml", BILLION_LAUGHS.decode().encode("utf-16")),
        "declares a document type",
    ),
    (read_docx, with_part(docx_file(), "word/document.xml", b"<w:document"), "the Word file cannot be read"),
    (read_xlsx, with_part(xlsx_file(), "xl/worksheets/sheet1.xml", CUT_SHEET), "sheet 'Prices'"),
    (read_xlsx, with_part(xlsx_file(), "xl/workbook.xml", b"<workbook"), "the workbook cannot be read"),
    (read_csv, b'a,b\n1,"2\n', "line 2 is not proper CSV"),
    (read_text, b"good\nbad \0 bytes", "line 2 has a NUL character"),
    (read_text, b" \n \n", "it has no text"),
]


@pytest.mark.parametrize(("reader", "content", "problem"), BROKEN)
def test_a_broken_or_hostile_file_is_refused_with_what_is_wrong_in_it(
    read: ReadWith, reader: Reader, content: bytes, problem: str
) -> None:
    with pytest.raises(DocumentError, match=problem):
        read(reader, content)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.pdf", b"PK\x03\x04", "its name says .pdf, but its content is ZIP"),
        ("a.docx", b"%PDF-1.4", "its name says .docx, but its content is PDF"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "its content is a PNG picture"),
        ("a.DOCX", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or a password-protected Office file"),
        ("a.md", b"x\0y", "its content is binary"),
        ("a.pdf", b"hello", "its content is text"),
        ("a.pdf", b"", "it is empty"),
    ],
)
def test_name_and_content_must_say_the_same(name: str, content: bytes, problem: str) -> None:
    with pytest.raises(DocumentError, match=problem):
        detect(name, content)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a.exe", r"\.exe is not read; read are"),
        ("a", "no suffix"),
        ("a.doc", "save it as .docx"),
        (".pdf", "no suffix"),
    ],
)
def test_a_format_that_is_not_read_is_named(name: str, problem: str) -> None:
    with pytest.raises(UnknownFormatError, match=problem):
        format_of_name(name)


def test_a_text_about_pdf_is_a_text() -> None:
    assert detect("about.md", b"A PDF begins with %PDF-1.7, always.") is FORMATS[".md"]


@pytest.fixture
def tokenizer_file(models_folder: Path) -> Path:
    return models_folder / EMBEDDING_MODEL / "tokenizer.json"


def test_a_file_is_read_in_a_process_of_its_own(tmp_path: Path, tokenizer_file: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(pdf(["The whale.", "The sea."]))
    document = Reading(file, "pdf", LIMITS).read(tokenizer_file)
    assert [(piece.text, str(piece.place)) for piece in document.pieces] == [
        ("The whale.", "page 1"),
        ("The sea.", "page 2"),
    ]
    assert document.pages == 2


def test_a_file_that_takes_too_long_is_refused(tmp_path: Path, tokenizer_file: Path) -> None:
    file = tmp_path / "file"
    file.write_text("<div>" * 200_000 + "".join(f"<tr><td>{n}<table>" for n in range(20_000)))
    limits = Limits(100, 10**9, 8, seconds=1, memory_mb=2048, piece_tokens=200)
    with pytest.raises(DocumentError, match="takes more than 1 s"):
        Reading(file, "html", limits).read(tokenizer_file)


def test_a_file_that_takes_too_much_memory_is_refused(tmp_path: Path, tokenizer_file: Path) -> None:
    file = tmp_path / "file"
    with file.open("wb") as content:
        content.truncate(300 * 2**20)
    limits = Limits(100, 1000, 8, seconds=60, memory_mb=256, piece_tokens=200)
    with pytest.raises(DocumentError, match="takes more than 256 MiB of memory"):
        Reading(file, "text", limits).read(tokenizer_file)


def test_a_reading_that_is_stopped_stores_nothing(tmp_path: Path, tokenizer_file: Path) -> None:
    file = tmp_path / "file"
    file.write_text("text")
    reading = Reading(file, "text", LIMITS)
    reading.stop()
    with pytest.raises(DocumentError):
        reading.read(tokenizer_file)
