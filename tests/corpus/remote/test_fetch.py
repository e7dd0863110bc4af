"""`rbt corpus fetch`: each file whole under its name or not there, whatever the server does."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from click.testing import CliRunner

from rbt.cli import main
from rbt.corpus.fetch import BOOK, FetchConfig, Report, fetch
from rbt.corpus.fetch_list import Item, inside, read_items, safe_name
from rbt.errors import ArtefactError, InputError

from .conftest import Fault, FaultServer

CONTENT = np.random.default_rng(4).bytes(900_000)
OTHER = np.random.default_rng(5).bytes(700_000)
SAME_SIZE = CONTENT[::-1]


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def fetch_here(server: FaultServer, folder: Path, *, checksum: str = "", update: bool = False) -> Report:
    return fetch([Item(f"{server.url}/a.bin", "sub/a.bin", checksum)], folder, FetchConfig(update=update))


def names(folder: Path) -> list[str]:
    found = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in found if name != BOOK)


@pytest.mark.parametrize("checksum", ["", sha256(CONTENT)])
@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Fault(cut=0)],
        [Fault(cut=300_000), Fault(cut=300_000)],
        [Fault(cut=300_000), Fault(ignore_range=True)],
        [Fault(cut=300_000), Fault(status=503, retry_after="0"), Fault(status=429), Fault()],
        [Fault(chunked=True, cut=300_000), Fault(chunked=True)],
        [Fault(tag="", cut=300_000), Fault(tag="")],
        [Fault(content=OTHER, cut=300_000)],
        [Fault(content=OTHER, cut=300_000, tag=""), Fault(tag=""), Fault(tag="")],
        [Fault(content=OTHER, cut=300_000, tag='W/"x"'), Fault(tag='W/"y"')],
        [Fault(cut=300_000), Fault(shift=1000)],
        [Fault(tag='W/"x"', cut=100_000), Fault(tag='W/"x"')],
        [Fault(length=1_200_000)],
        [Fault(cut=300_000), Fault(terse=True, cut=1000), Fault(terse=True, cut=2000), Fault(cut=1000)],
        [Fault(chunked=True, cut=300_000), Fault(terse=True, cut=1000), Fault(terse=True)],
        [Fault(tag="", cut=300_000), Fault(tag="", terse=True, cut=9), Fault(tag="", content=OTHER), Fault(tag="")],
        [Fault(content=SAME_SIZE, tag='"r"', cut=300_000), Fault(content=SAME_SIZE, tag='"r"', terse=True, cut=9)],
    ],
)
def test_what_is_fetched_is_the_file(
    server: FaultServer, tmp_path: Path, faults: list[Fault], checksum: str
) -> None:
    """Cut, ignored ranges, another file meanwhile, servers out of breath, wrong lengths: the file, and no more."""
    server.files["/a.bin"], server.faults["/a.bin"] = CONTENT, faults
    report = fetch_here(server, tmp_path, checksum=checksum)
    assert (report.fetched, report.failed) == (["sub/a.bin"], {})
    assert not server.faults["/a.bin"], "a fault was not met"
    assert names(tmp_path) == ["sub/a.bin"]
    assert (tmp_path / "sub/a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("fault", "checksum", "words"),
    [
        (Fault(status=404), "", "HTTP 404"),
        (Fault(status=503), "", "expected an answer in 3 attempts; found HTTP 503"),
        (Fault(ignore_range=True, cut=70_000), "", "closed after 70000 of 900000 bytes"),
        (Fault(), sha256(OTHER), f"expected {sha256(OTHER)}; found {sha256(CONTENT)} of 900000 bytes, twice"),
        (Fault(length=500_000), sha256(CONTENT), "of 500000 bytes, twice"),
    ],
)
def test_what_cannot_be_fetched_has_no_name(
    server: FaultServer, tmp_path: Path, fault: Fault, checksum: str, words: str
) -> None:
    """A failure names its reason, ends, and leaves nothing under the file's name; other files are fetched."""
    server.files.update({"/a.bin": CONTENT, "/b.bin": OTHER})
    server.always["/a.bin"] = fault
    items = [Item(f"{server.url}/a.bin", "a.bin", checksum), Item(f"{server.url}/b.bin", "b.bin")]
    report = fetch(items, tmp_path, FetchConfig(attempts=3))
    assert report.fetched == ["b.bin"]
    assert words in report.failed["a.bin"]
    assert not (tmp_path / "a.bin").exists()
    assert all(path.stat().st_size for path in tmp_path.iterdir()), "an empty part is left"
    assert len(server.gets("/a.bin")) < 10


def test_the_next_run_goes_on_where_one_stopped(server: FaultServer, tmp_path: Path) -> None:
    """A part is kept over runs, and only the rest is asked for, of the same file."""
    server.files["/a.bin"], server.faults["/a.bin"] = CONTENT, [Fault(cut=300_001)]
    server.always["/a.bin"] = Fault(status=503)
    assert fetch_here(server, tmp_path).failed
    assert names(tmp_path) == ["sub/a.bin.part", "sub/a.bin.part.json"]
    server.always.clear()
    report = fetch_here(server, tmp_path)
    last = server.gets("/a.bin")[-1]
    assert (last.range, last.if_range) == ("bytes=300001-", f'"{len(CONTENT)}"')
    assert report.bytes == len(CONTENT) - 300_001
    assert (tmp_path / "sub/a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("tag", ["", '"same"'])
def test_a_part_of_an_older_file_is_not_gone_on_with(server: FaultServer, tmp_path: Path, tag: str) -> None:
    """Where the tag tells, or where there is none to tell, the file is fetched from its start."""
    server.files["/a.bin"], server.faults["/a.bin"] = CONTENT[::-1], [Fault(cut=300_001, tag=tag)]
    server.always["/a.bin"] = Fault(status=503)
    assert fetch_here(server, tmp_path).failed
    server.always.clear()
    server.files["/a.bin"] = CONTENT
    assert not fetch_here(server, tmp_path).failed
    assert (tmp_path / "sub/a.bin").read_bytes() == CONTENT


def test_a_part_that_went_bad_is_found_by_the_checksum(server: FaultServer, tmp_path: Path) -> None:
    """A wrong byte in the part costs a second download, not the file."""
    server.files["/a.bin"], server.faults["/a.bin"] = CONTENT, [Fault(cut=300_001)]
    server.always["/a.bin"] = Fault(status=503)
    assert fetch_here(server, tmp_path, checksum=sha256(CONTENT)).failed
    part = tmp_path / "sub/a.bin.part"
    part.write_bytes(b"\0" * part.stat().st_size)
    server.always.clear()
    assert not fetch_here(server, tmp_path, checksum=sha256(CONTENT)).failed
    assert (tmp_path / "sub/a.bin").read_bytes() == CONTENT


def test_a_second_run_asks_nobody(server: FaultServer, tmp_path: Path) -> None:
    """Finished files are known by the book; --update asks, and fetches what has changed."""
    server.files["/a.bin"] = CONTENT
    fetch_here(server, tmp_path)
    server.requests.clear()
    assert fetch_here(server, tmp_path).kept == ["sub/a.bin"]
    assert not server.requests
    assert fetch_here(server, tmp_path, update=True).kept == ["sub/a.bin"]
    assert [request.method for request in server.requests] == ["HEAD"]
    server.files["/a.bin"] = OTHER
    assert fetch_here(server, tmp_path, update=True).fetched == ["sub/a.bin"]
    assert (tmp_path / "sub/a.bin").read_bytes() == OTHER


def test_a_file_that_was_there_before_is_taken_or_refused(server: FaultServer, tmp_path: Path) -> None:
    """Without the book, checksum or size decide; nothing is overwritten."""
    server.files["/a.bin"] = CONTENT
    path = tmp_path / "sub/a.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetch_here(server, tmp_path, checksum=sha256(CONTENT)).kept == ["sub/a.bin"]
    (tmp_path / BOOK).unlink()
    assert fetch_here(server, tmp_path).kept == ["sub/a.bin"]
    assert not server.gets("/a.bin")
    path.write_bytes(OTHER)
    assert "expected 900000 bytes" in fetch_here(server, tmp_path).failed["sub/a.bin"]
    assert "expected sha256:" in fetch_here(server, tmp_path, checksum=sha256(CONTENT)).failed["sub/a.bin"]
    assert path.read_bytes() == OTHER


def test_a_book_cut_by_a_crash_is_mended(server: FaultServer, tmp_path: Path) -> None:
    """The last line may lack its end; what it said is found out anew."""
    server.files["/a.bin"] = CONTENT
    fetch_here(server, tmp_path)
    book = tmp_path / BOOK
    whole = book.read_text()
    book.write_text(whole + whole[:20])
    assert fetch_here(server, tmp_path).kept == ["sub/a.bin"]
    book.write_text(whole[:20])
    assert fetch_here(server, tmp_path).kept == ["sub/a.bin"]
    assert json.loads(book.read_text())["name"] == "sub/a.bin"


@pytest.mark.parametrize("junk", [b"no json\n", b"[]\n", b'{"name": "sub/a.bin"}\n', b"\xff\0\n"])
def test_a_book_with_other_lines_is_read_around_them(
    server: FaultServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, junk: bytes
) -> None:
    """They are told of, cost at most a question, and do not end the run."""
    server.files["/a.bin"] = CONTENT
    fetch_here(server, tmp_path)
    book = tmp_path / BOOK
    book.write_bytes(junk + book.read_bytes() + b"cut")
    server.requests.clear()
    assert fetch_here(server, tmp_path).kept == ["sub/a.bin"]
    assert not server.requests
    assert "1 lines are unreadable" in caplog.text
    book.write_bytes(junk)
    assert fetch_here(server, tmp_path).kept == ["sub/a.bin"]
    assert [request.method for request in server.requests] == ["HEAD"]


def test_names_that_urls_cannot_hold_are_escaped(server: FaultServer, tmp_path: Path) -> None:
    """Blanks, letters beyond ASCII and # in the names that md5sum wrote are those of files on the server."""
    names = {"a b.txt": "a%20b.txt", "é.txt": "%C3%A9.txt", "c#1.txt": "c%231.txt"}
    for name, escaped in names.items():
        server.files[f"/{escaped}"] = name.encode() * 3
    digests = {name: hashlib.md5(name.encode() * 3).hexdigest() for name in names}
    (tmp_path / "list").write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
    report = fetch(read_items(str(tmp_path / "list"), server.url), tmp_path / "raw", FetchConfig())
    assert (sorted(report.fetched), report.failed) == (sorted(names), {})
    assert all((tmp_path / "raw" / name).read_bytes() == name.encode() * 3 for name in names)


def test_files_without_a_checksum_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A list of checksums that speaks of other files checks nothing, which must not go unseen."""
    (tmp_path / "list").write_text("https://h/a.gz\nhttps://h/b.gz\n")
    (tmp_path / "sums").write_text(f"{'0' * 32}  a.gz\n")
    items = read_items(str(tmp_path / "list"), checksums=str(tmp_path / "sums"))
    assert [item.checksum for item in items] == [f"md5:{'0' * 32}", ""]
    assert "no checksum for 1 of 2 files, such as b.gz" in caplog.text


def test_a_file_that_is_there_is_asked_about_as_often_as_wished(server: FaultServer, tmp_path: Path) -> None:
    """--attempts holds for every question."""
    (tmp_path / "a.bin").write_bytes(CONTENT)
    items = [Item("http://127.0.0.1:1/a.bin", "a.bin")]
    assert "expected an answer in 2 attempts" in fetch(items, tmp_path, FetchConfig(attempts=2)).failed["a.bin"]


def test_two_runs_do_not_share_a_folder(server: FaultServer, tmp_path: Path) -> None:
    """The second is told so."""
    import fcntl

    with (tmp_path / BOOK).open("a") as book:
        fcntl.flock(book, fcntl.LOCK_EX)
        with pytest.raises(ArtefactError, match="expected no other run on this folder"):
            fetch_here(server, tmp_path)


def test_any_file_system_can_be_fetched_from(tmp_path: Path) -> None:
    """fsspec URLs take the same way as http."""
    fsspec.filesystem("memory").pipe("/rbt-fetch/a.bin", CONTENT)
    report = fetch([Item("memory://rbt-fetch/a.bin", "a.bin", sha256(CONTENT))], tmp_path, FetchConfig())
    assert report.fetched == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    fsspec.filesystem("memory").rm("/rbt-fetch", recursive=True)


def test_a_part_from_another_file_system_is_of_the_same_file(tmp_path: Path) -> None:
    """Where its date is another by now, the file is fetched from its start."""
    path, out = tmp_path / "a.bin", tmp_path / "out"
    path.write_bytes(CONTENT)
    out.mkdir()
    (out / "a.bin.part").write_bytes(OTHER)
    (out / "a.bin.part.json").write_text(json.dumps({"url": f"file://{path}", "tag": "1.0", "size": len(CONTENT)}))
    assert fetch([Item(f"file://{path}", "a.bin")], out, FetchConfig()).fetched == ["a.bin"]
    assert (out / "a.bin").read_bytes() == CONTENT


def test_many_files_come_at_once(server: FaultServer, tmp_path: Path) -> None:
    """Each of many small files arrives under its name, over several connections."""
    items = []
    for number in range(60):
        server.files[f"/{number}"] = b"%d" % number * 1000
        server.faults[f"/{number}"] = [Fault(cut=number)] if number % 3 == 0 else []
        items.append(Item(f"{server.url}/{number}", f"{number % 7}/{number}"))
    report = fetch(items, tmp_path, FetchConfig(parallel=8))
    assert sorted(report.fetched) == sorted(item.name for item in items)
    assert all((tmp_path / item.name).read_bytes() == server.files[f"/{n}"] for n, item in enumerate(items))


LINES = {
    "https://h/x/a.gz": Item("https://h/x/a.gz", "a.gz"),
    "https://h/x/a%20b.gz?key=1#f": Item("https://h/x/a%20b.gz?key=1#f", "a b.gz"),
    "s3://bucket/a.gz sha1:" + "ab" * 20: Item("s3://bucket/a.gz", "a.gz", "sha1:" + "ab" * 20),
    "crawl/2018/a.gz": Item("https://p/q/crawl/2018/a.gz", "crawl/2018/a.gz"),
    "AB" * 16 + "  ./a b.gz": Item("https://p/q/a b.gz", "a b.gz", "md5:" + "ab" * 16),
    "cd" * 32 + " *a.gz": Item("https://p/q/a.gz", "a.gz", "sha256:" + "cd" * 32),
    "x/a#1.gz": Item("https://p/q/x/a%231.gz", "x/a#1.gz"),
    "https://h/a.gz\nhttps://h/a.gz md5:" + "0" * 32: Item("https://h/a.gz", "a.gz", "md5:" + "0" * 32),
    "a.gz xxh3:" + "0" * 32: Item("https://p/q/a.gz", "a.gz", "xxh3:" + "0" * 32),
}


@pytest.mark.parametrize(("line", "item"), LINES.items())
def test_a_line_is_a_url_or_a_path_with_or_without_a_checksum(tmp_path: Path, line: str, item: Item) -> None:
    """The forms of lists that people have, plain and gzip."""
    path = tmp_path / "list"
    path.write_text(f"# head\n\n{line}\n")
    assert read_items(str(path), "https://p/q/") == [item]
    path.write_bytes(gzip.compress(line.encode()))
    assert read_items(str(path), "https://p/q") == [item]


@pytest.mark.parametrize(
    "name",
    [
        "../x", "a/../../x", "/etc/x", "a//b", "", ".", "..", "a/.", "C:x", "a\\b", "a\0b", "a\nb",
        "x.part", ".tmp-1-x", BOOK,
    ],
)
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    """Absolute, upward and odd names are refused, as are those that are ours."""
    with pytest.raises(InputError, match="expected a name for a file below the output folder"):
        safe_name(name, "list, entry 1")


def test_no_link_leads_out_of_the_folder(server: FaultServer, tmp_path: Path) -> None:
    """A folder that is a link to elsewhere is not written through."""
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    server.files["/a.bin"] = CONTENT
    assert "expected a file below the output folder" in fetch_here(server, tmp_path / "out").failed["sub/a.bin"]
    assert not list((tmp_path / "elsewhere").iterdir())
    assert inside(tmp_path, "x/y") == tmp_path / "x/y"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://h/..%2f..%2fetc%2fpasswd", "expected a name"),
        ("https://h/", "expected a name"),
        ("https://h/a\nhttps://g/a", "expected a different name for each URL; found a for https://h/a and https://g/a"),
        ("path/only", "expected a URL, or a --prefix for paths"),
        ("https://h/a sha256:abc", "expected a checksum of md5"),
        ("# nothing", "expected files to fetch"),
        (f"https://h/a md5:{'0' * 32}\nhttps://h/a md5:{'1' * 32}", "expected one checksum for each URL"),
    ],
)
def test_a_list_that_makes_no_sense_is_refused_before_anything_is_fetched(
    tmp_path: Path, text: str, words: str
) -> None:
    """The error names the list and its entry."""
    (tmp_path / "list").write_text(text)
    with pytest.raises(InputError, match=words):
        read_items(str(tmp_path / "list"))


def test_a_list_on_a_server_names_files_beside_it(server: FaultServer, tmp_path: Path) -> None:
    """A dump's checksum file is a list: its names are below its own URL, and --only picks among them."""
    digest = hashlib.md5(CONTENT).hexdigest()
    server.files["/wiki/md5sums.txt"] = f"{digest}  wiki-pages.xml.bz2\n{'0' * 32}  wiki-other.sql.gz\n".encode()
    server.files["/wiki/wiki-pages.xml.bz2"] = CONTENT
    items = read_items(f"{server.url}/wiki/md5sums.txt", only="*pages*.bz2")
    assert items == [Item(f"{server.url}/wiki/wiki-pages.xml.bz2", "wiki-pages.xml.bz2", f"md5:{digest}")]
    (tmp_path / "list").write_text(f"{server.url}/wiki/wiki-pages.xml.bz2\n")
    assert read_items(str(tmp_path / "list"), checksums=f"{server.url}/wiki/md5sums.txt") == items


def test_the_command_reports_each_failure_and_ends_with_2(server: FaultServer, tmp_path: Path) -> None:
    """The good files are there, the bad ones are listed."""
    server.files["/a.bin"] = CONTENT
    (tmp_path / "list").write_text("a.bin\nnone.bin\n")
    command = ["corpus", "fetch", str(tmp_path / "list"), "--prefix", server.url, "--out", str(tmp_path / "raw")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    assert "none.bin: " in result.output
    assert "HTTP 404" in result.output
    assert "expected all 2 files; found 1 fetched (0.90 MB), 0 were there, 1 failed" in result.output
    server.files["/none.bin"] = OTHER
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0
    assert "1 fetched (0.70 MB), 1 were there" in result.output


def test_a_killed_run_leaves_a_part_that_is_gone_on_with(server: FaultServer, tmp_path: Path) -> None:
    """After kill -9 in the middle there is no file under the name, and the next run asks for the rest."""
    server.files["/a.bin"], server.faults["/a.bin"] = CONTENT, [Fault(seconds_a_chunk=0.02)]
    (tmp_path / "list").write_text(f"{server.url}/a.bin\n")
    out = tmp_path / "raw"
    command = [sys.executable, "-m", "rbt", "corpus", "fetch", str(tmp_path / "list"), "--out", str(out), "--quiet"]
    process = subprocess.Popen(command, env={**os.environ, "no_proxy": "127.0.0.1"})
    part = out / "a.bin.part"
    while not (part.is_file() and part.stat().st_size > 50_000):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = part.stat().st_size
    assert 0 < kept < len(CONTENT)
    assert not (out / "a.bin").exists()
    report = fetch(read_items(str(tmp_path / "list")), out, FetchConfig())
    assert report.bytes == len(CONTENT) - kept
    assert server.gets("/a.bin")[-1].range == f"bytes={kept}-"
    assert (out / "a.bin").read_bytes() == CONTENT


def test_an_interrupt_ends_the_threads(server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C does not wait for backoffs; what came is kept."""
    monkeypatch.setattr("rbt.remote.FIRST_WAIT_SECONDS", 100.0)
    server.files["/a.bin"], server.always["/a.bin"] = CONTENT, Fault(cut=300_000)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rbt.progress._Silent.update", interrupt)
    monkeypatch.setattr("tqdm.tqdm.update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch_here(server, tmp_path)
    assert names(tmp_path) == ["sub/a.bin.part", "sub/a.bin.part.json"]
