"""Every real file that is broken or odd: what is kept of it, what is dropped by rule, what is quarantined, and why.

Files under hostile/epubcheck have a table of their own, beside the tests of EPUB.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

FOLDERS = (
    "warc/warcio", "warc/dolma", "hostile/naughty", "hostile/nltk", "wikipedia/truncated_multilang",
    "wikipedia/dumpster-dive",
)
UNDATED = {"since": "", "until": ""}  # the files are of other years than the paper's window


@dataclass(frozen=True)
class Row:
    """What a file gives. `dropped`: records by rule; `reasons`: places listed in the quarantine."""

    path: str
    why: str
    kept: int
    dropped: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    kind: str = "ccnews"
    name: str = ""  # under which a copy is read

    @property
    def options(self) -> dict[str, str]:
        """Options of the source."""
        return UNDATED if self.kind == "ccnews" else {}


ROWS = [
    Row("warc/warcio/bad.arc", "the older format, whose records are no WARC records", 0, {}, {"arc_format": 1}),
    Row(
        "warc/warcio/example-bad-non-chunked.warc.gz", "one gzip member for all records", 1,
        {"not_response": 5},
    ),
    Row(
        "warc/warcio/example-bad.warc.gz.bad", "compressed, and its name does not say so", 0, {}, {"bad_record": 1},
    ),
    Row(
        "warc/warcio/example-bad.warc.gz.bad", "the same under its name: one gzip member for all", 1,
        {"not_response": 4, "http_status": 1}, name="example-bad.warc.gz",
    ),
    Row("warc/warcio/example-digest.warc", "requests alone; wrong digests are not asked for", 0, {"not_response": 4}),
    Row(
        "warc/warcio/example-iana.org-chunked.warc", "a chunked body, put together again", 1, {"not_response": 2},
    ),
    Row("warc/warcio/example-resource.warc.gz", "a resource is no page of a crawl", 0, {"not_response": 3}),
    Row(
        "warc/warcio/example-space-in-target-uri.warc.gz", "a resource, its address has spaces", 0,
        {"not_response": 2},
    ),
    Row("warc/warcio/example-space-in-url.arc", "the older format", 0, {}, {"arc_format": 1}),
    Row(
        "warc/warcio/example-trunc.warc", "a response longer than it states: read up to there, the rest listed", 1,
        {"not_response": 3}, {"bad_record": 1},
    ),
    Row(
        "warc/warcio/example-wget-bad-target-uri.warc.gz", "addresses in angle brackets, as old Wget wrote them", 1,
        {"not_response": 5},
    ),
    Row(
        "warc/warcio/example-wrong-chunks.warc.gz", "a body said to be chunked that is not: taken as it is", 1,
        {"not_response": 1},
    ),
    Row("warc/warcio/example.arc", "the older format", 0, {}, {"arc_format": 1}),
    Row("warc/warcio/example.arc.gz", "the older format", 0, {}, {"arc_format": 1}),
    Row("warc/warcio/example.warc", "one response among requests, revisit and headers", 1, {"not_response": 5}),
    Row("warc/warcio/example.warc.gz", "the same, compressed record by record", 1, {"not_response": 5}),
    Row(
        "warc/warcio/post-test.warc.gz", "three answers in JSON to three requests", 0, {"not_response": 3, "mime": 3},
    ),
    Row(
        "warc/warcio/standard-torture-validate-field.warc", "types that are none, and a version that is none", 0,
        {"not_response": 3}, {"bad_record": 1},
    ),
    Row(
        "warc/warcio/standard-torture-validate-record.warc", "one record of each type, all without content", 0,
        {"not_response": 10, "empty": 1},
    ),
    Row(
        "warc/dolma/sample-0000.warc.gz", "a piece of a crawl: warcinfo, request, response and metadata by turns", 22,
        {"not_response": 26},
    ),
    Row("warc/dolma/science-0.warc.gz", "two pages and their requests", 2, {"not_response": 2}),
    Row(
        "hostile/naughty/blns.txt", "text, as odd as text may be: one book", 1, kind="bookcorpus",
    ),
    Row("hostile/naughty/blns.base64.txt", "text without sentences: one book", 1, kind="bookcorpus"),
    Row(
        "hostile/naughty/blns.json", "one array over all lines: no line is an object of its own", 0, {},
        {"bad_json": 517}, kind="table",
    ),
    Row(
        "hostile/naughty/blns.base64.json", "one array over all lines: no line is an object of its own", 0, {},
        {"bad_json": 678}, kind="table",
    ),
    Row(
        "hostile/nltk/unicode_samples.zip", "a text that is no UTF-8, listed and kept; two files of another XML", 1, {},
        {"encoding": 1, "not_tei": 2}, kind="bookcorpus",
    ),
    Row(
        "wikipedia/truncated_multilang/mrwiki-truncated-100k.xml.xz", "cut inside a page: that one is lost", 942,
        {"redirect": 137, "namespace": 734, "disambiguation": 7}, {"truncated": 1}, kind="wikipedia",
    ),
    Row(
        "wikipedia/dumpster-dive/smallwiki-latest-pages-articles.xml.bz2", "a whole dump", 896,
        {"redirect": 147, "namespace": 954, "disambiguation": 7}, kind="wikipedia",
    ),
    Row(
        "wikipedia/dumpster-dive/tinywiki-latest-pages-articles.xml",
        "made by hand: page ids repeated, an XML comment in a text, and the rest of that text behind it", 6,
        {"redirect": 1, "disambiguation": 1}, kind="wikipedia",
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.path}{row.name and ' as '}{row.name}" for row in ROWS])
def test_an_odd_file_keeps_and_loses_what_its_row_says(row: Row, data: Path, tmp_path: Path, read_source: Any) -> None:
    """Documents, rules and reasons, in numbers."""
    path = data / row.path
    if row.name:
        path = Path(shutil.copy(path, tmp_path / row.name))
    outcome = read_source(path, row.kind, **row.options)
    assert len(outcome.documents) == row.kept, row.why
    rules = {rule: count for rule, count in outcome.dropped.items() if not rule.startswith("quarantined_")}
    assert rules == row.dropped, row.why
    assert Counter(outcome.reasons) == row.reasons, row.why


def test_every_odd_file_has_a_row(data: Path) -> None:
    """A new file in the folders needs one."""
    files = {path.relative_to(data).as_posix() for folder in FOLDERS for path in (data / folder).iterdir()}
    assert files == {row.path for row in ROWS}
    assert all(row.why for row in ROWS)
