"""HTTP by the standard library: files from an offset on, and what went wrong in terms of whether to try again.

    url, offset ──GET with Range, If-Range──> Connection(stream, start, size, tag) | Dropped | InputError

A server may ignore the range, or have another file by now: then the connection starts at 0, with the new tag.
"""

from __future__ import annotations

import email.utils
import http.client
import io
import re
import ssl
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any, Protocol

from rbt import __version__
from rbt.errors import InputError

LONGEST_RETRY_AFTER_SECONDS = 900.0  # a server that asks for more is taken at its word for so long
TIMEOUT_SECONDS = 60.0
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
NO_HEAD_STATUS = frozenset({403, 405, 501})  # of servers that answer GET alone
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d+|\*)/(\d{1,18}|\*)")
_LENGTH = re.compile(r"[0-9]{1,18}")


class Dropped(Exception):
    """A connection that failed and may be tried again, `wait` seconds from now at the earliest."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


class Stream(Protocol):
    """The bytes of a connection."""

    def read(self, size: int, /) -> bytes:
        """Some bytes; b"" at the end. Raises Dropped."""

    def close(self) -> None:
        """Hang up."""


@dataclass(frozen=True)
class Connection:
    """An open remote file, at byte `start`. `size` of the whole file, -1 unknown; `tag`: ETag or date, "" unknown."""

    stream: Stream
    start: int
    size: int
    tag: str


def is_http(location: str) -> bool:
    """Whether a location is read over HTTP."""
    return location.lower().startswith(("http://", "https://"))


class _HttpBody:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self._response = response
        self._length = response.length or 0  # of the body, as announced; what is left of it is counted by the response

    def read(self, size: int, /) -> bytes:
        try:
            data = self._response.read1(size)
        except (OSError, http.client.HTTPException, ValueError) as error:  # the last: nonsense for a chunk's size
            raise Dropped(f"{type(error).__name__}: {error}") from error
        if size and not data and (left := self._response.length):  # read1 is silent about it, unlike read
            raise Dropped(f"the connection was closed after {self._length - left} of {self._length} bytes")
        return data

    def close(self) -> None:
        self._response.close()


def _request(url: str, method: str, headers: dict[str, str]) -> http.client.HTTPResponse:
    """Answer to a request. Raises Dropped, InputError, and HTTPError 416 where a range lies behind the end."""
    fields = {"User-Agent": f"rbt/{__version__}", "Accept-Encoding": "identity", **headers}
    try:
        escaped = urllib.parse.quote(url, safe=string.punctuation)  # blanks and letters that are not in ASCII
        request = urllib.request.Request(escaped, method=method, headers=fields)
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in PASSING_STATUS:
            raise Dropped(f"HTTP {error.code} {error.reason}", _retry_after(error.headers)) from error
        if (error.code == 416 and "Range" in headers) or method == "HEAD":
            raise
        found = f"HTTP {error.code} {error.reason}"
        raise InputError("expected a file on the server", path=url, found=found) from error
    except (http.client.InvalidURL, ValueError) as error:
        raise InputError("expected a URL", path=url, found=str(error)) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise InputError("expected a certificate to trust", path=url, found=str(reason)) from error
        raise Dropped(f"{type(reason).__name__}: {reason}") from error
    return response


def _retry_after(headers: Any) -> float:
    value = (headers.get("Retry-After") or "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), LONGEST_RETRY_AFTER_SECONDS)
    try:
        seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)


def _tag(headers: Any) -> str:
    return str(headers.get("ETag") or headers.get("Last-Modified") or "")


def connect_http(url: str, offset: int, tag: str) -> Connection:
    """Open a file at an offset, or at 0. Raises Dropped, InputError."""
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if offset and tag and not tag.startswith("W/"):  # a weak ETag may not stand there; it is compared all the same
        headers["If-Range"] = tag
    try:
        response = _request(url, "GET", headers)
    except urllib.error.HTTPError as error:  # 416: nothing there to read, which is no error at the very end
        _, size = _content_range(error.headers)
        if size < 0:
            return connect_http(url, 0, "")
        return Connection(io.BytesIO(), offset, size, _tag(error.headers))
    if response.status == http.client.PARTIAL_CONTENT:
        start, size = _content_range(response.headers)
        if start == offset and (not tag or _tag(response.headers) in ("", tag)):
            return Connection(_HttpBody(response), start, size, _tag(response.headers))
        response.close()  # another file, or another part than was asked for
        if not offset:
            raise Dropped("the server answers with a part of the file")
        return connect_http(url, 0, "")
    return Connection(_HttpBody(response), 0, _length(response.headers), _tag(response.headers))


def _length(headers: Any) -> int:
    value = (headers.get("Content-Length") or "").strip()
    return int(value) if _LENGTH.fullmatch(value) else -1


def _content_range(headers: Any) -> tuple[int, int]:
    """(first byte, size of the whole), each -1 where it is not said."""
    found = _CONTENT_RANGE.fullmatch((headers.get("Content-Range") or "").strip())
    if found is None:
        return -1, -1
    return int(found[1] or -1), -1 if found[2] == "*" else int(found[2])


def stat_http(url: str) -> tuple[int, str]:
    """(size or -1, tag or "") of a file, by HEAD where the server knows it. Raises Dropped, InputError."""
    try:
        with _request(url, "HEAD", {}) as response:
            return _length(response.headers), _tag(response.headers)
    except urllib.error.HTTPError as error:
        if error.code not in NO_HEAD_STATUS:
            found = f"HTTP {error.code} {error.reason}"
            raise InputError("expected a file on the server", path=url, found=found) from error
    connection = connect_http(url, 0, "")
    connection.stream.close()
    return connection.size, connection.tag
