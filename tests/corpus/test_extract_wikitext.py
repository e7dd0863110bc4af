"""Wikitext to running text: golden pages, templates, tags, links."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.extract.templates import TEMPLATES, format_number, render_template
from rbt.corpus.extract.wikipedia_html import extract_wikipedia_html
from rbt.corpus.extract.wikitext import extract_wikitext
from rbt.corpus.extract.wikitext_lines import MINIMUM_PASSAGE_BYTES
from rbt.corpus.extract.wikitext_tags import DROPPED_TAGS

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
TEXT = """The thing (from res; /x/) is 5 km long, weighs 1,234,567\u00a0kg and is very old. It has parts.

In 1900 the founders said "it is done".

We did not stop at 1,000.

After the table.

Text with gaps, ² and [[literal]] ''x''."""


def test_v1_a_page_becomes_its_running_text() -> None:
    """A page with all kinds of markup leaves its paragraphs and quotations, and nothing else."""
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
    """Measures, numbers, languages, fractions, dashes."""
    assert extract_wikitext(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "{{birth date|1990|5|17}} {{Birth date and age|df=y|1990|5|17}} {{start date|2001|3}}",
            "May 17, 1990 17 May 1990 March 2001",
        ),
        ("{{death date and age|2000|5|1|1950|6|2}} {{birth-date|about 1900}}", "May 1, 2000 (aged 49) about 1900"),
        ("{{as of|2009}} {{as of|2009|5|since=y|lc=y}}", "As of 2009 since May 2009"),
        ("{{circa|1900|1910}} {{floruit|1450|1460}}", "c. 1900 \u2013 c. 1910 fl. 1450\u20131460"),
        ("{{convert|5|-|10+1/2|in|mm}} {{height|ft=5|in=11}}", "5\u201310 1/2 in 5 ft 11 in"),
        (
            "{{IPA|/x/}} {{IPA|fr|x|lang}} {{IPA-fr|x}} {{IPAc-en|x|,|y}} {{respell|LUN|d\u0259n}}",
            "/x/ [x] [x] /x\u02ccy/ LUN-d\u0259n",
        ),
        (
            "{{nihongo|Tea|\u8336|cha}} {{zh|s=\u8336|p=ch\u00e1}}",
            "Tea (\u8336, cha) simplified Chinese: \u8336; pinyin: ch\u00e1",
        ),
        ("{{ordinal|22}} {{ordinal|111}} {{e|5}} {{gaps|1|234}} {{chem|H|2|O}}", "22nd 111th \u00d710\u2075 1234 H2O"),
        ("{{ill|A|fr|B}} {{ill|A|fr|B|lt=C}} {{harvtxt|Smith|Jones|2001}}", "A C Smith & Jones (2001)"),
        (
            "{{sclass|Nimitz|carrier}} {{keypress|Ctrl|C}} {{bibleverse|1|John|3:16|KJV}}",
            "Nimitz-class carrier Ctrl+C 1 John 3:16",
        ),
        ("{{lc:ABC}} {{uc:abc}} {{ucfirst:abc}} ''A''{{'s}} {{\"|b}}", "abc ABC Abc A's \"b\""),
        ("{{ convert_ |5|km}} {{Convert<!-- x -->|5|km}} {{CONVERT|5|km}}", "5 km 5 km 5 km"),
        ("{{lang|fr|{{nowrap|a [[b|c {{frac|1|2}}]]}}}}", "a c 1/2"),
    ],
)
def test_v1_dates_languages_and_other_families(source: str, expected: str) -> None:
    """What a reader sees of them, as far as nothing must be looked up."""
    assert extract_wikitext(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a ({{x}}) b", "a b"),
        ("a ({{x}}; {{y}}) b, {{z}}, c", "a b, c"),
        ("a ({{x}}; b) c", "a (b) c"),
        ("a (b; {{x}}) c {{y}}.", "a (b) c."),
        ("{{x}}, then a<ref>1</ref>, b <ref/>c", "then a, b c"),
        ("f() and ( ) and (;) and a , b", "f() and ( ) and (;) and a , b"),
        ("{{x}}: a colon", ": a colon"),
        ("a,{{x}} .5 and b {{x}} .", "a, .5 and b."),
        ("one\n<!-- alone -->\ntwo <!-- not --> three", "one two three"),
    ],
)
def test_what_dropped_markup_leaves_goes_and_only_there(source: str, expected: str) -> None:
    """Brackets and separators go where markup stood, and nowhere else."""
    assert extract_wikitext(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("<math>x</math> and <math>f(x) = 5</math>", "x and f(x) = 5"),
        ("<math>\\alpha</math> and <chem>H2O</chem>", "and H2O"),
        ("a<nowiki/>'s <nowiki>{{x}} [[y]] &lt;b&gt; # *</nowiki>", "a's {{x}} [[y]] <b> # *"),
        ("<nowiki>* not a list</nowiki>\n\n&#42; nor this", "* not a list\n\n* nor this"),
        ("a&#32;b&#10;c &nbsp;", "a b c"),
        ("&notit; &#x41; &#65; &#12x; &AMP; &ampx;", "&notit; A A &#12x; & &ampx;"),
        ("a\n<ul><li>item</li></ul>\nb", "a\n\nb"),
        ("! a !! b\n\n! c | d\n\n!Kung people", "!Kung people"),
        ("<div\nclass=x>a</div>", "a"),
        ("== A ==\n=== B === \n==C==<ref>x</ref>\n== D ==<!-- y -->\ntext = a", "text = a"),
    ],
)
def test_tags_and_signs(source: str, expected: str) -> None:
    """Plain formulas are text; hidden and decoded signs are no markup."""
    assert extract_wikitext(source) == expected


PASSAGE = "\"I have said it at length, and in so many words, that it is a quotation of 1901.\""


@pytest.mark.parametrize("indent", [":", "::", ": "])
def test_v1_an_indented_quotation_is_kept_and_a_note_or_an_item_is_not(indent: str) -> None:
    """Indented sentences are text behind text, and nothing behind a heading or a list."""
    source = f"She said:\n{indent}{PASSAGE}<ref>x</ref>\n\nThe end."
    assert extract_wikitext(source) == f"She said:\n\n{PASSAGE}\n\nThe end."
    for before in ("", "== Head ==\n", "She said:\n;Term\n", "She said:\n* item\n"):
        assert PASSAGE not in extract_wikitext(f"{before}{indent}{PASSAGE}")
    shortest = "A sentence that is as long as passages have to be, and no mor."
    shortest = shortest[-MINIMUM_PASSAGE_BYTES:]
    assert extract_wikitext(f"She said:\n{indent}{shortest}") == f"She said:\n\n{shortest}"
    assert extract_wikitext(f"She said:\n{indent}{shortest[1:]}") == "She said:"
    no_sentence = "no sentence, but as long as the others of this test are, or longer"
    assert extract_wikitext(f"She said:\n{indent}{no_sentence}") == "She said:"


@pytest.mark.parametrize(
    ("source", "dropped"),
    [
        ("{{a}} {{A}} {{ a |x}} {{b_c\n|x}}", {"a": 3, "b c": 1}),
        ("{{a|{{b}} {{convert|5|km}}}} {{nowrap|{{c}}}}", {"a": 1, "c": 1}),
        ("{|\n|{{in table}}\n|}\n[[File:x|{{in caption}}]] <ref>{{cite}}</ref>", {}),
        ("{{#if:x|y}} {{DEFAULTSORT:A, B}} {{formatnum:5}} {{Lang-xyz|a}}", {"#if": 1, "defaultsort": 1}),
        ("{{never closed", {}),
        ("{{\u042f\u043d\u0434}}", {"\u044f\u043d\u0434": 1}),
    ],
)
def test_dropped_templates_are_counted_by_name(source: str, dropped: dict[str, int]) -> None:
    """The outermost one alone, and none of what goes with a table, a caption or a reference."""
    counts: dict[str, int] = {}
    extract_wikitext(source, counts)
    assert counts == dropped


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[[a]] [[b|c]]d [[:Category:X]] [[A (b)|]]", "a cd Category:X A (b)"),
        ("x [[File:a.jpg|thumb|cap [[b|c]] d]] y", "x y"),
        ("a [[be-x-old:B]] [[zh-min-nan:C]] [[a-b:c]] [[wikt:d]]", "a a-b:c wikt:d"),
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
    """Links leave their text; media, categories and other languages leave nothing."""
    assert extract_wikitext(source) == expected


EXPONENTS = [
    ("10<sup>6</sup>", "10\u2076"),
    ("km<sup>2</sup>", "km\u00b2"),
    ("10<sup>\u221212</sup> m", "10\u207b\u00b9\u00b2 m"),
    ("Na<sup>+</sup>", "Na\u207a"),
    ("the 5<sup>th</sup>", "the 5th"),
    ("H<sub>2</sub>O", "H2O"),
    ("10<sup>123456789</sup>", "10123456789"),
]


@pytest.mark.parametrize(("source", "expected"), EXPONENTS)
def test_v1_exponents_are_raised_as_in_the_html_of_the_page(source: str, expected: str) -> None:
    """No number grows by its exponent, and both extractors of Wikipedia say the same."""
    assert extract_wikitext(source) == expected
    assert extract_wikipedia_html(f"<html><body><p>{source}</p></body></html>").text == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1.5{{e|6}} {{e|-6}} {{10^|9}}", "1.5\u00d710\u2076 \u00d710\u207b\u2076 10\u2079"),
        ("m{{sup|2}} CO{{sub|2}} {{sup|th}}", "m\u00b2 CO2 th"),
        ("{{val|5|e=-10|u=m}}", "5\u00d710\u207b\u00b9\u2070 m"),
        ("10<SUP class=x >&minus;6</Sup> 10<sup>{{e|7}}</sup>", "10\u207b\u2076 10\u00d710\u2077"),
        ("a<sup>2</b> 3<sup/>4</b> 5</sup>6</b>", "a\u00b2 34 56"),
        ("<sup>" * 3 + "1 <sup>2", "1 2"),
    ],
)
def test_v1_exponents_of_templates_and_of_broken_tags(source: str, expected: str) -> None:
    """A template's exponent is the tag's; a tag is raised only up to what closes it."""
    assert extract_wikitext(source) == expected


SECOND_PAGE = """{{Use dmy dates|date=May 2016}}
{{Infobox person
| name = A. Person {{!}} B
| birth_date = {{birth date|1900|1|2}}
}}
'''A. Person''' ({{IPAc-en|ˈ|p|ɜːr|s|ən}}; {{lang-ru|Персона}};
{{circa|1900}}{{snd}}{{death date|df=yes|1970|3|4}})<!-- note --> was born {{convert|3+1/2|mi|km|abbr=on}} from
[[Town (county)|Town]]{{citation needed|date=May 2016}}, and sold 1,250&nbsp;books
({{US$|3.50}} each){{refn|group=n|A note on {{convert|5|km}}.}}.
Her ''Title''{{'s}} run was {{frac|2|1|2}} years{{dubious}}, {{as of|2010|12|31|lc=y}}.
<!-- a comment of its own -->
The value of <math>n</math> is {{val|1.25|0.05|e=6|u=kg}}, not <math>\\frac{1}{2}</math>,
"as she said" ({{cite book|title=X}}).

{{Main|Other page}}
<blockquote>
"To quote [http://example.org/x/y her] is to know {{nowrap|her 12 rules}}."
</blockquote>
{| class="wikitable"
|+ Caption {{convert|1|km}}
! Head
|-
| Cell with [[link|text]] and 5 things
|}
[[File:Photo.jpg|thumb|upright=1.2|In [[Town (county)|Town]], {{circa|1910}}: "quoted"]]After the picture.

<gallery>
File:A.jpg|Caption
</gallery>
{{quote box|quote=No number from 1 to 10 is lost.|author=A. Person}}

==See also==
* [[Other]]
{{reflist|30em}}
{{DEFAULTSORT:Person, A.}}
[[Category:People]]"""
SECOND_TEXT = [
    "A. Person (/ˈpɜːrsən/; Персона; c. 1900 – 4 March 1970) was born 3 1/2 mi from Town, and sold 1,250\u00a0books "
    "(US$3.50 each). Her Title's run was 2 1/2 years, as of 31 December 2010. "
    'The value of n is 1.25±0.05×10⁶ kg, not, "as she said".',
    '"To quote her is to know her 12 rules."',
    "After the picture.",
    "No number from 1 to 10 is lost.",
]
SECOND_DROPPED = {
    "use dmy dates": 1, "infobox person": 1, "citation needed": 1, "refn": 1, "dubious": 1, "cite book": 1, "main": 1,
    "reflist": 1, "defaultsort": 1,
}


def test_v1_a_page_with_many_templates_keeps_every_number_and_quotation() -> None:
    """Text of templates stays in its sentence; what is dropped is counted once, by name."""
    dropped: dict[str, int] = {}
    assert extract_wikitext(SECOND_PAGE, dropped) == "\n\n".join(SECOND_TEXT)
    assert dropped == SECOND_DROPPED


@given(
    words=st.lists(
        st.sampled_from(["alpha", "beta,", "gamma.", "(delta)", '"eta"', "5", "naïve", "x=y", "a/b"]), max_size=30
    )
)
def test_text_without_markup_comes_back_as_it_is(words: list[str]) -> None:
    """Punctuation, signs and accents are the author's."""
    source = " ".join(words)
    assert extract_wikitext(source) == (source if any(c.isalnum() for c in source) else "")


@pytest.mark.parametrize("parameters", ["", "|", "|a", "|a|b|c", "|1=a|2=b", "|x=y|=", "|5|to"])
def test_every_known_template_takes_any_parameters(parameters: str) -> None:
    """None fails, and none makes more of its parameters than they are."""
    for name in TEMPLATES:
        text = render_template(name + parameters)
        assert text is not None
        assert len(text) <= 2 * len(name + parameters) + 20


@pytest.mark.parametrize("tag", DROPPED_TAGS)
def test_tags_without_text_go_with_their_content(tag: str) -> None:
    """In upper case and closed in themselves, too."""
    assert extract_wikitext(f"a <{tag} x=y>no\ntext</{tag}> b <{tag.upper()}/> c") == "a b c"


def test_numbers_that_are_no_numbers_are_left_alone() -> None:
    """Only whole decimals get their digits grouped."""
    assert [format_number(value) for value in ("1234", "-1234.50", "x", "1e9", "")] == [
        "1,234",
        "-1,234.50",
        "x",
        "1e9",
        "",
    ]


def test_real_pages_leave_no_markup(data: Path) -> None:
    """No bracket, tag, quote or heading of all real pages is left."""
    for path in sorted((data / "wikipedia/wtf_wikipedia").glob("*.txt")):
        source = path.read_text("utf-8")
        text = extract_wikitext(html.unescape(source) if "&lt;ref" in source else source)  # some were saved escaped
        for markup in ("{{", "}}", "[[", "]]", "<ref", "'''", "\n=="):
            assert markup not in text, f"{path.name}: {markup}"
