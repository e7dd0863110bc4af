"""Reading WARC records to their content: rbt beside fastwarc and warcio, in one run, on one core.

    python benchmarks/warc.py [RBT_DATA]

Every record's headers are parsed and its content is read; HTTP is left alone. rbt also knows of each record whether it
is whole. Three files: real news pages and the text of them as a WET file has it, both gzipped record by record, and
the pages uncompressed. Processor seconds, medians of RUNS runs in turn; MB are those of the content. Needs warcio.
"""

from __future__ import annotations

import gzip
import io
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path

from fastwarc.warc import ArchiveIterator

from rbt.corpus.extract.html import extract_article
from rbt.corpus.reading import Reading
from rbt.corpus.sources.raw import open_raw
from rbt.corpus.sources.warc import WarcReader, parse_http

try:
    from warcio.archiveiterator import ArchiveIterator as WarcioIterator
except ImportError:
    sys.exit("needs warcio: pip install warcio")

RUNS = 5
LIMIT = 1 << 30  # bytes of a record


def by_rbt(path: Path) -> tuple[int, int]:
    """Records and bytes of content."""
    records = size = 0
    with open_raw(str(path), Reading("ccnews", path.name), begins=b"WARC/") as stream:
        for record in WarcReader(stream, LIMIT):
            records, size = records + 1, size + len(record.content)
    return records, size


def by_fastwarc(path: Path) -> tuple[int, int]:
    """Records and bytes of content."""
    records = size = 0
    with path.open("rb") as stream:
        for record in ArchiveIterator(stream, parse_http=False):
            records, size = records + 1, size + len(record.reader.read())
    return records, size


def by_warcio(path: Path) -> tuple[int, int]:
    """Records and bytes of content."""
    records = size = 0
    with path.open("rb") as stream, redirect_stderr(io.StringIO()):  # it writes of addresses with spaces
        for record in WarcioIterator(stream, no_record_parse=True):
            records, size = records + 1, size + len(record.raw_stream.read())
    return records, size


READERS: dict[str, Callable[[Path], tuple[int, int]]] = {
    f"fastwarc {version('fastwarc')}": by_fastwarc,
    f"warcio {version('warcio')}": by_warcio,
    "rbt": by_rbt,
}


def write_as_text(path: Path, target: Path) -> None:
    """A WET file of the pages."""
    with open_raw(str(path), Reading("ccnews", path.name)) as stream, target.open("wb") as out:
        for record in WarcReader(stream, LIMIT):
            if record.type != "response":
                continue
            text = extract_article(parse_http(record.content, LIMIT).body, None).text.encode()
            head = (
                f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: {record.url}\r\n"
                f"WARC-Date: {record.headers['warc-date']}\r\nWARC-Record-ID: <{record.id}>\r\n"
                f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n"
            )
            out.write(gzip.compress(head.encode() + text + b"\r\n\r\n", 6))


def measure(path: Path) -> None:
    """Print one table."""
    seconds: dict[str, list[float]] = {name: [] for name in READERS}
    found = set()
    for _ in range(RUNS):
        for name, reader in READERS.items():
            start = time.process_time()
            found.add(reader(path))
            seconds[name].append(time.process_time() - start)
    assert len(found) == 1, f"the readers disagree: {found}"
    (records, size), = found
    print(f"\n{path.name}: {records} records, {path.stat().st_size / 1e6:.1f} MB, content {size / 1e6:.1f} MB\n")
    print(f"{'reader':18}{'records/s':>12}{'MB/s':>9}{'CPU s':>9}")
    for name, runs in seconds.items():
        median = statistics.median(runs)
        print(f"{name:18}{records / median:12,.0f}{size / 1e6 / median:9.0f}{median:9.3f}")


def main() -> None:
    """Measure the three files."""
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("RBT_DATA", "../shared/data"))
    source = data / "warc" / "derived" / "CC-NEWS-like-A.warc.gz"
    print(f"Python {platform.python_version()}, {platform.machine()}, one core")
    with tempfile.TemporaryDirectory() as folder:
        text, plain = Path(folder, "text.warc.wet.gz"), Path(folder, "plain.warc")
        write_as_text(source, text)
        plain.write_bytes(gzip.decompress(source.read_bytes()))
        for path in (source, text, plain):
            measure(path)


if __name__ == "__main__":
    main()
