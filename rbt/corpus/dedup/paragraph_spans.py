"""Paragraphs of texts, as kernels: where they are, what words they have, and what of a text goes with some of them.

    bytes ──split at blank lines──> spans (document, place, start, stop) ──hash──> 128 bits and a number of words each
"""

from __future__ import annotations

import numpy as np

from rbt.corpus.dedup.arrays import Bool, Int64
from rbt.corpus.dedup.shingles import UInt8, UInt32, UInt64, hash_text, hash_words
from rbt.kernels import kernel

LINE_FEED = np.uint8(10)
DOCUMENT, PLACE, START, STOP = range(4)  # rows of spans


@kernel
def split_paragraphs(data: UInt8, starts: Int64, stops: Int64) -> Int64:
    """Paragraphs of the texts data[starts[i]:stops[i]]: int64 (4, n), rows document i, place in it, and first byte and
    byte behind the last, counted from the document's start. A blank line, two line feeds, stands between two."""
    count = len(starts)
    for document in range(len(starts)):
        for byte in range(starts[document], stops[document] - 1):
            count += data[byte] == LINE_FEED and data[byte + 1] == LINE_FEED
    spans = np.empty((4, count), dtype=np.int64)
    found = 0
    for document in range(len(starts)):
        first, place = starts[document], 0
        byte = first
        while byte <= stops[document]:
            is_end = byte == stops[document]
            if is_end or (byte + 1 < stops[document] and data[byte] == LINE_FEED and data[byte + 1] == LINE_FEED):
                spans[DOCUMENT, found], spans[PLACE, found] = document, place
                spans[START, found], spans[STOP, found] = first - starts[document], byte - starts[document]
                found += 1
                place += 1
                first = byte + 2
                byte += 1
            byte += 1
    return spans[:, :found]


@kernel
def hash_paragraphs(data: UInt8, starts: Int64, spans: Int64, table: UInt32) -> tuple[UInt64, Int64]:
    """(128-bit hashes of the words of each paragraph, uint64 (n, 2); how many words, int64 (n,))."""
    longest = 0
    for place in range(spans.shape[1]):
        longest = max(longest, spans[STOP, place] - spans[START, place])
    words = np.empty(longest // 2 + 1, dtype=np.uint64)
    hashes = np.empty((spans.shape[1], 2), dtype=np.uint64)
    counts = np.empty(spans.shape[1], dtype=np.int64)
    for place in range(spans.shape[1]):
        first = starts[spans[DOCUMENT, place]]
        start, stop = first + spans[START, place], first + spans[STOP, place]
        counts[place] = hash_words(data, start, stop, table, words)
        hash_text(words, counts[place], hashes[place])
    return hashes, counts


@kernel
def cut_spans(spans: Int64, goes: Bool, largest_share: float) -> tuple[Int64, Int64, Int64]:
    """What to cut so that the paragraphs that go, go, with the blank lines around them: a cut leaves one in its place.

    Returns (cuts int64 (3, m): document, start, stop; documents that would lose more than `largest_share` of their
    bytes, and so lose nothing; how many paragraphs are cut).
    """
    total = spans.shape[1]
    cuts = np.empty((3, total), dtype=np.int64)
    whole = np.empty(total, dtype=np.int64)
    count = left = gone = 0
    start = 0
    while start < total:
        stop, size, going = start, 0, 0
        while stop < total and spans[DOCUMENT, stop] == spans[DOCUMENT, start]:
            size += (spans[STOP, stop] - spans[START, stop]) * goes[stop]
            going += goes[stop]
            stop += 1
        end = spans[STOP, stop - 1]
        if size > largest_share * end:
            whole[left] = spans[DOCUMENT, start]
            left += 1
            start = stop
            continue
        gone += going
        kept_end = 0  # byte behind the last paragraph that stays
        place = start
        while place < stop:
            if not goes[place]:
                kept_end = spans[STOP, place]
                place += 1
                continue
            while place < stop and goes[place]:
                place += 1
            cuts[0, count], cuts[1, count] = spans[DOCUMENT, start], kept_end
            cuts[2, count] = spans[START, place] if place < stop else end
            count += 1
        start = stop
    return cuts[:, :count], whole[:left], np.array([gone])
