"""Wikitext that nobody closed, in any order and at any length: no other line is swallowed, and nothing hangs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rbt.corpus.extract.wikitext import extract_wikitext


@pytest.mark.parametrize(
    "unclosed",
    [
        "{{cite book|title=x",
        "{{convert|5|km",
        "[[link",
        "[[File:a.jpg|thumb|caption",
        "{| class=x",
        "<ref>a note",
        "<ref name=x>{{cite|y",
        "<!-- comment",
        "<nowiki>",
        "<math>x",
        "<gallery>",
        "<div",
        "'''bold",
        "[http://x y",
        "{{a|[[b|{{c",
        "}}",
        "]]",
        "|}",
        "{{{",
        "</ref>",
        "<ref name='a",
        "{{Infobox\n| a = b\n| c = {{d\n",
    ],
)
def test_v1_markup_that_is_never_closed_swallows_no_other_line(unclosed: str) -> None:
    """The paragraphs before and behind come out whole."""
    before, after = "The first paragraph has 12 words.", 'The "last" {{nowrap|one}} has [[link|3]] more<ref>x</ref>.'
    text = extract_wikitext(f"{before}\n\nIn the middle {unclosed}\n\n{after}\n\n== Section ==\nThe end.")
    assert text.split("\n\n")[0] == before
    assert text.endswith('The "last" one has 3 more.\n\nThe end.')


def test_v1_an_unclosed_reference_does_not_swallow_up_to_the_next_one() -> None:
    """It costs the rest of its line."""
    text = extract_wikitext("One.<ref>never closed\nTwo 2 of it.<ref>closed</ref> Three.\n\nFour.")
    assert "Two 2 of it. Three." in text
    assert text.endswith("Four.")


SWALLOWING = ["<math>", "<nowiki>", "<gallery>", "<ref>", "<source>", "{{a|", "{{e|", "[[", "[[File:a|", "{|", "<p "]
CLOSING = ["</math>", "</nowiki>", "</gallery>", "</ref>", "</source>", "}}", "}}", "]]", "]]", "|}", ">"]


@pytest.mark.parametrize(("opening", "closing"), [*zip(SWALLOWING, CLOSING, strict=True)])
def test_v1_no_markup_reaches_over_a_heading_to_what_closes_it(opening: str, closing: str) -> None:
    """An opening in one section and its closing in the next but one leave the section between alone."""
    text = extract_wikitext(f"{opening} a\n\n== Middle ==\nIt has 7 words.\n\n== End ==\n{closing}\n\nThe end.")
    assert "\n\nIt has 7 words.\n\n" in f"\n\n{text}"
    assert text.endswith("The end.")


TOKENS = [
    "{{",
    "}}",
    "[[",
    "]]",
    "{|",
    "|}",
    "|",
    "<ref>",
    "</ref>",
    "<ref name=a />",
    "<!--",
    "-->",
    "<nowiki>",
    "</nowiki>",
    "''",
    "'''",
    "=",
    "==",
    "\n",
    "\n\n",
    "* ",
    "text ",
    "5 ",
    "[http://x ",
    "]",
    "<br>",
    "<math>",
    "</math>",
    "&amp;",
    "convert|5|km",
    "File:a|",
    "\n{|",
    "\n|}",
    "<",
    ">",
    "(",
    ")",
    "<div>",
    "__TOC__",
    "formatnum:12345",
    "lang|fr|x",
    "\U0010ff00",
    "\0",
]


@given(tokens=st.lists(st.sampled_from(TOKENS), max_size=80))
def test_no_markup_makes_text_longer_than_its_source_or_fails(tokens: list[str]) -> None:
    """Any sequence of tokens gives text of a bounded length, in paragraphs one blank line apart."""
    source = "".join(tokens)
    text = extract_wikitext(source)
    assert len(text) <= 2 * len(source)
    assert "\n\n\n" not in text
    assert text == text.strip()


@settings(max_examples=150)
@given(before=st.lists(st.sampled_from(TOKENS), max_size=30), behind=st.lists(st.sampled_from(TOKENS), max_size=30))
def test_v1_malformed_markup_never_swallows_the_next_section(before: list[str], behind: list[str]) -> None:
    """Whatever stands in the sections around: a comment alone may reach over a heading."""
    head, tail = ("".join(part).replace("<!--", "").replace("-->", "") for part in (before, behind))
    text = extract_wikitext(f"{head}\n\n== Middle ==\nIt has 7 words.\n\n{tail}\n\n== End ==\nThe end.")
    assert "\n\nIt has 7 words.\n\n" in f"\n\n{text}"
    assert text.endswith("The end.")


@pytest.mark.parametrize(
    "token",
    [
        "{{",
        "[[",
        "\n{|",
        "<ref>",
        "<!--",
        "<nowiki>",
        "[http://a ",
        "<ref",
        "{{a|",
        "[[a|",
        "}}",
        "\n==",
        "(( ",
        "&",
        "''",
        "<ref>\n",
        "{{{",
        "<math>",
        "[[a\n",
        "= ",
        "<!--\n==x==\n",
        " <!---->",
        "{{-",
        "{{--}}",
        "[[File:",
        ":a\n",
        "<a\n ",
        "({{x}}",
        "&#42;",
        "<ref>\n== x ==\n",
        "|}\n{|",
        "[[a]]" * 3,
        "<sup>",
        "<sup>1",
        "{{sup|",
    ],
)
def test_a_long_run_of_any_opening_returns(token: str) -> None:
    """200,000 bytes of one token, and what follows them is kept."""
    size = 200_000 // len(token)
    assert len(extract_wikitext(token * size)) <= 200_000
    assert extract_wikitext(token * size + "\n\nThe end.").endswith("The end.")


def test_deep_nesting_returns() -> None:
    """50,000 levels of templates and of links."""
    assert extract_wikitext("{{a|" * 50_000 + "}}" * 50_000 + "\n\nThe end.").endswith("The end.")
    assert extract_wikitext("[[a|" * 50_000 + "]]" * 50_000 + "\n\nThe end.").endswith("The end.")
