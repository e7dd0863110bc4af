"""EPUB books, in memory: zip archive to the running text of its chapters in reading order.

    bytes ──open_zip──> container.xml ──> OPF ──> spine ──read_member, extract_chapter──> chapters ──> text

A chapter that is missing or broken is listed, and the others are kept. A protected book (DRM), a bomb and what has no
chapter that can be read are quarantined as a whole.
"""

from __future__ import annotations

import io
import unicodedata
import zipfile
from collections import Counter

from lxml import etree

from rbt.corpus.extract.epub import Package, encrypted_members, extract_chapter, find_package, parse_package
from rbt.corpus.extract.gutenberg import strip_gutenberg
from rbt.corpus.sources.book import Book, Flaw
from rbt.corpus.sources.zip_archive import Refused, is_junk, open_zip, read_member, spellings

CONTAINER, ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
MAXIMUM_MEMBERS = 20_000  # of one book, pictures and all
MAXIMUM_PART_BYTES = 64 << 20  # of one chapter, or of the package
MAXIMUM_TEXT_BYTES = 256 << 20  # of all chapters, markup and all


class Members:
    """The members of an archive by name, found also under another spelling or case where just one fits."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.changed: set[str] = set()  # names that stand for two files of different content; the last one counts
        self._exact: dict[str, zipfile.ZipInfo] = {}
        self._folded: dict[str, set[str]] = {}
        for info in archive.infolist():
            if not info.is_dir() and not is_junk(info.filename):
                self._add(info)

    def _add(self, info: zipfile.ZipInfo) -> None:
        for name in spellings(info):
            before = self._exact.get(name)
            if before is not None and (before.CRC, before.file_size) != (info.CRC, info.file_size):
                self.changed.add(name)
            self._exact[name] = info
            self._folded.setdefault(_fold(name), set()).add(name)

    def name(self, wanted: str) -> str:
        """The name in the archive that is meant, or ""."""
        if wanted in self._exact:
            return wanted
        found = self._folded.get(_fold(wanted), set())
        return next(iter(found)) if len(found) == 1 else ""

    def with_suffix(self, suffix: str) -> str:
        """The first name with a suffix in alphabetical order, or ""."""
        return min((name for name in self._exact if name.lower().endswith(suffix)), default="")

    def read(self, name: str, limit: int) -> bytes | Refused:
        """The content of a member by its name in the archive."""
        return read_member(self.archive, self._exact[name], limit)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def read_epub(data: bytes) -> Book | Refused:
    """Read a book from the bytes of its file."""
    archive = open_zip(io.BytesIO(data))
    if isinstance(archive, Refused):
        return archive
    with archive:
        if len(archive.infolist()) > MAXIMUM_MEMBERS:
            return Refused("too_large", f"{len(archive.infolist())} members, more than {MAXIMUM_MEMBERS}")
        members = Members(archive)
        package = _package(members)
        return package if isinstance(package, Refused) else _read_chapters(members, package)


def _package(members: Members) -> Package | Refused:
    container = _read(members, CONTAINER)
    if isinstance(container, Refused) and container.reason != "missing":
        return container
    path = "" if isinstance(container, Refused) else members.name(find_package(container))
    path = path or members.with_suffix(".opf")
    if not path:
        return Refused("not_epub", f"expected {CONTAINER} to name a package, or an .opf file; found neither")
    data = members.read(path, MAXIMUM_PART_BYTES)
    if isinstance(data, Refused):
        return data
    try:
        package = parse_package(data, path)
    except etree.XMLSyntaxError as error:
        return Refused("bad_xml", f"{path}: {error}")
    return package if package.chapters else Refused("not_epub", f"{path}: no chapter in its reading order")


def _read(members: Members, wanted: str) -> bytes | Refused:
    name = members.name(wanted)
    return members.read(name, MAXIMUM_PART_BYTES) if name else Refused("missing", f"{wanted}: not in the archive")


def _encrypted(members: Members) -> set[str] | Refused:
    data = _read(members, ENCRYPTION)
    if isinstance(data, Refused):
        return set() if data.reason == "missing" else data
    try:
        return encrypted_members(data)
    except etree.XMLSyntaxError as error:
        return Refused("bad_xml", f"{ENCRYPTION}: {error}")


def _read_chapters(members: Members, package: Package) -> Book | Refused:
    encrypted = _encrypted(members)
    if isinstance(encrypted, Refused):
        return encrypted
    if protected := encrypted.intersection(package.chapters):
        return Refused("encrypted", f"{min(protected)}: protected")
    book, texts, size = Book("", package.title, package.date), [], 0
    if package.unknown:
        book.flaws.append(Flaw("missing", f"{', '.join(package.unknown)}: in the reading order, not in the package"))
    for wanted in package.chapters:
        data = _read(members, wanted)
        if isinstance(data, Refused):
            book.flaws.append(Flaw(data.reason, data.detail))
            continue
        size += len(data)
        if size > MAXIMUM_TEXT_BYTES:
            return Refused("too_large", f"chapters of more than {MAXIMUM_TEXT_BYTES} bytes")
        if members.name(wanted) in members.changed:
            book.flaws.append(Flaw("duplicate_member", f"{wanted}: in the archive twice; the last one is kept"))
        texts.append(_chapter_text(data, book.counts))
    if not texts:
        return Refused(book.flaws[0].reason, book.flaws[0].detail)
    _finish(book, texts, package)
    return book


def _chapter_text(data: bytes, counts: Counter[str]) -> str:
    chapter = extract_chapter(data)
    counts["chapters"] += not chapter.contents
    counts["contents_chapters"] += chapter.contents
    counts["chapters_read_as_html"] += bool(chapter.broken)
    return chapter.text


def _finish(book: Book, texts: list[str], package: Package) -> None:
    stripped = strip_gutenberg("\n\n".join(text for text in texts if text))
    book.text = stripped.text.strip()
    if stripped.oddity:
        book.flaws.append(Flaw("odd_marks", f"{stripped.oddity}; kept"))
    book.counts.update(nonlinear_chapters=package.nonlinear, contents_chapters=package.navigation)
