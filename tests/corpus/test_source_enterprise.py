"""Enterprise HTML dumps: the latest revision of each page, out of an archive that may be damaged."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import enterprise, wikipedia
from rbt.corpus.sources.text import Line
from rbt.errors import InputError

NAME = "enwiki-NS0-20250320-ENTERPRISE-HTML.json.tar.gz"


def article(id: int, version: int = 1, text: str = "", **fields: Any) -> str:
    """A line of a member, as the dumps have it; fields of None are absent."""
    text = text or f"Page {id} at {version}."
    html = (
        '<!DOCTYPE html>\n<html prefix="mw: http://mediawiki.org/rdf/"><head><title>x</title></head>'
        f'<body class="mw-parser-output"><section data-mw-section-id="0"><p>{text}</p></section></body></html>'
    )
    record = {
        "name": f"Page {id}", "identifier": id, "date_modified": f"2025-03-0{version % 9 + 1}T10:11:12Z",
        "version": {
            "identifier": version, "comment": 'says "identifier":99', "tags": ["mobile edit"], "is_minor_edit": True,
            "scores": {"damaging": {"probability": {"false": 0.9}}}, "editor": {"identifier": 77, "name": "Someone"},
        },
        "url": f"https://en.wikipedia.org/wiki/Page_{id}", "namespace": {"name": "Article", "identifier": 0},
        "in_language": {"name": "English", "identifier": "en"},
        "main_entity": {"identifier": f"Q{id}", "url": f"https://www.wikidata.org/entity/Q{id}"},
        "categories": [{"name": "Category:Lamps", "url": "https://en.wikipedia.org/wiki/Category:Lamps"}],
        "templates": [{"name": "Template:Reflist", "url": "https://en.wikipedia.org/wiki/Template:Reflist"}],
        "redirects": [{"name": "Old name", "url": "https://en.wikipedia.org/wiki/Old_name"}],
        "is_part_of": {"name": "Wikipedia", "identifier": "enwiki"},
        "article_body": {"html": html, "wikitext": text},
        "license": [{"name": "CC BY-SA 4.0", "identifier": "CC-BY-SA-4.0"}],
    } | fields
    record = {name: value for name, value in record.items() if value is not None}
    return json.dumps(record, separators=(",", ":")) + "\n"


def tar(members: dict[str, str | bytes]) -> bytes:
    """An archive of files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, text in members.items():
            data = text.encode() if isinstance(text, str) else text
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def chunks(*parts: str | bytes) -> bytes:
    """An archive of numbered members, as the dumps name them."""
    return tar({f"enwiki_namespace_0_{number}.ndjson": part for number, part in enumerate(parts)})


@pytest.fixture
def read_archive(tmp_path: Path, read_source: Any) -> Any:
    """Read an archive of members."""

    def read(*parts: str | bytes, **options: Any) -> Any:
        path = tmp_path / NAME
        path.write_bytes(gzip.compress(chunks(*parts), 1))
        return read_source(path, "wikipedia", **options)

    return read


def pages(outcome: Any) -> list[str]:
    """What each document says of its page and version."""
    return [text.removeprefix("Page ").removesuffix(".") for text in outcome.texts]


def test_a_line_becomes_a_document_with_all_its_facts(read_archive: Any) -> None:
    """Id, title, address, date and size are the record's; the text is the HTML's."""
    line = article(3, 5, 'A <b>lamp</b>.<sup class="mw-ref reference">[1]</sup>')
    [document] = (outcome := read_archive(line)).documents
    assert (document.id, document.locator, document.origin) == ("wikipedia:3", "3", NAME)
    assert (document.title, document.url) == ("Page 3", "https://en.wikipedia.org/wiki/Page_3")
    assert (document.date, document.text) == ("2025-03-06T10:11:12Z", "A lamp.")
    assert document.payload_bytes == len(line)
    assert (outcome.reasons, outcome.dropped) == ([], {})


def test_only_the_latest_version_of_a_page_is_read_wherever_it_stands(read_archive: Any) -> None:
    """First, last, or in another member; documents are in the order of the archive."""
    outcome = read_archive(
        article(1, 30) + article(2, 7) + article(3, 9), article(2, 8) + article(1, 4),
        article(4) + article(3, 10) + article(2, 6),
    )
    assert pages(outcome) == ["1 at 30", "2 at 8", "4 at 1", "3 at 10"]
    assert outcome.dropped == {"stale_version": 4}
    assert outcome.reasons == []


def test_of_equal_versions_the_last_one_is_read(read_archive: Any) -> None:
    """One of them, always the same one."""
    outcome = read_archive(article(1, 5, "First."), article(1, 5, "Second."))
    assert outcome.texts == ["Second."]
    assert outcome.dropped == {"stale_version": 1}


@given(st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 4)), max_size=30))
def test_the_latest_lines_are_those_a_dictionary_finds(lines: list[tuple[int, int]]) -> None:
    """Against the obvious way; lines that are no page are always read."""
    best: dict[int, tuple[int, int]] = {}
    for number, (identifier, version) in enumerate(lines):
        best[identifier] = max(best.get(identifier, (-1, -1)), (version, number))
    expected = [identifier < 0 or best[identifier][1] == number for number, (identifier, _) in enumerate(lines)]
    identifiers, versions = (np.array([line[column] for line in lines], np.int64) for column in (0, 1))
    assert enterprise.latest(identifiers, versions).tolist() == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (article(3, 5), (3, 5)),
        (article(3, 1_300_000_000_000), (3, 1_300_000_000_000)),
        (json.dumps({"article_body": {"html": "x"}, "identifier": 3, "version": {"identifier": 5}}), (3, 5)),
        ('{"name": "article_body", "identifier": 3, "version": {"identifier": 5}, "article_body": {}}', (3, 5)),
        (r'{"name": "\"article_body\":{", "identifier": 3, "version": {"identifier": 5}, "article_body": {}}', (3, 5)),
        ('{"identifier": 3, "article_body": {"identifier": 4}, "version": {"identifier": 5}}', (3, 5)),
        (json.dumps({"identifier": "3", "version": {"identifier": "5"}, "article_body": {}}), (3, 5)),
        (json.dumps({"identifier": 3, "article_body": {}}), (3, 0)),
        (json.dumps({"identifier": -3, "article_body": {}}), (-1, -1)),
        (json.dumps({"identifier": None, "article_body": {}}), (-1, -1)),
        (json.dumps({"identifier": 3, "version": 5, "article_body": {}}), (-1, -1)),
        (json.dumps([3]), (-1, -1)),
        (article(3, 5)[:-10], (-1, -1)),
        ("", (-1, -1)),
        ("[" * 100_000 + "}", (-1, -1)),
    ],
)
def test_the_version_of_a_line_is_found_before_its_article(data: str, expected: tuple[int, int]) -> None:
    """In whatever order the fields stand; what is no page has none."""
    assert enterprise.version_of(Line(1, 0, data.encode(), len(data))) == expected


def test_what_is_no_article_is_dropped_by_its_rule(read_archive: Any) -> None:
    """Other namespaces, redirects and disambiguation pages."""
    dab = '<meta property="mw:PageProp/disambiguation"/>It may be:'
    lines = "".join([
        article(1), article(2, namespace={"name": "Talk", "identifier": 1}), article(3, 1, dab), article(4),
        article(5, article_body={"html": '<link rel="mw:PageProp/redirect" href="./x"/>'}),
        article(6, article_body={"html": "", "wikitext": "#REDIRECT [[x]]"}),
        article(7, article_body={"wikitext": "It may be:\n{{disambiguation}}"}),
    ])
    outcome = read_archive(lines)
    assert pages(outcome) == ["1 at 1", "4 at 1"]
    assert outcome.dropped == {"namespace": 1, "disambiguation": 2, "redirect": 2}
    assert len(read_archive(lines, disambiguation=True).documents) == 4


def test_without_html_the_wikitext_is_read(read_archive: Any) -> None:
    """By the same rules as an XML dump's."""
    outcome = read_archive(article(1, article_body={"wikitext": "A '''lamp'''{{unheard of}}.\n\n* drop"}))
    assert outcome.texts == ["A lamp."]
    assert outcome.reading.counts == {"template:unheard of": 1}


def test_broken_lines_cost_themselves_alone(read_archive: Any) -> None:
    """Each is quarantined with its reason; an older version is not read in place of one that is cut at its end."""
    bad = article(2).encode().replace(b"Page 2 at", b"\xff")
    outcome = read_archive(
        article(1), article(3)[:200] + "\n" + article(4), b"\n" + bad, "[7]\n" + article(5, identifier=None),
        article(6, article_body=None) + article(7, article_body={"html": 7}), article(8).rstrip("\n"),
    )
    assert pages(outcome) == ["1 at 1", "4 at 1", "8 at 1"]
    assert outcome.reasons == ["bad_json", "encoding", "bad_json", "missing_id", "missing_text", "missing_text"]
    assert outcome.reading.row.incoming.documents == 9


def test_a_version_that_is_cut_leaves_the_one_before_it(read_archive: Any) -> None:
    """What has no end is not the latest; what is broken inside is, and its page is lost with it."""
    cut, broken = article(1, 9)[:-20] + "\n", article(2, 9).replace('"license":[', '"license":[[')
    outcome = read_archive(article(1, 8) + cut, article(2, 8) + broken)
    assert pages(outcome) == ["1 at 8"]
    assert outcome.reasons == ["bad_json", "bad_json"]
    assert outcome.dropped == {"stale_version": 1, "quarantined_bad_json": 2}


def test_pages_beyond_the_limit_are_quarantined(read_archive: Any) -> None:
    """The option that all HTML sources have."""
    outcome = read_archive(article(1) + article(2, text="x" * 2000), page_bytes=1000)
    assert pages(outcome) == ["1 at 1"]
    assert outcome.reasons == ["too_large"]


def test_other_files_in_the_archive_are_counted_and_passed_over(tmp_path: Path, read_source: Any) -> None:
    """A note beside the members is no damage."""
    path = tmp_path / NAME
    path.write_bytes(gzip.compress(tar({"README.txt": "Hello.", "enwiki_0.ndjson": article(1)})))
    outcome = read_source(path, "wikipedia")
    assert pages(outcome) == ["1 at 1"]
    assert outcome.dropped == {"not_text": 1}


def lines_before(data: bytes) -> list[str]:
    """The whole lines in the beginning of an archive of one member."""
    return [str(json.loads(line)["identifier"]) for line in data[512:].split(b"\n")[:-1]]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_cut_archive_keeps_the_whole_lines_before_the_cut(
    share: float, compressed: bool, tmp_path: Path, read_source: Any
) -> None:
    """And is accounted for once, where the gzip data end or the tar does."""
    whole = chunks("".join(article(number, number * 7919 % 1000) for number in range(1, 200)))
    if compressed:
        packed = gzip.compress(whole)
        data = packed[: int(len(packed) * share)]
        rest = zlib.decompressobj(wbits=31).decompress(data)
    else:
        rest = whole[: int(len(whole) * share)]
        data = gzip.compress(rest)
    path = tmp_path / NAME
    path.write_bytes(data)
    outcome = read_source(path, "wikipedia")
    assert [document.locator for document in outcome.documents] == lines_before(rest)
    assert outcome.reasons == ["truncated"]


def test_a_stale_version_before_a_cut_is_read_when_the_later_one_is_lost(tmp_path: Path, read_source: Any) -> None:
    """The latest of what there is."""
    whole = chunks(article(1, 5), article(1, 6))
    path = tmp_path / NAME
    path.write_bytes(gzip.compress(whole[: whole.index(b"Page 1 at 6")]))
    outcome = read_source(path, "wikipedia")
    assert pages(outcome) == ["1 at 5"]
    assert outcome.reasons == ["truncated"]


def test_a_file_that_is_no_archive_is_unreadable(tmp_path: Path, read_source: Any) -> None:
    """One row, no documents; and so for an empty file."""
    path = tmp_path / NAME
    no_tar = gzip.compress(b"no tar" * 200)
    for data, reason in ((b"no gzip", "unreadable"), (no_tar, "unreadable"), (b"", "truncated")):
        path.write_bytes(data)
        outcome = read_source(path, "wikipedia")
        assert (outcome.documents, outcome.reasons) == ([], [reason])


def test_an_archive_that_changes_between_the_passes_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was learnt in the first pass does not hold for other lines."""
    path = tmp_path / NAME
    for before, after in ((1, 2), (2, 1)):
        path.write_bytes(gzip.compress(chunks("".join(article(number) for number in range(before)))))
        found = enterprise.latest_lines(str(path))
        monkeypatch.setattr(enterprise, "latest_lines", lambda location, found=found: found)
        path.write_bytes(gzip.compress(chunks("".join(article(number) for number in range(after)))))
        with pytest.raises(InputError, match="the same lines"):
            list(enterprise.read(str(path), SourceConfig("wikipedia", ()), Reading("wikipedia", NAME)))
        monkeypatch.undo()


def test_v3_memory_is_bytes_a_page(tmp_path: Path) -> None:
    """Five thousand pages, eleven megabytes of lines: two pieces of the stream and the table of versions."""
    path = tmp_path / NAME
    line = "A sentence of words. " * 30
    path.write_bytes(gzip.compress(chunks("".join(article(number, 1, line) for number in range(5000))), 1))
    documents = enterprise.read(str(path), SourceConfig("wikipedia", ()), Reading("wikipedia", NAME))
    tracemalloc.start()
    count = sum(1 for _ in documents)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 5000
    assert peak < 3_000_000


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("enwiki-20250320-pages-articles.xml.bz2", "dump"),
        ("enwiki-20250320-pages-articles1.xml-p1p41242.bz2", "dump"),
        ("enwiki-20250320-pages-articles-multistream27.xml-p1p2.bz2", "dump"),
        ("mrwiki-20190801-pages-articles.xml.xz", "dump"),
        ("a/b/tiny.xml", "dump"),
        ("enwiki-20250320-pages-meta-current1.xml-p1p41242.bz2", "dump"),
        ("enwiki-20230410-cirrussearch-content.json.gz", "cirrus"),
        ("20260816/index_name=enwiki_content/enwiki_content-20260816-00063.json.bz2", "cirrus"),
        ("enwiki_content-20260816-00000.json", "cirrus"),
        (NAME, "enterprise"),
        ("x/enwiki-NS0-20250320-ENTERPRISE-HTML.json.tar", "enterprise"),
    ],
)
def test_the_form_is_told_by_the_name(name: str, reader: str) -> None:
    """Each published form has its reader."""
    assert getattr(wikipedia.reader_of(name), "__module__", "") == f"rbt.corpus.sources.{reader}"


@pytest.mark.parametrize(
    "name",
    [
        "enwiki-20250320-abstract.xml.gz", "enwiki-20250320-abstract1.xml.gz", "enwiki-20250320-stub-articles.xml.gz",
        "enwiki-20250320-pages-logging.xml.gz", "enwiki-20250320-page.sql.gz", "enwiki-20250320-all-titles-in-ns0.gz",
        "enwiki-20250320-md5sums.txt", "dumpstatus.json", "enwiki-20230410-cirrussearch-general.json.gz",
        "enwiki_general-20260816-00000.json.bz2", "enwiki-20250320-siteinfo-namespaces.json.gz", "_SUCCESS",
        "enwiki-20250320-pages-meta-history1.xml-p1p812.7z",
    ],
)
def test_files_without_text_are_quarantined_whole(name: str, tmp_path: Path, read_source: Any) -> None:
    """They add nothing, and the quarantine says so, whatever they hold."""
    path = tmp_path / name
    path.write_bytes(b"<mediawiki><page></page></mediawiki>")
    outcome = read_source(path, "wikipedia")
    assert (outcome.documents, outcome.reasons) == ([], ["not_a_dump_of_text"])
    assert "take this file out" in outcome.reading.quarantined[0]["detail"]
