"""OpenWebText: one text file a page, in tar archives of xz-compressed tar archives, or in either alone.

    openwebtext.tar[.xz|.gz] ──> urlsf_subset00-1_data.xz ──> 0000005-<md5>.txt ──decode──> Document
"""

from __future__ import annotations

from collections.abc import Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.raw import RawStream, decompressed, open_raw, suffix
from rbt.corpus.sources.tar import Member, read_members
from rbt.corpus.sources.text import decode
from rbt.formats.document import Document

MAXIMUM_PAGE_BYTES = 64 << 20


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one archive."""
    with open_raw(location, reading) as stream:
        if reading.origin.lower().endswith((".txt", *(f".txt{ending}" for ending in (".gz", ".xz", ".bz2", ".zst")))):
            yield from _loose_page(stream, config, reading)
        else:
            yield from _archive(stream, "", config, reading)


def _archive(stream: RawStream, outer: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """The pages of an archive; `outer` is the locator of the archive itself, with a slash."""
    for member in read_members(stream):
        if isinstance(member, Damage):
            damage = stream.damage or member
            reading.lost(damage.reason, offset=damage.offset, locator=outer.rstrip("/"), detail=damage.detail)
        elif member.name.lower().endswith(".txt"):
            yield from _member_page(member, outer, config, reading)
        elif not outer and suffix(member.name):
            inner = RawStream(decompressed(member, member.name))
            yield from _archive(inner, f"{member.name}/", config, reading)
        else:
            reading.record(member.size)
            reading.skip("not_text", member.size)


def _member_page(member: Member, outer: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    locator = f"{outer}{member.name}"
    data = member.read_up_to(MAXIMUM_PAGE_BYTES)
    if data is None:
        reading.record(member.size)
        detail = f"more than {MAXIMUM_PAGE_BYTES} bytes"
        reading.quarantine("too_large", size=member.size, locator=locator, detail=detail)
    elif not member.unread:  # where it is cut, the archive's damage stands for it
        yield _page(data, member.name, locator, config, reading)


def _loose_page(stream: RawStream, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    data = stream.read(MAXIMUM_PAGE_BYTES)
    damage = Damage("too_large", 0, f"more than {MAXIMUM_PAGE_BYTES} bytes", 0) if stream.read(1) else stream.damage
    if damage is not None:
        reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
        return
    name = reading.origin
    yield _page(data, name[: len(name) - len(suffix(name))], name, config, reading)


def _page(data: bytes, name: str, locator: str, config: SourceConfig, reading: Reading) -> Document:
    reading.record(len(data))
    text, bad = decode(data)
    if bad >= 0:
        reading.damage("encoding", offset=bad, locator=locator, detail="bytes that are no UTF-8 are left out")
    stem = name.rpartition("/")[2].removesuffix(".txt")
    return Document(f"{config.label}:{stem}", reading.origin, locator, text, payload_bytes=len(data))
