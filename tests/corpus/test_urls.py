"""Reddit dumps to the URL list of WebText: every line accounted for, karma summed as an obvious loop sums it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from rbt.cli import main
from rbt.corpus.urls import UrlsConfig, build_urls, timestamp
from rbt.corpus.urls_blacklist import load_blacklist
from rbt.corpus.urls_dumps import Link, Rules, judge
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, ConfigError, InputError
from rbt.formats.canonical_url import canonical_url
from rbt.formats.parts import open_table
from rbt.formats.quarantine import SCHEMA as QUARANTINE
from rbt.formats.urls import UrlSet, WantedUrl, check_urls, read_part, url_hash
from rbt.manifest import Manifest

ENGINE = LocalEngine(1)


def zstd_frame(content: bytes, window_log: int) -> bytes:
    """A frame of stored blocks that asks for a window of 2^window_log bytes (RFC 8878, section 3.1.1)."""
    blocks = [content[at : at + 100_000] for at in range(0, len(content), 100_000)]
    body = b"".join(
        struct.pack("<I", len(block) << 3 | (number == len(blocks) - 1))[:3] + block
        for number, block in enumerate(blocks)
    )
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window_log - 10) << 3]) + body


COMPRESSIONS: dict[str, Any] = {
    "": bytes, ".gz": gzip.compress, ".bz2": lambda data: bz2.compress(data, 1),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": lambda data: zstd_frame(data, 31),
}


def random_submissions(seed: int, number: int) -> list[dict[str, Any]]:
    """Submissions of few URLs in several spellings, of all kinds that are dropped too."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        page = int(rng.zipf(1.3)) % 400
        spelling = ["http://site{}.com/p?a=1&b=2", "https://www.site{}.com/p/?b=2&a=1#x", "http://site{}.com:80/p?b=2&a=1&utm_x=3"]
        url = str(rng.choice(spelling)).format(page)
        kind = rng.random()
        url = f"http://i.imgur.com/{page}" if kind < 0.05 else f"http://site.com/{page}.pdf" if kind < 0.1 else url
        found.append({
            "url": url, "score": int(rng.integers(-3, 6)), "over_18": bool(rng.random() < 0.1),
            "is_self": bool(rng.random() < 0.1), "created_utc": int(rng.integers(1_500_000_000, 1_530_000_000)),
        })
    return found


def write_dump(path: Path, submissions: Sequence[dict[str, Any]]) -> None:
    data = b"".join(json.dumps(submission).encode() + b"\n" for submission in submissions)
    path.write_bytes(COMPRESSIONS[path.suffix if path.suffix != ".json" else ""](data))


def rows(out: Path, manifest: Manifest) -> list[WantedUrl]:
    return [row for name in manifest.facts["parts"] for row in read_part(out / name)]


def reference(submissions: Sequence[dict[str, Any]], minimum: int, until: int) -> dict[str, tuple[int, int, str]]:
    """The list as an obvious loop makes it: canonical URL -> (karma, submissions, spelling)."""
    blacklist = load_blacklist()
    found: dict[str, list[tuple[int, str]]] = {}
    for item in submissions:
        url = canonical_url(item["url"])
        if not (item["is_self"] or item["over_18"] or item["created_utc"] >= until or blacklist.rule(url)):
            found.setdefault(url, []).append((-item["score"], item["url"]))
    return {
        url: (-sum(score for score, _ in group), len(group), min(group)[1])
        for url, group in found.items() if -sum(score for score, _ in group) >= minimum
    }


@pytest.fixture
def dumps(tmp_path: Path) -> Iterator[tuple[list[str], list[dict[str, Any]]]]:
    """Five dumps, one of each compression, and all their submissions."""
    everything, paths = [], []
    for number, ending in enumerate(COMPRESSIONS):
        submissions = random_submissions(number, 400)
        paths.append(tmp_path / f"RS_2018-0{number}{ending or '.json'}")
        write_dump(paths[-1], submissions)
        everything += submissions
    yield [str(path) for path in paths], everything


@pytest.mark.parametrize("links", [1 << 19, 50])
def test_the_list_is_what_an_obvious_loop_makes(
    dumps: tuple[list[str], list[dict[str, Any]]], tmp_path: Path, links: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Karma summed over dumps and spellings, however the links are cut into runs and parts."""
    monkeypatch.setattr("rbt.corpus.urls_dumps.run_batches.__defaults__", (links, 1 << 26))
    monkeypatch.setattr("rbt.corpus.urls_sum.PART_LINKS", links * 8)
    paths, submissions = dumps
    out = tmp_path / "urls"
    manifest = build_urls(paths, out, UrlsConfig(until="2018-01-01"), ENGINE)
    expected = reference(submissions, 3, 1_514_764_800)
    found = rows(out, manifest)
    assert {canonical_url(row.url): (row.karma, row.submissions, row.url) for row in found} == expected
    assert len(found) == len(expected) == manifest.facts["urls"] > 60
    assert (len(manifest.facts["parts"]) > 1) == (links == 50)
    assert check_urls(out) == []
    urls = UrlSet.open(out)
    for page in range(450):
        url = f"https://www.site{page}.com/p?b=2&a=1&gclid=1"
        assert urls.contains(url) == (canonical_url(url) in expected)
    assert not urls.contains("no url")
    assert not urls.contains_hash(2**64 - 1)


def test_every_line_is_accounted_for(dumps: tuple[list[str], list[dict[str, Any]]], tmp_path: Path) -> None:
    """The ledger balances in lines and bytes, and each rule has its own count."""
    paths, submissions = dumps
    manifest = build_urls(paths, tmp_path / "urls", UrlsConfig(), ENGINE)
    table = {stage: row for stage, _, row in manifest.ledger}
    read, summed = table["read"], table["sum"]
    assert read.imbalance() == summed.imbalance() == (0, 0)
    assert read.incoming.documents == len(submissions)
    assert read.incoming.bytes == sum(len(json.dumps(item)) + 1 for item in submissions)
    assert read.dropped["self_post"].documents == sum(item["is_self"] for item in submissions)
    assert read.dropped["over_18"].documents == sum(item["over_18"] and not item["is_self"] for item in submissions)
    assert {"domain", "extension"} < set(read.dropped)
    assert read.outgoing == summed.incoming
    listed = rows(tmp_path / "urls", manifest)
    assert summed.outgoing.documents == len(listed)
    assert summed.outgoing.bytes == sum(len(row.url.encode()) for row in listed)
    assert summed.dropped["same_url"].documents == sum(row.submissions - 1 for row in listed)


@pytest.mark.slow
def test_workers_and_order_change_no_byte(dumps: tuple[list[str], list[dict[str, Any]]], tmp_path: Path) -> None:
    """Two workers and one, in whatever order the dumps are named, give the same hashes."""
    paths, _ = dumps
    first = build_urls(paths, tmp_path / "a", UrlsConfig(), ENGINE)
    second = build_urls(list(reversed(paths)), tmp_path / "b", UrlsConfig(), LocalEngine(2))
    assert first.table() == second.table()


def test_a_finished_list_is_found_without_reading_a_dump(
    dumps: tuple[list[str], list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Also where the work is gone; a dump that was touched is read, and found to be the same."""
    paths, _ = dumps
    out = tmp_path / "urls"
    build_urls(paths, out, UrlsConfig(keep_work=False), ENGINE)
    assert not (out / "work" / "read").exists()
    stamp = (out / "manifest.json").stat().st_mtime_ns
    build_urls(paths, out, UrlsConfig(), ENGINE)
    assert not (out / "work" / "read").exists()
    Path(paths[0]).touch()
    build_urls(paths, out, UrlsConfig(), ENGINE)
    assert (out / "work" / "read").exists()
    assert (out / "manifest.json").stat().st_mtime_ns == stamp


def test_another_minimum_reads_no_dump_again(
    dumps: tuple[list[str], list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs --replace, and the runs that are there."""
    paths, submissions = dumps
    out = tmp_path / "urls"
    build_urls(paths, out, UrlsConfig(), ENGINE)
    with pytest.raises(ArtefactError, match="minimum_karma = 3 instead of 9"):
        build_urls(paths, out, UrlsConfig(minimum_karma=9), ENGINE)
    monkeypatch.setattr("rbt.corpus.urls.read_dump", lambda *_: pytest.fail("a dump was read"))
    manifest = build_urls(paths, out, UrlsConfig(minimum_karma=9), ENGINE, replace=True)
    assert {canonical_url(row.url) for row in rows(out, manifest)} == set(reference(submissions, 9, 1 << 40))


def test_unreadable_lines_are_listed_and_the_rest_is_kept(tmp_path: Path) -> None:
    """Each with its file, its line and its byte; blank lines and a missing last line feed are no errors."""
    good = b'{"url": "http://a.com/%d", "score": 5}'
    lines = [
        good % 1, b"{cut", b"", good % 2, b"[1]", b'{"url": "http://a.com/3", "score": "many"}',
        b'{"url": 7, "score": 1}', b'{"url": "http://a.com/4"}', b'{"url": "http://a.com/5", "score": 1e999}',
        b'{"url": "\xff"}', good % 6,
    ]
    path = tmp_path / "dump.json"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match=r"dump\.json: expected at most 5\.0% unreadable lines; found 5 of 11"):
        build_urls([str(path)], tmp_path / "urls", UrlsConfig(), ENGINE)
    manifest = build_urls([str(path)], tmp_path / "urls", UrlsConfig(maximum_errors=0.5), ENGINE)
    assert sorted(row.url for row in rows(tmp_path / "urls", manifest)) == [f"http://a.com/{n}" for n in (1, 2, 6)]
    table = open_table(tmp_path / "urls" / "quarantine.arrow", QUARANTINE).to_pylist()
    assert [row["locator"] for row in table] == ["line 2", "line 5", "line 6", "line 9", "line 10"]
    assert [row["offset"] for row in table] == [sum(len(line) + 1 for line in lines[:n]) for n in (1, 4, 5, 8, 9)]
    assert {row["origin"] for row in table} == {"dump.json"}
    read = next(row for stage, _, row in manifest.ledger if stage == "read")
    assert {rule: amount.documents for rule, amount in read.dropped.items()} == {
        "blank": 1, "no_url": 1, "no_karma": 1, "quarantined_bad_line": 5,
    }


def test_every_line_of_a_dump_of_junk_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They go to disk in batches, so that their number does not matter."""
    monkeypatch.setattr("rbt.formats.quarantine.BATCH_ROWS", 7)
    (tmp_path / "dump.json").write_bytes(b"junk\n" * 50 + b'{"url": "http://a.com/1", "score": 5}\n')
    manifest = build_urls([str(tmp_path / "dump.json")], tmp_path / "urls", UrlsConfig(maximum_errors=1), ENGINE)
    read = next(row for stage, _, row in manifest.ledger if stage == "read")
    assert read.dropped["quarantined_bad_line"].documents == read.other["quarantined"] == 50
    assert open_table(tmp_path / "urls" / "quarantine.arrow", QUARANTINE).num_rows == 50


@pytest.mark.parametrize("ending", [".gz", ".xz", ".bz2", ".zst"])
def test_a_cut_dump_keeps_what_comes_before(tmp_path: Path, ending: str) -> None:
    """The lines before the cut count, the cut one is lost with the rest, and that is listed."""
    rng = np.random.default_rng(1)
    submissions = [{"url": f"http://a.com/{n}", "score": 5, "noise": rng.bytes(300).hex()} for n in range(1500)]
    path = tmp_path / f"dump{ending}"
    write_dump(path, submissions)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    manifest = build_urls([str(path)], tmp_path / "urls", UrlsConfig(), ENGINE)
    numbers = sorted(int(row.url.rpartition("/")[2]) for row in rows(tmp_path / "urls", manifest))
    assert numbers == list(range(len(numbers)))
    assert 100 < len(numbers) < 1500
    table = open_table(tmp_path / "urls" / "quarantine.arrow", QUARANTINE).to_pylist()
    assert [row["reason"] for row in table] == ["truncated"]


def test_zstd_frames_come_one_after_another(tmp_path: Path) -> None:
    """Frames with the longest windows, a skippable one between them, and a broken one that costs itself alone."""
    line = b'{"url": "http://a.com/%d", "score": 5}\n'
    frames = [zstd_frame(line % number * 3000, 31) for number in range(4)]
    skippable = struct.pack("<II", 0x184D2A53, 5) + b"notes"
    broken = frames[1][:20] + b"\xff" * 40 + frames[1][60:]
    path = tmp_path / "RS.zst"
    path.write_bytes(frames[0] + skippable + frames[2] + frames[3])
    manifest = build_urls([str(path)], tmp_path / "a", UrlsConfig(), ENGINE)
    assert {row.url: row.submissions for row in rows(tmp_path / "a", manifest)} == {
        f"http://a.com/{number}": 3000 for number in (0, 2, 3)
    }
    path.write_bytes(frames[0] + broken[:6] + b"\xff\xff\xff" + broken[9:] + frames[2])
    manifest = build_urls([str(path)], tmp_path / "b", UrlsConfig(), ENGINE)
    assert {row.url for row in rows(tmp_path / "b", manifest)} == {"http://a.com/0", "http://a.com/2"}


def test_a_bomb_is_read_in_bounded_pieces() -> None:
    """A few kilobytes that stand for hundreds of megabytes come in pieces of at most 64 MiB."""
    from rbt.corpus.sources.zstd import ZSTD

    block = struct.pack("<I", (128 << 10) << 3 | 2)[:3] + b"a"  # one byte repeated 128 KiB times
    bomb = b"\x28\xb5\x2f\xfd\x00" + bytes([(20 - 10) << 3]) + block * 1500 + b"\x01\x00\x00"
    sizes = [len(piece) for piece in ZSTD.member().feed(bomb)]
    assert sum(sizes) == 1500 * (128 << 10)
    assert max(sizes) <= 64 << 20


def test_a_dump_given_twice_is_an_error(tmp_path: Path) -> None:
    """Its karma would count twice."""
    for name in ("a.json", "b.json"):
        write_dump(tmp_path / name, random_submissions(1, 50))
    with pytest.raises(InputError, match=r"b\.json: expected each dump once.*the content of .*a\.json"):
        build_urls([str(tmp_path / "*.json")], tmp_path / "urls", UrlsConfig(), ENGINE)


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    """An empty list would match no page."""
    write_dump(tmp_path / "a.json", random_submissions(1, 50))
    with pytest.raises(InputError, match="expected URLs with a karma of 1000 or more; found none among"):
        build_urls([str(tmp_path / "a.json")], tmp_path / "urls", UrlsConfig(minimum_karma=1000), ENGINE)
    with pytest.raises(ConfigError, match="expected a date like 2018-01-01; found 'soon'"):
        build_urls([str(tmp_path / "a.json")], tmp_path / "urls", UrlsConfig(until="soon"), ENGINE)


GOOD = {"url": "http://a.com/x", "score": 4, "over_18": False, "is_self": False, "created_utc": 1_500_000_000}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 4),
        ({"score": "4"}, 4),
        ({"score": -2}, -2),
        ({"created_utc": "1500000000"}, 4),
        ({"created_utc": 1_500_000_000.5}, 4),
        ({"over_18": None}, 4),
        ({"url": "http://a.com/x", "score": None, "karma": 9}, 9),
        ({"url": None, "score": None, "u": "http://a.com/x", "k": 7}, 7),
        ({"is_self": True}, "self_post"),
        ({"over_18": True}, "over_18"),
        ({"created_utc": 1_400_000_000}, "date"),
        ({"created_utc": 1_600_000_000}, "date"),
        ({"created_utc": None}, "no_date"),
        ({"score": None}, "no_karma"),
        ({"url": None}, "no_url"),
        ({"url": ""}, "no_url"),
        ({"url": "/r/pics/comments/1"}, "not_web"),
        ({"url": "https://www.reddit.com/r/pics"}, "domain"),
        ({"url": "http://a.com/x.png"}, "extension"),
    ],
)
def test_a_submission_counts_or_falls_to_one_rule(changes: dict[str, Any], expected: int | str) -> None:
    """All forms of fields that dumps have had."""
    rules = Rules(load_blacklist(), since=timestamp("2017-01-01"), until=timestamp("2018-01-01T00:00:00+00:00"))
    found = judge({**GOOD, **changes}, rules)
    if isinstance(expected, str):
        assert found == expected
    else:
        assert found == Link(url_hash("http://a.com/x"), expected, "http://a.com/x")


def test_damage_to_a_finished_list_is_found(tmp_path: Path) -> None:
    """A list whose rows are not those of its hashes does not pass for one."""
    write_dump(tmp_path / "a.json", random_submissions(1, 300))
    out = tmp_path / "urls"
    manifest = build_urls([str(tmp_path / "a.json")], out, UrlsConfig(), ENGINE)
    name = manifest.facts["parts"][0]
    lines = gzip.decompress((out / name).read_bytes()).splitlines(keepends=True)
    (out / name).write_bytes(gzip.compress(b"".join([lines[1], lines[0], *lines[2:]])))
    assert check_urls(out) == [f"{name}, line 1: not the URL of row 0 of wanted.npy"]
    (out / name).write_bytes(gzip.compress(b"".join(lines[:-1])))
    assert "URLs in the list" in check_urls(out)[0]
    (out / "wanted.npy").write_bytes(b"junk")
    with pytest.raises(ArtefactError, match=r"wanted\.npy: expected an array of hashes"):
        UrlSet.open(out)
    with pytest.raises(ArtefactError, match="expected a finished urls"):
        UrlSet.open(tmp_path / "nothing")


def test_the_raw_dump_of_june_2005_gives_the_published_list(data: Path, tmp_path: Path) -> None:
    """The links of Reddit's first month with 3 karma or more are those that another tool lists, with the same karma."""
    dump = data / "openwebtext/pushshift/RS_v2_2005-06.xz"
    manifest = build_urls([str(dump)], tmp_path / "urls", UrlsConfig(), ENGINE)
    found = {canonical_url(row.url): row.karma for row in rows(tmp_path / "urls", manifest)}
    blacklist = load_blacklist()
    expected: dict[str, int] = {}
    listed = data / "openwebtext/urk/RS_v2_2005-06.urk.json-00.gz"
    for line in gzip.decompress(listed.read_bytes()).splitlines():
        item = json.loads(line)
        if not blacklist.rule(canonical_url(item["u"])):
            expected[canonical_url(item["u"])] = expected.get(canonical_url(item["u"]), 0) + item["k"]
    assert found == expected
    assert len(found) > 70


def test_the_command_sums_the_reduced_lists(data: Path, tmp_path: Path) -> None:
    """Lists of url, subreddit and karma are dumps like any other; the report says what became of each line."""
    command = ["corpus", "urls", str(data / "openwebtext/urk/*.gz"), "--out", str(tmp_path / "urls"), "--workers", "1"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 0, result.output
    expected: dict[str, int] = {}
    lines, blacklist = 0, load_blacklist()
    for path in sorted((data / "openwebtext/urk").glob("*.gz")):
        for line in gzip.decompress(path.read_bytes()).splitlines():
            lines += 1
            item = json.loads(line)
            if (url := canonical_url(item["u"])) and not blacklist.rule(url):
                expected[url] = expected.get(url, 0) + item["k"]
    wanted = {url for url, karma in expected.items() if karma >= 3}
    assert f"{len(wanted):,} URLs of " in result.output
    assert f"read      {lines:>14,} submissions" in result.output
    urls = UrlSet.open(tmp_path / "urls")
    assert len(urls) == len(wanted)
    assert all(urls.contains(url) for url in wanted)
    assert isinstance(open_table(tmp_path / "urls" / "quarantine.arrow", QUARANTINE), pa.Table)
