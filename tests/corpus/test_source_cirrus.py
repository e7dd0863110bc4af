"""CirrusSearch dumps: pairs of lines to documents, and what damage costs."""

from __future__ import annotations

import bz2
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import cirrus
from rbt.corpus.sources.compression import PIECE_BYTES

OLD, NEW = "enwiki-20230410-cirrussearch-content.json.gz", "enwiki_content-20260816-00000.json.bz2"


def index_line(id: int | str, type: str = "_doc") -> str:
    """The line before a page."""
    return json.dumps({"index": {"_type": type, "_id": str(id)}})


def content(id: int, text: Any = "Some words. More words.", **fields: Any) -> dict[str, Any]:
    """The fields of a page, as the dumps have them; those of None are absent."""
    record = {
        "template": ["Template:Reflist", "Template:Main other"], "content_model": "wikitext", "wiki": "enwiki",
        "opening_text": None, "auxiliary_text": ["drop"], "language": "en", "title": f"Page {id}", "text": text,
        "timestamp": f"2023-04-0{id % 9 + 1}T10:11:12Z", "redirect": [], "heading": ["Use"], "version": id + 1000,
        "namespace": 0, "namespace_text": "", "text_bytes": 23, "incoming_links": 3, "category": ["Lamps"],
        "outgoing_link": ["Light"], "external_link": [], "defaultsort": False, "version_type": "external",
    } | fields
    return {name: value for name, value in record.items() if value is not None}


def pair(id: int, text: Any = "Some words. More words.", **fields: Any) -> str:
    """The two lines of a page."""
    return f"{index_line(id)}\n{json.dumps(content(id, text, **fields))}\n"


@pytest.fixture
def read_lines(tmp_path: Path, read_source: Any) -> Callable[..., Any]:
    """Read text as a gzip dump."""

    def read(text: str, name: str = OLD, **options: Any) -> Any:
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else bz2.compress(text.encode()))
        return read_source(path, "wikipedia", **options)

    return read


def ids(outcome: Any) -> list[str]:
    """Page ids of the documents."""
    return [document.locator for document in outcome.documents]


@pytest.mark.parametrize("name", [OLD, NEW])
def test_a_pair_of_lines_becomes_a_document_with_all_its_facts(name: str, read_lines: Any) -> None:
    """Id, title, address, date and size are the record's."""
    lines = pair(3, title="Oil lamp (old)")
    outcome = read_lines(lines, name)
    [document] = outcome.documents
    assert (document.id, document.locator, document.origin) == ("wikipedia:3", "3", name)
    assert (document.title, document.date) == ("Oil lamp (old)", "2023-04-04T10:11:12Z")
    assert document.url == "https://en.wikipedia.org/wiki/Oil_lamp_(old)"
    assert document.payload_bytes == len(lines)
    assert document.text == "Some words. More words."
    assert outcome.reasons == []


def test_the_opening_text_is_the_first_paragraph_where_the_text_begins_with_it(read_lines: Any) -> None:
    """The one border between paragraphs that the format still tells."""
    outcome = read_lines(
        pair(1, "First part. Second part.", opening_text="First part.")
        + pair(2, "First part. Second part.", opening_text="Other part.")
        + pair(3, "All of it.", opening_text="All of it.")
        + pair(4, "", opening_text="")
    )
    assert outcome.texts == ["First part.\n\nSecond part.", "First part. Second part.", "All of it.", ""]


def test_where_the_wikitext_is_there_its_passages_are_read(read_lines: Any) -> None:
    """Without the lists and references that the plain text runs together with them."""
    source = "A '''lamp'''{{unheard of}}.<ref>drop</ref>\n\n* drop\n\nSecond."
    plain = "A lamp. drop Second. ^ drop"
    outcome = read_lines(pair(1, plain, source_text=source) + pair(2, None, source_text="Only."))
    assert outcome.texts == ["A lamp.\n\nSecond.", "Only."]
    assert outcome.reading.counts == {"template:unheard of": 1}


def test_what_is_no_article_is_dropped_by_its_rule(read_lines: Any) -> None:
    """Other namespaces, other models, other types of records and disambiguation pages."""
    namespace = f'{index_line(9, "namespace")}\n{json.dumps({"name": ["talk"], "wiki": "enwiki"})}\n'
    pages = [
        pair(1), pair(2, namespace=4), pair(3, content_model="css"), namespace,
        pair(5, category=["Disambiguation pages"]), pair(6, template=["Template:Hndis"]),
        pair(7, category=["All article disambiguation pages"]), pair(8),
    ]
    outcome = read_lines("".join(pages))
    assert ids(outcome) == ["1", "8"]
    assert outcome.dropped == {"namespace": 1, "model": 1, "not_a_page": 1, "disambiguation": 3}
    kept = read_lines("".join(pages), disambiguation=True)
    assert ids(kept) == ["1", "5", "6", "7", "8"]


@pytest.mark.parametrize(
    ("templates", "categories", "expected"),
    [
        (["Vorlage:Begriffsklärung"], [], True),
        (["Template:Human_name_disambiguation"], None, True),
        ("Template:Disambiguation", [], False),
        (["Template:Disambiguation needed", "Template:About"], [], False),
        ([], ["Human name disambiguation pages"], True),
        ([], ["Articles with links needing disambiguation from June 2020"], False),
        ([], ["Redirects to disambiguation pages"], False),
        (None, None, False),
        ([7, None], [{}], False),
    ],
)
def test_disambiguation_is_told_by_exact_names(templates: Any, categories: Any, expected: bool) -> None:
    """Maintenance templates and categories of articles speak of disambiguation too."""
    assert cirrus.only_points_on(templates, categories) is expected


@pytest.mark.parametrize(
    ("wiki", "title", "url"),
    [
        ("enwiki", "A b/C?", "https://en.wikipedia.org/wiki/A_b/C%3F"),
        ("dump/jawiki_content-20260816-00003.json.bz2", "灯", "https://ja.wikipedia.org/wiki/%E7%81%AF"),
        ("simplewiki-20230410-cirrussearch-content.json.gz", "Lamp", "https://simple.wikipedia.org/wiki/Lamp"),
        ("zh_min_nanwiki", "A", "https://zh-min-nan.wikipedia.org/wiki/A"),
        ("commonswiki", "A", ""),
        ("enwiktionary", "A", ""),
        ("sample.json", "A", ""),
        ("enwiki", "", ""),
    ],
)
def test_addresses_follow_from_the_wiki_and_the_title(wiki: str, title: str, url: str) -> None:
    """And are empty where they do not."""
    assert cirrus.page_url(wiki, title) == url


BROKEN = {
    "content cut": (f'{index_line(2)}\n{{"title": "x", "te\n', "bad_json", "2"),
    "content is no object": (f"{index_line(2)}\n[1]\n", "bad_json", "2"),
    "index broken": ('{"index":{"_type":"_doc","_id":"2"\n' + json.dumps(content(2)) + "\n", "bad_json", ""),
    "index without an id": ('{"index":{}}\n' + json.dumps(content(2)) + "\n", "missing_index", ""),
    "index alone": (f"{index_line(2)}\n", "missing_content", "2"),
    "content alone": (json.dumps(content(2)) + "\n", "missing_index", ""),
    "no text": (pair(2, None), "missing_text", "2"),
    "text is no text": (pair(2, [1]), "missing_text", "2"),
    "deep": (f'{index_line(2)}\n{"[" * 100_000}\n', "bad_json", "2"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_page_costs_itself_alone(name: str, read_lines: Any) -> None:
    """It is quarantined once, and reading goes on at the next index line."""
    lines, reason, locator = BROKEN[name]
    outcome = read_lines(pair(1) + lines + pair(3) + pair(4))
    assert ids(outcome) == ["1", "3", "4"]
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["locator"]) == (reason, locator)
    assert outcome.reading.row.incoming.documents == 4


def test_a_page_id_in_the_record_stands_in_for_a_lost_index_line(read_lines: Any) -> None:
    """The dumps since 2024 name the page twice."""
    outcome = read_lines(pair(1) + json.dumps(content(2, page_id=2)) + "\n" + pair(3))
    assert ids(outcome) == ["1", "2", "3"]
    assert outcome.reasons == []


def test_bytes_that_are_no_utf_8_are_quarantined_and_half_characters_replaced(tmp_path: Path, read_source: Any) -> None:
    """What JSON may escape and UTF-8 cannot hold becomes a question mark."""
    path = tmp_path / OLD
    bad = pair(2).encode().replace(b"Some", b"\xff\xfe")
    path.write_bytes(gzip.compress(pair(1).encode() + bad + pair(3, "Half \ud83d done.").encode()))
    outcome = read_source(path, "wikipedia")
    assert ids(outcome) == ["1", "3"]
    assert outcome.texts[1] == "Half ? done."
    assert outcome.reasons == ["encoding"]


def test_a_file_that_ends_behind_an_index_line_is_truncated(read_lines: Any) -> None:
    """The page that the line names is missing; a missing last line feed is no damage."""
    outcome = read_lines(pair(1) + index_line(2))
    assert ids(outcome) == ["1"]
    assert [(row["reason"], row["locator"]) for row in outcome.reading.quarantined] == [("truncated", "2")]
    whole = read_lines((pair(1) + pair(2)).rstrip("\n") + "\n\n")
    assert (ids(whole), whole.reasons) == (["1", "2"], [])
    assert read_lines((pair(1) + pair(2)).rstrip("\n")).reasons == []


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_a_cut_gzip_keeps_the_whole_pages_before_the_cut(share: float, tmp_path: Path, read_source: Any) -> None:
    """And is accounted for once, however much is missing."""
    lines = "".join(pair(number, f"Text {number * 7919 % 1000} of it.") for number in range(1, 400))
    data = gzip.compress(lines.encode())
    path = tmp_path / OLD
    path.write_bytes(data[: int(len(data) * share)])
    outcome = read_source(path, "wikipedia")
    whole = zlib.decompressobj(wbits=31).decompress(path.read_bytes()).count(b"\n") // 2
    assert ids(outcome) == [str(number) for number in range(1, whole + 1)]
    assert outcome.reasons == ["truncated"]


@pytest.mark.parametrize(
    ("shift", "kept", "reasons"),
    [(0, "123789", ["corrupt"]), (20, "12389", ["corrupt", "missing_index"]), (200, "12389", ["corrupt"])],
)
def test_behind_a_broken_stream_reading_goes_on_at_the_next_index_line(
    shift: int, kept: str, reasons: list[str], tmp_path: Path, read_source: Any
) -> None:
    """Of a file of three streams the second is lost, with the pages that lie across its borders."""
    pages = [pair(number) for number in range(1, 10)]
    lines, first, last = "".join(pages).encode(), len("".join(pages[:3])) + shift, len("".join(pages[:6])) + shift
    streams = [bytearray(bz2.compress(part)) for part in (lines[:first], lines[first:last], lines[last:])]
    streams[1][len(streams[1]) // 2] ^= 255
    path = tmp_path / NEW
    path.write_bytes(b"".join(streams))
    outcome = read_source(path, "wikipedia")
    assert ids(outcome) == list(kept)
    assert outcome.reasons == reasons


def test_v3_memory_is_that_of_a_line(tmp_path: Path) -> None:
    """Ten thousand pages take no more than a few do."""
    path = tmp_path / OLD
    with gzip.open(path, "wt", compresslevel=1) as stream:
        for number in range(1, 10_001):
            stream.write(pair(number, "A sentence of words. " * 20))
    documents = cirrus.read(str(path), SourceConfig("wikipedia", ()), Reading("wikipedia", path.name))
    count = 0
    for count, _ in enumerate(documents, 1):
        if count == 200:
            tracemalloc.start()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 8 * PIECE_BYTES
