"""Parsoid's HTML: which passages a page has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.extract.wikipedia_html import MARK, extract_wikipedia_html
from rbt.corpus.extract.wikitext import extract_wikitext

REF = (
    '<sup about="#mwt4" class="mw-ref reference" id="cite_ref-1" rel="dc:references" typeof="mw:Extension/ref" '
    'data-mw=\'{"name":"ref","body":{"id":"mw-reference-text-cite_note-1"}}\'><a href="./Lamp#cite_note-1">'
    '<span class="mw-reflink-text">[1]</span></a></sup>'
)
FORMULA = (
    '<span class="mwe-math-element" typeof="mw:Extension/math" data-mw=\'{{"name":"math"}}\'><span class='
    '"mwe-math-mathml-inline"><math alttext="{{\\displaystyle {}}}"><mi>drop</mi><annotation>drop</annotation></math>'
    "</span></span>"
)
DROPPED_INLINE = {
    "reference": REF,
    "citation needed": '<sup class="noprint Inline-Template">[<i><a href="./x">citation needed</a></i>]</sup>',
    "formula": FORMULA.format("x^{2}"),
    "hidden": '<span style="display:none">drop</span>',
    "hidden with a space": '<span style="color:red; display: none;">drop</span>',
    "coordinates": '<span id="coordinates"><span class="geo-dms">drop</span></span>',
    "missing image": '<span typeof="mw:Error mw:File"><span class="mw-broken-media">File:Drop.jpg</span></span>',
    "style": '<style data-mw-deduplicate="r1" typeof="mw:Extension/templatestyles">.drop{x:y}</style>',
    "empty element": '<span class="mw-empty-elt">drop</span>',
    "error": '<strong class="error">drop</strong>',
    "ruby reading": "<ruby><rp>(</rp><rt>drop</rt><rp>)</rp></ruby>",
    "script": "<script>drop()</script>",
    "link": '<link rel="mw:PageProp/Category" href="./Category:Drop"/>',
    "comment": "<!-- drop -->",
}
DROPPED_BLOCKS = {
    "infobox": '<table class="infobox" typeof="mw:Transclusion"><tbody><tr><td><p>drop</p></td></tr></tbody></table>',
    "table": '<table class="wikitable"><tbody><tr><th>drop</th></tr></tbody></table>',
    "list": "<ul><li>drop <p>drop</p></li></ul>",
    "numbered list": "<ol><li>drop</li></ol>",
    "definitions": "<dl><dt>drop</dt><dd>drop</dd></dl>",
    "figure": '<figure typeof="mw:File/Thumb"><img src="x"/><figcaption>drop</figcaption></figure>',
    "gallery": '<ul class="gallery" typeof="mw:Extension/gallery"><li class="gallerybox">drop</li></ul>',
    "gallery without a list": '<div typeof="mw:Extension/gallery"><div class="gallerybox">drop</div></div>',
    "heading": '<h2 id="Drop">drop</h2>',
    "wrapped heading": '<div class="mw-heading mw-heading3"><h3>drop</h3></div>',
    "hatnote": '<div role="note" class="hatnote navigation-not-searchable">drop</div>',
    "message box": '<table class="plainlinks metadata ambox"><tbody><tr><td>drop</td></tr></tbody></table>',
    "message box without a table": '<div class="ambox"><div>drop</div></div>',
    "navigation": '<div role="navigation" class="navbox"><div>drop</div></div>',
    "references": '<div class="mw-references-wrap" typeof="mw:Extension/references"><ol><li>drop</li></ol></div>',
    "short description": '<div class="shortdescription nomobile noexcerpt" style="display:none">drop</div>',
    "code": "<pre>drop</pre>",
    "highlighted code": '<div class="mw-highlight" typeof="mw:Extension/syntaxhighlight"><span>drop</span></div>',
    "sister projects": '<div class="side-box metadata side-box-right"><div>drop</div></div>',
    "map": '<div class="mw-kartographer-container">drop</div>',
    "sound": '<div class="listen noprint"><div>drop</div></div>',
    "quote box": '<div class="quotebox floatright">drop</div>',
}
KEPT = {
    "link": ('<a rel="mw:WikiLink" href="./Oil" title="Oil">oil</a>', "oil"),
    "external link": ('<a rel="mw:ExtLink" href="//example.org" class="external text">oil</a>', "oil"),
    "nowrap": ('<span class="nowrap" typeof="mw:Transclusion" data-mw="{}">12&nbsp;lamps</span>', "12 lamps"),
    "conversion": ("5&nbsp;km<sup>2</sup> (1.9&nbsp;sq&nbsp;mi)", "5 km² (1.9 sq mi)"),
    "exponent": ('10<sup id="mwA">−6</sup>', "10⁻⁶"),
    "index": ("H<sub>2</sub>O", "H2O"),
    "raised letters": ("the 5<sup>th</sup>", "the 5th"),
    "fraction": (
        '<span class="frac">3<span class="sr-only">+</span><span class="num">1</span>&frasl;<span class="den">2</span>'
        "</span>",
        "3 1/2",
    ),
    "language": ('<span title="German text"><i lang="de">Licht</i></span>', "Licht"),
    "transcription": ('<span class="IPA nopopups" lang="en-fonipa"><a href="./Help:IPA">/læmp/</a></span>', "/læmp/"),
    "entity": ('<span typeof="mw:Entity">–</span>', "–"),
    "nowiki": ('<span typeof="mw:Nowiki">[[brackets]]</span>', "[[brackets]]"),
    "line break": ("one<br/>two<br>three", "one two three"),
    "birth date": (
        '(born <span style="display:none">(<span class="bday">1901-02-03</span>)</span>3 February)', "(born 3 February)"
    ),
    "empty brackets": (f"lamp ({REF}; {REF})", "lamp"),
    "a bracket that begins with nothing": (f"lamp ({REF}; lit)", "lamp (lit)"),
    "a bracket that ends with nothing": (f"lamp (lit, {REF})", "lamp (lit)"),
    "a record mark": (f"a{MARK}b", "ab"),
}


def document(body: str, head: str = "") -> str:
    """A page as Parsoid writes one."""
    return (
        '<!DOCTYPE html>\n<html prefix="dc: http://purl.org/dc/terms/ mw: http://mediawiki.org/rdf/">'
        f'<head prefix="mwr: x"><meta property="mw:pageId" content="7"/><title>Lamp</title>{head}</head>'
        '<body id="mwAA" lang="en" class='
        f'"mw-content-ltr mw-body-content parsoid-body mediawiki mw-parser-output" dir="ltr">{body}</body></html>'
    )


def text_of(body: str) -> str:
    """The text of a page with this body."""
    return extract_wikipedia_html(document(body)).text


def test_a_whole_page_gives_its_passages_in_order() -> None:
    """Sections, an infobox, a quotation, lists and references: the paragraphs remain, apart by a blank line."""
    body = (
        '<section data-mw-section-id="0" id="mwAQ">' + DROPPED_BLOCKS["short description"] + DROPPED_BLOCKS["infobox"]
        + f'<p id="mwAg">A <b>lamp</b> gives <a rel="mw:WikiLink" href="./Light">light</a>.{REF} It is old.</p>'
        "\n\n<p>Second.</p></section>"
        '<section data-mw-section-id="1"><h2 id="Use">Use</h2>\n<p>People say:</p><blockquote class="templatequote">'
        '<p>Light the lamp.</p><div class="templatequotecite">— <cite>Someone</cite></div></blockquote>'
        '<section data-mw-section-id="2"><h3>More</h3><ul><li>drop</li></ul><div class="poem"><p>One line<br/>'
        "and another</p></div></section></section>"
        + DROPPED_BLOCKS["references"] + DROPPED_BLOCKS["navigation"]
    )
    assert text_of(body) == (
        "A lamp gives light. It is old.\n\nSecond.\n\nPeople say:\n\nLight the lamp.\n\nOne line and another"
    )


@pytest.mark.parametrize("name", DROPPED_INLINE)
def test_what_is_dropped_inside_a_paragraph_leaves_the_words_around_it(name: str) -> None:
    """An inline element that is no text goes without its neighbors."""
    assert text_of(f"<p>Before{DROPPED_INLINE[name]} after.</p><p>Next.</p>") == "Before after.\n\nNext."


@pytest.mark.parametrize("name", DROPPED_BLOCKS)
def test_what_is_dropped_between_paragraphs_leaves_both(name: str) -> None:
    """A block that is no passage goes, and parts what stands around it."""
    assert text_of(f"<p>Before.</p>{DROPPED_BLOCKS[name]}<p>After.</p>") == "Before.\n\nAfter."
    assert text_of(f"Bare before.{DROPPED_BLOCKS[name]}Bare after.") == "Bare before.\n\nBare after."


@pytest.mark.parametrize("name", KEPT)
def test_inline_text_is_kept_as_readers_see_it(name: str) -> None:
    """Templates and markup that carry words keep them."""
    html, text = KEPT[name]
    assert text_of(f"<p>See {html} here.</p>") == f"See {text} here."


PAIRS = [
    ("A '''lamp''' is [[old|quite old]].", '<p>A <b>lamp</b> is <a href="./Old">quite old</a>.</p>'),
    ("One.<ref>drop</ref> Two.", f"<p>One.{REF} Two.</p>"),
    ("== Use ==\nText.\n* item\n* item\n\nMore.", "<h2>Use</h2><p>Text.</p><ul><li>a</li><li>b</li></ul><p>More.</p>"),
    ("Text.\n\n{| class=wikitable\n! a\n|}\nMore.", "<p>Text.</p><table><tr><th>a</th></tr></table><p>More.</p>"),
    ("[[File:a.jpg|thumb|drop]]\nText.", f"{DROPPED_BLOCKS['figure']}<p>Text.</p>"),
    ("Line<br>break.", "<p>Line<br/>break.</p>"),
    ("<blockquote>Light it.</blockquote>\nDone.", "<blockquote><p>Light it.</p></blockquote><p>Done.</p>"),
    ("A <math>x^{2}</math> formula.", f"<p>A {DROPPED_INLINE['formula']} formula.</p>"),
    ("If <math>n = 5</math>, it holds.", f"<p>If {FORMULA.format('n = 5')}, it holds.</p>"),
    ("{{nowrap|12 lamps}} burn.", '<p><span class="nowrap">12 lamps</span> burn.</p>'),
]


@pytest.mark.parametrize(("wikitext", "html"), PAIRS)
def test_html_and_wikitext_of_a_page_give_the_same_passages(wikitext: str, html: str) -> None:
    """The rule is one for both forms of a page."""
    assert text_of(html) == extract_wikitext(wikitext)


@pytest.mark.parametrize(
    ("kind", "head", "body"),
    [
        ("redirect", '<link rel="mw:PageProp/redirect" href="./Lamp"/>', ""),
        ("redirect", "", '<link rel="mw:PageProp/redirect" href="./Lamp" id="mwAg"/>'),
        ("disambiguation", '<meta property="mw:PageProp/disambiguation"/>', "<p>Lamp may be:</p>"),
        ("disambiguation", "", '<p>Lamp may be:</p><div class="metadata plainlinks dmbox dmbox-disambig"></div>'),
        ("disambiguation", "", '<p>Lamp may be:</p><table id="disambigbox"></table>'),
        ("article", "", '<div class="hatnote"><a class="mw-disambig" href="./Disambiguation">x</a></div><p>A.</p>'),
        ("article", "", '<p data-mw=\'{"x":"mw:PageProp/redirect"}\'>A.</p>'),
    ],
)
def test_pages_that_only_point_on_are_told_from_articles(kind: str, head: str, body: str) -> None:
    """By Parsoid's page properties and by the box of disambiguation pages; a link to one says nothing."""
    page = extract_wikipedia_html(document(body, head))
    assert page.kind == kind
    assert page.text == {"redirect": "", "disambiguation": "Lamp may be:", "article": "A."}[kind]


WORDS = st.text("abcdefgh", min_size=1, max_size=6)
INLINE = st.sampled_from(["b", "i", "span", "small", "cite", "q", "abbr", "code", "u", "sub"])


@st.composite
def inline_trees(draw: st.DrawFn, depth: int = 0) -> tuple[str, list[str]]:
    """(HTML, the words that must remain in order): text, kept elements with tails, dropped elements."""
    html, words = [], []
    for _ in range(draw(st.integers(1, 4))):
        word, choice = draw(WORDS), draw(st.integers(0, 3))
        if choice == 0 and depth < 4:
            inner, kept = draw(inline_trees(depth + 1))
            tag = draw(INLINE)
            html.append(f"<{tag}>{inner}</{tag}> ")
            words += kept
        elif choice == 1:
            html.append(draw(st.sampled_from(sorted(DROPPED_INLINE.values()))) + " ")
        html.append(f"{word} ")
        words.append(word)
    return "".join(html), words


@given(st.lists(inline_trees(), min_size=1, max_size=4))
def test_v2_no_tail_of_an_inline_tag_is_lost(paragraphs: list[tuple[str, list[str]]]) -> None:
    """Whatever stands behind an element, dropped or kept, at any depth, is in the text in its order."""
    text = text_of("".join(f"<p>{html}</p>" for html, _ in paragraphs))
    assert text == "\n\n".join(" ".join(words) for _, words in paragraphs)


PIECES = [
    "<p>", "</p>", "<b>", "</b>", "<table>", "<td colspan='9007199254740992'>", "</table>", "<li>", "<",
    "<sup class=mw-ref>", ">", '"', "='", "&#x110000;", "&lt", "<!--", "-->", '<p class="', "\x00", "\ud800", MARK,
    "word",
]


@given(st.text(alphabet=st.characters(), max_size=80), st.lists(st.sampled_from(PIECES), max_size=40))
def test_v2_any_markup_gives_clean_text(text: str, pieces: list[str]) -> None:
    """Broken markup raises nothing and leaves no mark, no blank paragraph and no line end inside a paragraph."""
    found = extract_wikipedia_html(text + "".join(pieces)).text
    assert MARK not in found
    found.encode()
    assert all(part == " ".join(part.split()) and part for part in found.split("\n\n")) or not found


@pytest.mark.parametrize("tag", ["div", "span", "b", "blockquote", "table", "section", "table><tr><td"])
def test_v2_deep_nesting_costs_neither_the_stack_nor_the_text(tag: str) -> None:
    """20,000 open tags: the paragraph before them is there, and what is in no table too."""
    text = text_of("<p>A start.</p>" + f"<{tag}>" * 20_000 + "deep <i>and</i> tail")
    assert text == ("A start." if tag.startswith("table><") else "A start.\n\ndeep and tail")


def test_v2_a_huge_table_and_many_paragraphs_are_read() -> None:
    """A table of 20,000 cells is dropped, 50,000 tiny paragraphs are all there."""
    cells = "<tr><td colspan='9007199254740992'>drop</td></tr>" * 20_000
    text = text_of(f"<table>{cells}</table>" + "".join(f"<p>p{n}" for n in range(50_000)))
    assert text.split("\n\n") == [f"p{n}" for n in range(50_000)]


@pytest.mark.parametrize("piece", [",;", "(", " (,", "<span sr-only ", "sr-only ", "<sup ", "<p", "<", "&", " "])
def test_v2_no_rule_takes_more_than_linear_time(piece: str) -> None:
    """Long runs of what could make an expression try again and again: the words at both ends are there."""
    text = text_of(f"<p>First <span {piece * 20_000}</p><p>Last.</p>") + text_of(f"<p>(a {piece * 200_000} last</p>")
    assert text.startswith("First")


def test_v2_many_formulas_in_a_deep_page_are_read() -> None:
    """10,000 formulas under 10,000 open tags, which no formula's element is looked for beyond."""
    formulas = "<math alttext='x'>drop</math>" * 10_000
    assert text_of(f"<p>A start.</p>{'<span>' * 10_000}{formulas}").startswith("A start.")


def test_an_unclosed_reference_costs_its_own_paragraph_at_most() -> None:
    """The next paragraph is not swallowed."""
    assert text_of('<p>One. <sup class="mw-ref reference">[1]</p><p>Two.</p>') == "One.\n\nTwo."


def test_tags_inside_attributes_are_no_text() -> None:
    """Parsoid keeps wikitext and HTML in attributes; none of it comes out."""
    assert text_of('<p data-mw=\'{"wt":"<p>drop</p><br><sup>2</sup> \\u003c"}\' title="a > b">Kept.</p>') == "Kept."
