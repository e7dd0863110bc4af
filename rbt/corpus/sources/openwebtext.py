"""OpenWebText: one text file a page, in tars of xz-compressed tars or in either alone; as tables; or from scratch.

    openwebtext.tar[.xz|.gz], subsets/urlsf_subset00.tar ──> urlsf_subset00-1_data.xz ──> 0000005-<md5>.txt ──> Document
    *.txt, unpacked                                          ──decode──> Document
    train-00000-of-00080.parquet, .jsonl[.zst|.gz|.xz|.bz2]  ──rows with `text`──> Document
    *.warc.gz, *.wet.gz, with `urls`                         ──pages whose canonical URL is wanted──> Document

The archive is that of skylion007.github.io/OpenWebTextCorpus, its parts as tars and the Parquet files are those of
Skylion007/openwebtext on the Hub, JSON lines are OpenWebText2's (unpack its outer tar first; `columns` as in `table`).
Ids are the file names where these are OpenWebText's (seven digits and an MD5), else paths.

From scratch, `urls` is a list made by `rbt corpus urls`, and the pages are whatever a crawl has of them: a URL that the
crawl followed to another address is not found under the first, and one that was crawled twice gives two documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import table
from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.raw import RawStream, decompressed, open_raw, suffix, without_compression
from rbt.corpus.sources.tar import Member, read_members
from rbt.corpus.sources.text import decode
from rbt.corpus.sources.warc import WarcRecord
from rbt.corpus.sources.web import read_pages
from rbt.formats.document import Document
from rbt.formats.urls import UrlSet

MAXIMUM_PAGE_BYTES = 64 << 20
PUBLISHED_NAME = re.compile(r"\d{7}-[^/]+")  # unique in the whole corpus


def read(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """Read one file of any of the forms. Raises ArtefactError where `urls` is no URL list."""
    name = without_compression(reading.origin).lower()
    if config.urls:
        yield from _wanted_pages(location, config, reading)
    elif name.endswith(table.SUFFIXES):
        yield from table.read(location, config, reading)
    else:
        with open_raw(location, reading) as stream:
            pages = _loose_page if name.endswith(".txt") else _archive
            yield from pages(stream, "", config, reading)


def _wanted_pages(location: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    wanted = UrlSet.open(config.urls)

    def skip(record: WarcRecord) -> str:
        return "" if wanted.contains(record.url) else "url"

    yield from read_pages(location, config, reading, skip)


def _archive(stream: RawStream, outer: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    """The pages of an archive; `outer` is the locator of the archive itself, with a slash."""
    for member in read_members(stream):
        if isinstance(member, Damage):
            damage = stream.damage or member
            reading.lost(damage.reason, offset=damage.offset, locator=outer.rstrip("/"), detail=damage.detail)
        elif member.name.lower().endswith(".txt"):
            yield from _member_page(member, outer, config, reading)
        elif not outer and (suffix(member.name) or member.name.lower().endswith(".tar")):
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
        yield _page(data, f"{reading.origin}/{locator}", locator, config, reading)


def _loose_page(stream: RawStream, outer: str, config: SourceConfig, reading: Reading) -> Iterator[Document]:
    data = stream.read(MAXIMUM_PAGE_BYTES)
    damage = Damage("too_large", 0, f"more than {MAXIMUM_PAGE_BYTES} bytes", 0) if stream.read(1) else stream.damage
    if damage is not None:
        reading.lost(damage.reason, offset=damage.offset, detail=damage.detail)
        return
    yield _page(data, without_compression(reading.origin), f"{outer}{reading.origin}", config, reading)


def _page(data: bytes, path: str, locator: str, config: SourceConfig, reading: Reading) -> Document:
    reading.record(len(data))
    text, bad = decode(data)
    if bad >= 0:
        reading.damage("encoding", offset=bad, locator=locator, detail="bytes that are no UTF-8 are left out")
    path = path[: -len(".txt")]
    name = path.rpartition("/")[2]
    id = name if PUBLISHED_NAME.fullmatch(name) else path
    return Document(f"{config.label}:{id}", reading.origin, locator, text, payload_bytes=len(data))
