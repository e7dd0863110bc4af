"""Which blocks of a page are its article: blocks weighed, elements that are beside the article left out, one chosen.

    blocks (b, 8), elements (e, 4) ──weigh──> weight (b,) float64 ──leave_out──> left out (e,) bool
        ──best_element, prefix sums of the weights──> element ──keep──> kept (b,) bool

- A block that reads like prose weighs its characters, less what of it is links. A block of links and a scrap weigh less
  than nothing, a heading nothing; in a list or a table scraps weigh nothing.
- An element whose tag or names say that it is beside the article (navigation, comments, related, shares) is left out,
  unless most of the page's prose lies in it: then its name is the layout's. So is a small element with a linked heading
  in it, which is a teaser of another page.
- The article is the element with the greatest sum; elements named so count more. It grows to an element around it that
  has GROWTH times its prose. It is cut to where the prose begins and ends, and what stands between it and the page's
  main heading is its lead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.corpus.extract.html_scan import (
    CHARACTERS,
    ELEMENT,
    END,
    ENDED,
    FIRST,
    FLAGS,
    LINKED,
    OWN,
    PARENT,
    WORDS,
)
from rbt.corpus.extract.html_words import (
    ARTICLE,
    ASIDE,
    BODY,
    EMPHASIS,
    HEADING,
    HIDDEN,
    LIKELY,
    LIST,
    PARAGRAPH,
    ROOT,
    TABLE,
    UNLIKELY,
)
from rbt.kernels import inline_kernel, kernel

Int32 = npt.NDArray[np.int32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

BESIDE = UNLIKELY | HIDDEN | ASIDE
WITHOUT_NAMES = HIDDEN | ASIDE  # BESIDE where the words of names are not believed
_SPOKEN_FOR = ROOT | ARTICLE | BODY  # elements that are never left out for their names

# Set by hand on one half of the pages in benchmarks/articles.py, split by hosts: one by one, by F1 on full bodies, the
# must and must-not segments, and agreement with trafilatura on the rest. Of the other half only total scores were seen.
LONG = 80  # characters of a block that is prose however it ends
SENTENCE = 25  # and of one that ends with a full stop
PARAGRAPH_LEAST = 10  # and of one that is a paragraph by its tag
LINK_SHARE = 0.5  # of its characters that are links, in a block of links
PROSE_LINK_SHARE = 0.8  # the same for whole sentences of PROSE_LINK_LONG characters
PROSE_LINK_LONG = 100
LINKS_COST, LINK_COST = 20.0, 0.5  # against an element, for a block of links and for each character of it
SCRAP_COST = 20.0
LAYOUT_SHARE = 0.6  # of the page's prose in an element beyond which its name is the layout's
TEASER = 250.0  # prose of a small element
LIKELY_FACTOR, BODY_FACTOR = 1.2, 2.0
GROWTH = 2.0
TAIL_LINK_SHARE = 0.3  # of a block that may end an article
LEAD_LEAST = 30.0


@inline_kernel
def _link_share(block: Any) -> Any:
    return block[LINKED] / max(block[CHARACTERS], 1)


@inline_kernel
def _size(block: Any) -> Any:
    return block[CHARACTERS] + block[WORDS] - 1


@kernel
def is_linked(block: Int32) -> bool:
    """Whether a block is links more than prose."""
    share = _link_share(block)
    sentences = block[ENDED] and _size(block) >= PROSE_LINK_LONG and share < PROSE_LINK_SHARE
    return share > LINK_SHARE and (not sentences or block[FLAGS] & EMPHASIS != 0)


@inline_kernel
def _is_prose(block: Any, paragraph: Any) -> Any:
    size = _size(block)
    if block[ENDED] and (size >= SENTENCE or block[WORDS] > 2):
        return True
    return size >= LONG or (paragraph and size >= PARAGRAPH_LEAST)


@kernel
def weigh(blocks: Int32, elements: Int32) -> Float64:
    """Characters in favor of an article around each block, float64 (b,)."""
    weights = np.zeros(len(blocks), np.float64)
    for row in range(len(blocks)):
        block = blocks[row]
        size, flags, element = _size(block), block[FLAGS], block[ELEMENT]
        paragraph = element >= 0 and elements[element, OWN] & PARAGRAPH != 0
        if is_linked(block):
            weights[row] = -LINKS_COST - LINK_COST * size
        elif flags & HEADING:
            continue
        elif _is_prose(block, paragraph):
            weights[row] = size * max(1 - 1.5 * _link_share(block), 0.1)
        elif not flags & (TABLE | LIST):
            weights[row] = -SCRAP_COST
    return weights


@kernel
def sums_before(weights: Float64, positive: bool, left_out: Bool, blocks: Int32) -> Float64:
    """Sums of the weights before each block, (b + 1,), without those left out, and of the positive ones only or all."""
    sums = np.zeros(len(weights) + 1, np.float64)
    for row in range(len(weights)):
        weight = 0.0 if is_left_out(blocks[row], left_out) else weights[row]
        sums[row + 1] = sums[row] + (max(weight, 0.0) if positive else weight)
    return sums


@inline_kernel
def is_left_out(block: Any, left_out: Any) -> Any:
    """Whether a block lies in an element left out."""
    return block[ELEMENT] >= 0 and left_out[block[ELEMENT]]


@kernel
def leave_out(blocks: Int32, elements: Int32, weights: Float64, reasons: int) -> Bool:
    """Which elements are beside the article, bool (e,); `reasons`: BESIDE or a part of it."""
    left_out = np.zeros(len(elements), np.bool_)
    prose = sums_before(weights, True, left_out, blocks)
    limit = LAYOUT_SHARE * prose[-1]
    for row in range(len(elements)):
        own = elements[row, OWN]
        if own & reasons and not own & _SPOKEN_FOR:
            left_out[row] = prose[elements[row, END]] - prose[elements[row, FIRST]] <= limit
    for row in range(len(blocks)):
        if blocks[row, FLAGS] & HEADING and _link_share(blocks[row]) > LINK_SHARE and blocks[row, ELEMENT] >= 0:
            _leave_out_teaser(elements, prose, elements[blocks[row, ELEMENT], PARENT], left_out)
    for row in range(len(elements)):  # parents stand before their children
        parent = elements[row, PARENT]
        left_out[row] |= parent >= 0 and left_out[parent]
    return left_out


@kernel
def _leave_out_teaser(elements: Int32, prose: Float64, element: int, left_out: Bool) -> None:
    for _ in range(3):
        if element < 0 or elements[element, OWN] & _SPOKEN_FOR:
            return
        if prose[elements[element, END]] - prose[elements[element, FIRST]] >= TEASER:
            return
        left_out[element] = True
        element = elements[element, PARENT]


@kernel
def best_element(elements: Int32, sums: Float64, prose: Float64) -> int:
    """The element with the greatest sum times its factor, the last of equals, grown; -1 where none is above zero."""
    best, most = -1, 0.0
    for row in range(len(elements)):
        own = elements[row, OWN]
        factor = BODY_FACTOR if own & BODY else LIKELY_FACTOR if own & (ARTICLE | LIKELY) else 1.0
        weight = (sums[elements[row, END]] - sums[elements[row, FIRST]]) * factor
        if weight > 0 and weight >= most:
            best, most = row, weight
    if best < 0:
        return best
    around = elements[best, PARENT]
    while around >= 0:
        if _within(prose, elements[around]) > GROWTH * _within(prose, elements[best]):
            best = around
        around = elements[around, PARENT]
    return best


@inline_kernel
def _within(prose: Any, element: Any) -> Any:
    return prose[element[END]] - prose[element[FIRST]]


@kernel
def choose(blocks: Int32, elements: Int32, titles: Bool, reasons: int) -> Bool:
    """Which blocks are the article, bool (b,).

    `titles` are those that are the page's main heading, bool (b,); `reasons` is BESIDE or a part of it.
    """
    kept = np.zeros(len(blocks), np.bool_)
    weights = weigh(blocks, elements)
    left_out = leave_out(blocks, elements, weights, reasons)
    unlikely = reasons & UNLIKELY
    for row in range(len(blocks)):
        if is_left_out(blocks[row], left_out) or blocks[row, FLAGS] & unlikely:
            weights[row] = 0.0
    prose = sums_before(weights, True, left_out, blocks)
    best = best_element(elements, sums_before(weights, False, left_out, blocks), prose)
    if best < 0:
        return kept
    first, end = elements[best, FIRST], elements[best, END]
    while first < end and weights[first] <= 0:
        first += 1
    while end > first and (weights[end - 1] <= 0 or _link_share(blocks[end - 1]) > TAIL_LINK_SHARE):
        end -= 1
    for row in range(first, end):
        beside = is_left_out(blocks[row], left_out) or blocks[row, FLAGS] & unlikely
        kept[row] = not beside and not is_linked(blocks[row])
    _drop_bare_headings(blocks, kept, first, end)
    _keep_lead(weights, titles, kept, first)
    return kept


@kernel
def _drop_bare_headings(blocks: Int32, kept: Bool, first: int, end: int) -> None:
    """A heading goes with the blocks under it when none of them is kept."""
    bare, lost = True, False
    for row in range(end - 1, first - 1, -1):
        if blocks[row, FLAGS] & HEADING:
            kept[row] &= not (bare and lost)
            bare, lost = True, False
        elif kept[row]:
            bare = False
        else:
            lost = True


@kernel
def _keep_lead(weights: Float64, titles: Bool, kept: Bool, first: int) -> None:
    """Keep the prose between the page's main heading and the article."""
    heading = first - 1
    while heading >= 0 and not titles[heading]:
        heading -= 1
    if heading >= 0:
        for row in range(heading + 1, first):
            kept[row] = weights[row] > LEAD_LEAST
