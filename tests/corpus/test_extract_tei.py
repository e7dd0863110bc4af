"""TEI editions to text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from rbt.corpus.extract.book import extract_book
from rbt.corpus.extract.tei import PAGE_BREAK, TeiBook, extract_tei, mend_words

HEADER = """<teiHeader><fileDesc>
<titleStmt><title>The Mill : A digital edition</title><author>N. N.</author></titleStmt>
<publicationStmt><date when="2021-04-09"/></publicationStmt>
<sourceDesc><bibl type="digitalSource"><date>2000</date></bibl>
<bibl type="firstEdition"><date>London, 1855.</date></bibl></sourceDesc></fileDesc></teiHeader>"""


BOOK = "<text><front><p>Title page</p></front><body>{}</body>{}</text>"


def tei(body: str, text: str = BOOK) -> bytes:
    """A TEI file."""
    back = "<back><p>Printed by.</p></back>"
    return f'<TEI xmlns="http://www.tei-c.org/ns/1.0">{HEADER}{text.format(body, back)}</TEI>'.encode()


def read(body: str) -> TeiBook:
    """The book of a body."""
    found = extract_tei(tei(body))
    assert found is not None
    return found


def test_the_body_alone_is_text_and_the_header_says_what_it_is() -> None:
    """Front and back matter go; the date is the first edition's, not the file's."""
    assert read("<p>It began.</p>") == TeiBook("The Mill", "1855", "It began.")


def test_blocks_are_paragraphs_and_verses_are_lines_of_one() -> None:
    """Headings, speeches, stanzas, quotations and trailers, in the order in which they stand."""
    body = (
        "<div><head>I.</head><p>He\n   said <q>go</q>:<quote><l>Roses</l><l>are red</l></quote>and <hi>went</hi>.</p>"
        "<lg><l>one</l><l>two</l></lg><sp><speaker>Ann</speaker><p>Stop.</p></sp><trailer>END</trailer></div>"
    )
    assert read(body).text.split("\n\n") == [
        "I.", "He said go:", "Roses\nare red", "and went.", "one\ntwo", "Ann", "Stop.", "END",
    ]


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<note>x</note> b", "a b"), ("a<figure><figDesc>x</figDesc></figure> b", "a b"), ("a<fw>x</fw> b", "a b"),
        ("a<gap/>b", "ab"), ("<choice><sic>teh</sic><corr>the</corr></choice>", "the"), ("a<corr/>b", "ab"),
        ("<choice><orig>olde</orig><reg>old</reg></choice>", "old"), ("a<lb/>b", "a b"),
        ('a<ref type="noteAnchor">1</ref> b', "a b"), ('a <ref target="#x">b</ref>', "a b"), ("a<!-- x --> b", "a b"),
        ("one <pb n='2'/> two", "one two"), ("one<pb/>two", "onetwo"), ("one <pb/>two", "one two"),
    ],
)
def test_what_an_editor_added_goes_and_what_he_mended_stays(markup: str, text: str) -> None:
    """Notes, pictures, page heads, gaps and page breaks leave no trace; of a choice the better reading stays."""
    assert read(f"<p>{markup}</p>").text == text


@pytest.mark.parametrize("tag", ["abbr", "orig", "sic"])
def test_a_reading_without_a_better_one_is_the_text(tag: str) -> None:
    """An abbreviation or an error that no editor mended stays, in a choice or outside one."""
    assert read(f"<p>Dear <{tag}>Mr.</{tag}> Hale</p>").text == "Dear Mr. Hale"
    assert read(f"<p>Dear <choice><{tag}>Mr.</{tag}></choice> Hale</p>").text == "Dear Mr. Hale"
    mended = f"<choice>\n<{tag}>Mr.</{tag}>\n<reg>Mister</reg>\n</choice>"
    assert read(f"<p>Dear {mended} Hale</p>").text.split() == ["Dear", "Mister", "Hale"]


def test_words_that_a_line_break_parts_are_mended() -> None:
    """As those of a page break are; lines that break between words stay apart, and break="no" is believed."""
    body = "<p>concen-<lb/>\ntration, Ham<lb break='no'/>let, ill-<lb/>lit<lb/>lamps; ill, ill<lb/>\n<lb/>and lit</p>"
    assert read(body).text == "concentration, Hamlet, ill-lit lamps; ill, ill and lit"


def test_words_that_a_page_break_parts_are_mended() -> None:
    """The hyphen stays where both halves make sense apart and nowhere stand together."""
    body = (
        "<p>A concentra- <pb/> tion of Ham\u2010\n<pb n='3'/>\nlin, an ill-<pb/>trimmed lamp, half- <pb/> baked, Anglo-"
        "<pb/>Saxon, over-<pb/> powering. Ham, ill, half and over. Hamlin is overpowering - <pb/> so it is.</p>"
    )
    assert read(body).text == (
        "A concentration of Hamlin, an ill-trimmed lamp, half-baked, Anglo-Saxon, overpowering. Ham, ill, half and "
        "over. Hamlin is overpowering - so it is."
    )


@given(pieces=st.lists(st.text("ab- \n", max_size=8), max_size=8))
def test_mending_takes_hyphens_and_spaces_alone(pieces: list[str]) -> None:
    """Every letter stays, in order, and no mark is left."""
    mended = mend_words(PAGE_BREAK.join(pieces))
    assert re.sub(r"[-\s]", "", mended) == re.sub(r"[-\s]", "", "".join(pieces))
    assert PAGE_BREAK not in mended


@pytest.mark.parametrize("name", ["body", "choice", "date", 'bibl type="firstEdition"'])
def test_hostile_nesting_returns(name: str) -> None:
    """What would take minutes if each element looked through all that are in it; parsers go 2,048 deep."""
    nested = (f"<{name}>" * 2_000 + f"</{name.partition(' ')[0]}>" * 2_000) * 10
    data = tei(f"<p>It began.</p>{nested}").replace(b"<sourceDesc>", f"<sourceDesc>{nested}".encode())
    found = extract_tei(data)
    assert found is not None
    assert (found.title, found.text) == ("The Mill", "It began.")


def test_several_texts_in_one_file_and_texts_inside_a_text() -> None:
    """A group's bodies follow each other; a floating text is read once, where it stands."""
    group = "<text><group><text><body>{}</body></text><text><body><p>two</p></body></text></group></text>{}"
    found = extract_tei(tei("<p>one</p>", text=group))
    assert found is not None
    assert found.text == "one\n\ntwo"
    floating = "<p>a</p><floatingText><body><p>letter</p></body></floatingText><p>b</p>"
    assert read(floating).text == "a\n\nletter\n\nb"


def test_no_entity_is_resolved_and_names_of_characters_are_characters(tmp_path: Path) -> None:
    """Files are not read, declared entities do not grow; &mdash; needs no declaration."""
    secret = tmp_path / "secret.txt"
    secret.write_text("SECRET")
    doctype = f'<!DOCTYPE TEI [<!ENTITY s SYSTEM "{secret.as_uri()}"><!ENTITY a "ha"><!ENTITY b "&a;&a;">]>'
    found = extract_tei(doctype.encode() + tei("<p>x&mdash;y &s; &b;</p>"))
    assert found is not None
    assert found.text == "x—y &s; &b;"


def test_broken_tei_keeps_what_can_be_read_and_says_so() -> None:
    """A missing end tag and a cut file keep their text; what is no TEI or no XML is told apart."""
    for data in (tei("<p>one<p>two</p>"), tei("<p>one</p><p>two</p>").partition(b"</p></body>")[0]):
        found = extract_tei(data)
        assert found is not None
        assert "two" in found.text
        assert found.problem
    assert extract_tei(b"<mediawiki><page/></mediawiki>") is None
    for data in (b"", b"\0\1\2", b"plain text"):
        with pytest.raises(etree.XMLSyntaxError):
            extract_tei(data)


def five_grams(text: str) -> set[tuple[str, ...]]:
    """The set of runs of five words, letters only."""
    words = re.findall(r"[^\W\d_]+", text.casefold())
    return {tuple(words[start : start + 5]) for start in range(len(words) - 4)}


@pytest.mark.parametrize(
    ("edition", "plain", "jaccard", "contained"),
    [
        ("ENG18551_Trollope.xml", "Trollope_Warden_1855.txt", 0.94, 0.97),
        ("ENG18840_Lee.xml", "Lee_Brown_1884.txt", 0.3, 0.99),  # the plain text holds the first of three volumes
    ],
)
def test_two_editions_of_a_novel_share_most_runs_of_five_words(
    edition: str, plain: str, jaccard: float, contained: float, data: Path
) -> None:
    """TEI and plain text of the same novels, made by different people, are near-duplicates."""
    found = extract_tei((data / "books/ELTeC-eng_tei" / edition).read_bytes())
    assert found is not None
    other = five_grams(extract_book((data / "books/100_english_novels" / plain).read_text("utf-8-sig")).text)
    ours = five_grams(found.text)
    assert len(ours & other) >= jaccard * len(ours | other)
    assert len(ours & other) >= contained * len(other)
