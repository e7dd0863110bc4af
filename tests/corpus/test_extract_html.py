"""News pages to articles: what is kept, what is left out, and pages made to break a parser."""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.extract.html import extract_article
from rbt.corpus.extract.page_facts import decode_html

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


def test_the_article_is_kept_and_what_surrounds_it_is_not() -> None:
    article = extract_article(page(), "utf-8")
    expected = [STORY[0], "What people said", STORY[1], STORY[2], "First, the early boat.", "Then the late one."]
    assert article.text.split("\n\n") == expected
    assert article.title == "Ferry & crew return"
    assert article.date == "2017-03-04T05:06:07Z"


def test_v2_no_tail_of_an_inline_tag_is_lost() -> None:
    inline = (
        "The <b>harbor</b> office <a href='/x'>said</a> on <em>Monday</em>, <span>and <i>so</i> on</span> "
        "it <q>went</q>.<br>Line two."
    )
    article = extract_article(page(inline + " " + "More words follow here, to make it long. " * 4, *STORY[1:]), None)
    assert article.text.startswith("The harbor office said on Monday, and so on it went.\nLine two. More words")


def test_v2_hostile_pages_return() -> None:
    wide = page().replace(
        b"<blockquote>", b'<table><tr><td colspan="9007199254740992">A cell.</td></tr></table><blockquote>'
    )
    assert STORY[0] in extract_article(wide, None).text
    many = b"<body><article>" + b"<p>A tiny one, it is.</p>" * 50_000 + b"</article>"
    assert extract_article(many, None).text.count("tiny") == 50_000
    scraps = page().replace(b'<div class="story-body">', b'<div class="story-body">' + b"<p>Home</p>" * 50_000)
    assert STORY[0] in extract_article(scraps, None).text
    for tag in (b"div", b"b", b"blockquote", b"table><tr><td", b"a href=x"):
        deep = b"<body>" + b"<%s>" % tag * 20_000 + b"".join(f"<p>{part}</p>".encode() for part in STORY)
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
    article = extract_article("".join(parts).encode(), None)
    assert "\0" not in article.text
    article.text.encode()


@pytest.mark.parametrize(
    "html", [b"", b" ", b"<html></html>", b"plain text", b"\xff\xfe", b"<body><script>x</script>"]
)
def test_a_page_without_an_article_gives_what_it_has(html: bytes) -> None:
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
    ],
)
def test_the_encoding_is_found_by_mark_transport_meta_or_bytes(encoding: str, charset: str | None, meta: str) -> None:
    word = {"shift_jis": "港の事務所", "koi8-r": "контора"}.get(encoding, "café “naïve”")
    if charset == "us-ascii":
        word = "cafe"
    html = f'<meta charset="{meta}">' * bool(meta) + f"<p>{word}</p>"
    assert f"<p>{word}</p>" in decode_html(html.encode(encoding), charset)


@given(
    html=st.binary(max_size=200), charset=st.sampled_from([None, "utf-8", "x-user-defined", "base64", "idna", "\0"])
)
def test_any_bytes_decode(html: bytes, charset: str | None) -> None:
    decode_html(html, charset).encode()


@given(
    weights=st.lists(st.integers(-50, 100), min_size=1, max_size=12),
    ranges=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=8),
)
def test_the_best_element_has_the_greatest_sum(weights: list[int], ranges: list[tuple[int, int]]) -> None:
    elements = [Element(min(pair), 1.0, max(pair)) for pair in ranges if max(pair) <= len(weights)]
    sums = [sum(weights[element.first : element.end]) for element in elements]
    best = best_element(elements, [float(weight) for weight in weights])
    if best is None:
        assert max(sums, default=0) <= 0
    else:
        assert sum(weights[best.first : best.end]) == max(sums)


def test_links_and_scraps_weigh_against_an_article() -> None:
    assert Block("A sentence that stands in an article.", 0, False).weight > 0
    assert Block("Home", 4, False).weight < 0
    assert Block("Share this", 0, False).weight < 0


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """Runs of four words."""
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[start : start + 4]) for start in range(max(len(words) - 3, 1)))


@pytest.mark.slow
def test_articles_agree_with_those_that_people_marked(data: Path, read_source: Any) -> None:
    stem = data / "warc/derived/CC-NEWS-like-A"
    gold = {}
    for line in Path(f"{stem}.gold.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        if "articleBody" in row:
            gold[row["url"]] = row["articleBody"]
    scores = []
    for document in read_source(Path(f"{stem}.warc.gz"), "ccnews").documents:
        if document.url in gold:
            found, marked = shingles(document.text), shingles(gold[document.url])
            scores.append(2 * sum((found & marked).values()) / (sum(found.values()) + sum(marked.values())))
    assert len(scores) > 80
    assert sum(scores) / len(scores) > 0.90


def test_the_mini_corpus_of_pages_is_extracted(examples: Path) -> None:
    pages = sorted((examples / "sources/news").glob("*.html"))
    assert pages
    for path in pages:
        text = extract_article(gzip.decompress(gzip.compress(path.read_bytes())), None).text
        assert len(text) > 300, path.name
