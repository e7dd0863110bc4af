"""Books: one UTF-8 text file a book (plain or compressed), or tar archives of such files.

    file or member ──decode──> text ──extract_book──> Document
"""

from __future__ import annotations

from collections.abc import Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.book import extract_book
from rbt.corpus.reading import Reading
from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.raw import RawStream, open_raw, without_compression
from rbt.corpus.sources.tar import read_members
from rbt.corpus.sources.text import decode
from rbt.formats.document import Document

MAXIMUM_BOOK_BYTES = 256 << 20


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one book, or one archive of books."""
    name = without_compression(reading.origin)
    with open_raw(location, reading) as stream:
        if name.lower().endswith((".tar", ".tgz")):
            yield from _archive(stream, config, reading)
            return
        data = stream.read(MAXIMUM_BOOK_BYTES + 1)
        if (damage := stream.damage) is not None:
            if not data:
                reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
                return
            kept = f"{damage.detail}; the text before it is kept"
            reading.damage(damage.reason, offset=damage.offset, detail=kept)
        yield from _book(data, name, name, config, reading)


def _archive(stream: RawStream, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    for member in read_members(stream):
        if isinstance(member, Damage):
            damage = stream.damage or member
            reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
        elif member.name.lower().endswith(".txt"):
            data = member.read_up_to(MAXIMUM_BOOK_BYTES)
            if member.unread and data is not None:
                continue  # cut: the Damage that follows stands for it
            yield from _book(data, member.name.rpartition("/")[2], member.name, config, reading, member.size)


def _book(
    data: bytes | None, name: str, locator: str, config: SourceConfig, reading: Reading, size: int = 0
) -> Iterator[Document]:
    if data is None or len(data) > MAXIMUM_BOOK_BYTES:
        size = size or MAXIMUM_BOOK_BYTES
        reading.record(size)
        reading.quarantine("too_large", size=size, locator=locator, detail=f"more than {MAXIMUM_BOOK_BYTES} bytes")
        return
    reading.record(len(data))
    text, bad = decode(data)
    if "\0" in text[:4096]:
        reading.quarantine("not_text", size=len(data), locator=locator, detail="zero bytes: expected a plain text file")
        return
    if bad >= 0:
        reading.damage("encoding", offset=bad, locator=locator, detail="bytes that are no UTF-8 are left out")
    stem = name.removesuffix(".txt").removesuffix(".epub")
    title = " ".join(stem.rpartition("/")[2].replace("_", " ").split())
    yield Document(f"{config.label}:{stem}", reading.origin, locator, extract_book(text), "", title, "", len(data))
