"""HTML extraction in a process of its own, one page at a time: whatever a page does to it costs that page alone.

    html ──shared file──> child: extract(html, charset) ──pipe──> title, date, text ──> Article
    charset ──pipe──┘                └─ dies, raises, or is stopped by the kernel at a limit ──> Refusal

The parsers are C and C++ libraries: in a billion pages one loops, one overruns the stack, one leaks. The child is
started with the first page, kept from file to file, and replaced after CHILD_PAGES pages, when it holds more than
CHILD_BYTES, and after each refusal. It ends with its parent: end of file on its pipe, or its own timers.

What comes out must not depend on the machine. So the limits lie far above what any page needs, time is the child's own
processor time (a loaded machine makes no page slower), the time on the clock counts only at PATIENCE times as much
(for what waits without working), what dies or runs out of memory is tried once more in a fresh child, and a child that
someone kills from outside is an error instead of a refusal. Requests and answers are lengths and bytes; nothing that
the child sends is evaluated.
"""

from __future__ import annotations

import atexit
import importlib
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import IO, BinaryIO

from rbt.corpus.extract.article import Article
from rbt.errors import ConfigError, RbtError

EXTRACTORS = {  # module:function of `extractor`
    "fast": "rbt.corpus.extract.html:extract_article",
    "trafilatura": "rbt.corpus.extract.trafilatura:extract_with_trafilatura",
}
CHILD_PAGES = 20_000  # pages after which a child is replaced
CHILD_BYTES = 1 << 30  # resident bytes, beyond which it is replaced
PAGE_MEMORY_BYTES = 4 << 30  # of address space, which a child may take beyond what it starts with
PATIENCE = 20  # seconds on the clock for each second of processor time
FIRST_PAGE = b"<html><head><title>A page</title></head><body><p>One sentence of it.</p></body></html>"
OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})

_REQUEST = struct.Struct("<Ii")  # bytes of HTML, of the charset's name (-1: none)
_ANSWER = struct.Struct("<B3IQ")  # _OK or not, bytes of three strings, resident bytes
_OK, _RAISED = 0, 1

Extract = Callable[[bytes, str | None], Article]


@dataclass(frozen=True)
class Refusal:
    """Why a page has no article. `reason`: "too_slow", "too_much_memory" or "crashed"."""

    reason: str
    detail: str


class Guard:
    """A child process that extracts pages. `target`: "module:function", `(html, charset) -> Article`."""

    def __init__(self, target: str, page_seconds: float, page_memory: int = PAGE_MEMORY_BYTES) -> None:
        self.settings = (target, page_seconds, page_memory)
        self._child: subprocess.Popen[bytes] | None = None
        self._html: IO[bytes] | None = None  # the page, in memory that both processes have
        self._messages: IO[bytes] | None = None  # the child's standard error
        self._pages = 0

    def extract(self, html: bytes, charset: str | None) -> Article | Refusal:
        """The article of a page.

        Raises ConfigError where the extractor cannot be loaded, RbtError where the child is killed from outside.
        """
        answer = self._ask(html, charset)
        if isinstance(answer, Refusal) and answer.reason != "too_slow":
            self.close()
            answer = self._ask(html, charset)  # it may have been the fault of pages before
        if isinstance(answer, Refusal):
            self.close()
        return answer

    def close(self) -> None:
        """End the child, if there is one. The next page starts another."""
        if self._child is not None:
            with self._child:  # waits, closes the pipes
                self._child.kill()
        for file in (self._html, self._messages):
            if file is not None:
                file.close()
        self._child = self._html = self._messages = None

    def _ask(self, html: bytes, charset: str | None) -> Article | Refusal:
        child = self._child or self._start()
        assert child.stdin is not None
        assert self._html is not None
        name = (charset or "").encode("utf-8", "replace")
        try:
            os.pwrite(self._html.fileno(), html, 0)  # a pipe would take it in many small turns
            with suppress(BrokenPipeError):
                _write(child.stdin, _REQUEST.pack(len(html), len(name) if charset is not None else -1) + name)
            answer, resident = self._answer(child)
        except BaseException:  # an interrupt: the rest of this answer must not be taken for the next one
            self.close()
            raise
        self._pages += 1
        if self._pages >= CHILD_PAGES or resident > CHILD_BYTES:
            self.close()
        return answer

    def _answer(self, child: subprocess.Popen[bytes]) -> tuple[Article | Refusal, int]:
        assert child.stdout is not None
        header = _read(child.stdout, _ANSWER.size)
        if len(header) == _ANSWER.size:
            kind, *sizes, resident = _ANSWER.unpack(header)
            fields = [_read(child.stdout, size) for size in sizes]
            if [len(part) for part in fields] == sizes:
                first, second, third = (part.decode("utf-8", "surrogatepass") for part in fields)
                return (Article(first, second, third) if kind == _OK else Refusal(first, second)), resident
        return self._obituary(child), 0

    def _obituary(self, child: subprocess.Popen[bytes]) -> Refusal:
        status = child.wait()
        number = -status if status < 0 else 0
        seconds = self.settings[1]
        if number == signal.SIGPROF:
            return Refusal("too_slow", f"more than {seconds:g} s of processor time")
        if number == signal.SIGALRM:
            return Refusal("too_slow", f"no end after {seconds * PATIENCE:g} s, most of them without work")
        if number in OUTSIDE:
            raise RbtError(
                "expected the process that extracts pages to be left alone",
                found=f"that it was killed by {signal.Signals(number).name}",
                cure="run the same command again: finished tasks are kept; use fewer --workers if memory is short",
            )
        how = signal.Signals(number).name if number else f"exit status {status}"
        return Refusal("crashed", f"{how} {self._last_message()}".strip())

    def _last_message(self) -> str:
        assert self._messages is not None
        self._messages.seek(max(self._messages.seek(0, os.SEEK_END) - 400, 0))
        lines = self._messages.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

    def _start(self) -> subprocess.Popen[bytes]:
        program = "from rbt.corpus.guard import serve; serve()"
        self._pages, self._html, self._messages = 0, _memory_file(), _memory_file()
        shared = self._html.fileno()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # inherited: Ctrl-C is for the parent
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", program, *map(str, (shared, *self.settings))], bufsize=0,
                pass_fds=(shared,), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._messages,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        hello, _ = self._answer(self._child)
        if isinstance(hello, Refusal):
            self.close()
            raise ConfigError(
                f"expected the extractor {self.settings[0]!r} to load", found=hello.detail or hello.reason,
                cure="install what it needs, or choose another `extractor`",
            )
        return self._child


_kept: Guard | None = None  # of this process


def extract_guarded(extractor: str, html: bytes, charset: str | None, page_seconds: float) -> Article | Refusal:
    """The article of a page, by one of EXTRACTORS in the child that this process keeps. See `Guard.extract`."""
    global _kept
    settings = (EXTRACTORS[extractor], page_seconds, PAGE_MEMORY_BYTES)
    if _kept is None or _kept.settings != settings:
        end_guarded()
        _kept = Guard(*settings)
    return _kept.extract(html, charset)


@atexit.register
def end_guarded() -> None:
    """End the child that this process keeps."""
    if _kept is not None:
        _kept.close()


def serve() -> None:
    """The child: answer requests until the parent is gone. Arguments: the shared file, and those of Guard."""
    shared, target, seconds, allowance = int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not come between the answers
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)  # ends the process, whatever code it is in
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF, signal.SIGALRM})
    try:
        module, _, function = target.partition(":")
        extract: Extract = getattr(importlib.import_module(module), function)
        extract(FIRST_PAGE, None)  # what is loaded or compiled once is not charged to a page
    except Exception as error:  # sent on
        _send(answers, _RAISED, "crashed", f"{type(error).__name__}: {error}")
        return
    _limit_memory(allowance)
    _send(answers, _OK)
    while len(header := requests.read(_REQUEST.size)) == _REQUEST.size:
        size, name_size = _REQUEST.unpack(header)
        charset = requests.read(name_size).decode() if name_size >= 0 else None
        _send(answers, *_extracted(extract, os.pread(shared, size, 0), charset, seconds))


def _extracted(extract: Extract, html: bytes, charset: str | None, seconds: float) -> tuple[int, str, str, str]:
    signal.setitimer(signal.ITIMER_REAL, seconds * PATIENCE)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        article = extract(html, charset)
        return _OK, article.title, article.date, article.text
    except MemoryError:
        return _RAISED, "too_much_memory", f"more than {int(sys.argv[4]) >> 20} MiB", ""
    except Exception as error:  # of a library, for this page
        return _RAISED, "crashed", f"{type(error).__name__}: {error}"[:400], ""
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _send(answers: BinaryIO, kind: int, *fields: str) -> None:
    parts = [field.encode("utf-8", "surrogatepass") for field in (*fields, "", "", "")[:3]]
    _write(answers, _ANSWER.pack(kind, *map(len, parts), _memory(1)) + b"".join(parts))


def _memory(column: int) -> int:
    """Bytes of this process (0: address space, 1: resident); 0 where the system does not tell."""
    status = _statm()
    return int(os.pread(status, 200, 0).split()[column]) * resource.getpagesize() if status >= 0 else 0


@cache
def _statm() -> int:
    try:
        return os.open("/proc/self/statm", os.O_RDONLY)
    except FileNotFoundError:  # not Linux
        return -1


def _limit_memory(allowance: int) -> None:
    if used := _memory(0):
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        limit = used + allowance
        resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _memory_file() -> IO[bytes]:
    """An empty file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("rbt-page"), "w+b")
    return tempfile.TemporaryFile()


def _write(stream: IO[bytes] | BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) :]


def _read(stream: IO[bytes], size: int) -> bytes:
    """Exactly `size` bytes, fewer only at the end."""
    parts: list[bytes] = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
