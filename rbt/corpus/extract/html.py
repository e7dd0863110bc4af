"""News pages to their article: decoded, parsed, cut into blocks, and the element chosen that holds the article.

    bytes ──decode_html──> str ──HTMLTree──> one walk ──> elements (with ranges of blocks), blocks (text, link share)
          ──weights, prefix sums──> the best element ──> its good blocks ──> text, paragraphs apart by one blank line

Every block has a weight: its length where it reads like a sentence, a penalty where it is a link list or a scrap. The
article is the element whose blocks weigh most in all; elements that say they are one weigh a little more. The walk is
the parser's own and nothing here recurses, so any depth of nesting is safe.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.html import HTMLTree, NodeType, traverse_dom

from rbt.corpus.extract.page_facts import decode_html, find_date, find_title, meta_properties

ENOUGH_CHARACTERS = 200  # an article shorter than this is looked for again in other ways
FALLBACK_DEPTH = 500  # the library's own extraction takes quadratic time in the depth of nesting

DROPPED_TAGS = frozenset(
    """script style noscript template nav footer aside form figure figcaption button select option textarea input label
    iframe svg canvas audio video object embed map dialog menu head title link meta""".split()
)
BLOCK_TAGS = frozenset(
    """address article blockquote body center dd details div dl dt fieldset h1 h2 h3 h4 h5 h6 header hgroup hr html li
    main ol p pre section summary table tbody td tfoot th thead tr ul""".split()
)
HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
KEPT_ROOTS = frozenset({"body", "html", "article", "main"})
UNLIKELY = re.compile(
    r"(?:^|[\s_-])(?:comments?|disqus|respond|related|recirc|recommended|recommendations?|share|sharing|social|sidebar|"
    r"widget|newsletter|promo|advert|advertisement|ads?|sponsor|sponsored|cookies?|consent|breadcrumbs?|nav|navbar|navigation|menu|"
    r"footer|caption|byline|tags?|popular|trending|subscribe|subscription|signup|outbrain|taboola|popup|modal|pagination|"
    r"pager|toolbar|credits?|copyright|disclaimer|author-?bio|about-?author|more-?stories|most-?read|skip)(?:$|[\s_-])",
    re.IGNORECASE,
)
LIKELY = re.compile(
    r"(?:^|[\s_-])(?:article|story|entry|post|content|main)(?:$|[\s_-])|(?:article|story|entry|post)[_-]*(?:body|content|text)|"
    r"articlebody|storybody|body-?copy|body-?text|rich-?text",
    re.IGNORECASE,
)
STOP = re.compile(r"[.!?…。！？।][\"'”’»)\]]*\s*$")
SENTENCE_END = re.compile(r"[.!?…。！？؟।:;,][\"'”’»)\]]*\s*$")
_SPACE = re.compile(r"[ \t\r\n\f\v\xa0]+")


@dataclass(frozen=True)
class Article:
    """What a page says: title, date (ISO 8601 as far as known, or "") and body."""

    title: str
    date: str
    text: str


@dataclass
class Block:
    """A run of text between block-level tags. `linked`: characters of it inside links."""

    text: str
    linked: int
    heading: bool

    @property
    def link_share(self) -> float:
        """Share of its characters that are links."""
        return self.linked / max(len(self.text), 1)

    @property
    def weight(self) -> float:
        """Characters in favor of an article around it; negative for what surrounds articles."""
        size = len(self.text)
        if self.link_share > 0.5:
            return -30.0 - size / 2
        if self.heading:
            return 0.0
        end = self.text[-8:]
        if size >= 80 or (size >= 25 and SENTENCE_END.search(end)) or (self.text.count(" ") > 1 and STOP.search(end)):
            return size * (1 - 1.5 * self.link_share)
        return -15.0


@dataclass
class Element:
    """A block-level element: which blocks lie in it, and how much it looks like an article by name."""

    first: int
    factor: float
    end: int = 0


@dataclass
class Walk:
    """One pass over a tree. Text is collected into blocks; what is dropped is passed over."""

    drop_unlikely: bool
    elements: list[Element] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    depth: int = 0
    _open: list[int] = field(default_factory=list)
    _run: list[str] = field(default_factory=list)
    _linked: int = 0
    _links: int = 0
    _heading: bool = False
    _pre: int = 0
    _dropped_from: int = -1  # depth at which a dropped element began, -1 outside of one

    def start(self, context: Any) -> None:
        """A node begins."""
        self.depth = max(self.depth, context.depth)
        if self._dropped_from >= 0:
            return
        node = context.node
        kind = node.type
        if kind == NodeType.TEXT:
            self._text(node.value or "")
        elif kind == NodeType.ELEMENT:
            self._element(node, node.tag, context.depth)

    def _text(self, value: str) -> None:
        text = value if self._pre else _SPACE.sub(" ", value)
        self._run.append(text)
        if self._links:
            self._linked += len(text.strip())

    def _element(self, node: Any, tag: str, depth: int) -> None:
        if tag in DROPPED_TAGS or self._is_unlikely(node, tag):
            self._dropped_from = depth
            if tag in BLOCK_TAGS or tag in ("nav", "footer", "aside", "form", "figure"):
                self.flush()
        elif tag == "br":
            self._run.append("\n")
        elif tag == "a":
            self._links += 1
        elif tag in BLOCK_TAGS:
            self.flush()
            self._open.append(len(self.elements))
            self.elements.append(Element(len(self.blocks), _factor(node, tag)))
            self._heading = tag in HEADINGS
            self._pre += tag == "pre"

    def _is_unlikely(self, node: Any, tag: str) -> bool:
        if node.getattr("hidden") is not None or node.getattr("aria-hidden") == "true":
            return tag not in KEPT_ROOTS
        if not self.drop_unlikely or tag in KEPT_ROOTS or node.getattr("itemprop") == "articleBody":
            return False
        names = f"{node.getattr('class') or ''} {node.getattr('id') or ''}"
        return len(names) > 1 and UNLIKELY.search(names) is not None and LIKELY.search(names) is None

    def end(self, context: Any) -> None:
        """A node ends."""
        if self._dropped_from >= 0:
            if context.depth <= self._dropped_from:
                self._dropped_from = -1
            return
        node = context.node
        if node.type != NodeType.ELEMENT:
            return
        tag = node.tag
        if tag == "a":
            self._links = max(self._links - 1, 0)
        elif tag in BLOCK_TAGS:
            self.flush()
            self.elements[self._open.pop()].end = len(self.blocks)
            self._heading = False
            self._pre -= tag == "pre"

    def flush(self) -> None:
        """End the block at hand."""
        text = "".join(self._run)
        if text.strip():
            text = "\n".join(line.strip() for line in text.split("\n")).strip()
            self.blocks.append(Block(text, min(self._linked, len(text)), self._heading))
        self._run.clear()
        self._linked = 0


def _factor(node: Any, tag: str) -> float:
    if node.getattr("itemprop") == "articleBody":
        return 1.5
    if tag in ("article", "main"):
        return 1.1
    names = f"{node.getattr('class') or ''} {node.getattr('id') or ''}"
    return 1.1 if len(names) > 1 and LIKELY.search(names) else 1.0


def extract_article(html: bytes, charset: str | None) -> Article:
    """The article of a page. `charset`: as the transport declared it; the page's own word and its bytes come next."""
    tree = HTMLTree.parse(decode_html(html, charset))
    metas = meta_properties(tree)
    title, date = find_title(tree, metas), find_date(tree, metas)
    if tree.body is None:
        return Article(title, date, "")
    text, depth = "", 0
    for drop_unlikely in (True, False):
        walk = Walk(drop_unlikely)
        traverse_dom(tree.body, walk.start, walk.end)
        walk.flush()
        depth = walk.depth
        text = max(text, article_text(walk, title), key=len)
        if len(text) >= ENOUGH_CHARACTERS:
            return Article(title, date, text)
    if depth <= FALLBACK_DEPTH:
        other = extract_plain_text(tree, main_content=True, list_bullets=False, alt_texts=False, comments=False)
        text = max(text, re.sub(r"\s*\n\s*", "\n\n", other.strip()), key=len)
    return Article(title, date, text)


def article_text(walk: Walk, title: str) -> str:
    """The good blocks of the element that weighs most."""
    best = best_element(walk.elements, [block.weight for block in walk.blocks])
    if best is None:
        return ""
    blocks, first, end = walk.blocks, best.first, best.end
    while first < end and (blocks[first].weight < 0 or (blocks[first].heading and blocks[first].text == title)):
        first += 1
    while first < end and (blocks[end - 1].weight < 0 or blocks[end - 1].heading):
        end -= 1
    kept = [block.text for block in blocks[first:end] if block.link_share <= 0.5]
    return "\n\n".join(re.sub(r"\n{2,}", "\n\n", text) for text in kept)


def best_element(elements: Sequence[Element], weights: Sequence[float]) -> Element | None:
    """The element with the greatest sum of weights times its factor; the innermost of equals."""
    sums = [0.0, *accumulate(weights)]
    best, most = None, 0.0
    for element in elements:
        weight = (sums[element.end] - sums[element.first]) * element.factor
        if weight > 0 and weight >= most:
            best, most = element, weight
    return best
