"""News pages to their article: decoded, parsed, scanned to blocks, and those kept that are the article.

    bytes ──decode_html──> str ──HTMLTree──> tree ──str──> HTML without errors ──raise_exponents──> HTML
          ──scan_html──> Scan: blocks, elements ──choose──> kept blocks ──> text, paragraphs apart by one blank line
    Scan ──page_facts──> title, date

The parser is resiliparse's, and so is the repair of what authors write. A walk over its tree from Python costs more
than all else together, so the tree is written out again and scanned by one compiled pass (`html_scan`); what is kept is
decided on arrays (`html_choose`) by what tags and names say (`html_words`). Nothing recurses, so any depth of nesting
is safe, and no step takes more than linear time but for the parser's own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from resiliparse.parse.html import HTMLTree

from rbt.corpus.extract.article import Article
from rbt.corpus.extract.exponents import raise_exponents
from rbt.corpus.extract.html_choose import BESIDE, WITHOUT_NAMES, choose
from rbt.corpus.extract.html_scan import CHARACTERS, ELEMENT, ENDED, FLAGS, LINKED, OWN, Int32, Scan, scan_html
from rbt.corpus.extract.html_words import FACT, HEADING, HIDDEN
from rbt.corpus.extract.page_facts import decode_html, find_body, find_facts

ENOUGH_CHARACTERS = 300  # an article shorter than this is looked for again in other ways
BETTER = 1.5  # times as long what is found then has to be
OPEN_LINK_SHARE = 0.9  # of a page's characters that are links
MOSTLY_HIDDEN = 3  # times as long as what is shown an article is that a script unfolds
REPEATED_CHARACTERS = 30  # a block of as many that stands twice is kept once


def extract_article(html: bytes, charset: str | None) -> Article:
    """The article of a page. `charset`: as the transport declared it; the page's own word and its bytes come next."""
    scan = scan_html(raise_exponents(str(HTMLTree.parse(decode_html(html, charset)))))
    title, date = find_facts(scan)
    return Article(title, date, find_text(scan, title))


def find_text(scan: Scan, title: str) -> str:
    """The article's text; where it is short, looked for again without the words of names, then in JSON-LD."""
    shown, unfolded = article_text(scan, title, BESIDE), article_text(scan, title, BESIDE & ~HIDDEN)
    text = unfolded if len(unfolded) > MOSTLY_HIDDEN * len(shown) else shown
    if len(text) < ENOUGH_CHARACTERS:
        text = _much_longer(article_text(scan, title, WITHOUT_NAMES), text)
    if len(text) < ENOUGH_CHARACTERS:
        text = _much_longer(stated_text(scan), text)
    return text


def _much_longer(other: str, text: str) -> str:
    return other if len(other) > BETTER * len(text) else text


def article_text(scan: Scan, title: str, reasons: int) -> str:
    """The kept blocks of a page, each once. `reasons`: those of `html_choose` for which elements are left out."""
    kept = choose(without_open_links(scan.blocks), scan.elements, main_headings(scan, title), reasons)
    return "\n\n".join(once([scan.block(row) for row in np.flatnonzero(kept).tolist()]))


def without_open_links(blocks: Int32) -> Int32:
    """Blocks whose sentences are not links where nearly all of the page is: an author forgot to close one."""
    if blocks[:, LINKED].sum() <= OPEN_LINK_SHARE * blocks[:, CHARACTERS].sum():
        return blocks
    closed = blocks.copy()
    closed[(blocks[:, ENDED] != 0) & (blocks[:, FLAGS] & HEADING == 0), LINKED] = 0
    return closed


def main_headings(scan: Scan, title: str) -> npt.NDArray[np.bool_]:
    """Which blocks are an <h1>, or a heading that says the title: bool (b,)."""
    blocks, elements = scan.blocks, scan.elements
    found = np.zeros(len(blocks), np.bool_)
    for row in np.flatnonzero(blocks[:, FLAGS] & HEADING).tolist():
        element = blocks[row, ELEMENT]
        found[row] = (element >= 0 and elements[element, OWN] & FACT) or scan.block(row) == title
    return found


def once(blocks: list[str]) -> list[str]:
    """Blocks without the later of two that are the same and not short."""
    first: dict[str, int] = {}
    for place, block in enumerate(blocks):
        first.setdefault(block, place)
    return [block for place, block in enumerate(blocks) if len(block) < REPEATED_CHARACTERS or first[block] == place]


def stated_text(scan: Scan) -> str:
    """The body that a page states in its JSON-LD, for those whose scripts would write it."""
    stated = find_body(scan)
    body = scan_html(str(HTMLTree.parse(stated.replace("\n", "<br><br>"))))
    return "\n\n".join(once([body.block(row) for row in range(len(body.blocks))])) if stated else ""
