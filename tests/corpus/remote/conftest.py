"""A real HTTP server on loopback that fails as it is told to."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Fault:
    """What one request meets. The default is a good answer."""

    status: int = 0  # answer with this status and no file
    retry_after: str = ""
    cut: int = -1  # close the connection after so many bytes of the answer's body
    ignore_range: bool = False
    content: bytes | None = None  # another file by now
    tag: str | None = None  # another ETag by now; "" = none
    length: int = -1  # a Content-Length that is not so
    seconds_a_chunk: float = 0.0  # between pieces of 10,000 bytes
    chunked: bool = False  # no length is given before the body
    shift: int = 0  # answer a range from so many bytes before it
    terse: bool = False  # answer a range without the file's tag and size


@dataclass
class Request:
    """What a client asked for."""

    method: str
    path: str
    range: str
    if_range: str


@dataclass
class FaultServer:
    """Files by path, and the faults that the next requests for each will meet, in order."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    always: dict[str, Fault] = field(default_factory=dict)  # met by every request that has no other
    refuses_head: bool = False
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def gets(self, path: str) -> list[Request]:
        """The GET requests for a path, in order."""
        return [request for request in self.requests if request.method == "GET" and request.path == path]

    def next_fault(self, path: str) -> Fault:
        """The fault of the next request for a path."""
        with self.lock:
            waiting = self.faults.get(path, [])
            return waiting.pop(0) if waiting else self.always.get(path, Fault())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faulty: FaultServer

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server, path = self.faulty, self.path
        asked = self.headers.get("Range", "")
        server.requests.append(Request(self.command, path, asked, self.headers.get("If-Range", "")))
        self.close_connection = True
        fault = Fault() if self.command == "HEAD" else server.next_fault(path)
        if self.command == "HEAD" and server.refuses_head:
            fault = Fault(status=405)
        content = fault.content if fault.content is not None else server.files.get(path)
        if fault.status or content is None:
            self._refuse(fault.status or 404, fault.retry_after)
            return
        tag = f'"{len(content)}"' if fault.tag is None else fault.tag
        start, partial = 0, re.fullmatch(r"bytes=(\d+)-", asked)
        if partial and not fault.ignore_range and self.headers.get("If-Range", tag) == tag:
            start = max(int(partial[1]) - fault.shift, 0)
            if start >= len(content):
                self._refuse(416, "", f"bytes */{len(content)}")
                return
        self._send(content, start, tag, fault, is_partial=start > 0)

    def _refuse(self, status: int, retry_after: str, content_range: str = "") -> None:
        self.send_response(status)
        if retry_after:
            self.send_header("Retry-After", retry_after)
        if content_range:
            self.send_header("Content-Range", content_range)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, content: bytes, start: int, tag: str, fault: Fault, *, is_partial: bool) -> None:
        body = content[start:]
        self.send_response(206 if is_partial else 200)
        if tag and not fault.terse:
            self.send_header("ETag", tag)
        if is_partial:
            size = "*" if fault.terse else len(content)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{size}")
        if fault.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(fault.length if fault.length >= 0 else len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        sent = body if fault.cut < 0 else body[: fault.cut]
        for piece in (sent[at : at + 10_000] for at in range(0, len(sent), 10_000)):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece) if fault.chunked else piece)
            if fault.seconds_a_chunk:
                time.sleep(fault.seconds_a_chunk)
        if fault.chunked and fault.cut < 0:
            self.wfile.write(b"0\r\n\r\n")


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that goes away is part of the tests


@pytest.fixture
def server() -> Iterator[FaultServer]:
    """A server of this test's own."""
    faulty = FaultServer()
    handler = type("Handler", (_Handler,), {"faulty": faulty})
    with _Server(("127.0.0.1", 0), handler) as http:
        faulty.url = f"http://127.0.0.1:{http.server_address[1]}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield faulty
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts are short, and the machine's proxies are not asked."""
    monkeypatch.setattr("rbt.remote.FIRST_WAIT_SECONDS", 0.001)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
