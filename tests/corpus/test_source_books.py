"""Books: one file each, in archives of all kinds, and in tables."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbt.corpus.reading import Reading
from rbt.corpus.sources import bookcorpus

WRAPPED = (
    "CHAPTER I\r\n\r\n"
    + "It was a long line that someone wrapped at about seventy characters.\r\n" * 4
    + "The end.\r\n"
)
TEI = (
    '<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>Mill</title></titleStmt></fileDesc>'
    "</teiHeader><text><body><p>It ground.</p></body></text></TEI>"
)


def tar(files: Mapping[str, bytes]) -> bytes:
    """An archive of files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    """A zip archive of files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def epub(*chapters: str, title: str = "A tale") -> bytes:
    """An EPUB of chapters in the reverse order of their names."""
    names = [f"c{len(chapters) - number}.xhtml" for number in range(len(chapters))]
    items = "".join(f'<item id="{name}" href="{name}" media-type="application/xhtml+xml"/>' for name in sorted(names))
    spine = "".join(f'<itemref idref="{name}"/>' for name in names)
    return zipped(
        {
            "mimetype": b"application/epub+zip",
            "META-INF/container.xml": b'<container><rootfiles><rootfile full-path="O/p.opf"/></rootfiles></container>',
            "O/p.opf": f"<package><metadata><title>{title}</title><date>1901</date></metadata>"
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>".encode(),
            **{f"O/{name}": f"<html><body>{text}</body></html>".encode()
               for name, text in zip(names, chapters, strict=True)},
        }
    )


MEMBERS = {
    "shelf/one.epub.txt": b"One.", "shelf/2__Two_Mills.txt": b"Two.", "shelf/three.epub": epub("<p>Three.</p>"),
    "shelf/four.xml": TEI.encode(), "shelf/urls.json": b"{}", "shelf/inner.zip": zipped({"five.txt": b"Five."}),
    "__MACOSX/shelf/._one.epub.txt": b"\0\5",
}
ARCHIVES = {
    "books.tar": tar(MEMBERS), "books1.tar.gz": gzip.compress(tar(MEMBERS)), "b.tar.xz": lzma.compress(tar(MEMBERS)),
    "b.tar.bz2": bz2.compress(tar(MEMBERS)), "b.tgz": gzip.compress(tar(MEMBERS)), "b.txz": lzma.compress(tar(MEMBERS)),
    "b.tbz2": bz2.compress(tar(MEMBERS)), "b.zip": zipped(MEMBERS), "b.zip.gz": gzip.compress(zipped(MEMBERS)),
}


def test_a_book_is_one_document_with_its_lines_joined(tmp_path: Path, read_source: Any) -> None:
    """The id is the path without .txt, the title its last part without underscores."""
    path = tmp_path / "Lee_Brown_1884.txt"
    path.write_bytes(b"\xef\xbb\xbf" + WRAPPED.encode())
    [document] = read_source(path, "bookcorpus").documents
    assert (document.id, document.title) == ("bookcorpus:Lee_Brown_1884", "Lee Brown 1884")
    paragraphs = document.text.split("\n\n")
    assert paragraphs[0] == "CHAPTER I"
    assert paragraphs[1].endswith("characters. The end.")
    assert document.payload_bytes == path.stat().st_size


def test_bytes_that_are_no_utf8_are_listed_and_the_rest_is_kept(tmp_path: Path, read_source: Any) -> None:
    """A file that says it is UTF-8 loses its bad bytes alone."""
    path = tmp_path / "broken.txt"
    for data, text, offset in (
        (b"\xef\xbb\xbfGood \xff\xfetext.\n", "Good text.", 8), ("é€—“”".encode() + b" \xe9 x", "é€—“”  x", 15),
        (b"Good \xff\xfe\x80\x81text.\n", "Good text.", 5),
    ):
        path.write_bytes(data)
        outcome = read_source(path, "bookcorpus")
        assert outcome.texts == [text]
        [row] = outcome.reading.quarantined
        assert (row["reason"], row["offset"]) == ("encoding", offset)
        assert outcome.dropped == {}


def test_old_gutenberg_texts_keep_their_accents(tmp_path: Path, read_source: Any) -> None:
    """Windows-1252 and Latin-1 are read as such, and that is listed."""
    path = tmp_path / "old.txt"
    path.write_bytes("Café naïve, the “Élan” of Zoë — déjà vu.\n".encode("cp1252"))
    outcome = read_source(path, "bookcorpus")
    assert outcome.texts == ["Café naïve, the “Élan” of Zoë — déjà vu."]
    assert outcome.reading.quarantined[0]["detail"] == "no UTF-8: read as Windows-1252"


def test_a_cut_compressed_book_keeps_what_could_be_read(tmp_path: Path, read_source: Any) -> None:
    """The text before the cut is a document, and the cut is listed."""
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress(b"A line.\n" * 50_000, mtime=0)[:-100])
    outcome = read_source(path, "bookcorpus")
    assert outcome.texts[0].startswith("A line.\n\nA line.")
    assert outcome.reasons == ["truncated"]
    assert outcome.documents[0].id == "bookcorpus:book"


def test_what_is_no_book_is_quarantined(tmp_path: Path, read_source: Any) -> None:
    """Each with the reason that says what was expected."""
    for name, data, reason in (
        ("book.txt", b"PK\x03\x04\0\0\0\0", "not_text"), ("book.txt.bz2", b"never compressed", "unreadable"),
        ("book.epub", b"PK\x03\x04\0\0\0\0", "truncated"), ("book.epub", b"%PDF-1.4", "unreadable"),
        ("book.xml", b"<mediawiki/>", "not_tei"), ("book.xml", b"no markup", "bad_xml"), ("b.zip", b"", "unreadable"),
        ("b.zip", b"PK\x03\x04" + b"x" * 100, "truncated"), ("b.tar", b"x" * 2000, "unreadable"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        outcome = read_source(path, "bookcorpus")
        assert (name, outcome.reasons, outcome.texts) == (name, [reason], [])


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_of_books_has_one_document_a_member(name: str, tmp_path: Path, read_source: Any) -> None:
    """Texts, EPUBs and TEI files in every kind of archive; what else is in it is counted, inner archives too."""
    path = tmp_path / name
    path.write_bytes(ARCHIVES[name])
    outcome = read_source(path, "bookcorpus")
    assert outcome.texts == ["One.", "Two.", "Three.", "It ground."]
    assert [document.title for document in outcome.documents] == ["one", "2 Two Mills", "A tale", "Mill"]
    stems = ("one.epub", "2__Two_Mills", "three.epub", "four.xml")
    assert [document.id for document in outcome.documents] == [f"bookcorpus:{name}/shelf/{stem}" for stem in stems]
    assert outcome.documents[0].locator == "shelf/one.epub.txt"
    assert outcome.reading.counts["other_members"] == 3
    assert outcome.reasons == []


def test_a_zip_archive_at_a_url_is_read_and_hashed_like_a_local_one(tmp_path: Path, read_source: Any) -> None:
    """A remote archive is spooled, and its hash is that of the same file here."""
    from rbt.corpus.config import SourceConfig

    path = tmp_path / "b.zip"
    path.write_bytes(ARCHIVES["b.zip"])
    local = read_source(path, "bookcorpus")
    reading = Reading("bookcorpus", "b.zip")
    url = path.as_uri()
    documents = list(bookcorpus.read(url, SourceConfig("bookcorpus", (url,)), reading))
    assert documents == local.documents
    assert (reading.raw_hash, reading.raw_bytes) == (local.reading.raw_hash, local.reading.raw_bytes)


def test_members_above_the_limit_are_quarantined(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In tars and zips alike, with the size that was promised."""
    monkeypatch.setattr(bookcorpus, "MAXIMUM_BOOK_BYTES", 100)
    for name, data in (("b.tar", tar({"big.txt": b"x" * 101})), ("b.zip", zipped({"big.txt": b"x" * 101}))):
        path = tmp_path / name
        path.write_bytes(data)
        outcome = read_source(path, "bookcorpus")
        assert outcome.reasons == ["too_large"]
        assert outcome.reading.row.incoming.bytes == 101


@pytest.mark.parametrize("name", ["big.txt", "big.txt.gz"])
def test_a_file_above_the_limit_is_quarantined(
    name: str, tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more than the limit is held, and nothing is passed on; a book as large as the limit is read."""
    monkeypatch.setattr(bookcorpus, "MAXIMUM_BOOK_BYTES", 100)
    for size, reasons in ((100, []), (101, ["too_large"])):
        data = b"x" * size
        (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        assert read_source(tmp_path / name, "bookcorpus").reasons == reasons


@pytest.mark.parametrize("bytes_of_second", [0, 1, 9_000])
def test_a_cut_tar_gives_no_half_book(bytes_of_second: int, tmp_path: Path, read_source: Any) -> None:
    """The book that the cut goes through is listed, and those before it are whole."""
    first, second = b"a" * 512, b"b " * 8_000
    path = tmp_path / "b.tar"
    path.write_bytes(tar({"a.txt": first, "b.txt": second})[: 512 + 512 + 512 + bytes_of_second])
    outcome = read_source(path, "bookcorpus")
    assert outcome.texts == [first.decode()]
    assert outcome.reasons == ["truncated"]


def test_chapters_come_in_the_order_of_the_spine(tmp_path: Path, read_source: Any) -> None:
    """Not in that of their names; title and date are the book's own."""
    path = tmp_path / "tale.epub"
    path.write_bytes(epub("<h1>I</h1><p>First.</p>", "<p>Second.</p>", title="The Tale &amp; more"))
    [document] = read_source(path, "bookcorpus").documents
    assert document.text == "I\n\nFirst.\n\nSecond."
    assert (document.id, document.title, document.date) == ("bookcorpus:tale.epub", "The Tale & more", "1901")
    assert document.payload_bytes == path.stat().st_size


BOOKS = [{"title": f"Book {number}", "text": f"It began in {number}.\n\nIt ended."} for number in range(3)]


@pytest.mark.parametrize("form", ["parquet", "jsonl", "jsonl.gz", "csv", "tsv"])
def test_rows_of_whole_books_are_books(form: str, tmp_path: Path, read_source: Any) -> None:
    """The Hub's bookcorpusopen: title and text, in any table."""
    path = tmp_path / f"books.{form}"
    write_table(path, BOOKS)
    outcome = read_source(path, "bookcorpus")
    assert outcome.texts == [book["text"] for book in BOOKS]
    assert [document.title for document in outcome.documents] == [book["title"] for book in BOOKS]
    assert len({document.id for document in outcome.documents}) == 3
    assert outcome.reading.has_documents


def test_what_a_table_of_books_leaves_out_is_counted(tmp_path: Path, read_source: Any) -> None:
    """A date that is none costs no book, and the ledger has it."""
    path = tmp_path / "books.parquet"
    dates = pa.array([2**62] * 3, pa.timestamp("us"))
    pq.write_table(pa.table({"text": [book["text"] for book in BOOKS], "date": dates}), path)
    outcome = read_source(path, "bookcorpus")
    assert outcome.texts == [book["text"] for book in BOOKS]
    assert (outcome.reasons, outcome.reading.counts) == (["bad_value"], {"bad_values": 3})


def test_columns_of_other_names_are_mapped(tmp_path: Path, read_source: Any) -> None:
    """`columns` is read as for any table; a row without text is quarantined and counted once."""
    path = tmp_path / "books.jsonl"
    write_table(path, [{"book": "One.\n\nTwo."}, {"book": None}])
    outcome = read_source(path, "bookcorpus", columns={"text": "book"})
    assert outcome.texts == ["One.\n\nTwo."]
    assert outcome.reasons == ["missing_text"]
    assert outcome.dropped == {"quarantined_missing_text": 1}


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as the table that the suffix names."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix in (".csv", ".tsv"):
        delimiter = {".csv": ",", ".tsv": "\t"}[path.suffix]
        lines = [list(rows[0]), *(list(row.values()) for row in rows)]
        path.write_text("".join(delimiter.join(f'"{value}"' for value in line) + "\n" for line in lines))
    else:
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
