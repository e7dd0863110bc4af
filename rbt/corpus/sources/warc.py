"""WARC records from a stream that may be damaged: headers and content, each record known to be whole or cut.

    RawStream ──header block──> headers, Content-Length ──> content bytes (kept up to a limit) ──> WarcRecord
    content ──parse_http──> status, headers, body with its transfer and content encodings undone

The framing is read here and not by fastwarc, which stops at the first bad record of a plain file, cannot tell a cut
record from a whole one, and aborts on some inputs; the tests compare the two.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from rbt.corpus.sources.compression import PIECE_BYTES
from rbt.corpus.sources.raw import RawStream

MAXIMUM_HEADER_BYTES = 1 << 16
_VERSION = re.compile(rb"WARC/\d")
_HEADER_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"\s*([0-9a-fA-F]{1,15})[^\n]{0,1000}\n")


@dataclass(frozen=True)
class WarcRecord:
    """One record. `offset`: in the decompressed file; `size`: the content's length as its header states it."""

    headers: dict[str, str]  # names in lower case
    content: bytes  # empty where it is larger than the limit
    offset: int
    size: int
    problem: str = ""  # "", "truncated" (the stream ends in it), "too_large" or "bad_record"

    @property
    def id(self) -> str:
        """WARC-Record-ID without its angle brackets."""
        return self.headers.get("warc-record-id", "").strip("<> ")

    @property
    def url(self) -> str:
        """WARC-Target-URI (some writers put it in angle brackets)."""
        return self.headers.get("warc-target-uri", "").strip("<> ")


class WarcReader:
    """Reads records up to the end of the stream or its next damage."""

    def __init__(self, stream: RawStream, maximum_content: int) -> None:
        self._stream, self._maximum = stream, maximum_content
        self._buffer = b""

    def __iter__(self) -> Iterator[WarcRecord]:
        while self._skip_blank():
            offset = self._stream.position - len(self._buffer)
            yield self._record(offset) if _VERSION.match(self._buffer) else self._junk(offset)

    def _fill(self) -> bool:
        more = self._stream.read_some()
        self._buffer += more
        return bool(more)

    def _skip_blank(self) -> bool:
        """Move to the next byte that is no line end; False at the end."""
        while True:
            self._buffer = self._buffer.lstrip(b"\r\n")
            if len(self._buffer) >= 8:
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
        return WarcRecord(headers, content, offset, int(length), problem)

    def _content(self, length: int) -> tuple[bytes, int]:
        kept = [self._buffer[:length]]
        self._buffer = self._buffer[length:]
        read = len(kept[0])
        while read < length:
            piece = self._stream.read(min(PIECE_BYTES, length - read))
            if not piece:
                break
            read += len(piece)
            if length <= self._maximum:
                kept.append(piece)
        return b"".join(kept) if length <= self._maximum else b"", read


def parse_headers(block: bytes) -> dict[str, str]:
    """Header fields behind the first line; names in lower case, the first of a name wins, folded lines joined."""
    headers: dict[str, str] = {}
    name = ""
    for line in block.split(b"\n")[1:]:
        text = line.rstrip(b"\r").decode("utf-8", "replace")
        if text[:1] in (" ", "\t") and name:
            headers[name] = f"{headers[name]} {text.strip()}"
            continue
        key, colon, value = text.partition(":")
        name = key.strip().lower()
        if colon and name not in headers:
            headers[name] = value.strip()
        elif name not in headers:
            name = ""
    return headers


@dataclass(frozen=True)
class HttpResponse:
    """An HTTP response, its body as far as its encodings could be undone."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def mime(self) -> str:
        """Media type in lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def charset(self) -> str | None:
        """The charset parameter of the media type."""
        found = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", self.headers.get("content-type", ""), re.IGNORECASE)
        return found[1] if found else None


def parse_http(content: bytes, maximum_body: int) -> HttpResponse:
    """Parse a response record's content. Raises ValueError where it is no HTTP response or cannot be decoded."""
    end = _HEADER_END.search(content)
    head = content[: end.start()] if end else content
    status = re.match(rb"HTTP/\d(?:\.\d)?\s+(\d{3})\b", head)
    if status is None:
        raise ValueError("expected an HTTP status line")
    headers = parse_headers(head)
    body = content[end.end() :] if end else b""
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = unchunk(body)
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding in ("gzip", "x-gzip", "deflate"):
        body = _inflate(body, maximum_body)
    elif encoding not in ("", "identity", "utf-8"):
        raise ValueError(f"content encoding {encoding!r}")
    return HttpResponse(int(status[1]), headers, body)


def unchunk(body: bytes) -> bytes:
    """Undo chunked transfer encoding; a body that is not in fact chunked comes back as it is."""
    parts: list[bytes] = []
    position = 0
    while position < len(body):
        size = _CHUNK_SIZE.match(body, position)
        if size is None:
            return body if not parts else b"".join([*parts, body[position:]])
        length = int(size[1], 16)
        if length == 0:
            break
        parts.append(body[size.end() : size.end() + length])
        position = size.end() + length
        position += 2 if body[position : position + 2] == b"\r\n" else int(body[position : position + 1] == b"\n")
    return b"".join(parts)


def _inflate(body: bytes, maximum: int) -> bytes:
    """Undo gzip, zlib or raw deflate; a body that is not in fact compressed comes back as it is."""
    for bits in (47, -15):  # 47: gzip or zlib by its header
        try:
            inflated = zlib.decompressobj(bits).decompress(body, maximum + 1)
        except zlib.error:
            continue
        return inflated
    return body
