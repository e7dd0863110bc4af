"""News pages to articles: what is kept, what is left out, and pages made to break a parser."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.extract.html import extract_article
from rbt.corpus.extract.html_choose import best_element
from rbt.corpus.extract.page_facts import decode_html
from rbt.corpus.extract.trafilatura import extract_with_trafilatura

STORY = [
    "The harbor office said on Monday that the ferry would return to its old timetable by the end of the month.",
    "Passengers had complained for weeks, and a petition with four thousand names lay on the counter.",
    '"We heard them," said the harbor master, "and we have found two more crews."',
]
PAGE = """<!DOCTYPE html><html><head><title>Ferry returns - The Gazette</title>
<meta property="og:title" content="Ferry &amp; crew return"/>
<script type="application/ld+json">{"@type": "NewsArticle", "datePublished": "2017-03-04T05:06:07Z"}</script>
<style>p { color: red }</style></head><body>
<nav><ul><li><a href="/">Home</a></li>
<li><a href="/news">News, weather, sport, and everything else there is</a></li></ul></nav>
<div class="page"><header><h1>Ferry &amp; crew return</h1></header>
<div class="story-body"><p>{0}</p><script>var x = "never text";</script>
<figure><img src="x.jpg" alt="alt text">
<figcaption>A caption of the photograph, in one long sentence.</figcaption></figure>
<h2>What people said</h2><p>{1}</p><aside>Read our other stories about ferries, boats, and the people on them.</aside>
<blockquote><p>{2}</p></blockquote>
<ul><li>First, the early boat.</li><li>Then the late one.</li></ul></div>
<div class="comments"><p>A reader wrote a long comment about all this, it has commas, too, and a full stop.</p></div>
<div class="related"><ul><li><a href="/1">Another story about something else entirely</a></li></ul></div></div>
<footer><p>Copyright of the Gazette, all rights reserved, in this and in every other year.</p></footer></body></html>"""


def page(*paragraphs: str) -> bytes:
    """PAGE with its three paragraphs."""
    text = PAGE
    for number, paragraph in enumerate(paragraphs or STORY):
        text = text.replace(f"{{{number}}}", paragraph)
    return text.encode()


def test_no_number_grows_by_its_exponent() -> None:
    """Exponents are raised, and other raised text stays as it is, in paragraphs and in headings."""
    story = "The plant makes 10<sup>6</sup> W/m<SUP class=x>\u22122</SUP>, on its 5<sup>th</sup> day, of H<sub>2</sub>."
    article = extract_article(page(story, *STORY[1:]).replace(b"What people said", b"9 km<sup>2</sup>"), None)
    expected = ["The plant makes 10\u2076 W/m\u207b\u00b2, on its 5th day, of H2.", "9 km\u00b2"]
    assert article.text.split("\n\n")[:2] == expected


def test_the_article_is_kept_and_what_surrounds_it_is_not() -> None:
    """Of a page with navigation, caption, aside, comments, related stories and footer, only the story is left."""
    article = extract_article(page(), "utf-8")
    expected = [STORY[0], "What people said", STORY[1], STORY[2], "First, the early boat.", "Then the late one."]
    assert article.text.split("\n\n") == expected
    assert article.title == "Ferry & crew return"
    assert article.date == "2017-03-04T05:06:07Z"


def test_v2_no_tail_of_an_inline_tag_is_lost() -> None:
    """Text behind the end of an inline element belongs to its paragraph."""
    inline = (
        "The <b>harbor</b> office <a href='/x'>said</a> on <em>Monday</em>, <span>and <i>so</i> on</span> "
        "it <q>went</q>.<br>Line two."
    )
    article = extract_article(page(inline + " " + "More words follow here, to make it long. " * 4, *STORY[1:]), None)
    assert article.text.startswith("The harbor office said on Monday, and so on it went.\nLine two. More words")


def test_v2_hostile_pages_return() -> None:
    """Huge spans, many paragraphs, many scraps and deep nesting lose no story and end."""
    wide = page().replace(
        b"<blockquote>", b'<table><tr><td colspan="9007199254740992">A cell.</td></tr></table><blockquote>'
    )
    assert STORY[0] in extract_article(wide, None).text
    many = b"<body><article>" + b"<p>A tiny one, it is.</p>" * 50_000 + b"</article>"
    assert extract_article(many, None).text.count("tiny") == 50_000
    scraps = page().replace(b'<div class="story-body">', b'<div class="story-body">' + b"<p>Home</p>" * 50_000)
    assert STORY[0] in extract_article(scraps, None).text
    for tag in (b"div", b"b", b"blockquote", b"table><tr><td", b"a href=x"):
        deep = b"<body>" + b"<%s>" % tag * 100_000 + b"".join(f"<p>{part}</p>".encode() for part in STORY)
        assert STORY[0] in extract_article(deep, None).text.replace("\n", " ")


@given(
    parts=st.lists(
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "<div class=x>",
                "</div>",
                "<a href=#>",
                "</a>",
                "<br>",
                "text, ",
                "<!--",
                "-->",
                "<table>",
                "<td>",
                "<script>",
                "</script>",
                "&amp;",
                "&#0;",
                "<",
                ">",
                "\0",
                "<pre>\n a",
                "</pre>",
                "<svg>",
                "<template>",
                "<title>",
                "é",
            ]
        ),
        max_size=60,
    )
)
def test_v2_no_markup_makes_extraction_fail(parts: list[str]) -> None:
    """Whatever the markup, there is an article without zero bytes that UTF-8 can hold."""
    article = extract_article("".join(parts).encode(), None)
    assert "\0" not in article.text
    article.text.encode()


@pytest.mark.parametrize(
    "html", [b"", b" ", b"<html></html>", b"plain text", b"\xff\xfe", b"<body><script>x</script>"]
)
def test_a_page_without_an_article_gives_what_it_has(html: bytes) -> None:
    """Nothing, or the little text there is."""
    assert extract_article(html, None).text in ("", "plain text")


@pytest.mark.parametrize(
    ("encoding", "charset", "meta"),
    [
        ("utf-8", None, ""),
        ("utf-8", "utf-8", ""),
        ("windows-1252", "iso-8859-1", ""),
        ("windows-1252", None, "windows-1252"),
        ("utf-8", "iso-8859-7-unknown", "utf-8"),
        ("shift_jis", None, "Shift_JIS"),
        ("utf-8-sig", "windows-1252", ""),
        ("utf-16", None, ""),
        ("utf-8", "us-ascii", ""),
        ("koi8-r", "koi8-r", "utf-8"),
        ("gb18030", None, "gb2312"),
        ("gb18030", None, ""),
        ("windows-1252", "utf-8", "utf-8"),
        ("utf-16-be", "utf-16be", ""),
    ],
)
def test_the_encoding_is_found_by_mark_transport_meta_or_bytes(encoding: str, charset: str | None, meta: str) -> None:
    """In the order that `decode_html` states."""
    words = {"shift_jis": "港の事務所", "koi8-r": "контора", "gb18030": "港务局星期一说，渡轮将恢复旧的时间表。" * 4}
    word = words.get(encoding, "café “naïve”")
    if charset == "us-ascii":
        word = "cafe"
    html = f'<meta charset="{meta}">' * bool(meta) + f"<p>{word}</p>"
    assert f"<p>{word}</p>" in decode_html(html.encode(encoding), charset)


def test_a_few_broken_bytes_leave_a_page_in_utf8() -> None:
    """A page cut in a character is not taken for Latin-1, whatever the server says."""
    text = "Über die Fähre, schöner als früher, größer und für alle geöffnet. " * 3
    assert decode_html(text.encode() + b"\xc3", "iso-8859-1") == text + "\ufffd"


@given(
    html=st.binary(max_size=200), charset=st.sampled_from([None, "utf-8", "x-user-defined", "base64", "idna", "\0"])
)
def test_any_bytes_decode(html: bytes, charset: str | None) -> None:
    """Under any declared name."""
    decode_html(html, charset).encode()


@given(
    weights=st.lists(st.integers(-50, 100), min_size=1, max_size=12),
    ranges=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=8),
)
def test_the_best_element_has_the_greatest_sum(weights: list[int], ranges: list[tuple[int, int]]) -> None:
    """Without names and parents, by the slow sums."""
    pairs = [(min(pair), max(pair)) for pair in ranges if max(pair) <= len(weights)]
    sums = [sum(weights[first:end]) for first, end in pairs]
    elements = np.array([(first, end, -1, 0) for first, end in pairs], np.int32).reshape(-1, 4)
    before = np.concatenate([[0.0], np.cumsum(weights)])
    best = best_element(elements, before, before)
    assert (sums[best] if best >= 0 else 0) == max([0, *sums])


def page_of(*parts: str) -> bytes:
    """A page with the story and more in one element."""
    paragraphs = [f"<p>{paragraph}</p>" for paragraph in STORY]
    return "".join(["<body><div>", *paragraphs, *parts, "</div></body>"]).encode()


@pytest.mark.parametrize(
    "junk",
    [
        "<ul><li><a href=/1>Home</a></li><li><a href=/2>Sports of all kinds, and the weather.</a></li></ul>",
        "<div><h3><a href=/1>Another story</a></h3><p>What stands in it, in one sentence.</p></div>",
        "<h3>More on this</h3><p><a href=/1>Another story about something else entirely</a></p>",
        "<div class=relatedStories><p>A sentence about another story, which has a comma.</p></div>",
        "<section id=page-comments><p>I think so too, and I say so in many words.</p></section>",
        "<p class=sr-only hidden>Press enter to go on, or escape to leave.</p>",
        f"<p>{STORY[0]}</p>",
        "<aside><p>The harbor in numbers, and what they say about it.</p></aside>",
        "<p>Share</p>",
    ],
)
def test_what_is_beside_the_article_is_left_out(junk: str) -> None:
    """Links, teasers, headings of nothing, what is so named or hidden, and what the page has said before."""
    assert extract_article(page_of(junk), None).text.split("\n\n") == STORY


def test_the_name_of_most_of_a_page_is_its_layout() -> None:
    """A wrapper is called after the sidebar that it also holds."""
    html = page_of().replace(b"<div>", b"<div class=with-sidebar>")
    assert extract_article(html, None).text.split("\n\n") == STORY


def test_what_a_script_unfolds_is_kept_when_it_is_the_article() -> None:
    """Pages of a slide show are hidden one by one; a hidden notice is a small part of a page."""
    slide = "<div style='display:none'><p>{} Slide {}.</p></div>"
    slides = "".join(slide.format(paragraph, number) for number in range(9) for paragraph in STORY)
    assert extract_article(f"<body><div><p>{STORY[0]}</p>{slides}</div>".encode(), None).text.count("Slide") == 27


def test_sentences_are_kept_where_a_link_was_never_closed() -> None:
    """Then all of the page is linked, and links tell nothing."""
    html = page_of().replace(b"<div>", b"<div><a href=/top>")
    assert extract_article(html, None).text.split("\n\n") == STORY


@pytest.mark.parametrize("stated", ["\n\n".join(STORY * 2), "".join(f"<p>{paragraph}</p>" for paragraph in STORY * 2)])
def test_a_page_that_its_script_writes_has_the_body_that_it_states(stated: str) -> None:
    """As plain text or as HTML, in JSON-LD."""
    data = json.dumps({"@type": "NewsArticle", "articleBody": stated, "headline": "x"})
    html = f'<body><script type="application/ld+json">{data}</script><div id=app><p>Loading.</p></div>'
    assert extract_article(html.encode(), None).text.split("\n\n") == STORY


def test_a_list_of_links_has_no_article() -> None:
    """However long it is."""
    items = "".join(f"<li><a href=/{n}>Headline number {n} about one thing or another</a></li>" for n in range(200))
    assert extract_article(f"<body><h1>News</h1><ul>{items}</ul></body>".encode(), None).text == ""


@pytest.mark.parametrize(
    ("head", "title", "date"),
    [
        ("<title>T</title>", "T", ""),
        ("<title>T</title><body><h1>The <i>one</i> &amp; only</h1>", "The one & only", ""),
        ("<title>T &lt; U</title><body><h1>a</h1><h1>b</h1>", "T < U", ""),
        ("<meta name=twitter:title content='A &quot;B&quot; > C'><title>T</title>", 'A "B" > C', ""),
        ("<meta property=article:published_time content='2018-01-02T03:04:05+01:00'>", "", "2018-01-02T03:04:05+01:00"),
        ("<meta name=date content=yesterday><body><time datetime=2018-01-02>", "", "2018-01-02"),
        ("<meta itemprop=datePublished content='2018-01-02 garbage'>", "", "2018-01-02"),
        ('<script type="application/ld+json">{"datePublished" : "2018-01-02"}</script>', "", "2018-01-02"),
        ('<script>{"datePublished" : "2018-01-02"}</script>', "", ""),
        ("<body><svg><title>drawn</title></svg>", "", ""),
    ],
)
def test_title_and_date_are_those_that_the_page_states(head: str, title: str, date: str) -> None:
    """By og:title, the only h1, title; by meta, JSON-LD, time."""
    article = extract_article(head.encode(), None)
    assert (article.title, article.date) == (title, date)


def test_trafilatura_extracts_the_same_article() -> None:
    """The reference extractor's paragraphs are apart by a blank line too, and a page without any text has none."""
    article = extract_with_trafilatura(page(*(f"{paragraph} {paragraph}" for paragraph in STORY)), None)
    assert article.text.split("\n\n").count(f"{STORY[0]} {STORY[0]}") == 1
    assert (article.title, article.date) == ("Ferry & crew return", "2017-03-04")
    assert extract_with_trafilatura(b"", None).text == ""


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """Runs of four words."""
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[start : start + 4]) for start in range(max(len(words) - 3, 1)))


@pytest.mark.slow
def test_articles_agree_with_those_that_people_marked(data: Path) -> None:
    """On real pages, by the F1 of four-word shingles, averaged over pages."""
    stem = data / "warc/derived/CC-NEWS-like-A"
    rows = [json.loads(line) for line in Path(f"{stem}.gold.jsonl").read_text("utf-8").splitlines()]
    gold = {row["url"]: row["articleBody"] for row in rows if "articleBody" in row}
    scores = []
    with Path(f"{stem}.warc.gz").open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response):
            url = record.headers["WARC-Target-URI"].strip("<>")
            if url in gold:
                found = shingles(extract_article(record.reader.read(), record.http_charset).text)
                marked = shingles(gold[url])
                scores.append(2 * (found & marked).total() / (found.total() + marked.total()))
    assert len(scores) > 80
    assert sum(scores) / len(scores) > 0.96


def test_the_mini_corpus_of_pages_is_extracted(examples: Path) -> None:
    """Each page in examples has an article."""
    pages = sorted((examples / "sources/news").glob("*.html"))
    assert pages
    for path in pages:
        text = extract_article(gzip.decompress(gzip.compress(path.read_bytes())), None).text
        assert len(text) > 300, path.name
