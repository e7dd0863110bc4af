"""Large raw files to spans: one task each, so that a single file keeps every core busy.

    location ──form by name──> borders (raw byte offsets at which a record starts) ──> [Span(start, stop, facts)]

A border is looked for behind every SPAN_BYTES, and found by reading a little, so planning a terabyte takes seconds:

    dump .xml        the next "<page>"
    dump .xml.bz2    the next bzip2 stream that begins with a page: by the index of a multistream dump where it lies
                     beside it, else by the streams' signature. Streams that cut pages (pbzip2) are no borders
    .jsonl, .json    the next line
    .parquet         row groups

What a source yields does not depend on borders, save for the `facts` that are passed to it. Other forms (one gzip
member, xz, tar) are one span.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from rbt.corpus.reading import Span
from rbt.errors import InputError
from rbt.storage import is_url, open_input

SPAN_BYTES = 64 << 20  # raw bytes of a task, more or less
INDEX_LINE_BYTES = 1 << 16  # of an index; a title has at most 255 bytes
WINDOW_BYTES = 1 << 20  # read at a time when a border is looked for
SEARCHED_BYTES = 32 << 20  # a multistream dump has a border every megabyte or so
PROBE_BYTES = 1 << 16  # decompressed bytes that tell whether a stream begins with a page
MAXIMUM_PROBES = 20  # streams that begin with no page, one behind the other, before a file is taken for no multistream
STREAM = re.compile(rb"BZh[1-9]1AY&SY")
PAGE = b"<page>"
_BASE = re.compile(rb"<base>\s*([^<\s]+)\s*</base>")
_MULTISTREAM = re.compile(r"-multistream(\d*)\.xml")

Borders = Callable[[IO[bytes], str, int], list[int]]


def split(location: str, size: int, kind: str) -> list[Span]:
    """The spans of a raw file of `size` bytes, in order and without gaps; one of the whole file if it is not split."""
    if size < 2 * SPAN_BYTES:
        return [Span(0, size)]
    name = location.lower().rpartition("/")[2]
    if name.endswith(".parquet"):
        return _row_groups(location, size)
    borders = _borders_of(name, kind)
    if borders is None:
        return [Span(0, size)]
    try:
        with open_input(location) as stream:
            found = borders(stream, location, size)
            base = _base(stream, name) if kind == "wikipedia" else ""
    except InputError:  # the reader says what is wrong with it
        return [Span(0, size)]
    facts = [{"base": base, "last": stop == size} if kind == "wikipedia" else {} for stop in [*found, size]]
    return [Span(*ends, fact) for ends, fact in zip(zip([0, *found], [*found, size], strict=True), facts, strict=True)]


def _borders_of(name: str, kind: str) -> Borders | None:
    if kind == "wikipedia":
        return {".xml": _page_borders, ".bz2": _stream_borders}.get(name[-4:]) if ".xml" in name else None
    if name.endswith((".jsonl", ".json", ".ndjson")) and kind in ("table", "openwebtext", "stories"):
        return _line_borders
    return None


def _line_borders(stream: IO[bytes], location: str, size: int) -> list[int]:
    return _next_places(stream, size, _find_line)


def _find_line(window: bytes, offset: int) -> int:
    found = window.find(b"\n")
    return offset + found + 1 if found >= 0 else -1


def _page_borders(stream: IO[bytes], location: str, size: int) -> list[int]:
    return _next_places(stream, size, lambda window, offset: _place(window.find(PAGE), offset))


def _place(found: int, offset: int) -> int:
    return offset + found if found >= 0 else -1


def _stream_borders(stream: IO[bytes], location: str, size: int) -> list[int]:
    indexed = _index_borders(stream, location, size)
    return indexed if indexed is not None else _next_places(stream, size, lambda w, o: _find_stream(stream, w, o))


def _find_stream(stream: IO[bytes], window: bytes, offset: int) -> int:
    for found in islice(STREAM.finditer(window), MAXIMUM_PROBES):
        if _begins_with_page(stream, offset + found.start()):
            return offset + found.start()
    return -1


def _begins_with_page(stream: IO[bytes], offset: int) -> bool:
    stream.seek(offset)
    return _probe(stream).lstrip().startswith(PAGE)


def _probe(stream: IO[bytes]) -> bytes:
    """The first decompressed bytes of the bzip2 stream here; b"" where there is none."""
    decompressor = bz2.BZ2Decompressor()
    try:
        for chunk in iter(lambda: stream.read(WINDOW_BYTES), b""):
            if data := decompressor.decompress(chunk, PROBE_BYTES):
                return data
            if decompressor.eof:
                break
    except OSError:  # what looked like a signature is none
        return b""
    return b""


def _next_places(stream: IO[bytes], size: int, find: Callable[[bytes, int], int]) -> list[int]:
    """The first place that `find` sees behind each multiple of SPAN_BYTES, none from where it sees none for long.

    Windows overlap by 16 bytes.
    """
    places: list[int] = []
    for begin in range(SPAN_BYTES, size - SPAN_BYTES // 2, SPAN_BYTES):
        for offset in range(begin, min(begin + SEARCHED_BYTES, size), WINDOW_BYTES):
            stream.seek(offset)
            place = find(stream.read(WINDOW_BYTES + 16), offset)
            if place >= 0:
                places.append(place)
                break
        else:
            break
    return places


def index_of(location: str) -> str:
    """Where the index of a multistream dump lies, or "" for another file's name.

    enwiki-20200101-pages-articles-multistream1.xml-p1p41242.bz2 has its index in
    enwiki-20200101-pages-articles-multistream-index1.txt-p1p41242.bz2.
    """
    folder, slash, name = location.rpartition("/")
    index, changed = _MULTISTREAM.subn(r"-multistream-index\1.txt", name)
    return f"{folder}{slash}{index}" if changed else ""


def _index_borders(stream: IO[bytes], location: str, size: int) -> list[int] | None:
    """Borders by the index; None where it is absent, unreadable, or not of this dump."""
    index = index_of(location)
    if not index or is_url(location) or not Path(index).is_file():
        return None
    places: list[int] = []
    try:
        for offset in _index_offsets(index):
            if offset >= (places[-1] if places else 0) + SPAN_BYTES and offset < size - SPAN_BYTES // 2:
                places.append(offset)
    except (OSError, EOFError, ValueError):
        return None
    return places if places and all(_begins_with_page(stream, place) for place in places) else None


def _index_offsets(index: str) -> Iterator[int]:
    """The first field of lines `offset:page id:title`."""
    with bz2.open(index, "rb") as lines:
        for line in iter(lambda: lines.readline(INDEX_LINE_BYTES), b""):
            yield int(line.partition(b":")[0])


def _base(stream: IO[bytes], name: str) -> str:
    stream.seek(0)
    head = _probe(stream) if name.endswith(".bz2") else stream.read(PROBE_BYTES)
    found = _BASE.search(head)
    return found[1].decode("utf-8", "replace") if found else ""


def _row_groups(location: str, size: int) -> list[Span]:
    """Spans of whole row groups. `facts`: `groups` [first, last + 1], `first_row` (from 1)."""
    source = open_input(location) if is_url(location) else location
    try:
        with pq.ParquetFile(source) as file:
            metadata = file.metadata
    except (OSError, pa.ArrowException):
        return [Span(0, size)]  # the reader says what is wrong with it
    spans: list[Span] = []
    start = group = 0
    row = first_row = 1
    for number in range(metadata.num_row_groups):
        row += metadata.row_group(number).num_rows
        last = number + 1 == metadata.num_row_groups
        stop = size if last else _group_start(metadata.row_group(number + 1))
        if stop - start >= SPAN_BYTES or last:
            spans.append(Span(start, stop, {"groups": [group, number + 1], "first_row": first_row}))
            start, group, first_row = stop, number + 1, row
    ordered = all(span.start < span.stop for span in spans)  # a writer may lay groups out in any order
    return spans if spans and ordered else [Span(0, size)]


def _group_start(group: pq.RowGroupMetaData) -> int:
    columns = [group.column(number) for number in range(group.num_columns)]
    pages = [offset for column in columns for offset in (column.dictionary_page_offset, column.data_page_offset)]
    return min(int(offset) for offset in pages if offset is not None)
