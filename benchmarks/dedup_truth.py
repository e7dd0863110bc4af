"""The exact truth for benchmarks/dedup.py: all pairs of documents whose word n-grams have a Jaccard similarity >= t.

    python benchmarks/dedup_truth.py [RBT_DATA]    checks it against pairs that others listed, and against brute force

    texts ──words──> sets of n-grams ──rarest first──> inverted index of prefixes ──> pairs that share ──> exact J >= t

No MinHash and nothing of rbt's: words are the runs of `\\w` of the lower-cased text, each stands for a random 64-bit
number, an n-gram for a weighted sum of its words' numbers. It misses no pair: two sets A and B with J >= t share at
least ceil(t max(|A|, |B|)) n-grams, so, in any common order of n-grams, the first |A| - ceil(t |A|) + 1 of A and the
same of B have one in common. The order is from rare to frequent, which keeps the lists of the index short.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

UInt64 = npt.NDArray[np.uint64]
Int64 = npt.NDArray[np.int64]
Pairs = dict[tuple[int, int], float]  # (first, second) places, first < second -> Jaccard similarity


def ngram_sets(texts: Iterable[str], ngram: int) -> list[UInt64]:
    """The set of word n-grams of each text as sorted numbers; a text of fewer words has one n-gram, of all of them."""
    random = np.random.default_rng(0)
    weights = random.integers(0, 1 << 63, ngram, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    places: dict[str, int] = {}
    numbers = random.integers(0, 1 << 63, 1 << 22, dtype=np.uint64)  # of the words, in the order they are met
    sets = []
    for text in texts:
        words = [places.setdefault(word, len(places)) for word in re.findall(r"\w+", text.lower())]
        length = min(ngram, len(words))
        values = numbers[words] if words else np.zeros(1, dtype=np.uint64)
        total = len(values) - max(length, 1) + 1
        sums = np.zeros(total, dtype=np.uint64)
        for offset in range(max(length, 1)):
            sums += values[offset : offset + total] * weights[offset]
        sets.append(np.unique(sums))
    return sets


def jaccard(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> float:
    """Of two sorted sets."""
    common = len(np.intersect1d(first, second, assume_unique=True))
    return common / (len(first) + len(second) - common)


def similar_pairs(sets: Sequence[npt.NDArray[Any]], threshold: float) -> Pairs:
    """All pairs of sets with a Jaccard similarity at or above the threshold."""
    owners, values = _prefixes(sets, threshold)
    order = np.lexsort((owners, values))
    owners, values = owners[order], values[order]
    edges = np.flatnonzero(np.r_[True, values[1:] != values[:-1], True])
    sizes = np.array([len(items) for items in sets])
    candidates: set[tuple[int, int]] = set()
    for start, stop in pairwise(edges.tolist()):
        if stop - start > 1:
            candidates.update(_fitting(owners[start:stop], sizes, threshold))
    found = {pair: jaccard(sets[pair[0]], sets[pair[1]]) for pair in sorted(candidates)}
    return {pair: similarity for pair, similarity in found.items() if similarity >= threshold}


def _prefixes(sets: Sequence[npt.NDArray[Any]], threshold: float) -> tuple[Int64, Int64]:
    """(owner, rank of the n-gram) of each set's rarest n-grams, as many as the threshold asks for."""
    sizes = [len(items) for items in sets]
    _, places, counts = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    ranks = np.empty(len(counts), dtype=np.int64)
    ranks[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    ranks = ranks[places]
    kept, start = [], 0
    lengths = [size - math.ceil(threshold * size - 1e-9) + 1 for size in sizes]
    for size, length in zip(sizes, lengths, strict=True):
        kept.append(np.sort(ranks[start : start + size])[:length])
        start += size
    return np.repeat(np.arange(len(sets)), lengths), np.concatenate(kept)


def _fitting(members: Int64, sizes: Int64, threshold: float) -> Iterable[tuple[int, int]]:
    """Pairs of ascending members that are close enough in size to reach the threshold."""
    first, second = np.triu_indices(len(members), 1)
    a, b = members[first], members[second]
    fits = np.minimum(sizes[a], sizes[b]) >= threshold * np.maximum(sizes[a], sizes[b]) - 1e-9
    return zip(a[fits].tolist(), b[fits].tolist(), strict=True)


def recall(pairs: Pairs, removed: set[int]) -> tuple[int, int]:
    """(pairs of which at least one is removed, all pairs)."""
    return sum(first in removed or second in removed for first, second in pairs), len(pairs)


def precision(pairs: Pairs, removed: set[int]) -> tuple[int, int]:
    """(removed documents that are similar to one that is kept, all removed documents)."""
    right = {one for pair in pairs for one, other in (pair, pair[::-1]) if one in removed and other not in removed}
    return len(right), len(removed)


def main() -> None:
    """Compare with listed pairs of real documents, and with brute force on some of them."""
    from dedup_corpus import bbc, reuters

    root = Path(__file__).resolve().parent.parent
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("RBT_DATA", root.parent / "shared" / "data"))
    for name, texts in (("reuters21578_A", reuters(data)), ("bbc_A", bbc(data))):
        names = list(texts)
        sets = ngram_sets(texts.values(), 5)
        found = similar_pairs(sets, 0.5)
        lines = (data / "neardup" / "derived" / f"{name}_pairs.tsv").read_text("utf-8").splitlines()[1:]
        listed = {frozenset(line.split("\t")[:2]): float(line.split("\t")[2]) for line in lines}
        named = {frozenset((names[first], names[second])): value for (first, second), value in found.items()}
        apart = sum(abs(named[pair] - value) > 1e-4 for pair, value in listed.items() if pair in named)
        sizes = dict(zip(names, map(len, sets), strict=True))
        more = [max(sizes[one] for one in pair) for pair in named.keys() - listed.keys()]
        print(f"{name}: {len(listed)} pairs listed, {len(named)} found, {len(listed.keys() - named.keys())} missed, "
              f"{apart} of another similarity, {len(more)} not listed (of at most {max(more, default=0)} n-grams)")
        some = sets[:400] + [sets[place] for pair in list(found)[:20] for place in pair]
        for threshold in (0.3, 0.5, 0.8):
            brute = {
                (first, second): value for first in range(len(some)) for second in range(first + 1, len(some))
                if (value := jaccard(some[first], some[second])) >= threshold
            }
            same = brute == similar_pairs(some, threshold)
            print(f"  brute force over {len(some)} of them at {threshold}: {len(brute)} pairs, the same: {same}")


if __name__ == "__main__":
    main()
