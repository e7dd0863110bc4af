"""The compiled scan of a serialized tree against a slow walk over the tree itself, and the bits of names."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from resiliparse.parse.html import HTMLTree, NodeType

from rbt.corpus.extract.html_scan import FLAGS, LINKED, OWN, Scan, scan_html
from rbt.corpus.extract.html_tokens import count_words, ends_sentence
from rbt.corpus.extract.html_words import (
    BLOCK,
    BODY,
    DROP,
    EMPHASIS,
    HEADING,
    HIDDEN,
    LIKELY,
    LINK,
    TAGS,
    UNLIKELY,
    WORDS,
)

BLOCKS, DROPPED = set(TAGS[BLOCK].split()), set(TAGS[DROP].split())
PARTS = [
    "<p>", "</p>", "<div>", "</div>", "<a href=x>", "<a name=x>", "</a>", "<br>", "<br> <br>", "words ", "of, text",
    " ", "\n", "<b>", "</b>", "<i>", "</i>", "<table>", "<tr>", "<td>", "</table>", "<ul>", "<li>", "</ul>", "&amp;",
    "&lt;p&gt;", "&nbsp;", "&shy;", "é", "&#8217;", "<", ">", "\x00", "<!-- a -->", "<!-->", "<?php b ?>", "<!x>",
    "<script>if (a < b) c", "</script>", "<style>d</style>", "<svg><title>e</title><link>", "</svg>",
    "<span hidden>f</span>", "<h2>", "</h2>", "<span style='display: none'>g", "</span>", "<textarea><b></textarea>",
    "<select><option>h</select>", "<hr>", "<img alt=i>", "<xmp><u></xmp>", "<math><mi>j</mi></math>",
    "<p title='a>b<c&quot;d'>", '<p"x y=1 =z>', "<noscript>k</noscript>", "<template>l</template>", "<form>",
    "<button>m</button>", "<font color=n>", "</font>", "<title>o</title>", "</body>",
]  # fmt: skip


def scanned(html: str) -> Scan:
    """The scan of a page."""
    return scan_html(str(HTMLTree.parse(html)))


def texts(html: str) -> list[str]:
    """The text of each block."""
    scan = scanned(html)
    return [scan.block(row) for row in range(len(scan.blocks))]


def is_hidden(node: Any) -> bool:
    """Whether an inline element is not shown, as far as this file's pages go."""
    return node.getattr("hidden") is not None or "display: none" in (node.getattr("style") or "")


def walked(html: str) -> list[str]:
    """What `texts` should be, from a walk over the tree with one Python call a node."""
    blocks: list[str] = []
    run: list[str] = []

    def flush() -> None:
        text = re.sub("[ \t\r\n\f\xa0]+", " ", "".join(run).replace("\xad", ""))
        lines = [re.sub(" ?\1 ?", "\n", part).strip() for part in re.split("(?: ?\1 ?){2,}", text)]
        blocks.extend(line for line in lines if line)
        run.clear()

    def visit(node: Any, dropped: bool) -> None:
        is_block = node.type == NodeType.ELEMENT and node.tag in BLOCKS
        if node.type == NodeType.TEXT and not dropped:
            run.append(node.value)
        elif is_block:
            flush()
        elif node.type == NodeType.ELEMENT:
            dropped |= is_hidden(node)
            run.extend("\1" * (node.tag == "br" and not dropped))
        for child in node.child_nodes:
            visit(child, dropped or node.tag in DROPPED)
        if is_block:
            flush()

    visit(HTMLTree.parse(html).document, False)
    flush()
    return blocks


@settings(max_examples=300, deadline=None)
@given(parts=st.lists(st.sampled_from(PARTS), max_size=40))
def test_v2_the_scan_finds_the_text_that_a_walk_over_the_tree_finds(parts: list[str]) -> None:
    """Whatever the markup, the blocks are those of the parser's tree, to the character."""
    html = "".join(parts)
    assert texts(html) == walked(html)


@settings(max_examples=200, deadline=None)
@given(html=st.text(alphabet=st.sampled_from('<>/="! -?&;abp\n\xa0é'), max_size=60))
def test_v2_the_scan_of_what_no_parser_wrote_ends(html: str) -> None:
    """Text that is no serialized tree is scanned to its end as well."""
    scan = scan_html(html)
    assert all(scan.block(row) for row in range(len(scan.blocks)))


@pytest.mark.parametrize("tag", ["div", "b", "blockquote", "table><tr><td", "a href=x", "ul><li", "button"])
def test_v2_a_hundred_thousand_levels_are_scanned(tag: str) -> None:
    """Depth costs memory in proportion, and the text at the bottom is found unless its element has none."""
    found = texts("<body>" + f"<{tag}>" * 100_000 + "<p>At the bottom.</p>")
    assert found == ([] if tag == "button" else ["At the bottom."])


def test_line_breaks_part_lines_and_two_part_blocks() -> None:
    """One <br> is a line feed, two are a boundary, and preformatted text keeps its own."""
    assert texts("a<br>b <br/> <br>c<br>") == ["a\nb", "c"]
    assert texts("<pre>\n\n  a\n\n   b  c\n</pre>d") == ["  a\n\n   b  c", "d"]


def test_soft_hyphens_go_and_spaces_that_do_not_break_are_spaces() -> None:
    """What only tells a browser where to break a line is no text."""
    assert texts("<p>Dampf&shy;schiff&nbsp;&nbsp;fahrt</p>") == ["Dampfschiff fahrt"]


def test_only_anchors_with_a_reference_are_links() -> None:
    """An unclosed <a name> does not make the rest of the page a link."""
    assert scanned("<p>one <a href=/x>two</a></p>").blocks[0, LINKED] == 3
    assert scanned("<a name=top><p>one two</p>").blocks[0, LINKED] == 0


def test_flags_of_a_block_are_those_that_all_its_text_shares() -> None:
    """A word in bold does not make a paragraph bold; a heading is one through and through."""
    flags = scanned("<p><b>a</b> b</p><p><b>c <i>d</i></b></p><h2><a href=x>e</a></h2>").blocks[:, FLAGS]
    assert [bool(value & EMPHASIS) for value in flags] == [False, True, False]
    assert flags[2] & HEADING
    assert flags[2] & LINK


def flags_of(value: str) -> int:
    """What a class says about an element."""
    scan = scan_html(f'<div class="{value}">a</div>')
    return int(scan.elements[0, OWN]) & (UNLIKELY | LIKELY | BODY)


def slow_flags(value: str) -> int:
    """The same by regular expressions: words, and neighbors written as one."""
    flags = 0
    for token in value.split():
        words = re.findall("[a-zA-Z]+", re.sub("([a-z])([A-Z])", r"\1 \2", token))
        for word in [*words, *(first + second for first, second in pairwise(words))]:
            flags |= sum(flag for flag, known in WORDS.items() if word.lower() in known.split())
    return flags


@settings(max_examples=150, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(["article", "Body", "most", "Read", "COMMENT", "s", "-", "_", " ", "x", "7", "nav"]), max_size=8
    )
)
def test_names_are_read_by_words_and_neighboring_words(parts: list[str]) -> None:
    """articleBody, article-body and article_body are the same name; navy is no nav."""
    value = "".join(parts)
    assert flags_of(value) == slow_flags(value)


@pytest.mark.parametrize(
    ("attributes", "hidden"),
    [
        ("hidden", True),
        ('aria-hidden="true"', True),
        ('aria-hidden="false"', False),
        ('style="color: red; DISPLAY : none"', True),
        ('style="display: block"', False),
        ('style="visibility:hidden"', True),
        ('title="hidden"', False),
    ],
)
def test_hidden_elements_are_known(attributes: str, hidden: bool) -> None:
    """By the attributes of HTML, ARIA and CSS."""
    assert bool(scanned(f"<div {attributes}>a</div>").elements[-1, OWN] & HIDDEN) == hidden
    assert texts(f"<p>a <span {attributes}>b</span></p>") == (["a"] if hidden else ["a b"])


@pytest.mark.parametrize(
    "text", ["So.", "So?", 'He said "so."', "So.)", "Soll er?«", "そう。", "そう。」", "यही।", "So …"]
)
def test_sentences_end_in_many_scripts(text: str) -> None:
    """Closing quotes and brackets are passed over."""
    data = np.frombuffer(text.encode(), np.uint8)
    assert ends_sentence(data, 0, len(data))
    assert not ends_sentence(data, 0, len(data[: len(text[0].encode())]))


@given(text=st.text(alphabet="ab \n", min_size=1, max_size=20))
def test_words_are_counted(text: str) -> None:
    """As many as `str.split` finds in a block, which begins and ends with a word."""
    data = np.frombuffer(f"a{text}b".encode(), np.uint8)
    assert count_words(data, 0, len(data)) == len(f"a{text}b".split())
