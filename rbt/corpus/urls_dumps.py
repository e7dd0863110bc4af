"""One Reddit dump to a run of links: which submissions count, by URL hash, in buckets.

    raw lines ──json──> submission ──judge──> Link(hash, karma, url) | rule ──sort──> RUN.arrow

A run holds 256 record batches for each half million links: batch b of them has the links whose hash starts with the
byte b, in order of hash. So the sum over all runs takes one bucket at a time.

Submissions are JSON lines of any of these forms (plain, .gz, .bz2, .xz, .zst with windows up to 2 GiB): Pushshift's
`RS_*` (url, score, over_18, is_self, created_utc), the same cut down to some fields, and lists of {"u", "r", "k"} or
{"url", "karma"}. A form without a field passes the rule that asks for it, save the dates' and the karma's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rbt.corpus.reading import Reading
from rbt.corpus.sources.raw import open_raw
from rbt.corpus.sources.text import Line, read_lines
from rbt.corpus.urls_blacklist import Blacklist
from rbt.formats.canonical_url import canonical_url, plain_url
from rbt.formats.parts import write_table
from rbt.formats.quarantine import open_quarantine
from rbt.formats.urls import url_hash
from rbt.ledger import Ledger
from rbt.stage import Task, TaskOutput

SOURCE = "reddit"
READ = "read"  # the ledger's stage
BUCKETS = 256
RUN_LINKS = 1 << 19  # links in memory at a time, about 150 MB
RUN_CHARACTERS = 1 << 26  # of their URLs, which are seldom longer than 128
MAXIMUM_KARMA = 1 << 40
SCHEMA = pa.schema([("hash", pa.uint64()), ("karma", pa.int64()), ("size", pa.int32()), ("url", pa.string())])
NAMES = {  # field -> its names, the first that is there counts
    "url": ("url", "u"),
    "karma": ("score", "karma", "k"),
    "over_18": ("over_18", "over18"),
    "is_self": ("is_self",),
    "created": ("created_utc", "created"),
}


@dataclass(frozen=True)
class Rules:
    """Which submissions count. Times in seconds since 1970, `since` inclusive, `until` exclusive; None: no bound."""

    blacklist: Blacklist
    over_18: bool = False  # whether submissions that are not for minors count
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True)
class Link:
    """A submission that counts. `url` is fit to be asked for; `hash` is that of its canonical form."""

    hash: int
    karma: int
    url: str


def judge(submission: Mapping[str, Any], rules: Rules) -> Link | str:
    """The link of a submission, or the rule that drops it. Raises ValueError where a field is nonsense."""
    url, karma = _field(submission, "url"), _field(submission, "karma")
    if not isinstance(url, str) or not url:
        return "no_url"
    if _field(submission, "is_self"):
        return "self_post"
    if _field(submission, "over_18") and not rules.over_18:
        return "over_18"
    if rules.since is not None or rules.until is not None:
        created = _field(submission, "created")
        if created is None:
            return "no_date"
        seconds = int(float(created))
        if seconds < (rules.since or 0) or (rules.until is not None and seconds >= rules.until):
            return "date"
    if karma is None:
        return "no_karma"
    if not (canonical := canonical_url(url)):
        return "not_web"
    if rule := rules.blacklist.rule(canonical):
        return rule
    return Link(url_hash(canonical), max(min(int(karma), MAXIMUM_KARMA), -MAXIMUM_KARMA), plain_url(url))


def _field(submission: Mapping[str, Any], name: str) -> Any:
    for key in NAMES[name]:
        if (value := submission.get(key)) is not None:
            return value
    return None


def read_links(location: str, rules: Rules, reading: Reading) -> Iterator[Link]:
    """The links of one dump; every line is counted in `reading`, kept ones by the bytes of their URL."""
    with open_raw(location, reading) as stream:
        number = 1
        while True:
            for line in read_lines(stream, number):
                number = line.number + 1
                if stream.damage is not None and line.size == len(line.data):
                    continue  # cut by the damage, which stands for it
                reading.record(line.size)
                if (link := _link(line, rules, reading)) is not None:
                    size = len(link.url.encode())
                    reading.row.shrink("other_fields", line.size - size)
                    reading.row.keep(size)
                    yield link
            if (damage := stream.damage) is None:
                return
            reading.lost(damage.reason, offset=damage.offset, locator=f"line {number}", detail=damage.detail)
            stream.resume()


def _link(line: Line, rules: Rules, reading: Reading) -> Link | None:
    try:
        if line.too_large:
            raise ValueError(f"a line of {line.size} bytes")
        if not line.data.strip():
            reading.skip("blank", line.size)
            return None
        submission = json.loads(line.data)
        if not isinstance(submission, dict):
            raise ValueError("expected an object")
        found = judge(submission, rules)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        _quarantine(line, f"{type(error).__name__}: {error}", reading)
        return None
    if isinstance(found, Link):
        return found
    reading.skip(found, line.size)
    return None


def _quarantine(line: Line, detail: str, reading: Reading) -> None:
    locator = f"line {line.number}"
    reading.quarantine("bad_line", size=line.size, offset=line.offset, locator=locator, detail=detail)


def read_dump(task: Task, folder: Path) -> TaskOutput:
    """The task: one dump to RUN.arrow and its quarantine; results raw_hash, raw_bytes, links."""
    context = task.context
    blacklist = Blacklist(frozenset(context["domains"]), frozenset(context["extensions"]))
    rules = Rules(blacklist, **task.payload["rules"])
    run, quarantine = f"{task.name}.arrow", f"{task.name}.quarantine.arrow"
    with open_quarantine(folder / quarantine) as quarantined:
        reading = Reading(SOURCE, task.payload["origin"], quarantined=quarantined)
        write_table(folder / run, run_batches(read_links(context["location"], rules, reading)), SCHEMA)
    ledger = Ledger()
    row = ledger.row(READ, SOURCE)
    row.merge(reading.row)
    row.count("files")
    row.count("raw_bytes", reading.raw_bytes)
    unreadable = sum(a.documents for rule, a in row.dropped.items() if rule.startswith("quarantined_"))
    row.count("quarantined", unreadable)
    result = {"raw_hash": reading.raw_hash, "raw_bytes": reading.raw_bytes, "links": row.outgoing.documents}
    return TaskOutput([run, quarantine], ledger, result)


def run_batches(
    links: Iterator[Link], run_links: int = RUN_LINKS, run_characters: int = RUN_CHARACTERS
) -> Iterator[pa.RecordBatch]:
    """Sort up to `run_links` links, and URLs of `run_characters` or a little more, at a time into BUCKETS batches."""
    pending: list[Link] = []
    characters = 0
    for link in links:
        pending.append(link)
        characters += len(link.url)
        if len(pending) == run_links or characters >= run_characters:
            yield from _sorted_batches(pending)
            pending, characters = [], 0
    if pending:
        yield from _sorted_batches(pending)


def _sorted_batches(links: list[Link]) -> Iterator[pa.RecordBatch]:
    hashes = np.fromiter((link.hash for link in links), np.uint64, len(links))
    urls = pa.array([link.url for link in links], pa.string())
    sizes = pa.array([len(link.url.encode()) for link in links], pa.int32())
    order = np.argsort(hashes, kind="stable")
    columns = [pa.array(hashes), pa.array([link.karma for link in links], pa.int64()), sizes, urls]
    batch = pa.RecordBatch.from_arrays(columns, schema=SCHEMA).take(pa.array(order))
    firsts = np.arange(BUCKETS, dtype=np.uint64) << np.uint64(56)
    ends = [*np.searchsorted(hashes[order], firsts).tolist(), len(links)]
    for bucket in range(BUCKETS):
        yield batch.slice(ends[bucket], ends[bucket + 1] - ends[bucket])
