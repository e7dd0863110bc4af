"""Files that ask for more memory than there is: little is taken, and the reason says why.

Each bomb is read in a process of its own, whose address space may grow by ALLOWED_BYTES: beyond that, it would fail.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

BOMB_BYTES = 256 << 20
ALLOWED_BYTES = 160 << 20  # a page of 10 MB, an xz dictionary of 64 MiB
LARGE_BOMB_BYTES = 1 << 30  # for what keeps up to 64 MiB of a row or a page, and holds it more than once
LARGE_ALLOWED_BYTES = 420 << 20
READ = """
import json, resource, sys
from pathlib import Path
from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import read_documents

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), hard))
for path in sys.argv[3:]:
    reading = Reading(sys.argv[1], Path(path).name)
    for document in read_documents(path, SourceConfig(sys.argv[1], (path,)), reading):
        reading.row.keep(document.payload_bytes)
    assert reading.row.imbalance() == (0, 0)
    reasons = [row["reason"] for row in reading.quarantined]
    print(json.dumps([reading.row.outgoing.documents, reasons, reading.row.incoming.bytes]))
"""

Found = tuple[int, list[str]]  # documents, reasons


def read(kind: str, paths: list[Path], allowed: int = ALLOWED_BYTES) -> list[Found]:
    """What files give when they are read in little memory; the bytes met are never made up by a header."""
    command = [sys.executable, "-c", READ, kind, str(allowed), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(size <= LARGE_BOMB_BYTES + (1 << 20) for _, _, size in rows)
    return [(documents, reasons) for documents, reasons, _ in rows]


def write(folder: Path, files: dict[str, bytes]) -> list[Path]:
    """Write files by name."""
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    return [folder / name for name in files]


def deflate_zeros(head: bytes, zeros: int, tail: bytes) -> bytes:
    """Raw deflate of `head`, many zeros and `tail`: behind a full flush a block stands for itself, and is repeated."""
    encoder = zlib.compressobj(9, wbits=-15)
    first = encoder.compress(head) + encoder.flush(zlib.Z_FULL_FLUSH)
    block = encoder.compress(bytes(1 << 20)) + encoder.flush(zlib.Z_FULL_FLUSH)
    return first + block * (zeros >> 20) + encoder.compress(tail) + encoder.flush()


def checksum(of: Callable[[bytes, int], int], head: bytes, zeros: int, tail: bytes, start: int) -> int:
    """zlib's crc32 (`start` 0) or adler32 (1) of the same."""
    value, block = of(head, start), bytes(1 << 20)
    for _ in range(zeros >> 20):
        value = of(block, value)
    return of(tail, value)


def gzip_zeros(head: bytes, zeros: int, tail: bytes = b"") -> bytes:
    """A gzip member of `head`, many zeros and `tail`."""
    size = len(head) + (zeros >> 20 << 20) + len(tail)
    ending = struct.pack("<II", checksum(zlib.crc32, head, zeros, tail, 0), size)
    return b"\x1f\x8b\x08" + bytes(6) + b"\xff" + deflate_zeros(head, zeros, tail) + ending


def warc_head(number: int, length: int, type: str = "response") -> bytes:
    """A WARC record's head."""
    return (
        f"WARC/1.0\r\nWARC-Type: {type}\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Date: 2017-01-01T00:00:00Z"
        f"\r\nWARC-Target-URI: http://news.example/{number}\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def response(number: int, body: bytes, coding: str = "") -> bytes:
    """A gzip member with a page."""
    http = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{coding}\r\n".encode() + body
    return gzip.compress(warc_head(number, len(http)) + http + b"\r\n\r\n", 1)


GOOD = response(9, b"<p>A page.</p>")
HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"


@pytest.mark.slow
def test_a_member_that_inflates_to_one_huge_record_or_to_none_is_passed_over(tmp_path: Path) -> None:
    """The good record behind it is kept."""
    endless = b"WARC/1.0\r\nWARC-Type: response\r\nX: "
    heads = [warc_head(1, len(HTTP) + BOMB_BYTES) + HTTP, endless, b"no record\r\n", b""]
    files = {f"{number}.warc.gz": gzip_zeros(head, BOMB_BYTES, b"\r\n\r\n") + GOOD for number, head in enumerate(heads)}
    assert all(len(raw) < BOMB_BYTES / 900 for raw in files.values())
    found = read("ccnews", write(tmp_path, files))
    assert found == [(1, ["too_large"]), *[(1, ["bad_record"])] * 3]


def bodies() -> dict[str, tuple[str, bytes]]:
    """HTTP bodies that decode to far more than they are: header fields, body."""
    zeros = gzip_zeros(b"", BOMB_BYTES)
    brotli = pa.compress(bytes(BOMB_BYTES), "brotli", asbytes=True)
    deflated = deflate_zeros(b"", BOMB_BYTES, b"")
    adler = struct.pack(">I", checksum(zlib.adler32, b"", BOMB_BYTES, b"", 1))
    return {
        "gzip": ("Content-Encoding: gzip\r\n", zeros),
        "gzip of gzip": ("Content-Encoding: gzip, gzip\r\n", gzip.compress(zeros)),
        "raw deflate": ("Content-Encoding: deflate\r\n", deflated),
        "zlib": ("Content-Encoding: deflate\r\n", b"\x78\x9c" + deflated + adler),
        "brotli": ("Content-Encoding: br\r\n", brotli),
        "zstd": ("Content-Encoding: zstd\r\n", zstd_zeros(BOMB_BYTES)),
    }


def zstd_frame(window_log: int, blocks: list[tuple[int, bytes, int]]) -> bytes:
    """A frame without checksum of blocks (0: raw, 1: one byte repeated; data; size), after RFC 8878, section 3.1.1."""
    parts = [b"\x28\xb5\x2f\xfd", bytes([0, window_log - 10 << 3])]
    for number, (kind, data, size) in enumerate(blocks):
        header = struct.pack("<I", int(number == len(blocks) - 1) | kind << 1 | size << 3)
        parts += [header[:3], data]
    return b"".join(parts)


def zstd_zeros(size: int) -> bytes:
    """A frame of zeros: four bytes stand for 128 KiB."""
    return zstd_frame(20, [(1, b"\0", 1 << 17)] * (size >> 17))


def test_bodies_that_decode_to_far_more_are_too_large(tmp_path: Path) -> None:
    """Every coding that a server may use."""
    found = bodies()
    records = [response(number, body, coding) for number, (coding, body) in enumerate(found.values())]
    paths = write(tmp_path, {"bomb.warc.gz": b"".join(records) + GOOD})
    assert paths[0].stat().st_size < 2 << 20
    assert read("ccnews", paths) == [(1, ["too_large"] * len(found))]


def test_lengths_that_announce_more_than_there_is_take_what_is_there(tmp_path: Path) -> None:
    """Of chunks and of records."""
    good = gzip.decompress(GOOD)
    chunks, lengths = (1 << 31, 10**14, 1 << 62), (1 << 33, 1 << 59, 1 << 62, 1 << 70)
    body, coding = b"%x\r\n<p>A page.</p>", "Transfer-Encoding: chunked\r\n"
    files = {f"chunk {size}.warc.gz": response(1, body % size, coding) + GOOD for size in chunks}
    files |= {f"record {size}.warc": good + warc_head(1, size) + HTTP + b"x" * 100 for size in lengths}
    lies = ["truncated" if size < 10**18 else "bad_record" for size in lengths]
    assert read("ccnews", write(tmp_path, files)) == [(2, [])] * 3 + [(1, [lie]) for lie in lies]


def xz_with_dictionary(data: bytes, code: int) -> bytes:
    """An xz stream that announces a dictionary of another size (.xz format, section 5.3.1: 40 is 4 GiB)."""
    raw = bytearray(lzma.compress(data, preset=0))
    size = (raw[12] + 1) * 4
    assert raw[14:16] == b"\x21\x01"  # the LZMA2 filter and the size of its properties
    raw[16] = code
    raw[12 + size - 4 : 12 + size] = struct.pack("<I", zlib.crc32(raw[12 : 12 + size - 4]))
    return bytes(raw)


ROW = b'{"id": "1", "text": "A row."}\n'


def test_an_xz_dictionary_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    """Memory is asked for in the header, before any data."""
    codes = {28: [], 36: ["too_much_memory"], 40: ["too_much_memory"]}  # of 64 MiB, 1 GiB, 4 GiB
    files = {f"{code}.jsonl.xz": xz_with_dictionary(ROW, code) + lzma.compress(ROW) for code in codes}
    assert read("table", write(tmp_path, files)) == [(2 - len(reasons), reasons) for reasons in codes.values()]


@pytest.mark.slow
def test_a_row_without_an_end_is_passed_over_whatever_compresses_it(tmp_path: Path) -> None:
    """A gigabyte or half of one, and the row behind it is kept."""
    bomb = b'{"text": "' + bytes(64 << 20)
    files = {
        "rows.jsonl.gz": gzip_zeros(b"", LARGE_BOMB_BYTES, b"\n") + gzip.compress(ROW),
        "rows.jsonl.bz2": bz2.compress(bomb) * 8 + bz2.compress(b"\n" + ROW),
        "rows.jsonl.xz": lzma.compress(bomb, preset=0) * 8 + lzma.compress(b"\n" + ROW),
        "rows.jsonl.zst": zstd_zeros(LARGE_BOMB_BYTES) + zstd_frame(10, [(0, b"\n" + ROW, len(ROW) + 1)]),
    }
    found = read("table", write(tmp_path, files), LARGE_ALLOWED_BYTES)
    assert found == [(1, ["too_large"])] * len(files)


def tar_header(size: int) -> bytes:
    """A header of "a.txt" with the size in base 256, as GNU tar writes what eight digits cannot hold."""
    header = bytearray(tarfile.TarInfo("a.txt").tobuf(tarfile.GNU_FORMAT)[:512])
    header[124:136] = (b"\x80" if size >= 0 else b"\xff") + (size % 256**11).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.parametrize("kind", ["openwebtext", "bookcorpus"])
def test_a_tar_header_that_announces_what_cannot_be_is_broken(kind: str, tmp_path: Path) -> None:
    """More than an archive holds, and less than nothing."""
    sizes = (8 << 60, 256**11 - 1, -1, -1024)
    files = {f"{size}.tar.gz": gzip_zeros(tar_header(size) + b"x", BOMB_BYTES if size == -1 else 0) for size in sizes}
    assert read(kind, write(tmp_path, files)) == [(0, ["unreadable"])] * len(sizes)


ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha" * 10}">' for n in range(10))


@pytest.mark.parametrize(
    ("declared", "used"),
    [(ENTITIES, "&e9;"), ('<!ENTITY file SYSTEM "{secret}">', "&file;"), ('<!ENTITY % x SYSTEM "{secret}"> %x;', "")],
)
@pytest.mark.parametrize("inside", [False, True])
def test_entities_of_a_dump_are_never_resolved(
    declared: str, used: str, inside: bool, tmp_path: Path, read_source: Any
) -> None:
    """Neither in the dump's head nor in a page's."""
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    doctype = f"<!DOCTYPE mediawiki [{declared.replace('{secret}', str(secret))}]>"
    pages = [
        f"<page><title>P</title><ns>0</ns><id>{number}</id><revision><text>Prose. {entity}</text></revision></page>"
        for number, entity in ((1, used), (2, ""))
    ]
    if inside:
        pages[0] = doctype + pages[0].replace("<page>", f"<page>{doctype}")
    path = tmp_path / "wiki.xml"
    path.write_text(f'<?xml version="1.0"?>{"" if inside else doctype}<mediawiki>{"".join(pages)}</mediawiki>')
    outcome = read_source(path, "wikipedia")
    assert outcome.documents[-1].locator == "2"
    assert outcome.reasons == (["bad_xml"] if used or inside else [])
    assert not any("secret" in text or "haha" in text for text in outcome.texts)


@pytest.mark.slow
def test_a_page_of_a_dump_without_an_end_is_passed_over(tmp_path: Path) -> None:
    """And the page behind it is kept."""
    page = b"<page><title>P</title><ns>0</ns><id>2</id><revision><text>Prose.</text></revision></page></mediawiki>"
    bomb = gzip_zeros(b"<mediawiki><page><id>1</id>", LARGE_BOMB_BYTES, page)
    [(documents, reasons)] = read("wikipedia", write(tmp_path, {"wiki.xml.gz": bomb}), LARGE_ALLOWED_BYTES)
    assert documents == 1
    assert set(reasons) == {"too_large"}
