"""Books, OpenWebText archives and stories."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rbt.corpus.sources import bookcorpus, openwebtext, stories
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


# books

WRAPPED = (
    "CHAPTER I\r\n\r\n"
    + "It was a long line that someone wrapped at about seventy characters.\r\n" * 4
    + "The end.\r\n"
)


def test_a_book_is_one_document_with_its_lines_joined(tmp_path: Path, read_source: Any) -> None:
    path = tmp_path / "Lee_Brown_1884.txt"
    path.write_bytes(b"\xef\xbb\xbf" + WRAPPED.encode())
    [document] = read_source(path, "bookcorpus").documents
    assert (document.id, document.title) == ("bookcorpus:Lee_Brown_1884", "Lee Brown 1884")
    paragraphs = document.text.split("\n\n")
    assert paragraphs[0] == "CHAPTER I"
    assert paragraphs[1].endswith("characters. The end.")
    assert document.payload_bytes == path.stat().st_size


def test_bytes_that_are_no_utf8_are_listed_and_the_rest_is_kept(tmp_path: Path, read_source: Any) -> None:
    path = tmp_path / "broken.txt"
    path.write_bytes(b"\xef\xbb\xbfGood \xff\xfetext.\n")
    outcome = read_source(path, "bookcorpus")
    assert outcome.texts == ["Good text."]
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["offset"]) == ("encoding", 8)
    assert outcome.dropped == {}


def test_a_cut_compressed_book_keeps_what_could_be_read(tmp_path: Path, read_source: Any) -> None:
    path = tmp_path / "book.txt.gz"
    path.write_bytes(gzip.compress(b"A line.\n" * 50_000, mtime=0)[:-100])
    outcome = read_source(path, "bookcorpus")
    assert outcome.texts[0].startswith("A line.\n\nA line.")
    assert outcome.reasons == ["truncated"]
    assert outcome.documents[0].id == "bookcorpus:book"


def test_what_is_no_text_is_quarantined(tmp_path: Path, read_source: Any) -> None:
    path = tmp_path / "book.epub"
    path.write_bytes(b"PK\x03\x04\0\0\0\0")
    assert read_source(path, "bookcorpus").reasons == ["not_text"]
    path = tmp_path / "book.txt.bz2"
    path.write_bytes(b"never compressed")
    assert read_source(path, "bookcorpus").reasons == ["unreadable"]


def test_an_archive_of_books_has_one_document_a_member(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bookcorpus, "MAXIMUM_BOOK_BYTES", 100)
    path = tmp_path / "books1.tar.gz"
    files = {
        "books1/one.epub.txt": b"One.",
        "books1/urls.json": b"{}",
        "books1/big.txt": b"x" * 101,
        "two.txt": b"Two.",
    }
    path.write_bytes(gzip.compress(tar(files)))
    outcome = read_source(path, "bookcorpus")
    assert [document.id for document in outcome.documents] == ["bookcorpus:one", "bookcorpus:two"]
    assert outcome.reasons == ["too_large"]


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


# OpenWebText


def nested(parts: Mapping[str, bytes]) -> bytes:
    """The published layout: a tar of xz-compressed tars."""
    return tar({f"openwebtext/{name}_data.xz": content for name, content in parts.items()})


def test_pages_come_from_archives_inside_the_archive(tmp_path: Path, read_source: Any) -> None:
    inner = {
        "a": lzma.compress(tar({"1-x.txt": b"One.", "2-y.txt": b"Two."})),
        "b": lzma.compress(tar({"3-z.txt": b"Three."})),
    }
    for name, compress in (("owt.tar", bytes), ("owt.tar.xz", lzma.compress), ("owt.tar.gz", gzip.compress)):
        path = tmp_path / name
        path.write_bytes(compress(nested(inner)))
        outcome = read_source(path, "openwebtext")
        assert [document.id for document in outcome.documents] == [
            f"openwebtext:{stem}" for stem in ("1-x", "2-y", "3-z")
        ]
        assert outcome.documents[0].locator == "openwebtext/a_data.xz/1-x.txt"
        assert outcome.texts == ["One.", "Two.", "Three."]
        assert outcome.reasons == []


def test_a_bare_inner_archive_and_loose_pages_are_read_too(tmp_path: Path, read_source: Any) -> None:
    bare, loose, direct = tmp_path / "urlsf_subset00-1_data.xz", tmp_path / "9-q.txt.bz2", tmp_path / "direct.tar"
    bare.write_bytes(lzma.compress(tar({"1-x.txt": b"One."})))
    loose.write_bytes(bz2.compress(b"Nine."))
    direct.write_bytes(tar({"folder/1-x.txt": b"One.", "folder/readme.md": b"no"}))
    assert read_source(bare, "openwebtext").documents[0].locator == "1-x.txt"
    assert read_source(loose, "openwebtext").documents[0].id == "openwebtext:9-q"
    outcome = read_source(direct, "openwebtext")
    assert outcome.texts == ["One."]
    assert outcome.dropped == {"not_text": 1}


def test_a_cut_inner_archive_keeps_the_members_before_the_cut(tmp_path: Path, read_source: Any) -> None:
    path = tmp_path / "owt.tar"
    whole = lzma.compress(tar({f"{number}.txt": str(number).encode() * 9000 for number in range(50)}))
    good = lzma.compress(tar({"good.txt": b"Good."}))
    path.write_bytes(nested({"a": good, "b": whole[: len(whole) // 2], "c": good}))
    outcome = read_source(path, "openwebtext")
    assert 0 < len(outcome.documents) - 2 < 50
    assert outcome.texts[0] == outcome.texts[-1] == "Good."
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["locator"]) == ("truncated", "openwebtext/b_data.xz")


def test_a_cut_outer_archive_keeps_the_inner_ones_before(tmp_path: Path, read_source: Any) -> None:
    path = tmp_path / "owt.tar"
    inner = lzma.compress(tar({"good.txt": b"Good."}))
    path.write_bytes(nested({"a": inner, "b": inner})[: 512 + 512 + 512 + 20])
    outcome = read_source(path, "openwebtext")
    assert outcome.texts == ["Good."]
    assert set(outcome.reasons) == {"truncated"}


def test_a_page_above_the_limit_is_quarantined(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openwebtext, "MAXIMUM_PAGE_BYTES", 10)
    path = tmp_path / "owt.tar"
    path.write_bytes(tar({"1.txt": b"x" * 11, "2.txt": b"x" * 10, "3.txt": b"\xff"}))
    outcome = read_source(path, "openwebtext")
    assert outcome.texts == ["x" * 10, ""]
    assert outcome.reasons == ["too_large", "encoding"]
    loose = tmp_path / "1.txt"
    loose.write_bytes(b"x" * 11)
    assert read_source(loose, "openwebtext").reasons == ["too_large"]


# stories

STORIES = b"`` Stop , '' said Ann .\nBen did n't .\n\n \nIt rained .\n\n\nThe end ."


def test_stories_are_blocks_between_blank_lines_with_their_tokens_joined(tmp_path: Path, read_source: Any) -> None:
    path = tmp_path / "stories.txt"
    path.write_bytes(STORIES)
    outcome = read_source(path, "stories")
    assert outcome.texts == ['"Stop," said Ann. Ben didn\'t.', "It rained.", "The end."]
    assert [document.id for document in outcome.documents] == [
        f"stories:stories.txt:{number}" for number in (1, 2, 3)
    ]
    assert [document.payload_bytes for document in outcome.documents] == [38, 12, 9]


def test_tokens_stay_where_the_recipe_says_so(tmp_path: Path, read_source: Any) -> None:
    path = tmp_path / "stories.txt"
    path.write_bytes(STORIES)
    assert read_source(path, "stories", detokenize=False).texts[0] == "`` Stop , '' said Ann . Ben did n't ."


def test_a_cut_file_loses_its_last_story_alone(tmp_path: Path, read_source: Any) -> None:
    path = tmp_path / "stories.txt.gz"
    path.write_bytes(gzip.compress(b"".join(b"Story %d .\nIt ends .\n\n" % n for n in range(9000)), mtime=0)[:-2000])
    outcome = read_source(path, "stories")
    assert len(outcome.documents) > 1000
    assert all(text == f"Story {number}. It ends." for number, text in enumerate(outcome.texts))
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["locator"]) == ("truncated", str(len(outcome.documents) + 1))


def test_a_story_without_an_end_and_bad_bytes_are_quarantined(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stories, "MAXIMUM_STORY_BYTES", 100)
    path = tmp_path / "stories.txt"
    path.write_bytes(b"x\n" * 60 + b"\nGood \xff one .\n")
    outcome = read_source(path, "stories")
    assert outcome.texts == ["Good one."]
    assert [(row["reason"], row["offset"]) for row in outcome.reading.quarantined] == [
        ("too_large", 0),
        ("encoding", 126),
    ]
