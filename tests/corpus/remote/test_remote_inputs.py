"""Remote raw files: whatever the connection does, the bytes are those of the file, or it is an error."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.registry import known_implementations
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rbt import remote
from rbt.config import load_recipe
from rbt.corpus.build import build_corpus
from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import read_documents
from rbt.engine import LocalEngine
from rbt.errors import InputError
from rbt.formats.parts import open_corpus, read_batches
from rbt.storage import common_folder, expand_inputs, hash_file, input_stamp, input_stamps, open_input

from .conftest import Fault, FaultServer

CONTENT = np.random.default_rng(3).bytes(1_500_000)


def read_all(location: str, size: int = 300_000) -> bytes:
    with open_input(location) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


@pytest.mark.parametrize(
    "faults",
    [
        [],
        [Fault(cut=0)],
        [Fault(cut=700_001)],
        [Fault(cut=10), Fault(cut=999_999), Fault(cut=1)],
        [Fault(cut=100_000), Fault(ignore_range=True)],
        [Fault(cut=100_000), Fault(ignore_range=True, cut=50_000), Fault(cut=400_000)],
        [Fault(status=503, retry_after="0"), Fault(cut=5), Fault(status=429), Fault(status=500)],
        [Fault(chunked=True)],
        [Fault(chunked=True, cut=200_000)],
        [Fault(tag="", cut=200_000), Fault(tag="")],
        [Fault(tag='W/"weak"', cut=200_000), Fault(tag='W/"weak"')],
    ],
)
def test_a_dropped_connection_changes_no_byte(server: FaultServer, faults: list[Fault]) -> None:
    """However often and wherever the connection ends, what is read is the file."""
    server.files["/a"], server.faults["/a"] = CONTENT, faults
    assert read_all(f"{server.url}/a") == CONTENT
    assert not server.faults["/a"], "a fault was not met"


def test_reading_goes_on_at_the_byte_where_it_stopped(server: FaultServer) -> None:
    """The second request asks for the rest alone, and only of the same file."""
    server.files["/a"], server.faults["/a"] = CONTENT, [Fault(cut=700_001)]
    read_all(f"{server.url}/a")
    first, second = server.gets("/a")
    assert (first.range, second.range, second.if_range) == ("", "bytes=700001-", f'"{len(CONTENT)}"')


@pytest.mark.parametrize(
    "change", [Fault(tag='"new"'), Fault(tag='"new"', ignore_range=True), Fault(content=CONTENT[:900_000])]
)
def test_a_file_that_changes_while_it_is_read_is_an_error(server: FaultServer, change: Fault) -> None:
    """Two halves of two files are never joined."""
    server.files["/a"], server.faults["/a"] = CONTENT, [Fault(cut=600_000)]
    server.always["/a"] = change
    with pytest.raises(InputError, match="expected the file to stay as it is while it is read"):
        read_all(f"{server.url}/a")


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=503), "expected an answer in 8 attempts; found HTTP 503"),
        (Fault(cut=0), "expected an answer in 8 attempts; found the connection was closed after 0 of 1500000 bytes"),
        (Fault(ignore_range=True, cut=70_000), "closed after 70000 of 1500000 bytes"),
        (Fault(length=1_600_000), "closed after 1500000 of 1600000 bytes|to stay as it is"),
        (Fault(status=404), "expected a file on the server; found HTTP 404"),
        (Fault(status=403), "expected a file on the server; found HTTP 403"),
    ],
)
def test_trying_again_comes_to_an_end(server: FaultServer, fault: Fault, words: str) -> None:
    """A server that never gives the rest is an error that says so, after a bounded number of attempts."""
    server.files["/a"], server.always["/a"] = CONTENT, fault
    with pytest.raises(InputError, match=words):
        read_all(f"{server.url}/a")
    assert len(server.gets("/a")) == (1 if 400 <= fault.status < 500 else len(server.gets("/a")))
    assert len(server.gets("/a")) <= 2 * remote.ATTEMPTS


@pytest.mark.parametrize("fault", [Fault(status=416), Fault(status=416, cut=0)])
def test_a_range_that_was_not_asked_for_is_an_error_at_once(server: FaultServer, fault: Fault) -> None:
    """416 to a plain request is a server's nonsense, and no reason to ask for ever."""
    server.always["/a"] = fault
    with pytest.raises(InputError, match="expected a file on the server; found HTTP 416"):
        read_all(f"{server.url}/a")
    assert len(server.gets("/a")) == 1


def test_the_user_hears_of_a_server_that_does_not_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Not of one failure; but a minute of silence would be taken for work."""
    patience = remote.Patience("http://h/a", 6, lambda _: None)
    caplog.set_level("INFO")
    for _ in range(4):
        patience.wait(remote.Dropped("gone"))
    assert len(caplog.records) == 2
    assert "http://h/a: gone; trying again in" in caplog.text


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError, IsADirectoryError])
def test_what_waiting_does_not_mend_is_an_error_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    """A file that may be listed and not opened, and a folder, are no dropped connections."""
    (tmp_path / "a").write_bytes(CONTENT)
    monkeypatch.setattr("rbt.remote.Patience.wait", None)

    def refuse(*_: object) -> None:
        raise error("no")

    with pytest.raises(InputError, match="expected a file; found a folder"):
        open_input(f"file://{tmp_path}")
    monkeypatch.setattr(fsspec.get_filesystem_class("file"), "open", refuse)
    with pytest.raises(InputError, match=f"/a: expected a readable file; found {error.__name__}: no"):
        open_input(f"file://{tmp_path}/a")


def test_a_server_that_asks_for_time_is_given_it(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Retry-After, in seconds, is waited for; without it waits double."""
    server.files["/a"], server.faults["/a"] = b"x", [Fault(status=503, retry_after="Thu, 01 Jan 1970 00:00:00 GMT")]
    assert read_all(f"{server.url}/a") == b"x"
    waits: list[float] = []
    monkeypatch.setattr("rbt.remote.FIRST_WAIT_SECONDS", 1.0)
    patience = remote.Patience("x", sleep=waits.append)
    for wait in (0.0, 0.0, 77.0, 0.0):
        patience.wait(remote.Dropped("no", wait))
    assert 0.5 <= waits[0] <= 1.5
    assert 1.0 <= waits[1] <= 3.0
    assert waits[2] == 77.0
    assert 4.0 <= waits[3] <= 12.0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(
    moves=st.lists(st.tuples(st.integers(0, 1_600_000), st.integers(0, 400_000)), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 900_000), max_size=3),
)
def test_a_remote_file_is_read_from_anywhere(
    server: FaultServer, moves: list[tuple[int, int]], cuts: list[int]
) -> None:
    """Seeks and reads give what a file in memory gives, with connections cut anywhere."""
    server.files["/a"], server.faults["/a"] = CONTENT, [Fault(cut=cut) for cut in cuts]
    expected = io.BytesIO(CONTENT)
    with open_input(f"{server.url}/a") as stream:
        for offset, size in moves:
            assert stream.seek(offset) == expected.seek(offset)
            assert stream.read(size) == expected.read(size)
            assert stream.tell() == offset + min(size, max(len(CONTENT) - offset, 0))
        assert stream.seek(-5, io.SEEK_END) == len(CONTENT) - 5
        assert stream.read() == CONTENT[-5:]


def test_parquet_is_read_over_http(server: FaultServer) -> None:
    """A format that is read from its end works on the same stream."""
    table = pa.table({"text": [f"row {number}" for number in range(50_000)]})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=5000)
    server.files["/t.parquet"], server.faults["/t.parquet"] = sink.getvalue(), [Fault(), Fault(cut=1000)]
    with open_input(f"{server.url}/t.parquet") as stream:
        assert pq.ParquetFile(stream).read().equals(table)


class FlakyFile(io.BytesIO):
    """A file of a file system that loses its connection at every 100,000 bytes."""

    drops = 0

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() // 100_000 > FlakyFile.drops:
            FlakyFile.drops += 1
            raise RuntimeError("the bucket is gone")
        return super().read(min(size if size is not None and size >= 0 else 1 << 30, 100_000))


@pytest.fixture
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.pipe("/rbt-remote/a.bin", CONTENT)
    yield system
    system.rm("/rbt-remote", recursive=True)


def test_other_file_systems_are_taken_up_again_too(memory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever error a file system has of its own, reading goes on at the same byte."""
    monkeypatch.setattr(FlakyFile, "drops", 0)
    monkeypatch.setattr(type(memory), "open", lambda self, path, mode: FlakyFile(self.cat(path)))
    assert read_all("memory://rbt-remote/a.bin") == CONTENT
    assert FlakyFile.drops == (len(CONTENT) - 1) // 100_000


@pytest.mark.parametrize("url", ["memory://rbt-remote/none.bin", "file:///no/such/file"])
def test_a_remote_file_that_is_not_there_is_an_error_at_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for what will not come."""
    monkeypatch.setattr("rbt.remote.Patience.wait", lambda *_: pytest.fail("it waited"))
    with pytest.raises(InputError, match="expected a readable file"):
        open_input(url)


def test_a_protocol_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(known_implementations, "rbtcloud", {"class": "no_rbtcloud.Fs", "err": "Install rbtcloudfs"})
    with pytest.raises(InputError, match=r"Install rbtcloudfs \(pip install that package beside rbt\)"):
        open_input("rbtcloud://bucket/x")


def test_a_stamp_is_size_and_tag(server: FaultServer, memory: Any, tmp_path: Path) -> None:
    """By HEAD, by GET where a server refuses HEAD, and by the file system's own words."""
    server.files["/a"] = CONTENT
    expected = {"size": len(CONTENT), "tag": f'"{len(CONTENT)}"'}
    assert input_stamps([f"{server.url}/a"] * 3) == [expected] * 3
    assert not server.gets("/a")
    server.refuses_head = True
    assert input_stamp(f"{server.url}/a") == expected
    assert input_stamp("memory://rbt-remote/a.bin")["size"] == len(CONTENT)
    with pytest.raises(InputError, match="HTTP 404"):
        input_stamp(f"{server.url}/none")
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert input_stamp(str(path)) == {"size": 3, "tag": str(path.stat().st_mtime_ns)}
    assert input_stamp(f"file://{path}")["size"] == 3


def test_http_cannot_list_and_says_so(server: FaultServer) -> None:
    """A wildcard in an https URL names the two ways out; a query is no wildcard."""
    with pytest.raises(InputError, match=r"HTTP has no way to list files.*@warc\.paths\.gz.*rbt corpus fetch"):
        expand_inputs(["https://example.com/warc/*.gz"], Path())
    url = "https://example.com/file?id=1"
    assert expand_inputs([url], Path()) == [url]
    assert common_folder([url], Path()) == "https://example.com"


def test_a_list_names_inputs(server: FaultServer, tmp_path: Path) -> None:
    """@LIST, plain or gzip, here or on a server, with a prefix or with whole URLs, stands for the files in it."""
    lines = "# a comment\n\ncrawl/b.warc.gz\r\ncrawl/a.warc.gz\n"
    (tmp_path / "warc.paths.gz").write_bytes(gzip.compress(lines.encode()))
    expected = [f"{server.url}/crawl/a.warc.gz", f"{server.url}/crawl/b.warc.gz"]
    pattern = f"@warc.paths.gz {server.url}/"
    assert expand_inputs([pattern], tmp_path) == expected
    assert common_folder([pattern], tmp_path) == server.url
    server.files["/lists/warc.paths"] = lines.encode()
    assert expand_inputs([f"@{server.url}/lists/warc.paths {server.url}"], tmp_path) == expected
    assert expand_inputs([f"@{server.url}/lists/warc.paths"], tmp_path)[0] == f"{server.url}/lists/crawl/a.warc.gz"
    (tmp_path / "urls").write_text("\n".join(expected))
    assert expand_inputs(["@urls"], tmp_path) == expected
    assert common_folder(["@urls"], tmp_path) == ""


def test_a_list_of_local_files_must_name_files(tmp_path: Path) -> None:
    """Names are below the list's folder, and one that is not there is an error."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / "sub" / "list").write_text("a.txt\n")
    assert expand_inputs(["@sub/list"], tmp_path) == [str(tmp_path / "sub" / "a.txt")]
    assert common_folder(["@sub/list"], tmp_path) == str(tmp_path / "sub")
    (tmp_path / "sub" / "list").write_text("a.txt\nb.txt\n")
    with pytest.raises(InputError, match=r"@sub/list: expected a file that is there.*b\.txt"):
        expand_inputs(["@sub/list"], tmp_path)
    (tmp_path / "sub" / "list").write_bytes(b"\x1f\x8b\x08broken")
    with pytest.raises(InputError, match="expected a list of names"):
        expand_inputs(["@sub/list"], tmp_path)


def warc_file(pages: int) -> bytes:
    """A WARC of news pages, a gzip member a record."""
    rng = np.random.default_rng(5)
    words = ["the", "harbor", "council", "voted", "on", "a", "plan", "for", "new", "bridges", "after", "rain"]
    records = []
    for number in range(pages):
        prose = [" ".join(rng.choice(words, 60)) for _ in range(6)]
        html = f"<html><body><article>{''.join(f'<p>{text}.</p>' for text in prose)}</article></body></html>".encode()
        http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + html
        head = (
            f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://news.example/{number}\r\n"
            f"WARC-Date: 2018-01-01T00:00:00Z\r\nWARC-Record-ID: <urn:uuid:{number:032x}>\r\n"
            f"Content-Type: application/http; msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
        )
        records.append(gzip.compress(head.encode() + http + b"\r\n\r\n"))
    return b"".join(records)


def test_documents_from_a_server_that_drops_are_those_of_the_local_file(server: FaultServer, tmp_path: Path) -> None:
    """A WARC read over a connection that is cut again and again gives the same documents, and the same raw hash."""
    content = warc_file(150)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(content)
    server.files["/a.warc.gz"] = content
    server.faults["/a.warc.gz"] = [Fault(cut=cut) for cut in (1, 3000, 0, 9999)] + [Fault(status=503)]
    config = SourceConfig("ccnews", ("*",))
    found = []
    for location in (str(path), f"{server.url}/a.warc.gz"):
        reading = Reading("ccnews", "a.warc.gz")
        documents = list(read_documents(location, config, reading))
        assert reading.raw_hash == hash_file(path)
        assert not reading.quarantined
        found.append(documents)
    assert len(found[0]) == 150
    assert found[0] == found[1]
    assert not server.faults["/a.warc.gz"]


def test_a_network_that_fails_says_nothing_about_the_file(server: FaultServer) -> None:
    """Reading stops with an error; nothing is counted as damaged."""
    content = warc_file(20)
    server.files["/a.warc.gz"], server.faults["/a.warc.gz"] = content, [Fault(cut=len(content) // 2)]
    server.always["/a.warc.gz"] = Fault(status=503)
    reading = Reading("ccnews", "a.warc.gz")
    with pytest.raises(InputError, match="expected an answer in 8 attempts"):
        list(read_documents(f"{server.url}/a.warc.gz", SourceConfig("ccnews", ("*",)), reading))
    assert not reading.quarantined


def test_a_corpus_built_from_a_list_of_urls_is_that_of_the_local_files(server: FaultServer, tmp_path: Path) -> None:
    """The same parts, ledger and raw hashes, though every connection is cut."""
    names = ["CC-NEWS-1.warc.gz", "CC-NEWS-2.warc.gz"]
    for number, name in enumerate(names):
        content = warc_file(30 + number)
        (tmp_path / name).write_bytes(content)
        server.files[f"/crawl/{name}"] = content
        server.faults[f"/crawl/{name}"] = [Fault(cut=len(content) // 3), Fault(cut=50), Fault(status=502)]
    (tmp_path / "warc.paths.gz").write_bytes(gzip.compress("".join(f"crawl/{name}\n" for name in names).encode()))
    source = (
        '[clean]\nlanguage = ""\n[deduplicate]\nnear = false\n'
        '[[source]]\nkind = "ccnews"\nmaximum_duplicates = 1.0\n'
    )
    manifests = []
    for folder, paths in (("local", "CC-NEWS-*.warc.gz"), ("remote", f"@warc.paths.gz {server.url}/")):
        recipe = tmp_path / f"{folder}.toml"
        recipe.write_text(f'{source}paths = ["{paths}"]\n')
        manifests.append(build_corpus(load_recipe(str(recipe), ()), tmp_path / folder, LocalEngine(1)))
    local, distant = manifests
    assert local.ledger.row("read", "ccnews").outgoing.documents == 61
    assert local.ledger.table() == distant.ledger.table()
    raw = [[entry["hash"] for entry in manifest.inputs["raw"]] for manifest in manifests]
    assert raw[0] == raw[1]
    corpora = [open_corpus(tmp_path / folder) for folder in ("local", "remote")]
    texts = [[part.documents for part in corpus.parts()] for corpus in corpora]
    assert texts[0] == texts[1]
    rows = [
        [row["text"] for part in corpus.parts() for batch in read_batches(part.path) for row in batch.to_pylist()]
        for corpus in corpora
    ]
    assert rows[0] == rows[1]
    assert not any(server.faults.values())
