"""OpenWebText: archives, tables, and pages of WARC files by a list of URLs."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rbt.corpus.clean import clean_text
from rbt.corpus.sources import openwebtext
from rbt.errors import ArtefactError
from rbt.formats import urls
from rbt.formats.canonical_url import canonical_url
from rbt.ledger import Ledger
from rbt.manifest import Manifest, record_files, write_manifest

ONE, TWO, THREE = (f"000000{number}-{digit * 32}" for number, digit in ((1, "a"), (2, "b"), (3, "c")))


def tar(files: Mapping[str, bytes]) -> bytes:
    """An archive of files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def nested(parts: Mapping[str, bytes]) -> bytes:
    """The published layout: a tar of xz-compressed tars."""
    return tar({f"openwebtext/{name}_data.xz": content for name, content in parts.items()})


# archives


@pytest.mark.parametrize(
    ("name", "compress"),
    [
        ("openwebtext.tar", bytes),
        ("openwebtext.tar.xz", lzma.compress),
        ("openwebtext.tar.gz", gzip.compress),
        ("urlsf_subset00.tar", bytes),
    ],
)
def test_pages_come_from_archives_inside_the_archive(
    name: str, compress: Any, tmp_path: Path, read_source: Any
) -> None:
    """The published archive, and the same parts in the tars of the Hub."""
    inner = {
        "urlsf_subset00-1": lzma.compress(tar({f"{ONE}.txt": b"One.", f"{TWO}.txt": b"Two."})),
        "urlsf_subset00-2": lzma.compress(tar({f"{THREE}.txt": b"Three."})),
    }
    path = tmp_path / name
    path.write_bytes(compress(nested(inner)))
    outcome = read_source(path, "openwebtext")
    assert [document.id for document in outcome.documents] == [f"openwebtext:{stem}" for stem in (ONE, TWO, THREE)]
    assert outcome.documents[0].locator == f"openwebtext/urlsf_subset00-1_data.xz/{ONE}.txt"
    assert outcome.texts == ["One.", "Two.", "Three."]
    assert outcome.reasons == []


def test_a_bare_inner_archive_and_loose_pages_are_read_too(tmp_path: Path, read_source: Any) -> None:
    """What people hold who unpacked the outer archive, or all of it."""
    bare, loose, direct = tmp_path / "urlsf_subset00-1_data.xz", tmp_path / f"{ONE}.txt.bz2", tmp_path / "direct.tar"
    bare.write_bytes(lzma.compress(tar({f"{ONE}.txt": b"One."})))
    loose.write_bytes(bz2.compress(b"Nine."))
    direct.write_bytes(tar({f"folder/{ONE}.txt": b"One.", "folder/readme.md": b"no"}))
    assert read_source(bare, "openwebtext").documents[0].locator == f"{ONE}.txt"
    assert read_source(loose, "openwebtext").documents[0].id == f"openwebtext:{ONE}"
    outcome = read_source(direct, "openwebtext")
    assert outcome.texts == ["One."]
    assert outcome.dropped == {"not_text": 1}


def test_names_that_are_not_those_of_openwebtext_do_not_collide(tmp_path: Path, read_source: Any) -> None:
    """Ids are whole paths where file names alone may repeat."""
    path = tmp_path / "own.tar"
    inner = tar({"1.txt": b"C.", "x/1.txt": b"D."})
    loose = {"a/1.txt": b"A.", "b/1.txt": b"B."}
    path.write_bytes(tar({**loose, "inner.tar": inner, "inner.tar.gz": gzip.compress(inner)}))
    outcome = read_source(path, "openwebtext")
    assert outcome.texts == ["A.", "B.", "C.", "D.", "C.", "D."]
    ids = [document.id for document in outcome.documents]
    assert ids[:3] == ["openwebtext:own.tar/a/1", "openwebtext:own.tar/b/1", "openwebtext:own.tar/inner.tar/1"]
    assert len(set(ids)) == 6


def test_a_cut_inner_archive_keeps_the_members_before_the_cut(tmp_path: Path, read_source: Any) -> None:
    """Damage inside one part costs that part's tail and no other part."""
    path = tmp_path / "owt.tar"
    whole = lzma.compress(tar({f"{number}.txt": str(number).encode() * 9000 for number in range(50)}))
    good = lzma.compress(tar({"good.txt": b"Good."}))
    path.write_bytes(nested({"a": good, "b": whole[: len(whole) // 2], "c": good}))
    outcome = read_source(path, "openwebtext")
    assert 0 < len(outcome.documents) - 2 < 50
    assert outcome.texts[1:-1] == [str(number) * 9000 for number in range(len(outcome.documents) - 2)]
    assert outcome.texts[0] == outcome.texts[-1] == "Good."
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["locator"]) == ("truncated", "openwebtext/b_data.xz")


def test_a_cut_outer_archive_keeps_the_inner_ones_before(tmp_path: Path, read_source: Any) -> None:
    """A download that stopped gives what had come."""
    path = tmp_path / "owt.tar"
    inner = lzma.compress(tar({"good.txt": b"Good."}))
    path.write_bytes(nested({"a": inner, "b": inner})[: 512 + 512 + 512 + 20])
    outcome = read_source(path, "openwebtext")
    assert outcome.texts == ["Good."]
    assert set(outcome.reasons) == {"truncated"}


def test_a_cut_tar_gives_no_half_page(tmp_path: Path, read_source: Any) -> None:
    """The page that the cut goes through is listed, and those before it are whole."""
    path = tmp_path / "subset.tar"
    path.write_bytes(tar({f"{ONE}.txt": b"One.", f"{TWO}.txt": b"Two. " * 500})[: 3 * 512 + 700])
    outcome = read_source(path, "openwebtext")
    assert outcome.texts == ["One."]
    assert outcome.reasons == ["truncated"]


def test_a_page_above_the_limit_is_quarantined(
    tmp_path: Path, read_source: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page is held in memory beyond the limit."""
    monkeypatch.setattr(openwebtext, "MAXIMUM_PAGE_BYTES", 10)
    path = tmp_path / "owt.tar"
    path.write_bytes(tar({"1.txt": b"x" * 11, "2.txt": b"x" * 10, "3.txt": b"\xff"}))
    outcome = read_source(path, "openwebtext")
    assert outcome.texts == ["x" * 10, ""]
    assert outcome.reasons == ["too_large", "encoding"]
    loose = tmp_path / "1.txt"
    loose.write_bytes(b"x" * 11)
    assert read_source(loose, "openwebtext").reasons == ["too_large"]


def test_real_pages_keep_every_word_of_the_published_loader(data: Path, tmp_path: Path, read_source: Any) -> None:
    """The loader on the Hub makes three line feeds two and strips; cleaning does the same to ours."""
    with zipfile.ZipFile(data / "openwebtext" / "hf_openwebtext_dummy.zip") as archive:
        pages = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist() if name.endswith(".txt")}
    path = tmp_path / "urlsf_subset00.tar"
    path.write_bytes(nested({"urlsf_subset00-1": lzma.compress(tar(pages))}))
    documents = read_source(path, "openwebtext").documents
    assert len(documents) == 4
    for document, (name, raw) in zip(documents, pages.items(), strict=True):
        assert document.id == f"openwebtext:{name.removesuffix('.txt')}"
        loaded = re.sub("\n\n\n+", "\n\n", raw.decode()).strip()
        cleaned = clean_text(document.text).text
        assert cleaned.split() == loaded.split()
        assert cleaned.count("\n\n") == len(re.findall(r"\n\s*\n", loaded))


# tables


def test_rows_of_parquet_and_json_lines_are_pages(tmp_path: Path, read_source: Any) -> None:
    """The Hub's Parquet files, and JSON lines in the shape of OpenWebText2."""
    parquet, lines = tmp_path / "train-00000-of-00080.parquet", tmp_path / "2005-06.jsonl.zst"
    pq.write_table(pa.table({"text": ["One.\n\n\n\nMore.", "Two."]}), parquet)
    rows = [{"text": "Three.", "meta": {"url": "http://x.example/3"}}, {"text": None, "meta": {}}]
    lines.write_bytes(pa.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), "zstd", asbytes=True))
    assert read_source(parquet, "openwebtext").texts == ["One.\n\n\n\nMore.", "Two."]
    outcome = read_source(lines, "openwebtext", name="owt2")
    assert outcome.texts == ["Three."]
    assert outcome.reasons == ["missing_text"]
    assert outcome.documents[0].id.startswith("owt2:2005-06.jsonl.zst:")
    renamed = read_source(parquet, "openwebtext", columns={"text": "text", "id": "text"})
    assert renamed.documents[1].id == "openwebtext:Two."


# from scratch


def url_list(folder: Path, wanted: Sequence[str]) -> Path:
    """A finished list of URLs."""
    folder.mkdir()
    hashes = sorted({urls.url_hash(canonical_url(url)) for url in wanted})
    np.save(folder / urls.WANTED, np.array(hashes, dtype=np.uint64))
    files = tuple(record_files(folder, [urls.WANTED]))
    write_manifest(folder, Manifest(urls.KIND, urls.VERSION, "corpus urls", 1, {}, {}, files, {}, Ledger()))
    return folder


def page(number: int, url: str, *, type: str = "conversion", text: str = "") -> bytes:
    """One WARC record: the text of a page, or a whole HTTP response."""
    content = (text or f"Page {number}.").encode()
    if type == "response":
        body = f"<html><body><article><p>{'A long sentence of an article. ' * 20}</p></article></body></html>"
        content = f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n{body}".encode()
    head = (
        f"WARC/1.0\r\nWARC-Type: {type}\r\nWARC-Record-ID: <urn:uuid:{number}>\r\nWARC-Date: 2017-05-06T07:08:09Z\r\n"
        f"WARC-Target-URI: {url}\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content + b"\r\n\r\n"


def test_only_the_pages_of_listed_urls_are_taken(tmp_path: Path, read_source: Any) -> None:
    """A page is known by its canonical URL; the others are dropped by rule, before they are parsed."""
    listed = url_list(tmp_path / "urls", ["https://www.Site.example/story?b=2&a=1#top", "http://other.example/x/"])
    path = tmp_path / "CC-MAIN.warc.gz"
    records = [
        page(1, "http://site.example/story?a=1&b=2", type="response"),
        page(2, "http://site.example/another", type="response"),
        page(3, "https://other.example/x"),
        page(4, "http://other.example/X"),
        page(5, "http://other.example/x", type="request"),
    ]
    path.write_bytes(b"".join(gzip.compress(record) for record in records))
    outcome = read_source(path, "openwebtext", urls=str(listed))
    assert [document.id for document in outcome.documents] == ["openwebtext:1", "openwebtext:3"]
    assert outcome.documents[0].text.startswith("A long sentence")
    assert outcome.dropped == {"url": 2, "not_response": 1}


def test_a_folder_that_is_no_url_list_is_an_error(tmp_path: Path, read_source: Any) -> None:
    """Nothing is read without the list."""
    path = tmp_path / "CC-MAIN.warc.gz"
    path.write_bytes(gzip.compress(page(1, "http://site.example/")))
    with pytest.raises(ArtefactError, match="rbt corpus urls"):
        read_source(path, "openwebtext", urls=str(tmp_path / "none"))
