"""Books that are broken or mean harm: what is kept, what is quarantined and why. Nothing raises."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.sources import epub, zip_archive
from rbt.corpus.sources.book import Book
from rbt.corpus.sources.zip_archive import Refused

CONTAINER = b'<container><rootfiles><rootfile full-path="p.opf"/></rootfiles></container>'
CHAPTER = b"<html><body><p>It began.</p></body></html>"
WHOLE, TWICE = (1, 26, []), (1, 54, [])  # one document; characters of its text; reasons of what is listed
KEPT: dict[str, tuple[int, int, list[str]]] = {  # every EPUB there is, by its folder and name
    "epubcheck/minimal.epub": WHOLE,
    "epubcheck/ocf-container-not-ocf-error.epub": (0, 0, ["not_epub"]),  # a .docx by another name
    "epubcheck/ocf-directory-empty-warning.epub": WHOLE,
    "epubcheck/ocf-filename-character-forbidden-error.epub": WHOLE,
    "epubcheck/ocf-filename-character-forbidden-non-publication-resource-error.epub": WHOLE,
    "epubcheck/ocf-filename-duplicate-after-canonical-normalization-error.epub": WHOLE,
    "epubcheck/ocf-filename-duplicate-after-common-case-folding-error.epub": TWICE,  # both are in the spine
    "epubcheck/ocf-filename-duplicate-after-compatibility-normalization-valid.epub": TWICE,
    "epubcheck/ocf-filename-duplicate-after-full-case-folding-error.epub": TWICE,
    "epubcheck/ocf-filename-duplicate-zip-entry-error.epub": WHOLE,  # the two entries are the same
    "epubcheck/ocf-filename-not-utf8-error.epub": WHOLE,
    "epubcheck/ocf-filename-utf8-valid.epub": WHOLE,
    "epubcheck/ocf-filepath-not-utf8-error.epub": WHOLE,
    "epubcheck/ocf-filepath-utf8-valid.epub": WHOLE,
    "epubcheck/ocf-mimetype-file-missing-error.epub": WHOLE,
    "epubcheck/ocf-minimal-valid.epub": WHOLE,
    "epubcheck/ocf-zip-mimetype-entry-extra-field-error.epub": WHOLE,
    "epubcheck/ocf-zip-unreadable-empty-fatal.epub": (0, 0, ["unreadable"]),
    "epubcheck/ocf-zip-unreadable-image-with-epub-extension-fatal.epub": (0, 0, ["unreadable"]),
    "epubcheck/ocf-zip-unreadable-no-end-header-fatal.epub": (0, 0, ["truncated"]),
    "epubcheck/ocf-zip-valid.epub": WHOLE,
    "epubcheck/valid.epub": WHOLE,
    "epub/alice.epub": (1, 51858, []),
    "epub/alice_without_cover.epub": (1, 126, []),
}


def zipped(files: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive of files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


def opf(*hrefs: str) -> bytes:
    """A package of chapters."""
    items = "".join(f'<item id="i{n}" href="{href}" media-type="text/html"/>' for n, href in enumerate(hrefs))
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(hrefs)))
    return f"<package><manifest>{items}</manifest><spine>{spine}</spine></package>".encode()


def book(files: Mapping[str, bytes], *hrefs: str, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An EPUB of files."""
    return zipped({"META-INF/container.xml": CONTAINER, "p.opf": opf(*hrefs), **files}, compression)


def reason_of(data: bytes) -> str:
    """Why a book is refused, "" where it is not."""
    found = epub.read_epub(data)
    return found.reason if isinstance(found, Refused) else ""


def read(data: bytes) -> Book:
    """A book that is read."""
    found = epub.read_epub(data)
    assert isinstance(found, Book), found
    return found


@pytest.mark.parametrize("name", KEPT)
def test_every_epub_is_kept_or_quarantined_with_a_reason(name: str, data: Path, read_source: Any) -> None:
    """The table says it all; read_source checks that records balance."""
    folder = data / ("hostile" if name.startswith("epubcheck") else "books")
    outcome = read_source(folder / name, "bookcorpus")
    found = (len(outcome.documents), sum(map(len, outcome.texts)), outcome.reasons)
    assert found == KEPT[name]


def test_the_table_names_every_epub_there_is(data: Path) -> None:
    """A new file needs a new row."""
    there = [*(data / "hostile/epubcheck").glob("*.epub"), *(data / "books/epub").iterdir()]
    assert {f"{path.parent.name}/{path.name}" for path in there} == set(KEPT)


def test_a_missing_chapter_costs_itself_alone() -> None:
    """It is listed; a book all of whose chapters are missing is refused."""
    found = read(book({"a.xhtml": CHAPTER}, "gone.xhtml", "a.xhtml"))
    assert found.text == "It began."
    assert [flaw.reason for flaw in found.flaws] == ["missing"]
    assert reason_of(book({}, "gone.xhtml")) == "missing"


def test_a_chapter_that_the_package_does_not_have_is_listed() -> None:
    """The reading order names what no item is: the book is kept, and says so."""
    broken = opf("a.xhtml").replace(b"</spine>", b'<itemref idref="chapter2"/></spine>')
    found = read(zipped({"META-INF/container.xml": CONTAINER, "p.opf": broken, "a.xhtml": CHAPTER}))
    assert found.text == "It began."
    assert [(flaw.reason, flaw.detail.partition(":")[0]) for flaw in found.flaws] == [("missing", "chapter2")]


@pytest.mark.parametrize("start", ["<!DOCTYPE html>\n", "\ufeff\n<html lang='en'>", "{\\rtf1\\ansi ", "%PDF-1.4\n"])
def test_other_formats_are_no_text_whatever_their_name(start: str, tmp_path: Path, read_source: Any) -> None:
    """A page that stands where a book should is quarantined; a text that speaks of one is read."""
    path = tmp_path / "book.txt"
    path.write_text(f"{start}It began.", encoding="utf-8")
    assert read_source(path, "bookcorpus").reasons == ["not_text"]
    path.write_text(f"He typed {start}It began.", encoding="utf-8")
    assert len(read_source(path, "bookcorpus").texts) == 1


def test_a_corrupt_chapter_costs_itself_alone() -> None:
    """A byte changed inside a member: its checksum tells."""
    files = {"a.xhtml": CHAPTER, "b.xhtml": CHAPTER.replace(b"began", b"ended")}
    whole = book(files, "a.xhtml", "b.xhtml", compression=zipfile.ZIP_STORED)
    found = read(whole.replace(b"ended", b"endex"))
    assert found.text == "It began."
    assert [flaw.reason for flaw in found.flaws] == ["corrupt"]


def test_a_book_without_a_container_is_found_by_its_package() -> None:
    """The first .opf file stands in; a container that names a file that is not there too."""
    files = {"x/p.opf": opf("a.xhtml"), "x/a.xhtml": CHAPTER}
    assert read(zipped(files)).text == "It began."
    assert read(zipped({**files, "META-INF/container.xml": CONTAINER})).text == "It began."
    assert reason_of(zipped({"a.xhtml": CHAPTER})) == "not_epub"
    assert reason_of(zipped({"META-INF/container.xml": CONTAINER, "p.opf": opf()})) == "not_epub"
    assert reason_of(zipped({"META-INF/container.xml": CONTAINER, "p.opf": b"no package"})) == "bad_xml"


def test_of_two_members_of_one_name_the_last_counts_and_is_listed() -> None:
    """As it would overwrite the first when the archive is unpacked; equal ones are nothing to tell."""
    for first, flaws in ((CHAPTER.replace(b"began", b"never began"), ["duplicate_member"]), (CHAPTER, [])):
        stream = io.BytesIO(book({"a.xhtml": first}, "a.xhtml"))
        with warnings.catch_warnings(), zipfile.ZipFile(stream, "a") as archive:
            warnings.simplefilter("ignore")
            archive.writestr("a.xhtml", CHAPTER)
        found = read(stream.getvalue())
        assert (found.text, [flaw.reason for flaw in found.flaws]) == ("It began.", flaws)


def test_names_are_found_in_another_spelling() -> None:
    """Percent signs, case, composition, and UTF-8 that the archive does not declare."""
    for stored, href in (("b c.xhtml", "b%20c.xhtml"), ("A.XHTML", "a.xhtml"), ("e\u0301.xhtml", "\u00e9.xhtml")):
        assert read(book({stored: CHAPTER}, href)).text == "It began."
    undeclared = book({"xx.xhtml": CHAPTER}, "\u00e9.xhtml").replace(b"xx.xhtml", "\u00e9.xhtml".encode())
    assert read(undeclared).text == "It began."


def test_protected_and_encrypted_books_are_refused() -> None:
    """By the list of encrypted members, or by the archive's own flag."""
    encryption = (
        b'<encryption><EncryptedData><EncryptionMethod Algorithm="aes"/><CipherData><CipherReference URI="a.xhtml"/>'
        b"</CipherData></EncryptedData></encryption>"
    )
    assert reason_of(book({"a.xhtml": CHAPTER, "META-INF/encryption.xml": encryption}, "a.xhtml")) == "encrypted"
    assert reason_of(book({"a.xhtml": b"", "META-INF/encryption.xml": b"<broken"}, "a.xhtml")) == ""
    data = bytearray(book({"a.xhtml": CHAPTER}, "a.xhtml"))
    place = data.rfind(b"PK\1\2")
    data[place + 8] |= 1
    assert reason_of(bytes(data)) == "encrypted"


def test_compressions_that_no_book_uses_are_refused() -> None:
    """bzip2 and lzma decompress without a bound in the standard library."""
    for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        assert reason_of(book({"a.xhtml": CHAPTER}, "a.xhtml", compression=compression)) == "unsupported"


def test_a_chapter_that_swells_too_much_is_not_decompressed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its ratio, by its size, and by the size of all chapters; the directory says it before a byte is read."""
    monkeypatch.setattr(zip_archive, "FREE_BYTES", 1000)
    bomb = b"<p>" + b" " * 3_000_000
    assert reason_of(book({"a.xhtml": bomb}, "a.xhtml")) == "too_large"
    picture = random.Random(0).randbytes(100_000)  # so that the book as a whole is none
    found = read(book({"a.xhtml": bomb, "b.xhtml": CHAPTER, "p.jpg": picture}, "a.xhtml", "b.xhtml"))
    assert (found.text, [flaw.reason for flaw in found.flaws]) == ("It began.", ["too_large"])
    monkeypatch.setattr(epub, "MAXIMUM_TEXT_BYTES", 2 * len(CHAPTER) - 1)
    assert reason_of(book({"a.xhtml": CHAPTER, "b.xhtml": CHAPTER}, "a.xhtml", "b.xhtml")) == "too_large"
    monkeypatch.setattr(epub, "MAXIMUM_PART_BYTES", len(CHAPTER) + 100)
    monkeypatch.setattr(zip_archive, "FREE_BYTES", 1 << 20)
    assert reason_of(book({"a.xhtml": CHAPTER + b" " * 101}, "a.xhtml")) == "too_large"


def test_a_member_that_yields_more_than_it_promises_is_cut_there() -> None:
    """A directory that lies about the size costs the member, not the memory."""
    data = book({"a.xhtml": b"<p>" + b"x" * 1_000_000}, "a.xhtml")
    place = data.rfind(b"PK\1\2")
    lying = data[: place + 24] + struct.pack("<L", 10) + data[place + 28 :]
    assert reason_of(lying) == "corrupt"


def test_members_that_share_their_bytes_are_a_bomb(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand directory entries for one compressed file promise more than the archive can hold."""
    monkeypatch.setattr(zip_archive, "FREE_BYTES", 1000)
    data = zipped({"a.txt": b"word " * 20_000})
    start, end = data.rfind(b"PK\1\2"), data.rfind(b"PK\5\6")
    entries = data[start:end] * 1000
    tail = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1000, 1000, len(entries), start, 0)
    path = tmp_path / "bomb.zip"
    path.write_bytes(data[:start] + entries + tail)
    outcome = read_source(path, "bookcorpus")
    assert (outcome.texts, outcome.reasons) == ([], ["too_large"])


def test_an_archive_behind_other_bytes_is_read_and_a_name_that_lies_about_its_encoding_is_not() -> None:
    """What programs that unpack themselves look like; and a name flagged as UTF-8 that is none."""
    assert read(b"#!/bin/sh\n" + book({"a.xhtml": CHAPTER}, "a.xhtml")).text == "It began."
    flagged = book({"\u00e9.xhtml": CHAPTER}, "a.xhtml").replace("\u00e9.xhtml".encode(), b"\xff\xfe.xhtml")
    assert reason_of(flagged) == "corrupt"


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By their number in a book, by the size of the directory in any archive."""
    data = book({f"{number}.xhtml": b"" for number in range(100)} | {"a.xhtml": CHAPTER}, "a.xhtml")
    monkeypatch.setattr(epub, "MAXIMUM_MEMBERS", 102)
    assert reason_of(data) == "too_large"
    monkeypatch.setattr(epub, "MAXIMUM_MEMBERS", 103)
    assert reason_of(data) == ""
    monkeypatch.setattr(zip_archive, "MAXIMUM_DIRECTORY_BYTES", 4000)
    assert reason_of(data) == "too_large"


def test_members_of_a_zip_archive_are_refused_one_by_one(tmp_path: Path, read_source: Any) -> None:
    """A name that comes twice, another compression, a wrong checksum; the books around them stay."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        for name, content in (("a.txt", b"One."), ("a.txt", b"Two."), ("b.txt", b"Broken."), ("d.txt", b"Four.")):
            archive.writestr(name, content)
        archive.writestr("c.txt", b"Three.", zipfile.ZIP_BZIP2)
    path = tmp_path / "books.zip"
    path.write_bytes(stream.getvalue().replace(b"Broken.", b"Br0ken."))
    outcome = read_source(path, "bookcorpus")
    assert outcome.texts == ["One.", "Four."]
    assert outcome.reasons == ["duplicate_member", "corrupt", "unsupported"]
    assert [row["locator"] for row in outcome.reading.quarantined] == ["a.txt", "b.txt", "c.txt"]


@given(place=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 10**6), is_cut=st.booleans())
def test_any_damage_to_a_book_gives_a_book_or_a_reason(place: int, value: int, cut: int, is_cut: bool) -> None:
    """One changed byte or a cut anywhere: never an error."""
    data = bytearray(book({"a.xhtml": CHAPTER, "b.xhtml": CHAPTER}, "a.xhtml", "b.xhtml"))
    data[place % len(data)] = value
    found = epub.read_epub(bytes(data[: cut % len(data)] if is_cut else data))
    assert isinstance(found, Book) or found.reason in (
        "unreadable", "truncated", "corrupt", "too_large", "unsupported", "encrypted", "missing", "not_epub", "bad_xml",
    )


def test_what_is_left_out_is_counted(data: Path, read_source: Any) -> None:
    """Chapters, those outside the reading order, tables of contents, and what else is in an archive."""
    outcome = read_source(data / "books/epub/alice.epub", "bookcorpus")
    assert outcome.reading.counts == {"chapters": 11, "nonlinear_chapters": 2}
    outcome = read_source(data / "books/hf_pg19_dummy.zip", "bookcorpus")
    assert outcome.reading.counts == {"other_members": 4}
    assert len(outcome.documents) == 3


def test_other_hostile_archives_and_texts_are_accounted_for(data: Path, read_source: Any) -> None:
    """Odd encodings are read and listed, XML that is no book is refused, naughty strings are text."""
    outcome = read_source(data / "hostile/nltk/unicode_samples.zip", "bookcorpus")
    assert (len(outcome.documents), outcome.reasons) == (1, ["encoding", "not_tei", "not_tei"])
    for path in sorted((data / "hostile/naughty").glob("*.txt")):
        assert len(read_source(path, "bookcorpus").documents) == 1
