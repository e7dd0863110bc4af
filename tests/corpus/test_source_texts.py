"""Tar archives."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

import pytest

from rbt.corpus.sources.compression import Damage
from rbt.corpus.sources.raw import RawStream
from rbt.corpus.sources.tar import read_members

LONG = "a-directory-with-a-long-name/" * 6


def tar(files: Mapping[str, bytes], format: int = tarfile.GNU_FORMAT) -> bytes:
    """An archive of files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=format) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


# tar archives


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_members_are_those_that_the_standard_library_finds(format: int) -> None:
    names = ["a.txt", "folder/b.txt", "empty.txt"] + ([] if format == tarfile.USTAR_FORMAT else [LONG + "ü.txt"])
    files = {name: name.encode() * 100 * (name != "empty.txt") for name in names}
    found = []
    for member in read_members(RawStream(iter([tar(files, format)]))):
        assert not isinstance(member, Damage)
        found.append((member.name, member.read()))
    assert dict(found) == files


def test_an_archive_cut_anywhere_is_noticed_and_gives_whole_members_before() -> None:
    raw = tar({"a.txt": b"A" * 700, "b.txt": b"B" * 700})[: 2 * 512 + 1024 + 2048]
    for size in range(0, len(raw) - 1024, 100):
        *members, damage = [
            (item.name, item.read()) if not isinstance(item, Damage) else item
            for item in read_members(RawStream(iter([raw[:size]])))
        ]
        assert isinstance(damage, Damage)
        assert damage.reason == "truncated"
        assert len(members) == (size > 512) + (size > 2048)


def test_a_broken_header_is_noticed_and_not_taken_for_the_end() -> None:
    raw = bytearray(tar({"a.txt": b"A", "b.txt": b"B"}))
    raw[1024 + 3] ^= 1
    items = list(read_members(RawStream(iter([bytes(raw)]))))
    assert [item.reason if isinstance(item, Damage) else item.name for item in items] == ["a.txt", "corrupt"]
