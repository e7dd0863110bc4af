"""MediaWiki dumps: what becomes a document, and what damage costs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading, Span
from rbt.corpus.sources import dump, dump_page

HEADER = (
    '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" xml:lang="en">\n  <siteinfo>\n'
    "    <base>https://en.wikipedia.org/wiki/Main_Page</base>\n  </siteinfo>\n"
)
FOOTER = "</mediawiki>\n"


def page(id: int, text: str = "Some text.", ns: int = 0, extra: str = "", title: str = "") -> str:
    """One page of a dump."""
    return (
        f"  <page>\n    <title>{title or f'Page {id}'}</title>\n    <ns>{ns}</ns>\n    <id>{id}</id>\n{extra}"
        f"    <revision>\n      <id>{id + 1000}</id>\n      <timestamp>2018-03-0{id % 9 + 1}T00:00:00Z</timestamp>\n"
        f'      <model>wikitext</model>\n      <text xml:space="preserve">{text}</text>\n    </revision>\n  </page>\n'
    )


def multistream(streams: list[str]) -> list[bytes]:
    """Header, streams of pages, tail, each a bzip2 stream of its own."""
    return [bz2.compress(part.encode()) for part in (HEADER, *streams, FOOTER)]


def ids(outcome: Any) -> list[str]:
    """Ids of the documents."""
    return [document.id for document in outcome.documents]


@pytest.mark.parametrize(
    ("suffix", "compress"), [("", bytes), (".bz2", bz2.compress), (".gz", gzip.compress), (".xz", lzma.compress)]
)
def test_a_page_becomes_a_document_with_all_its_facts(
    suffix: str, compress: Any, tmp_path: Path, read_source: Any
) -> None:
    """Whatever the dump is compressed with."""
    path = tmp_path / f"dump.xml{suffix}"
    path.write_bytes(
        compress((HEADER + page(3, "'''Tea''' &amp; [[milk]].", title="Tea &lt;1&gt;") + FOOTER).encode())
    )
    [document] = read_source(path, "wikipedia", name="wiki").documents
    assert (document.id, document.locator, document.origin) == ("wiki:3", "3", path.name)
    assert (document.title, document.text) == ("Tea <1>", "Tea & milk.")
    assert document.url == "https://en.wikipedia.org/?curid=3"
    assert document.date == "2018-03-04T00:00:00Z"
    assert document.payload_bytes == len("'''Tea''' & [[milk]].")


def test_redirects_other_namespaces_and_other_models_are_counted_and_left_out(
    tmp_path: Path, read_source: Any
) -> None:
    """Each by its own rule."""
    path = tmp_path / "dump.xml"
    pages = [
        page(1),
        page(2, extra='    <redirect title="Page 1" />\n'),
        page(3, "#REDIRECT [[Page 1]]"),
        page(4, ns=1),
        page(5).replace("<model>wikitext", "<model>css"),
        page(6),
    ]
    path.write_text(HEADER + "".join(pages) + FOOTER)
    outcome = read_source(path, "wikipedia")
    assert ids(outcome) == ["wikipedia:1", "wikipedia:6"]
    assert outcome.dropped == {"redirect": 2, "namespace": 1, "model": 1}
    assert outcome.reasons == []


def test_v1_an_empty_text_is_an_empty_document_and_swallows_nothing(tmp_path: Path, read_source: Any) -> None:
    """An empty element is no opening of the next page's text."""
    path = tmp_path / "dump.xml"
    empty = page(1).replace('<text xml:space="preserve">Some text.</text>', '<text xml:space="preserve" />')
    path.write_text(HEADER + empty + page(2, "Next.") + FOOTER)
    outcome = read_source(path, "wikipedia")
    assert outcome.texts == ["", "Next."]
    assert [document.payload_bytes for document in outcome.documents] == [0, 5]


def test_an_index_file_is_no_dump(tmp_path: Path, read_source: Any) -> None:
    """It is read for its hash and holds no record."""
    for name in ("enwiki-multistream-index.txt.bz2", "enwiki-multistream-index1.txt-p1p41242.bz2"):
        path = tmp_path / name
        path.write_bytes(bz2.compress(b"638:10:AccessibleComputing\n"))
        outcome = read_source(path, "wikipedia")
        assert outcome.documents == []
        assert outcome.reading.row.incoming.documents == 0
        assert outcome.reading.raw_hash


def test_a_cut_dump_keeps_whole_pages_and_names_the_cut_one(tmp_path: Path, read_source: Any) -> None:
    """By its id, and where it starts."""
    path = tmp_path / "dump.xml"
    whole = HEADER + page(1) + page(2) + page(3)
    path.write_text(whole[: whole.index("</text>", whole.index("Page 3"))])
    outcome = read_source(path, "wikipedia")
    assert ids(outcome) == ["wikipedia:1", "wikipedia:2"]
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["locator"], row["offset"]) == (
        "truncated",
        "3",
        whole.index("<page>", whole.index("Page 2")),
    )


def test_a_dump_cut_between_pages_is_noticed(tmp_path: Path, read_source: Any) -> None:
    """No page is cut, but the end of the dump is missing."""
    path = tmp_path / "dump.xml"
    path.write_text(HEADER + page(1))
    outcome = read_source(path, "wikipedia")
    assert ids(outcome) == ["wikipedia:1"]
    assert outcome.reasons == ["truncated"]


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_broken_stream_of_a_multistream_dump_costs_only_its_pages(
    broken: int, tmp_path: Path, read_source: Any
) -> None:
    """A flipped byte in any of three streams."""
    streams = multistream([page(number) + page(number + 10) for number in range(1, 4)])
    damaged = bytearray(streams[broken + 1])
    damaged[len(damaged) // 2] ^= 255
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(b"".join([*streams[: broken + 1], damaged, *streams[broken + 2 :]]))
    outcome = read_source(path, "wikipedia")
    assert set(ids(outcome)) == {f"wikipedia:{n + m}" for n in range(1, 4) for m in (0, 10) if n != broken + 1}
    [row] = outcome.reading.quarantined
    assert (row["reason"], row["offset"]) == ("corrupt", sum(map(len, streams[: broken + 1])))


def test_a_dump_cut_in_the_middle_of_a_stream_keeps_the_streams_before(tmp_path: Path, read_source: Any) -> None:
    """The cut is named once."""
    streams = multistream([page(number) for number in range(1, 4)])
    path = tmp_path / "dump.xml.bz2"
    path.write_bytes(b"".join(streams[:3]) + streams[3][:100])
    outcome = read_source(path, "wikipedia")
    assert ids(outcome) == ["wikipedia:1", "wikipedia:2"]
    assert outcome.reasons == ["truncated"]


def test_a_page_that_is_no_xml_costs_itself_alone(tmp_path: Path, read_source: Any) -> None:
    """Tags in a text, control characters, tags that are never closed."""
    path = tmp_path / "dump.xml"
    bad = [page(2, "a <b> c"), page(3, "\x01"), page(4).replace("</title>", ""), page(5).replace("  </page>\n", "")]
    path.write_text(HEADER + page(1) + bad[0] + bad[1] + bad[2] + bad[3] + page(6) + FOOTER)
    outcome = read_source(path, "wikipedia")
    assert ids(outcome) == ["wikipedia:1", "wikipedia:6"]
    assert outcome.reasons == ["bad_xml", "bad_xml", "bad_xml", "truncated"]
    assert [row["locator"] for row in outcome.reading.quarantined] == ["2", "3", "4", "5"]


def test_entities_are_never_resolved(tmp_path: Path, read_source: Any) -> None:
    """Neither those that grow nor those that name a file."""
    path = tmp_path / "dump.xml"
    secret = tmp_path / "secret.txt"
    secret.write_text("the secret")
    entities = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    doctype = f'<!DOCTYPE m [<!ENTITY l0 "lol">{entities}<!ENTITY file SYSTEM "{secret.as_uri()}">]>'
    inside = page(4, "&l1;").replace("<page>", f"<page>{doctype}")
    path.write_text(doctype + HEADER + page(1) + page(2, "&l9;") + page(3, "&file;") + inside + FOOTER)
    outcome = read_source(path, "wikipedia")
    assert ids(outcome) == ["wikipedia:1"]
    assert outcome.reasons == ["bad_xml"] * 3


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_pages_are_found_however_the_bytes_arrive(size: int) -> None:
    """In pieces of any size, tags cut in two."""
    whole = (HEADER + "".join(page(number, "é" * number) for number in range(1, 30)) + FOOTER).encode()
    cutter = dump.PageCutter()
    found = [one for start in range(0, len(whole), size) for one in cutter.feed(whole[start : start + size])]
    assert [one.locator for one in found] == [str(number) for number in range(1, 30)]
    assert all(whole[one.offset : one.offset + len(one.data)] == one.data for one in found)
    assert cutter.cut() is None
    assert (cutter.opened, cutter.closed, cutter.base) == (True, True, "https://en.wikipedia.org/wiki/Main_Page")


def test_a_page_without_an_end_is_given_up_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next page is found."""
    monkeypatch.setattr(dump, "MAXIMUM_PAGE_BYTES", 10_000)
    cutter = dump.PageCutter()
    chunks = [(HEADER + "<page>").encode(), *[b"x" * 1000] * 30, (page(2)).encode()]
    assert [one.problem for chunk in chunks for one in cutter.feed(chunk)] == ["too_large", ""]


def test_v3_memory_stays_flat_over_ten_thousand_pages(tmp_path: Path) -> None:
    """What a page takes is given back."""
    path = tmp_path / "dump.xml.gz"
    text = "A sentence with a [[link]] in it. " * 3
    with gzip.open(path, "wt", compresslevel=1) as stream:
        stream.write(HEADER)
        for number in range(1, 10_001):
            stream.write(page(number, text))
        stream.write(FOOTER)
    documents = dump.read(str(path), SourceConfig("wikipedia", ()), Reading("wikipedia", path.name))
    count = 0
    for count, _ in enumerate(documents, 1):
        if count == 200:
            tracemalloc.start()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 10_000
    assert peak < 4_000_000


def test_real_dumps_are_read_whole(data: Path, read_source: Any) -> None:
    """All pages of a real multistream dump are kept or dropped by rule."""
    outcome = read_source(data / "wikipedia/derived/enwiki-A-pages-articles-multistream.xml.bz2", "wikipedia")
    assert len(outcome.documents) + sum(outcome.dropped.values()) == 103
    assert outcome.dropped == {"redirect": 54, "disambiguation": 4}
    assert outcome.reasons == []
    assert all("{{" not in text and "[[" not in text and "<ref" not in text for text in outcome.texts)


def test_a_real_cut_dump_is_reported_and_its_whole_pages_are_kept(data: Path, read_source: Any) -> None:
    """The page that is cut is named by its id."""
    outcome = read_source(data / "wikipedia/truncated_multilang/mrwiki-truncated-100k.xml.xz", "wikipedia")
    assert outcome.reasons == ["truncated"]
    assert outcome.reading.quarantined[0]["locator"].isdigit()
    assert len(outcome.documents) > 900


def test_dropped_templates_of_documents_are_counted_by_name(tmp_path: Path, read_source: Any) -> None:
    """Those of pages that are no document are not."""
    path = tmp_path / "dump.xml"
    pages = [page(1, "A {{b}} {{convert|5|km}}"), page(2, "{{b}} {{c d|x}}"), page(3, "{{b}}", ns=1)]
    path.write_text(HEADER + "".join(pages) + FOOTER)
    assert read_source(path, "wikipedia").reading.counts == {"template:b": 2, "template:c d": 1}


def test_the_number_of_counted_names_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names beyond the limit count together."""
    monkeypatch.setattr(dump, "MAXIMUM_TEMPLATE_NAMES", 2)
    counts: dict[str, int] = {}
    for templates in ({"a": 1, "b": 2}, {"c": 3, "a": 1}, {"d": 4}):
        dump.count_templates(templates, counts)
    assert counts == {"template:a": 2, "template:b": 2, "template:(other)": 7}


@pytest.mark.parametrize(
    "text",
    [
        "{{disambiguation}}", "{{Disambig|geo}}", "x {{hndis|A}}", "{{Airport disambiguation}}", "__DISAMBIG__",
        "{{Begriffsklärung}}",
    ],
)
@pytest.mark.parametrize("keep", [False, True])
def test_disambiguation_pages_are_left_out_unless_asked_for(
    text: str, keep: bool, tmp_path: Path, read_source: Any
) -> None:
    """They are known by their template or switch; {{disambiguation needed}} is neither."""
    path = tmp_path / "dump.xml"
    path.write_text(HEADER + page(1, text) + page(2, "A.{{disambiguation needed}}") + FOOTER)
    outcome = read_source(path, "wikipedia", disambiguation=keep)
    assert ids(outcome) == (["wikipedia:1", "wikipedia:2"] if keep else ["wikipedia:2"])
    assert outcome.dropped == ({} if keep else {"disambiguation": 1})


def test_v1_text_behind_what_no_dump_has_in_a_text_is_kept(tmp_path: Path, read_source: Any) -> None:
    """Comments, elements, instructions and CDATA inside <text> take no text behind them away."""
    path = tmp_path / "dump.xml"
    path.write_text(HEADER + page(1, "One <!-- c -->two <b>3</b> <?i x?>four <![CDATA[& five]]>.") + FOOTER)
    assert read_source(path, "wikipedia").texts == ["One two 3 four & five."]


def test_a_page_with_several_revisions_gives_its_last(tmp_path: Path, read_source: Any) -> None:
    """Dumps with history have them in order."""
    path = tmp_path / "dump.xml"
    older = "<revision><id>1</id><timestamp>2001-01-01T00:00:00Z</timestamp><text>Old.</text></revision>"
    path.write_text(HEADER + page(1, "New.", extra=older) + FOOTER)
    [document] = read_source(path, "wikipedia").documents
    assert (document.text, document.date) == ("New.", "2018-03-02T00:00:00Z")


@pytest.mark.parametrize(
    ("content", "last", "reasons"),
    [
        (page(1) + page(2), False, []),
        (page(1) + page(2) + FOOTER, True, []),
        (page(1) + page(2), True, ["truncated"]),
        (HEADER + page(1) + page(2), False, []),
    ],
)
def test_a_span_has_its_base_from_its_facts_and_an_end_only_where_it_is_the_last(
    content: str, last: bool, reasons: list[str], tmp_path: Path
) -> None:
    """A part of a multistream dump needs neither header nor footer."""
    path = tmp_path / "dump.xml"
    path.write_text(content)
    facts = {"base": "https://de.wikipedia.org/wiki/Main", "last": last}
    reading = Reading("wikipedia", path.name, Span(0, path.stat().st_size, facts))
    documents = list(dump.read(str(path), SourceConfig("wikipedia", ()), reading))
    assert [document.url for document in documents] == [f"https://de.wikipedia.org/?curid={id}" for id in (1, 2)]
    assert [row["reason"] for row in reading.quarantined] == reasons


ODD = [
    "<!-- x -->", "&#65;", "&#x41;", "&apos;", "&bad;", "&", ">", "<b>x</b>", "<![CDATA[<x>]]>", "\r\n", "\x01", "\x0b",
    "\ufffe", "\uffff", "\ufffd", "é", "<?x y?>", "&lt;", "&amp;lt;", " ", "\n", "\t", "]]>", "<text>y</text>",
    "</text>", "<id>5</id>", '<redirect title="x" />', "<ns>1</ns>", "<revision>", "\x7f", "\U0001f600", "=", '"',
    "&#0;", "&#xD800;",
]


@settings(max_examples=300)
@given(st.data())
def test_the_quick_way_reads_a_page_as_lxml_does_or_leaves_it(data: st.DataObject) -> None:
    """Odd characters and elements in any place of a page."""
    text = page(7, "Some {{text}} &quot;here&quot;", extra='    <redirect title="A &amp; B" />\n', title="A &lt; B")
    for piece in data.draw(st.lists(st.sampled_from(ODD), max_size=3)):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + piece + text[place:]
    whole = text[text.find("<page>") : text.rfind("</page>") + len("</page>")].encode()
    quick = dump_page.read_usual_page(whole)
    assert quick is None or quick == dump_page.parse_page(whole)


@pytest.mark.parametrize("broken", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_bytes_that_are_no_utf_8_are_left_to_lxml(broken: bytes) -> None:
    """Wherever they stand."""
    whole = page(7, "X1X", title="X2X").strip().encode()
    assert dump_page.read_usual_page(whole) is not None
    for mark in (b"X1X", b"X2X"):
        assert dump_page.read_usual_page(whole.replace(mark, broken)) is None


def test_real_pages_take_the_quick_way_and_read_as_lxml_reads_them(data: Path) -> None:
    """All pages of a real dump."""
    cutter = dump.PageCutter()
    with bz2.open(data / "wikipedia/derived/enwiki-A-pages-articles-multistream.xml.bz2") as stream:
        pages = list(cutter.feed(stream.read()))
    assert len(pages) == 103
    for one in pages:
        assert dump_page.read_usual_page(one.data) == dump_page.parse_page(one.data)
