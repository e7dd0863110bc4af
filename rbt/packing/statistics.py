"""`rbt pack stats`: what an index is like, counted block by block over memory maps.

    blocks, rows, sentence_ends, document_ends of a part ──kernel──> histograms, (max_tokens + 2,) int64 each
    ──sum over the parts of a split──> SplitStatistics ──> statistics_report: a table, a plot

Memory does not grow with the corpus: a split is a few histograms, and of a part the pages that are being read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rbt.errors import ArtefactError
from rbt.formats.blocks import Index, IndexPart, Int64, open_index
from rbt.formats.tokens import TokenStore
from rbt.kernels import kernel
from rbt.progress import progress


@dataclass(frozen=True)
class Histograms:
    """How many blocks or rows have each value from 0 to max_tokens: int64 (max_tokens + 2,), the last is for "above".

    Of blocks: ids with special tokens, documents, sentences. Of rows: blocks, ids. And how many pairs are is_next.
    """

    block_ids: Int64
    block_documents: Int64
    block_sentences: Int64
    row_blocks: Int64
    row_ids: Int64
    following: int

    def __add__(self, other: Histograms) -> Histograms:
        """Both together."""
        return Histograms(
            self.block_ids + other.block_ids, self.block_documents + other.block_documents,
            self.block_sentences + other.block_sentences, self.row_blocks + other.row_blocks,
            self.row_ids + other.row_ids, self.following + other.following,
        )


@dataclass(frozen=True)
class SplitStatistics:
    """One split of an index. `stored`: documents, tokens, bytes, ... of the token store; `counted`: the ledger."""

    split: str
    max_tokens: int
    histograms: Histograms
    stored: Mapping[str, int]
    counted: Mapping[str, int]
    is_pair: bool

    @property
    def rows(self) -> int:
        """Rows of the split."""
        return int(self.histograms.row_ids.sum())

    @property
    def blocks(self) -> int:
        """Blocks of the split."""
        return int(self.histograms.block_ids.sum())

    @property
    def ids(self) -> int:
        """Ids in all rows, special tokens included."""
        return total(self.histograms.row_ids)

    @property
    def fill_rate(self) -> float:
        """Share of the rows' places that hold an id."""
        return self.ids / max(1, self.rows * self.max_tokens)


def total(histogram: Int64) -> int:
    """The sum of all counted values."""
    return int((np.arange(len(histogram)) * histogram).sum())


def mean(histogram: Int64) -> float:
    """Their mean; 0 of none."""
    return total(histogram) / max(1, int(histogram.sum()))


def largest(histogram: Int64) -> int:
    """The largest of them; 0 of none."""
    return int(np.flatnonzero(histogram)[-1]) if histogram.any() else 0


def median(histogram: Int64) -> int:
    """The lower median; 0 of none."""
    return int(np.searchsorted(np.cumsum(histogram), (int(histogram.sum()) + 1) // 2)) if histogram.any() else 0


@kernel
def _first_above(ends: Int64, value: int) -> int:
    low, high = 0, len(ends)
    while low < high:
        middle = (low + high) // 2
        if ends[middle] <= value:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _documents(document_ends: Int64, first: int, last: int) -> int:
    """Documents with tokens from `first`, which has some, to `last`."""
    found = 1
    for document in range(first + 1, min(last + 1, len(document_ends))):
        found += int(document_ends[document] > document_ends[document - 1])
    return found


@kernel
def count_blocks(
    blocks: Int64, rows: Int64, sentence_ends: Int64, document_ends: Int64, max_tokens: int, sentence_separator: bool
) -> tuple[Int64, int]:
    """Histograms of a part, (5, max_tokens + 2) int64 in the order of `Histograms`, and its number of is_next pairs."""
    counts = np.zeros((5, max_tokens + 2), dtype=np.int64)
    above = max_tokens + 1
    following = 0
    for row in range(len(rows) - 1):
        filled = 0
        first_block, last_block = max(0, rows[row]), min(rows[row + 1], len(blocks))
        for block in range(first_block, last_block):
            start, end = blocks[block, 0], blocks[block, 1]
            first, last = _first_above(document_ends, start), _first_above(document_ends, end - 1)
            documents = _documents(document_ends, first, last)
            sentences = 1 + _first_above(sentence_ends, end - 1) - _first_above(sentence_ends, start)
            length = end - start + 2 + documents - 1
            if sentence_separator:
                length += sentences - 1
            if blocks.shape[1] == 5:
                second, stop = blocks[block, 2], blocks[block, 3]
                first_of_b, last_of_b = _first_above(document_ends, second), _first_above(document_ends, stop - 1)
                documents += _documents(document_ends, first_of_b, last_of_b)
                if first_of_b <= last and first <= last_of_b:
                    documents -= _documents(document_ends, max(first, first_of_b), min(last, last_of_b))
                sentences += 1 + _first_above(sentence_ends, stop - 1) - _first_above(sentence_ends, second)
                length = end - start + stop - second + 4
                following += blocks[block, 4]
            counts[0, max(0, min(length, above))] += 1
            counts[1, max(0, min(documents, above))] += 1
            counts[2, max(0, min(sentences, above))] += 1
            filled += length
        counts[3, max(0, min(last_block - first_block, above))] += 1
        counts[4, max(0, min(filled, above))] += 1
    return counts, following


def part_histograms(part: IndexPart, max_tokens: int, separator: str) -> Histograms:
    """The histograms of one part."""
    arrays = [np.asarray(array) for array in (part.blocks, part.rows, part.tokens.sentence_ends)]
    counts, following = count_blocks(
        arrays[0], arrays[1], arrays[2], np.asarray(part.tokens.document_ends), max_tokens, separator == "sentence"
    )
    return Histograms(counts[0], counts[1], counts[2], counts[3], counts[4], int(following))


def split_statistics(folder: Path, split: str, store: TokenStore) -> SplitStatistics:
    """Statistics of one split of the index in `folder`, which lies over `store`.

    Raises ArtefactError where rows, blocks or ids are not as many as the ledger says, or a row is too long.
    """
    index = open_index(folder, split)
    nothing = np.zeros(index.max_tokens + 2, dtype=np.int64)
    histograms = Histograms(nothing, nothing, nothing, nothing, nothing, 0)
    with progress(f"stats: {split}", index.num_blocks, "block") as bar:
        for part in index.parts:
            histograms += part_histograms(part, index.max_tokens, index.manifest.config["separator"])
            bar.update(len(part.blocks))
    row = next((row for _, source, row in index.manifest.ledger if source == split), None)
    found = SplitStatistics(
        split, index.max_tokens, histograms, store.manifest.facts["splits"][split], row.other if row else {},
        is_pair(index),
    )
    _check(folder, index, found)
    return found


def is_pair(index: Index) -> bool:
    """Whether blocks are pairs."""
    return any(part.blocks.shape[1] == 5 for part in index.parts)


def _check(folder: Path, index: Index, found: SplitStatistics) -> None:
    cure = "`rbt verify` says what is damaged; then pack again with --replace"
    for name, number in (("rows", found.rows), ("blocks", found.blocks)):
        if (told := found.counted.get(name, number)) != number:
            raise ArtefactError(
                f"expected {told:,} {name} in {found.split}", path=folder, found=f"{number:,}", cure=cure
            )
    if wide := int(found.histograms.row_ids[-1]):
        raise ArtefactError(
            f"expected rows of at most {index.max_tokens} ids in {found.split}", path=folder,
            found=f"{wide:,} longer", cure=cure,
        )
    if (told := found.counted.get("ids", found.ids)) != found.ids:
        raise ArtefactError(f"expected {told:,} ids in {found.split}", path=folder, found=f"{found.ids:,}", cure=cure)
