"""Books, in every form in which BookCorpus and its replacements are held.

    .txt .epub .xml        one book (compressed or not)                   ──PARSERS──> Document
    .tar .tar.* .tgz .zip  those as members; BookCorpusOpen's books1.tar.gz, Gutenberg mirrors ──> one Document a member
    books_large_p*.txt     one sentence a line, alone or in an archive    ──sentence_lines──> pseudo-documents
    .parquet .jsonl .csv   a book a row, or a sentence a row (the Hub's `bookcorpus`)

Origins: the crawlers of smashwords.com (`out_txts/<id>__<name>.txt`), `books1.tar.gz` of BookCorpusOpen (members
`**/*.epub.txt`), the Hub's `bookcorpus` and `bookcorpusopen`, gutenberg.org, ELTeC and other TEI collections. An .xml
file is TEI. Members with other suffixes are counted as `other_members`; archives inside archives are not opened.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, cast

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources.book import Book, read_tei, read_text
from rbt.corpus.sources.book_table import read_table
from rbt.corpus.sources.compression import PIECE_BYTES, Damage, Readable
from rbt.corpus.sources.epub import read_epub
from rbt.corpus.sources.raw import RawStream, decompressed, open_raw, suffix, without_compression
from rbt.corpus.sources.sentence_lines import holds_sentences, read_sentences
from rbt.corpus.sources.table import SUFFIXES
from rbt.corpus.sources.tar import read_members
from rbt.corpus.sources.zip_archive import (
    Refused,
    is_junk,
    member_pieces,
    open_zip,
    read_member,
    refusal,
    spellings,
)
from rbt.formats.document import Document
from rbt.storage import is_url, open_input

MAXIMUM_BOOK_BYTES = 64 << 20  # of a text; the longest novels have 10 MB
MAXIMUM_EPUB_BYTES = 256 << 20  # pictures and all
SPOOLED_BYTES = 64 << 20  # of a zip archive that is remote or compressed; more goes to a temporary file
MAXIMUM_ARCHIVE_BYTES = 64 << 30  # of that file
MAXIMUM_STREAMED_BYTES = 1 << 40  # of a member that is read line by line
PARSERS: dict[str, Callable[[bytes], Book | Refused]] = {
    ".txt": read_text, ".epub": read_epub, ".xml": read_tei, ".tei": read_tei,
}
SHORT_TARS = {".tgz": ".gz", ".tbz": ".bz2", ".tbz2": ".bz2", ".txz": ".xz"}


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one book, or one file of many."""
    name = without_compression(reading.origin)
    ending = _ending(name)
    if ending in SUFFIXES:
        yield from read_table(location, config, reading)
    elif ending == ".zip":
        yield from _read_zip(location, config, reading)
    else:
        with open_raw(location, reading) as stream:
            if ending == ".tar" or ending in SHORT_TARS:
                short = SHORT_TARS.get(ending)
                unpacked = RawStream(decompressed(stream, f"tar{short}")) if short else stream
                yield from _read_tar(unpacked, config, reading)
            elif holds_sentences(name, config) and ending not in (".epub", ".xml", ".tei"):
                yield from read_sentences(stream, name.removesuffix(".txt"), "", config, reading)
            else:
                yield from _read_file(stream, name, config, reading)


def _ending(name: str) -> str:
    base, dot, ending = name.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if base and dot else ""


def _limit(name: str) -> int:
    return MAXIMUM_EPUB_BYTES if _ending(name) == ".epub" else MAXIMUM_BOOK_BYTES


def _read_file(stream: RawStream, name: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    data = stream.read(_limit(name) + 1)
    if (damage := stream.damage) is not None:
        if not data:
            reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
            return
        kept = f"{damage.detail}; the text before it is kept"
        reading.damage(damage.reason, offset=damage.offset, detail=kept)
    yield from _document(data, name, name, config, reading)


def _read_tar(stream: RawStream, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    for member in read_members(stream):
        if isinstance(member, Damage):
            damage = stream.damage or member
            reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
        elif is_junk(member.name) or _ending(member.name) not in PARSERS:
            _count(reading, "other_members")
        elif _ending(member.name) == ".txt" and holds_sentences(member.name, config):
            yield from _member_sentences(_pieces(member), member.name, config, reading)
        else:
            data = member.read_up_to(_limit(member.name))
            if member.unread and data is not None:
                continue  # cut: the Damage that follows stands for it
            yield from _document(data, _member_key(member.name, reading), member.name, config, reading, member.size)


def _pieces(stream: Readable) -> Iterator[bytes | Damage]:
    return iter(lambda: stream.read(PIECE_BYTES), b"")


def _member_sentences(
    pieces: Iterator[bytes | Damage], name: str, config: SourceConfig, reading: Reading
) -> Iterator[Document]:
    key = _member_key(name, reading).removesuffix(".txt")
    yield from read_sentences(RawStream(pieces), key, name, config, reading)


def _member_key(name: str, reading: Reading) -> str:
    """What ids of a member are made of: its path, below that of the archive, since stems repeat between archives."""
    return f"{reading.origin}/{name}"


def _count(reading: Reading, name: str, number: int = 1) -> None:
    reading.counts[name] = reading.counts.get(name, 0) + number


def _read_zip(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """A local archive is read in place, beside the stream that hashes it; any other is spooled first."""
    with open_raw(location, reading) as stream:
        if not is_url(location) and not suffix(location):
            stream.read(1)
            if stream.damage is not None:
                reading.lost(stream.damage.reason, offset=stream.damage.offset, detail=stream.damage.detail)
                return
            with open_input(location) as file:
                yield from _zip_members(file, config, reading)
            return
        with tempfile.SpooledTemporaryFile(SPOOLED_BYTES) as spool:
            while (piece := stream.read_some()) and spool.tell() <= MAXIMUM_ARCHIVE_BYTES:
                spool.write(piece)
            if stream.damage is not None or spool.tell() > MAXIMUM_ARCHIVE_BYTES:
                damage = stream.damage or Damage("too_large", 0, f"more than {MAXIMUM_ARCHIVE_BYTES} bytes", 0)
                reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
                return
            yield from _zip_members(cast(IO[bytes], spool), config, reading)


def _zip_members(file: IO[bytes], config: SourceConfig, reading: Reading) -> Iterator[Document]:
    archive = open_zip(file)
    if isinstance(archive, Refused):
        reading.lost(archive.reason, detail=archive.detail)
        return
    seen: set[str] = set()
    for info in archive.infolist():
        name = spellings(info)[-1]
        if info.is_dir():
            continue
        if is_junk(name) or _ending(name) not in PARSERS:
            _count(reading, "other_members")
        elif name in seen:
            _refuse(Refused("duplicate_member", "a name that the archive has already had"), info, name, reading)
        else:
            yield from _zip_member(archive, info, name, config, reading)
        seen.add(name)


def _zip_member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, config: SourceConfig, reading: Reading
) -> Iterator[Document]:
    if _ending(name) == ".txt" and holds_sentences(name, config):
        if (refused := refusal(info, MAXIMUM_STREAMED_BYTES)) is not None:
            _refuse(refused, info, name, reading)
            return
        yield from _member_sentences(member_pieces(archive, info), name, config, reading)
        return
    data = read_member(archive, info, _limit(name))
    if isinstance(data, Refused):
        _refuse(data, info, name, reading)
        return
    yield from _document(data, _member_key(name, reading), name, config, reading)


def _refuse(refused: Refused, info: zipfile.ZipInfo, name: str, reading: Reading) -> None:
    reading.record(info.file_size)
    reading.quarantine(
        refused.reason, size=info.file_size, offset=info.header_offset, locator=name, detail=refused.detail
    )


def _document(
    data: bytes | None, name: str, locator: str, config: SourceConfig, reading: Reading, size: int = 0
) -> Iterator[Document]:
    """One book. `name`: what its id is made of."""
    limit = _limit(name)
    if data is None or len(data) > limit:
        size = size or limit
        reading.record(size)
        reading.quarantine("too_large", size=size, locator=locator, detail=f"more than {limit} bytes")
        return
    reading.record(len(data))
    book = PARSERS.get(_ending(name), read_text)(data)
    if isinstance(book, Refused):
        reading.quarantine(book.reason, size=len(data), locator=locator, detail=book.detail)
        return
    for flaw in book.flaws:
        reading.damage(flaw.reason, offset=flaw.offset, locator=locator, detail=flaw.detail)
    for counted, number in book.counts.items():
        if number:
            _count(reading, counted, number)
    stem = name.removesuffix(".txt")
    yield Document(
        f"{config.label}:{stem}", reading.origin, locator, book.text, "", book.title or _file_title(stem), book.date,
        len(data),
    )


def _file_title(stem: str) -> str:
    base = stem.rpartition("/")[2].removesuffix(".epub").removesuffix(".xml").removesuffix(".tei")
    return " ".join(base.replace("_", " ").split())
