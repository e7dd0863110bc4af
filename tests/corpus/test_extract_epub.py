"""XHTML chapters, OPF packages, and XML that means harm."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from rbt.corpus.extract import markup
from rbt.corpus.extract.epub import encrypted_members, extract_chapter, find_package, parse_package

NAMESPACES = 'xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"'


def chapter(body: str, head: str = "") -> bytes:
    """An XHTML document."""
    return f'<?xml version="1.0" encoding="utf-8"?>\n<html {NAMESPACES}>{head}<body>{body}</body></html>'.encode()


def paragraphs(body: str) -> list[str]:
    """The paragraphs of a chapter, which must be well-formed."""
    found = extract_chapter(chapter(body))
    assert found.broken == ""
    return found.text.split("\n\n") if found.text else []


def package(manifest: str, spine: str, metadata: str = "", guide: str = "") -> bytes:
    """An OPF file."""
    return (
        f'<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/" '
        f'xmlns:opf="http://www.idpf.org/2007/opf">{metadata}</metadata><manifest>{manifest}</manifest>'
        f"<spine>{spine}</spine><guide>{guide}</guide></package>"
    ).encode()


def test_headings_and_blocks_are_paragraphs_and_verses_keep_their_lines() -> None:
    """Source line breaks are spaces, <br/> is a line, two of them or a block are a paragraph."""
    assert paragraphs("<h1>One</h1>\n<p>It was\n\tdark <i>and</i> cold.</p>loose<div>a<p>b</p>c</div>") == [
        "One", "It was dark and cold.", "loose", "a", "b", "c",
    ]
    assert paragraphs("<p>Roses<br/> are red,<br/>violets</p><p>one<br/><br/>two</p>") == [
        "Roses\nare red,\nviolets", "one", "two",
    ]
    assert paragraphs("<ul><li>a</li><li>b</li></ul><table><tr><td>c</td><td>d</td></tr></table><pre>e\n  f</pre>") == [
        "a", "b", "c d", "e\nf",
    ]


@pytest.mark.parametrize(
    "dropped",
    [
        "<nav>x</nav>", "<script>x</script>", "<style>x</style>", "<svg><title>x</title></svg>",
        '<section epub:type="toc">x</section>', '<section epub:type="frontmatter landmarks">x</section>',
        '<aside epub:type="footnote"><p>x</p></aside>', '<a epub:type="noteref" href="#n">x</a>',
        '<span epub:type="pagebreak">x</span>', '<span role="doc-pagebreak">x</span>', '<span class="pagenum">x</span>',
        "<figure><figcaption>x</figcaption></figure>", '<div class="pg-boilerplate" id="pg-header">x</div>',
        "<ruby><rt>x</rt></ruby>", "<p hidden='hidden'>x</p>", "<!-- x -->", "<?x x?>",
    ],
)
def test_what_is_no_running_text_goes_and_what_stands_behind_it_stays(dropped: str) -> None:
    """Each kind of navigation, note and page number is left out without its neighbors."""
    assert paragraphs(f"<p>before {dropped}behind</p><p>after</p>") in (
        ["before behind", "after"], ["before", "behind", "after"],
    )


def test_a_list_of_links_is_a_table_of_contents() -> None:
    """A page of links goes; a chapter whose heading is a link stays."""
    links = "".join(f'<p><a href="c{number}.xhtml">Chapter {number}</a></p>' for number in range(5))
    found = extract_chapter(chapter(f"<h1>Contents</h1>{links}"))
    assert (found.text, found.contents) == ("", True)
    assert paragraphs('<h1><a href="toc.xhtml">Chapter 1</a></h1><p>It began.</p>') == ["Chapter 1", "It began."]


@pytest.mark.parametrize("anchor", ['<a id="p{0}">{1}</a>', '<a name="p{0}">{1}'])
def test_paragraphs_inside_anchors_are_no_table_of_contents(anchor: str) -> None:
    """An <a> that leads nowhere is a place in the book, closed or not."""
    sentences = [f"Sentence {number} is of the book." for number in range(5)]
    body = "".join(f"<p>{anchor.format(number, sentence)}</p>" for number, sentence in enumerate(sentences))
    assert extract_chapter(chapter(body)).text.split("\n\n") == sentences


def test_the_share_of_links_is_of_letters() -> None:
    """Spaces between the words of links do not make a chapter of notes a table of contents."""
    body = "<p>abcdefghijkl</p>" + '<p><a href="n">a b c d e f g h i j</a></p>' * 3  # 30 of 42: too few
    assert not extract_chapter(chapter(body)).contents


def test_names_of_characters_become_characters_without_any_doctype() -> None:
    """HTML's names and numbers; an ampersand alone and an unknown name stay as they are, a bad number goes."""
    assert paragraphs("<p>a&nbsp;b&mdash;c&eacute;&#233;&#xE9;&amp;&lt;</p>") == ["a\xa0b—cééé&<"]
    assert paragraphs("<p>AT&T &unknown; R&#0;&#xD800;&#99999999;D</p>") == ["AT&T &unknown; RD"]


def test_no_entity_is_ever_resolved(tmp_path: Path) -> None:
    """Files are not read, declared entities do not grow, and the text around them stays."""
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 12))
    for subset in (
        f'<!ENTITY x SYSTEM "{secret.as_uri()}">', f'<!ENTITY l0 "ha">{laughs}<!ENTITY x "&l11;">', '<!ENTITY x "ok">',
        f'<!ENTITY % p SYSTEM "{secret.as_uri()}"> %p;',
    ):
        body = '<html><body><p title="&x;">a &x; b</p></body></html>'
        document = f'<?xml version="1.0"?><!DOCTYPE html [{subset}]>{body}'
        for data in (document.encode(), document.replace("</p>", "").encode()):
            assert extract_chapter(data).text == "a &x; b"


@pytest.mark.parametrize(
    ("broken", "text"),
    [
        ("<p>one<p>two", "one\n\ntwo"), ("<p>a <b>b</p> c</b>", "a b\n\nc"), ("<p>5 < 6 & 7</p>", "5 < 6 & 7"),
        ("<title/><p>a</p><b>", "a"), ("<script src='x'/><p>a</p><b>", "a"), ('<p class=x>a<a id="p"/>b</p>', "ab"),
        ("</p><p>a</p>", "a"),
    ],
)
def test_broken_xhtml_is_read_as_html(broken: str, text: str) -> None:
    """A slip costs nothing but itself, and elements closed in XML's way do not swallow what follows."""
    found = extract_chapter(chapter(broken))
    assert found.text == text
    assert found.broken


def test_what_is_never_closed_costs_its_mark_alone() -> None:
    """A comment or CDATA section without an end; a DOCTYPE in the middle goes up to the next bracket."""
    for broken, text in (
        ("<p>a</p><!-- <p>b</p>", "a\n\nb"), ("<p>a</p><![CDATA[<p>b</p>", "a\n\nb"), ("<p>a <!DOCTYPE [>b</p>", "a b"),
    ):
        assert extract_chapter(chapter(broken + "<p>end</p>")).text == f"{text}\n\nend"
    assert paragraphs("<p>a<!-- x <p> --> b<!-- --><![CDATA[ <i>&amp;]]></p>") == ["a b <i>&amp;"]


def test_encodings_come_from_the_mark_the_declaration_or_the_meta_element() -> None:
    """The same text in five encodings."""
    text = "<html><head>{}</head><body><p>Café — “naïve”</p></body></html>"
    meta = '<meta http-equiv="Content-Type" content="text/html; charset=windows-1252"/>'
    for data in (
        text.format("").encode(), b"\xef\xbb\xbf" + text.format("").encode(), text.format("").encode("utf-16"),
        b"<?xml version='1.0' encoding='windows-1252'?>" + text.format("").encode("cp1252"),
        text.format(meta).encode("cp1252"),
    ):
        assert extract_chapter(data).text == "Café — “naïve”"


@given(
    parts=st.lists(
        st.sampled_from(["<p>", "</p>", "<i>", "</i>", "<br/>", "&nbsp;", "&", "<", "word", "<![CDATA[", "]]>", "<!--",
            "-->", "<!DOCTYPE", "[", "]>", "<a href='", "\x00", "\ud800", "<?xml", "&#x", "<svg/>", "é"]),
        max_size=30,
    )
)
def test_any_markup_gives_text(parts: list[str]) -> None:
    """Nothing raises, whatever the bytes; three blank lines never stand together."""
    found = extract_chapter("".join(parts).encode("utf-8", "surrogatepass"))
    assert "\n\n\n" not in found.text


@pytest.mark.parametrize(
    "unit", ["<div>", "<p", "<!DOCTYPE ", "&", "<![CDATA[", "<a/>", "<i>", "[", "<!--", "\n ", "<x ", "<?xml "]
)
def test_hostile_repetition_returns(unit: str) -> None:
    """What would take minutes in quadratic time comes back; what does not hide the end leaves it there."""
    text = extract_chapter(chapter(unit * 60_000 + "<p>end</p>")).text
    assert text.endswith("end") or unit in ("<p", "<!DOCTYPE ", "<![CDATA[", "<!--", "<x ")


def test_long_runs_in_broken_markup_return() -> None:
    """A tag's name or white space of 200,000 characters, where the rules for broken XHTML look for a beginning."""
    for run in ("<a" + "b" * 200_000, "\n" * 200_000):
        assert extract_chapter(chapter(f"<p>first</p>{run}<p>end")).text.startswith("first")


def test_deep_nesting_keeps_its_text() -> None:
    """Deeper than any XML parser goes, HTML's rules still find the text."""
    assert extract_chapter(chapter("<div>" * 20_000 + "deep" + "</div>" * 20_000)).text == "deep"


def test_the_container_names_the_package() -> None:
    """The first rootfile with a path; "" where there is none, or no XML."""
    root = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>{}</rootfiles></container>'
    assert find_package(root.format('<rootfile/><rootfile full-path="OPS/a%20b.opf"/>').encode()) == "OPS/a b.opf"
    assert find_package(root.format("").encode()) == ""
    assert find_package(b"") == find_package(b"\0\1") == ""


def test_the_package_gives_the_reading_order() -> None:
    """Spine order, not manifest order; hrefs relative to the package; non-linear items and navigation counted."""
    item = '<item id="{0}" href="{1}" media-type="application/xhtml+xml" {2}/>'
    manifest = "".join(
        item.format(*values)
        for values in [
            ("b", "text/two%20b.xhtml#start", ""), ("a", "../one.xhtml", ""), ("n", "nav.xhtml", 'properties="nav"'),
            ("x", "extra.xhtml", ""), ("c", "cover.xhtml", ""), ("up", "../../../../etc/passwd", ""),
        ]
    ) + '<item id="p" href="p.jpg" media-type="image/jpeg"/>'
    spine = (
        '<itemref idref="c"/><itemref idref="n"/><itemref idref="a"/><itemref idref="x" linear="no"/>'
        '<itemref idref="p"/><itemref idref="b"/><itemref idref="a"/><itemref idref="missing"/><itemref idref="up"/>'
    )
    found = parse_package(package(manifest, spine, guide='<reference type="cover" href="cover.xhtml"/>'), "OPS/a/b.opf")
    assert found.chapters == ("OPS/one.xhtml", "OPS/a/text/two b.xhtml", "etc/passwd")
    assert (found.nonlinear, found.navigation, found.unknown) == (1, 2, ("missing",))


@pytest.mark.parametrize(
    ("guide", "chapters"),
    [
        ('<reference type="toc" href="a.xhtml"/>', ("b.xhtml",)),
        ('<reference type="toc" href="a.xhtml#toc"/>', ("a.xhtml", "b.xhtml")),
        ('<reference type="cover" href="a.xhtml"/><reference type="text" href="a.xhtml#c1"/>', ("a.xhtml", "b.xhtml")),
        ('<reference type="cover" href="a.xhtml"/><reference type="Start" href="b.xhtml"/>', ("b.xhtml",)),
    ],
)
def test_a_file_with_more_than_contents_is_a_chapter(guide: str, chapters: tuple[str, ...]) -> None:
    """A guide that names a place in a file, or a file in which the text begins, drops no chapter."""
    item = '<item id="{0}" href="{0}.xhtml" media-type="application/xhtml+xml"/>'
    spine = '<itemref idref="a"/><itemref idref="b"/>'
    assert parse_package(package(item.format("a") + item.format("b"), spine, guide=guide), "c.opf").chapters == chapters


@pytest.mark.parametrize(
    ("dates", "date"),
    [
        ("<dc:date>1999-05-01T00:00:00Z</dc:date>", "1999-05-01"), ("<dc:date>1911</dc:date>", "1911"),
        ('<dc:date opf:event="modification">2020</dc:date><dc:date opf:event="publication">1850</dc:date>', "1850"),
        ('<dc:date opf:event="conversion">2020</dc:date>', ""), ("<dc:date>0101-01-01T00:00:00+00:00</dc:date>", ""),
        ("<dc:date>May 1999</dc:date>", ""), ("", ""),
    ],
)
def test_title_and_date_come_from_the_package(dates: str, date: str) -> None:
    """The date of publication, not that of a change, and none that calibre made up."""
    found = parse_package(package("", "", f"<dc:title> </dc:title><dc:title>A\n tale</dc:title>{dates}"), "b.opf")
    assert (found.title, found.date) == ("A tale", date)


def test_mangled_fonts_are_no_protection() -> None:
    """Only what is encrypted by another method than font mangling counts."""
    entry = (
        '<enc:EncryptedData><enc:EncryptionMethod Algorithm="{}"/><enc:CipherData><enc:CipherReference URI="{}"/>'
        "</enc:CipherData></enc:EncryptedData>"
    )
    xml = '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:enc="http://x">{}</encryption>'
    mangled = entry.format("http://www.idpf.org/2008/embedding", "f.otf")
    entries = mangled + entry.format("aes128-cbc", "OPS/a%20b.xhtml")
    assert encrypted_members(xml.format(entries).encode()) == {"OPS/a b.xhtml"}


@pytest.mark.parametrize("name", ["title", "date", "EncryptedData", "reference", "itemref"])
def test_hostile_nesting_in_packages_returns(name: str) -> None:
    """What would take minutes if each element looked through all that are in it; parsers go 2,048 deep."""
    nested = (f"<{name}>" * 2_000 + f"</{name}>" * 2_000) * 10
    assert parse_package(package("", "", nested), "p.opf").chapters == ()
    assert encrypted_members(f"<encryption>{nested}</encryption>".encode()) == set()


def test_a_parser_without_entities_is_what_reads_xml() -> None:
    """Even text that was not prepared is not expanded."""
    bomb = '<!DOCTYPE a [<!ENTITY b "cccc">]><a>&b;</a>'
    assert "cccc" not in "".join(markup.parse_xml(bomb).itertext())
    with pytest.raises(etree.XMLSyntaxError):
        markup.parse_xml("", recover=True)
