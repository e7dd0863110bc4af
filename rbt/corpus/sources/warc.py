"""WARC records from a stream that may be damaged: headers and content, each record known to be whole or cut.

    RawStream ──frame──> header block ──fastwarc──> headers, Content-Length ──> content bytes ──> WarcRecord
    content ──fastwarc──> status, HTTP headers, payload ──undo its codings by fastwarc, last first──> HttpResponse

Only the framing is done here: fastwarc stops at the first bad record of a plain file and cannot tell a cut record from
a whole one, nor one that is damaged behind its last byte. The tests compare the two.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import fastwarc.warc
from fastwarc.stream_io import BrotliReader, ChunkedReader, GzipReader, ZstdReader
from fastwarc.stream_io import WarcReader as PayloadReader
from fastwarc.warc import HeaderMap

from rbt.corpus.sources.compression import PIECE_BYTES
from rbt.corpus.sources.raw import RawStream

MAXIMUM_HEADER_BYTES = 1 << 15
PARSED_BYTES = 1 << 14  # fastwarc refuses a longer block of headers
HEAD_BYTES = 1 << 16  # what is kept of a record that is too large: enough for its HTTP headers
ARC = b"filedesc:"  # how its first record starts
_VERSION = re.compile(rb"WARC/\d")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_FIELD_END = re.compile(rb"\n(?![ \t])")  # a field goes on in lines that start with a blank
_CHUNK_SIZE = re.compile(rb"\s*([0-9a-fA-F]{1,15})[ \t]*(?:;[^\n]{0,1000})?\r?\n")
# The first of them tells text from what is compressed: MIME Sniffing Standard, section 3, "binary data byte".
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
_BINARY_WITHIN = 1445  # bytes, its "resource header"
# fastwarc's http_charset keeps quotes, and finds nothing where spaces stand around the equals sign.
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)

_READERS: dict[str, Callable[[io.BytesIO], PayloadReader]] = {
    "chunked": ChunkedReader,
    "gzip": GzipReader,
    "x-gzip": GzipReader,
    "deflate": partial(GzipReader, zlib=True),
    "br": BrotliReader,
    "zstd": ZstdReader,
}
_NO_CODING = frozenset({"", "identity", "utf-8"})


@dataclass(frozen=True)
class WarcRecord:
    """One record. `offset`: in the decompressed file.

    `size`: bytes of its content, as its header states them; where the stream ends in it, bytes that are there.
    """

    headers: dict[str, str]  # names in lower case
    content: bytes  # the first HEAD_BYTES where it is larger than the limit
    offset: int
    size: int
    problem: str = ""  # "", "truncated" (the stream ends in it), "too_large", "bad_record" or "arc_format"

    @property
    def id(self) -> str:
        """WARC-Record-ID without its angle brackets."""
        return self.headers.get("warc-record-id", "").strip("<> ")

    @property
    def type(self) -> str:
        """WARC-Type in lower case."""
        return self.headers.get("warc-type", "").lower()

    @property
    def url(self) -> str:
        """WARC-Target-URI (some writers put it in angle brackets)."""
        return self.headers.get("warc-target-uri", "").strip("<> ")


class WarcReader:
    """Reads records up to the end of the stream or its next damage; of a file in the older ARC format, none.

    Memory: one record of up to `maximum_content` bytes, whatever its header states.
    """

    def __init__(self, stream: RawStream, maximum_content: int) -> None:
        self._stream, self._maximum = stream, maximum_content
        self._buffer = b""

    def __iter__(self) -> Iterator[WarcRecord]:
        while self._skip_blank():
            offset = self._stream.position - len(self._buffer)
            if self._buffer.startswith(ARC):
                yield WarcRecord({}, b"", offset, 0, "arc_format")
                return
            yield self._record(offset) if _VERSION.match(self._buffer) else self._junk(offset)

    def _fill(self) -> bool:
        more = self._stream.read_some()
        self._buffer += more
        return bool(more)

    def _skip_blank(self) -> bool:
        """Move to the next byte that is no line end; False at the end."""
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            if len(self._buffer) >= len(ARC):
                return True
            if not self._fill():
                return bool(self._buffer.strip())

    def _junk(self, offset: int) -> WarcRecord:
        """What is no record, up to the next line that starts one."""
        size = 0
        while (found := self._buffer.find(b"\nWARC/1.")) < 0:
            size += max(len(self._buffer) - 8, 0)
            self._buffer = self._buffer[-8:]
            if not self._fill():
                found = len(self._buffer) - 1
                break
        size += found + 1
        self._buffer = self._buffer[found + 1 :]
        return WarcRecord({}, b"", offset, size, "bad_record")

    def _record(self, offset: int) -> WarcRecord:
        while (end := _HEADER_END.search(self._buffer)) is None:
            if len(self._buffer) > MAXIMUM_HEADER_BYTES:
                return self._junk(offset)
            if not self._fill():
                partial, self._buffer = self._buffer, b""
                return WarcRecord(parse_headers(partial), b"", offset, 0, "truncated")
        headers = parse_headers(self._buffer[: end.start()])
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            return self._junk(offset)
        self._buffer = self._buffer[end.end() :]
        content, read = self._content(int(length))
        problem = "truncated" if read < int(length) else "too_large" if int(length) > self._maximum else ""
        return WarcRecord(headers, content, offset, read, problem)

    def _content(self, length: int) -> tuple[bytes, int]:
        """What is kept of the content, and how many bytes of it there are."""
        keep = length if length <= self._maximum else HEAD_BYTES
        parts, read = [self._buffer[:length]], min(len(self._buffer), length)
        self._buffer = self._buffer[length:]
        while read < length and (piece := self._stream.read(min(PIECE_BYTES, length - read))):
            if read < keep:
                parts.append(piece)
            read += len(piece)
        return b"".join(parts)[:keep], read


@contextmanager
def _refusals() -> Iterator[None]:
    """Turn what fastwarc raises into ValueError: OSError, and panics of its Rust code, whose type is no Exception.

    A panic's own text is on standard error by then: Rust writes it to the file descriptor, which is the process's.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(str(error)) from error
    except BaseException as error:  # the type of a panic cannot be imported
        if (type(error).__module__, type(error).__name__) != ("pyo3_runtime", "PanicException"):
            raise
        raise ValueError(f"fastwarc panicked: {error}") from error


def parse_headers(block: bytes) -> dict[str, str]:
    """The fields of a WARC header block, its lines ended by CR LF or LF; none where fastwarc refuses the block."""
    lines = block.replace(b"\r\n", b"\n")
    parts = [lines] if 2 * len(lines) <= PARSED_BYTES else _FIELD_END.split(lines)
    found: dict[str, str] = {}
    with suppress(ValueError), _refusals():
        for number, part in enumerate(parts):
            fields = HeaderMap()
            fields.parse(io.BytesIO(part.replace(b"\n", b"\r\n")), has_status_line=number == 0)
            found = _first_of_each_name(fields) | found
        return found
    return {}


def _first_of_each_name(fields: HeaderMap) -> dict[str, str]:
    return {name.lower(): value for name, value in reversed(fields.items())}


@dataclass(frozen=True)
class HttpResponse:
    """An HTTP response, its body with all codings undone."""

    status: int
    mime: str  # media type in lower case, without parameters
    charset: str | None  # the parameter of the media type
    body: bytes


def parse_http(content: bytes, maximum_body: int) -> HttpResponse:
    """Parse a response record's content; a body longer than `maximum_body` is cut somewhere behind that length.

    Raises ValueError where the content is no HTTP response or its body cannot be decoded.
    """
    record = fastwarc.warc.WarcRecord()
    record.is_http = True
    record.set_bytes_content(content)
    with _refusals():
        record.parse_http(quirks_mode=True, max_header_len=len(content))
        status = record.http_headers.status_code if record.is_http_parsed else None
        if status is None:
            raise ValueError("expected an HTTP status line")
        headers, body = _first_of_each_name(record.http_headers), record.reader.read(len(content))
        codings = f"{headers.get('content-encoding', '')},{headers.get('transfer-encoding', '')}".lower().split(",")
        for coding in reversed(codings):
            if len(body) <= maximum_body:
                body = undo(coding.strip(), body, maximum_body)
        charset = _CHARSET.search(headers.get("content-type", ""))
        return HttpResponse(status, (record.http_content_type or "").lower(), charset[1] if charset else None, body)


def undo(coding: str, body: bytes, maximum: int) -> bytes:
    """Undo one content or transfer coding, up to a little more than `maximum` bytes.

    Crawlers store bodies they have decoded under the server's headers: text under the name of a compression comes back
    as it is. Raises ValueError for an unknown coding and for what is neither text nor can be decoded.
    """
    if coding in _NO_CODING:
        return body
    if coding not in _READERS:
        raise ValueError(f"content encoding {coding!r}")
    try:
        return _READERS[coding](io.BytesIO(body)).read(maximum + 1)
    except OSError as error:
        undone = unchunk(body) if coding == "chunked" else _inflate(body, maximum)
        if undone is not None:
            return undone
        if _BINARY.search(body, 0, _BINARY_WITHIN):
            raise ValueError(f"content encoding {coding!r}: {error}") from error
        return body


def unchunk(body: bytes) -> bytes:
    """Undo chunks that fastwarc refuses: with extensions, ended by LF or cut. What is not chunked comes back as is."""
    parts: list[bytes] = []
    position = 0
    while position < len(body):
        size = _CHUNK_SIZE.match(body, position)
        if size is None:
            return b"".join([*parts, body[position:]])
        length = int(size[1], 16)
        if length == 0:
            break
        parts.append(body[size.end() : size.end() + length])
        position = size.end() + length
        position += 2 if body[position : position + 2] == b"\r\n" else int(body[position : position + 1] == b"\n")
    return b"".join(parts)


def _inflate(body: bytes, maximum: int) -> bytes | None:
    """Undo what fastwarc refuses: raw deflate, gzip and zlib under each other's name or with bytes behind the end."""
    for bits in (47, -15):  # 47: gzip or zlib by its header
        decoder = zlib.decompressobj(bits)
        with suppress(zlib.error):
            inflated = decoder.decompress(body, maximum + 1)
            if decoder.eof or len(inflated) > maximum:
                return inflated
    return None
