"""Extractors that do on purpose what a page may make a parser do; the page says which."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time

from rbt.corpus.extract.article import Article

_pages = -2  # the guard begins with a page of its own


def misbehave(html: bytes, charset: str | None) -> Article:
    """Do what the page says; else give it back. The title is the number of pages before, the date this process's id."""
    global _pages
    _pages += 1
    if b"do: loop" in html:
        while True:
            pass
    if b"do: wait" in html:
        time.sleep(600)
    if b"do: read from zero" in html:
        ctypes.string_at(0)
    if b"do: leave" in html:
        os._exit(3)
    if b"do: die of a signal" in html:
        os.kill(os.getpid(), signal.SIGKILL)
    if b"do: take memory" in html:
        return Article("", "", "x" * (1 << 40))
    if b"do: raise" in html:
        raise ValueError("a parser's error")
    if b"do: write" in html:
        os.write(1, b"a library's message\n" * 1000)
        sys.stderr.write("a library's warning\n")
    if b"do: interrupt" in html:
        os.kill(os.getpid(), signal.SIGINT)
    if b"do: fail if used" in html and _pages > 0:
        os.abort()
    return Article(str(_pages), str(os.getpid()), html.decode())


def echo(html: bytes, charset: str | None) -> Article:
    """What went in."""
    return Article(repr(charset), "", html.decode("utf-8", "surrogatepass"))
