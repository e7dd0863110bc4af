"""Extraction in a child: whatever a page does to it, that page alone is lost, and the child leaves with its parent."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus import guard
from rbt.corpus.config import SourceConfig
from rbt.corpus.extract.article import Article
from rbt.corpus.extract.html import extract_article
from rbt.corpus.guard import EXTRACTORS, Guard, Refusal, end_guarded
from rbt.errors import ConfigError, RbtError

FOLDER = Path(__file__).parent
PAGE = b"<html><head><title>T</title></head><body><article><p>" + b"A sentence of a story. " * 20 + b"</p></article>"
TARGET = "hostile_extractors:misbehave"


@pytest.fixture
def make_guard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Guard]]:
    """Guards of the extractors beside this file, closed at the end."""
    monkeypatch.syspath_prepend(FOLDER)
    made: list[Guard] = []

    def make(target: str = TARGET, seconds: float = 30.0, memory: int = 1 << 30) -> Guard:
        made.append(Guard(target, seconds, memory))
        return made[-1]

    yield make
    for each in made:
        each.close()


def process_of(answer: Article | Refusal) -> int:
    """The child that answered."""
    assert isinstance(answer, Article), answer
    return int(answer.date)


def is_alive(process: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether the condition came to hold."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


@pytest.mark.parametrize("charset", [None, "", "utf-8", "no-such-charset"])
@pytest.mark.parametrize("html", [PAGE, b"", b"\xff\xfe\x00", "<p>Größe \U0001f600".encode()])
def test_a_guarded_page_gives_what_the_extractor_gives(html: bytes, charset: str | None) -> None:
    """For bytes and charsets of any kind."""
    assert guard.extract_guarded("fast", html, charset, 30.0) == extract_article(html, charset)


def test_any_text_of_any_length_comes_through(make_guard: Any) -> None:
    """Lone surrogates, zero bytes, and more than a pipe holds."""
    child = make_guard("hostile_extractors:echo")

    @given(text=st.text(st.characters(), max_size=50), times=st.sampled_from([0, 1, 7000]), charset=st.text(max_size=9))
    def check(text: str, times: int, charset: str) -> None:
        html, name = (text * times).encode("utf-8", "surrogatepass"), charset.encode("utf-8", "replace").decode()
        assert child.extract(html, charset) == Article(repr(name), "", text * times)

    check()
    assert child.extract(b"", None) == Article("None", "", "")


@pytest.mark.parametrize(
    ("deed", "seconds", "refusal"),
    [
        ("loop", 0.2, Refusal("too_slow", "more than 0.2 s of processor time")),
        ("wait", 0.05, Refusal("too_slow", "no end after 1 s, most of them without work")),
        ("read from zero", 30.0, Refusal("crashed", "SIGSEGV")),
        ("leave", 30.0, Refusal("crashed", "exit status 3")),
        ("raise", 30.0, Refusal("crashed", "ValueError: a parser's error")),
        ("take memory", 30.0, Refusal("too_much_memory", "more than 1024 MiB")),
    ],
)
def test_v2_a_page_that_breaks_its_extractor_is_refused_and_the_next_one_is_extracted(
    deed: str, seconds: float, refusal: Refusal, make_guard: Any
) -> None:
    """The reason says how, and the broken child is gone."""
    child = make_guard(seconds=seconds)
    first = child.extract(PAGE, None)
    assert child.extract(PAGE + f"do: {deed}".encode(), None) == refusal
    after = child.extract(PAGE, None)
    assert after.text == first.text
    assert process_of(after) != process_of(first)
    assert not is_alive(process_of(first))


@pytest.mark.parametrize("deed", ["write", "interrupt"])
def test_messages_of_a_library_and_ctrl_c_do_not_disturb_a_child(deed: str, make_guard: Any) -> None:
    """What is printed is no answer, and the terminal's interrupt is for the parent."""
    child = make_guard()
    first, second = child.extract(PAGE + f"do: {deed}".encode(), None), child.extract(PAGE, None)
    assert process_of(first) == process_of(second)
    assert second.text == PAGE.decode()


def test_a_page_is_not_blamed_for_those_before_it(make_guard: Any) -> None:
    """It is tried again in a fresh child."""
    child = make_guard()
    first = process_of(child.extract(PAGE, None))
    answer = child.extract(PAGE + b"do: fail if used", None)
    assert process_of(answer) != first
    assert answer.title == "0"


def test_a_child_is_kept_and_replaced_after_so_many_pages_or_bytes(
    make_guard: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its process id."""
    monkeypatch.setattr(guard, "CHILD_PAGES", 3)
    child = make_guard()
    processes = [process_of(child.extract(PAGE, None)) for _ in range(7)]
    assert [processes.index(process) for process in processes] == [0, 0, 0, 3, 3, 3, 6]
    monkeypatch.setattr(guard, "CHILD_BYTES", 1)
    assert len({process_of(child.extract(PAGE, None)) for _ in range(3)}) == 3


def test_a_child_killed_from_outside_is_an_error_and_no_fault_of_the_page(make_guard: Any) -> None:
    """The page would be lost for what the machine did."""
    child = make_guard()
    with pytest.raises(RbtError, match="killed by SIGKILL"):
        child.extract(PAGE + b"do: die of a signal", None)
    assert isinstance(child.extract(PAGE, None), Article)


@pytest.mark.parametrize("target", ["no_such_module:extract", "hostile_extractors:no_such_function"])
def test_an_extractor_that_cannot_be_loaded_is_an_error(target: str, make_guard: Any) -> None:
    """A module or a function that is not there, by name."""
    with pytest.raises(ConfigError, match="no_such"):
        make_guard(target).extract(PAGE, None)


def test_an_interrupt_leaves_no_answer_behind_for_the_next_page(make_guard: Any) -> None:
    """The child that was asked is given up."""
    child = make_guard()
    child.extract(PAGE, None)

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(KeyboardInterrupt):
            child.extract(PAGE + b"do: wait", None)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert child.extract(PAGE, None).title == "0"


def test_one_child_is_kept_for_a_process_and_ends_when_it_is_told() -> None:
    """Other settings make another one."""
    end_guarded()
    guard.extract_guarded("fast", PAGE, None, 30.0)
    assert guard._kept is not None
    kept = guard._kept
    guard.extract_guarded("fast", PAGE, None, 30.0)
    assert guard._kept is kept
    guard.extract_guarded("fast", PAGE, None, 31.0)
    assert guard._kept is not kept
    end_guarded()
    assert guard._kept._child is None


PARENT = """
import sys
from rbt.corpus.guard import Guard
child = Guard("hostile_extractors:misbehave", 1.0)
print(child.extract(b"<p>", None).date, flush=True)
if sys.argv[1] == "busy":
    child.extract(b"do: loop", None)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
def test_v50_the_child_of_a_killed_parent_leaves(state: str) -> None:
    """Whether it waits or works."""
    environment = {**os.environ, "PYTHONPATH": str(FOLDER)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    assert wait_until(lambda: not is_alive(child), 30)


def test_the_extractors_of_the_recipe_are_these() -> None:
    """Each name of the configuration can be guarded."""
    assert set(get_args(get_type_hints(SourceConfig)["extractor"])) == set(EXTRACTORS)
    for name, target in EXTRACTORS.items():
        module, _, function = target.partition(":")
        expected = getattr(importlib.import_module(module), function)(PAGE, None)
        assert guard.extract_guarded(name, PAGE, None, 30.0) == expected, name


MEASURE = """
import sys
from pathlib import Path
from rbt.corpus import guard
from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import read_documents

def resident(process):
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096

path, pages = sys.argv[1], 0
while pages < 10_000:
    for document in read_documents(path, SourceConfig("ccnews", (path,)), Reading("ccnews", "pages")):
        assert document.text
        pages += 1
    child = guard._kept and guard._kept._child
    print(resident("self"), resident(child.pid) if child else 0)
"""


@pytest.mark.slow
def test_v3_10000_pages_through_one_worker_stay_flat_in_memory(tmp_path: Path) -> None:
    """Neither the worker nor its child grows."""
    path = tmp_path / "pages.warc"
    with path.open("wb") as stream:
        for number in range(1000):
            paragraphs = [b"<p>Sentence %d of page %d goes on. " % (n, number) * 9 for n in range(number % 20 + 3)]
            content = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<article>" + b"".join(paragraphs)
            head = (
                f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Date: 2017-01-01\r\n"
                f"WARC-Target-URI: http://news.example/{number}\r\nContent-Length: {len(content)}\r\n\r\n"
            )
            stream.write(head.encode() + content + b"\r\n\r\n")
    measured = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, check=True, text=True)
    rows = [tuple(map(int, line.split())) for line in measured.stdout.splitlines()]
    assert len(rows) == 10
    for own, child in rows[2:]:
        assert own < rows[1][0] + (8 << 20), f"the worker grows: {rows}"
        assert child < rows[1][1] + (24 << 20), f"its child grows: {rows}"
