"""URL lists of runs that were killed, repeated, or are many: nothing stale, nothing read twice, memory bounded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from rbt.corpus import urls_sum
from rbt.corpus.config import SourceConfig
from rbt.corpus.raw_files import resources
from rbt.corpus.urls import UrlsConfig, build_urls
from rbt.corpus.urls_blacklist import load_blacklist
from rbt.corpus.urls_dumps import BUCKETS, Link, run_batches
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.urls import read_part
from rbt.manifest import Manifest, write_manifest
from rbt.storage import hash_file

ENGINE = LocalEngine(1)


def test_a_touched_dump_is_read_once(tmp_path: Path) -> None:
    """The list stays as it is, the new time stamp is written down, and no work is left where none is kept."""
    path, out, config = tmp_path / "a.json", tmp_path / "urls", UrlsConfig(keep_work=False)
    path.write_text('{"url": "http://example.org/a", "score": 3}\n')
    build_urls([str(path)], out, config, ENGINE)
    listed = (out / "manifest.json").stat().st_mtime_ns
    os.utime(path, (1, 1))
    build_urls([str(path)], out, config, ENGINE)
    assert (out / "manifest.json").stat().st_mtime_ns == listed
    [recorded] = json.loads((out / "provenance.json").read_text())["raw"]
    assert recorded["stamp"]["tag"] == str(10**9)
    assert [entry.name for entry in (out / "work").iterdir()] == ["lock"]
    (out / "work" / "read").mkdir()  # as a kill behind the manifest leaves it
    build_urls([str(path)], out, config, ENGINE)
    assert [entry.name for entry in (out / "work").iterdir()] == ["lock"]


def test_a_part_that_a_killed_run_left_is_not_in_the_list(tmp_path: Path) -> None:
    """Whoever reads urls-*.tsv.gz reads the list of the manifest and no more."""
    path, out = tmp_path / "a.json", tmp_path / "urls"
    path.write_text('{"url": "http://example.org/a", "score": 3}\n')
    (out / "work").mkdir(parents=True)
    (out / "work" / "lock").write_text("urls")
    (out / "urls-007.tsv.gz").write_bytes(b"stale")
    manifest = build_urls([str(path)], out, UrlsConfig(), ENGINE)
    assert [entry.name for entry in out.glob("urls-*")] == manifest.facts["parts"] == ["urls-000.tsv.gz"]


def test_more_dumps_than_files_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sum over many runs opens a bounded number of them at a time."""
    monkeypatch.setattr("rbt.corpus.urls_sum.OPEN_FILES", 4)
    for number in range(12):
        (tmp_path / f"{number}.json").write_text(f'{{"url": "http://example.org/{number % 3}", "score": {number}}}\n')
    most: list[int] = []
    opened = urls_sum._reader

    def reader(path: Path, columns: tuple[int, ...]) -> Any:
        most.append(sum(path.suffix == ".arrow" for path in open_files()))
        return opened(path, columns)

    monkeypatch.setattr("rbt.corpus.urls_sum._reader", reader)
    build_urls([str(tmp_path / "*.json")], tmp_path / "urls", UrlsConfig(), ENGINE)
    found = {row.url: (row.karma, row.submissions) for row in read_part(tmp_path / "urls" / "urls-000.tsv.gz")}
    assert found == {f"http://example.org/{page}": (4 * page + 18, 4) for page in range(3)}
    assert len(most) > 24
    assert 2 <= max(most) <= 6


def open_files() -> list[Path]:
    """Those of this process."""
    return [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()]


def test_long_urls_are_sorted_in_smaller_runs() -> None:
    """Memory is bounded by characters as well as by links, and nothing is lost."""
    links = [Link(number << 56, 1, "x" * 100) for number in range(100)]
    batches = list(run_batches(iter(links), 1000, 1000))
    assert len(batches) == 10 * BUCKETS
    assert sum(batch.num_rows for batch in batches) == 100
    assert max(batch.num_rows for batch in batches) == 1


@pytest.mark.parametrize("entry", [".tar.gz", ".", ".a/b"])
def test_an_extension_that_no_url_can_have_is_an_error(tmp_path: Path, entry: str) -> None:
    """An entry that never matches would be believed to work."""
    (tmp_path / "list").write_text(f"example.org\n{entry}\n")
    with pytest.raises(ConfigError, match=r"list, line 2: expected an \.extension with one dot"):
        load_blacklist([str(tmp_path / "list")])


def test_what_a_source_points_to_is_named_by_its_content(tmp_path: Path) -> None:
    """Questions by path or URL alike; a folder that is no list of URLs is an error with its cure."""
    (tmp_path / "q.xml").write_text("questions")
    local = SourceConfig("stories", (), questions=("q.xml",))
    remote = SourceConfig("stories", (), questions=(f"file://{tmp_path}/q.xml",))
    assert resources(local, tmp_path) == resources(remote, tmp_path) == {"questions": [hash_file(tmp_path / "q.xml")]}
    with pytest.raises(ArtefactError, match=r"expected a finished urls; .* \(run `rbt corpus urls`\)"):
        resources(SourceConfig("openwebtext", (), urls="none"), tmp_path)
    write_manifest(tmp_path, Manifest("corpus", 1, "corpus build", 1, {}, {}, ()))
    with pytest.raises(ArtefactError, match=r"found corpus of format version 1 \(name the folder that"):
        resources(SourceConfig("openwebtext", (), urls="."), tmp_path)
