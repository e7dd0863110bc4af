"""Wikitext to running text: golden pages, and markup that nobody closed."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.extract.templates import TEMPLATES, format_number, render_template
from rbt.corpus.extract.wikitext import DROPPED_TAGS, extract_wikitext

PAGE = """{{Short description|A page}}
<!-- a comment
over lines -->{{Infobox thing
| name  = Thing {{nowrap|a b}}
| image = [[File:Thing.jpg|thumb|A [[caption]] {{cite|x}}]]
}}
[[File:View.jpg|thumb|right|A view of [[London|the city]] from {{convert|3|km}} away]]
The '''thing''' (from {{lang|la|''res''}}; {{IPA|/x/}})
is {{convert|5|km|mi}} long,<ref name="a">{{cite book|title=X}}</ref>
weighs {{formatnum:1234567}}&nbsp;kg<ref name="b" /> and is ''[[old|very old]]''.<ref>See [http://x y].</ref>
It has [[part]]s.

== History ==
In 1900 [http://example.org the founders] said "it is done".

{{quote|We did not ''stop'' at {{formatnum:1000}}.|author=A. Person}}

{| class="wikitable"
! a !! b
|-
| 1 || {{x|}}
{| nested
|}
|}
* a list
# another
: indented
; term

After the table.
=== Deeper ===
<math>x^2</math> Text with {{unknown|a|b=c}} gaps, <sup>2</sup> and <nowiki>[[literal]] ''x''</nowiki>.

== References ==
{{reflist}}
[[Category:Things]]
[[de:Ding]]
__NOTOC__
"""
TEXT = """The thing (from res; ) is 5 km long, weighs 1,234,567\u00a0kg and is very old. It has parts.

In 1900 the founders said "it is done".

We did not stop at 1,000.

After the table.

Text with gaps, 2 and [[literal]] ''x''."""


def test_v1_a_page_becomes_its_running_text() -> None:
    assert extract_wikitext(PAGE) == TEXT


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{convert|5|km|mi}}", "5 km"),
        ("{{convert|5|to|10|km2|sqmi|abbr=on}}", "5 to 10 km²"),
        ("{{Convert|5|ft|11|in|m}} tall", "5 ft 11 in tall"),
        ("{{convert|1,500|x|20|m}}", "1,500 × 20 m"),
        ("{{formatnum:1234567.5}} {{formatnum:999}} {{formatnum:0012}}", "1,234,567.5 999 0012"),
        ("{{lang-fr|''bon''}} {{lang|de|gut}} {{langx|es|bueno}}", "bon gut bueno"),
        ("{{frac|3|1|2}} {{frac|4}} {{circa|1900}} {{val|1234|u=km}}", "3 1/2 1/4 c. 1900 1,234 km"),
        ("{{nowrap|1={{nowrap|a}} b}}", "a b"),
        ("{{sic|teh}} {{abbr|UN|United Nations}} {{HMS|Victory|1765}}", "teh UN HMS Victory"),
        ("5{{ndash}}6{{snd}}7", "5–6 – 7"),
    ],
)
def test_v1_templates_that_carry_text_are_rendered(source: str, expected: str) -> None:
    assert extract_wikitext(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[[a]] [[b|c]]d [[:Category:X]] [[A (b)|]]", "a cd Category:X A (b)"),
        ("x [[File:a.jpg|thumb|cap [[b|c]] d]] y", "x y"),
        ("[[Datei:a.jpg]] [[Kategorie:B]] [[fr:Chose]] [[wikt:w|word]]", "word"),
        ("[http://x] [https://x.y/z?a=b label here] http://bare.example", "label here http://bare.example"),
        ("'''''a''''' '''b''' ''c'' d's '''e''''s", "a b c d's e's"),
        ("a<br />b<small>c</small> <span style='x'>d</span> 1 < 2", "a bc d 1 < 2"),
        ('a<ref>x</ref>b<ref name="y"/>c<REF group=n>z</REF >d', "abcd"),
        ("&amp;lt; &eacute; &#8212; &unknown;", "&lt; é — &unknown;"),
        ("a\nb\n\n\n\nc", "a b\n\nc"),
        ("-- \n----\n!!!", ""),
        ("a <gallery>\nFile:x.jpg|cap\n</gallery> b <!-- c --> d", "a b d"),
        ("", ""),
    ],
)
def test_v1_links_tags_and_entities(source: str, expected: str) -> None:
    assert extract_wikitext(source) == expected


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
    before, after = "The first paragraph has 12 words.", 'The "last" {{nowrap|one}} has [[link|3]] more<ref>x</ref>.'
    text = extract_wikitext(f"{before}\n\nIn the middle {unclosed}\n\n{after}\n\n== Section ==\nThe end.")
    assert text.split("\n\n")[0] == before
    assert text.endswith('The "last" one has 3 more.\n\nThe end.')


def test_v1_an_unclosed_reference_does_not_swallow_up_to_the_next_one() -> None:
    text = extract_wikitext("One.<ref>never closed\nTwo 2 of it.<ref>closed</ref> Three.\n\nFour.")
    assert "Two 2 of it. Three." in text
    assert text.endswith("Four.")


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
    source = "".join(tokens)
    text = extract_wikitext(source)
    assert len(text) <= 2 * len(source)
    assert "\n\n\n" not in text
    assert text == text.strip()


@given(
    words=st.lists(
        st.sampled_from(["alpha", "beta,", "gamma.", "(delta)", '"eta"', "5", "naïve", "x=y", "a/b"]), max_size=30
    )
)
def test_text_without_markup_comes_back_as_it_is(words: list[str]) -> None:
    source = " ".join(words)
    assert extract_wikitext(source) == (source if any(c.isalnum() for c in source) else "")


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
    ],
)
def test_a_long_run_of_any_opening_returns(token: str) -> None:
    size = 200_000 // len(token)
    assert len(extract_wikitext(token * size)) <= 200_000
    assert extract_wikitext(token * size + "\n\nThe end.").endswith("The end.")


def test_deep_nesting_returns() -> None:
    assert extract_wikitext("{{a|" * 50_000 + "}}" * 50_000 + "\n\nThe end.").endswith("The end.")
    assert extract_wikitext("[[a|" * 50_000 + "]]" * 50_000 + "\n\nThe end.").endswith("The end.")


@pytest.mark.parametrize("parameters", ["", "|", "|a", "|a|b|c", "|1=a|2=b", "|x=y|=", "|5|to"])
def test_every_known_template_takes_any_parameters(parameters: str) -> None:
    for name in TEMPLATES:
        assert len(render_template(name + parameters)) <= len(name + parameters) + 6


@pytest.mark.parametrize("tag", DROPPED_TAGS)
def test_tags_without_text_go_with_their_content(tag: str) -> None:
    assert extract_wikitext(f"a <{tag} x=y>no\ntext</{tag}> b <{tag.upper()}/> c") == "a b c"


def test_numbers_that_are_no_numbers_are_left_alone() -> None:
    assert [format_number(value) for value in ("1234", "-1234.50", "x", "1e9", "")] == [
        "1,234",
        "-1,234.50",
        "x",
        "1e9",
        "",
    ]


def test_real_pages_leave_no_markup(data: Path) -> None:
    for path in sorted((data / "wikipedia/wtf_wikipedia").glob("*.txt")):
        source = path.read_text("utf-8")
        text = extract_wikitext(html.unescape(source) if "&lt;ref" in source else source)  # some were saved escaped
        for markup in ("{{", "}}", "[[", "]]", "<ref", "'''", "\n=="):
            assert markup not in text, f"{path.name}: {markup}"
