"""Files are whole under their names, or not there."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from rbt import storage
from rbt.errors import InputError
from rbt.storage import (
    HashingReader,
    atomic_path,
    common_folder,
    expand_inputs,
    hash_file,
    open_input,
    read_list,
    sweep,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(RuntimeError, match="half"), atomic_path(path) as temporary:
        temporary.write_text("new, but")
        raise RuntimeError("half")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_appears_as_a_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "folder") as temporary:
        temporary.mkdir()
        (temporary / "a").write_text("1")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "a").read_text() == "1"


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".tmp-123-part").write_text("cut")
    (tmp_path / ".tmp-9-folder").mkdir()
    (tmp_path / "kept").write_text("whole")
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["deep", "kept"]


@given(st.binary(max_size=2000), st.integers(1, 700))
def test_the_hashing_reader_hashes_what_the_file_holds(content: bytes, size: int) -> None:
    reader = HashingReader(io.BytesIO(content))
    reader.read(size)
    assert reader.drain() == f"xxh3:{xxhash.xxh3_128(content).hexdigest()}"
    assert reader.bytes_read == len(content)


def test_file_hashes_name_their_algorithm(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    assert hash_file(path) == f"xxh3:{xxhash.xxh3_128(b'abc').hexdigest()}"
    assert hash_file(path, "md5") == f"md5:{hashlib.md5(b'abc').hexdigest()}"
    assert hash_file(path, "blake2b") == f"blake2b:{hashlib.blake2b(b'abc', digest_size=16).hexdigest()}"


def test_inputs_are_sorted_however_they_are_listed(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text(name)
    found = expand_inputs(["c.md", "*.txt", "a.txt"], tmp_path)
    assert [Path(name).name for name in found] == ["a.txt", "b.txt", "c.md"]


def test_a_pattern_without_files_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"raw/\*\.bz2: expected at least one file"):
        expand_inputs(["raw/*.bz2"], tmp_path)


@pytest.mark.parametrize(
    ("patterns", "folder"),
    [
        (["raw/*.txt"], "raw"),
        (["raw/**/*.txt"], "raw"),
        (["raw/a/*.txt", "raw/b/c/one.txt"], "raw"),
        (["raw/a/x-*.txt", "raw/a/y.txt"], "raw/a"),
        (["raw/one.txt"], "raw"),
        (["/data/*/x.txt"], "/data"),
    ],
)
def test_the_common_folder_of_patterns_ends_before_the_first_wildcard(patterns: list[str], folder: str) -> None:
    assert common_folder(patterns, Path()) == folder


def test_a_link_to_nothing_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("here")
    (tmp_path / "b.txt").symlink_to(tmp_path / "gone" / "b.txt")
    with pytest.raises(InputError, match=r"b\.txt: expected a file behind the link"):
        expand_inputs(["*.txt"], tmp_path)


def test_a_missing_input_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a readable file"):
        open_input(str(tmp_path / "nothing"))


def test_inputs_stream_from_any_fsspec_url() -> None:
    import fsspec

    with fsspec.open("memory://rbt-test/raw.txt", "wb") as stream:
        stream.write(b"remote")
    assert expand_inputs(["memory://rbt-test/*.txt"], Path()) == ["memory:///rbt-test/raw.txt"]
    with open_input("memory:///rbt-test/raw.txt") as stream:
        assert stream.read() == b"remote"


@pytest.mark.parametrize("url", ["nosuch://bucket/x.txt", "nosuch://bucket/*.txt"])
def test_a_url_that_fsspec_cannot_open_is_an_error_that_names_it(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match=r"nosuch://bucket/.*expected a URL that fsspec can open"):
        expand_inputs([url], tmp_path)


def test_an_error_of_the_disk_names_the_file_that_was_written(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device, while this was written: .*/table'"), atomic_path(
        tmp_path / "table"
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert not list(tmp_path.iterdir())


def test_brackets_in_a_name_are_no_pattern(tmp_path: Path) -> None:
    """Neither in the folder of the recipe, nor in the name of a file that is there."""
    base = tmp_path / "dumps [2020]*"
    (base / "sub").mkdir(parents=True)
    for name in ("a[1].txt", "a1.txt", "sub/b.txt"):
        (base / name).write_text(name)
    assert expand_inputs(["a[1].txt"], base) == [str(base / "a[1].txt")]
    found = expand_inputs(["*.txt", "*/b.txt"], base)
    assert found == [str(base / name) for name in ("a1.txt", "a[1].txt", "sub/b.txt")]
    assert expand_inputs([str(base / "a1.txt")], Path("/")) == [str(base / "a1.txt")]
    assert common_folder(["a[1].txt"], base) == common_folder(["*.txt", "sub/*"], base) == str(base)
    assert common_folder([str(base / "sub" / "b.txt")], Path()) == str(base / "sub")


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_list_is_read_in_bounded_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Any) -> None:
    """What grows beyond any list is an error, and a line ends at a line feed alone."""
    path = tmp_path / "list"
    path.write_bytes(pack("a\x85b\r\n# no\n\n\u2028c d\n".encode()))
    assert read_list(str(path)) == ["a\x85b", "c d"]
    path.write_bytes(pack(b"x\n" * 600))
    monkeypatch.setattr("rbt.storage.LIST_BYTES", 1000)
    with pytest.raises(InputError, match="expected a list of names in UTF-8, plain or gzip; found more than 1000 b"):
        read_list(str(path))


def test_a_file_system_that_cannot_list_is_an_error_that_names_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing permission or key is said in one line, whatever the package raises."""
    import fsspec

    def refuse(*_: object) -> None:
        raise RuntimeError("no key")

    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "glob", refuse)
    with pytest.raises(InputError, match=r"memory://rbt-test/\*: expected a folder .*; found RuntimeError: no key"):
        expand_inputs(["memory://rbt-test/*"], Path())


def test_processes_of_two_machines_with_one_number_write_under_two_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage.atomic_path(tmp_path / "part") as first:
        first.write_text("whole")
        monkeypatch.setattr(storage, "STARTED", storage.STARTED + 1)
        with storage.atomic_path(tmp_path / "part") as second:
            assert second != first
            second.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["part"]
