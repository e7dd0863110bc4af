"""What tags, attributes and the words of class names say about an element, as bits in tables that kernels look up.

    name ──FNV-1a──> uint64 key ──open addressing──> bits, int32

The words are those that content management systems and ad servers use at large; none is a site's own. A class name is
read by its words and by two neighbors written as one, so `articleBody`, `article-body` and `article_body` are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.kernels import inline_kernel

UInt64 = npt.NDArray[np.uint64]
Int32 = npt.NDArray[np.int32]

# Of tags.
BLOCK = 1 << 0
DROP = 1 << 1  # its text is none of the page's
VOID = 1 << 2  # has no end tag
RAW = 1 << 3  # its text is not escaped
BREAK = 1 << 4  # parts the words around it
FACT = 1 << 5  # may hold the title or date
PRE = 1 << 6
LINK = 1 << 7
HEADING = 1 << 8
LIST = 1 << 9
TABLE = 1 << 10
EMPHASIS = 1 << 12
ARTICLE = 1 << 13
ROOT = 1 << 14  # what its names say is said of the whole page
ASIDE = 1 << 15  # HTML's own elements for what is beside the article
# Of words in class, id, role and itemprop.
HIDDEN = 1 << 16
UNLIKELY = 1 << 17
LIKELY = 1 << 18
BODY = 1 << 19
PARAGRAPH = 1 << 20
NAMES = 1 << 21
STYLE = 1 << 22
REFERENCE = 1 << 23
INHERITED = DROP | PRE | LINK | HEADING | LIST | TABLE | EMPHASIS | UNLIKELY | HIDDEN | ASIDE

TAGS: dict[int, str] = {
    BLOCK: """address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption
        figure footer form frameset h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main menu nav ol optgroup option p
        plaintext pre search section summary table tbody td tfoot th thead title tr ul xmp listing""",
    DROP: """script style template svg math canvas audio video object embed applet iframe noscript noembed noframes head
        title select option optgroup textarea button map datalist progress meter rt rp""",
    VOID: """area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr""",
    RAW: "script style xmp iframe noembed noframes plaintext",
    BREAK: "br",
    FACT: "meta time h1 title script",
    PRE: "pre xmp plaintext listing textarea",
    LINK: "a",
    HEADING: "h1 h2 h3 h4 h5 h6",
    LIST: "li dd dt",
    TABLE: "table",
    EMPHASIS: "b strong i em",
    PARAGRAPH: "p blockquote",
    ARTICLE: "article main",
    ROOT: "html body",
    ASIDE: "nav footer aside form figure figcaption dialog menu search address",
}
ATTRIBUTES: dict[int, str] = {
    NAMES: "class id role itemprop",
    HIDDEN: "hidden",
    STYLE: "style aria-hidden",
    REFERENCE: "href",
}
WORDS: dict[int, str] = {
    UNLIKELY: """comment comments disqus respond related recirc recommended recommendation recommendations share
        sharing social sidebar widget newsletter promo advert advertisement ad ads sponsor sponsored cookie cookies
        consent breadcrumb breadcrumbs nav navbar navigation menu footer caption byline tags popular trending
        subscribe subscription signup outbrain taboola popup modal pagination pager toolbar credit credits
        copyright disclaimer authorbio aboutauthor morestories mostread skip dialog carousel leaderboard skyscraper
        cta reply follow authorbox authorinfo bio meta entrymeta postmeta articlemeta metadata datepublished
        timestamp dateline wpcaption captiontext imagecaption photocredit search banner complementary contentinfo""",
    LIKELY: "article story entry post content main",
    BODY: "articlebody articlecontent articletext storybody storycontent storytext entrycontent entrybody entrytext "
    "postcontent postbody posttext bodycopy bodytext richtext maincontent",
}
HASH_BASIS = np.uint64(0xCBF29CE484222325)  # FNV-1a
_PRIME = np.uint64(0x100000001B3)
_BUCKETS = 4096


@inline_kernel
def extend(state: Any, byte: Any) -> Any:
    """The hash of a word with one byte more."""
    return (state ^ np.uint64(byte)) * _PRIME


@inline_kernel
def look_up(keys: Any, values: Any, key: Any) -> Any:
    """The flags of a hashed word, 0 where it is not in the table."""
    bucket = key & np.uint64(_BUCKETS - 1)
    while keys[bucket] != 0:
        if keys[bucket] == key:
            return values[bucket]
        bucket = (bucket + np.uint64(1)) & np.uint64(_BUCKETS - 1)
    return np.int32(0)


def hash_word(word: str) -> np.uint64:
    """The hash that `extend` makes of a word, byte by byte."""
    state = int(HASH_BASIS)
    for byte in word.encode():
        state = (state ^ byte) * int(_PRIME) % (1 << 64)
    return np.uint64(state)


def _table(flags: Mapping[int, str]) -> tuple[UInt64, Int32]:
    keys, values = np.zeros(_BUCKETS, np.uint64), np.zeros(_BUCKETS, np.int32)
    for flag, words in flags.items():
        for word in words.split():
            key = hash_word(word)
            bucket = int(key) % _BUCKETS
            while keys[bucket] not in (0, key):
                bucket = (bucket + 1) % _BUCKETS
            keys[bucket] = key
            values[bucket] |= flag
    return keys, values


@cache
def tag_table() -> tuple[UInt64, Int32]:
    """Flags of tag names."""
    return _table(TAGS)


@cache
def attribute_table() -> tuple[UInt64, Int32]:
    """How to read an attribute: NAMES, HIDDEN or STYLE."""
    return _table(ATTRIBUTES)


@cache
def word_table() -> tuple[UInt64, Int32]:
    """Flags of words in names."""
    return _table(WORDS)
