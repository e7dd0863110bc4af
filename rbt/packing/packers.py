"""Blocks: which stretch of tokens the model reads as one text (RoBERTa paper, section 4.2).

    sentence_ends, document_ends (int64, ascending) ──greedy──> blocks (n, 2) int64 [start, end), sentences cut

A block has <s>, its tokens, </s>, and one </s> more for each document end strictly inside; where every sentence is to
end in </s>, one more for each sentence end strictly inside as well. That is what `formats.blocks.block_ids` reads.
Every token is in exactly one block. A sentence longer than the room (max_tokens - 2) is cut into pieces that fill it,
and what is left of it is a sentence of its own. Pairs are another matter: see `packing.pairs`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rbt.kernels import kernel
from rbt.packing.pairs import segment_pair, sentence_pair
from rbt.packing.rows import best_fit_rows, one_block_a_row

Int64 = npt.NDArray[np.int64]


@kernel
def _pack(
    sentence_ends: Int64, document_ends: Int64, max_tokens: int, sentence_separator: bool, cross_documents: bool
) -> tuple[Int64, int]:
    room = max_tokens - 2
    tokens = sentence_ends[-1] if len(sentence_ends) else 0
    blocks = np.empty((len(sentence_ends) + tokens // room, 2), dtype=np.int64)
    count = cut = 0
    start = here = 0  # the open block is [start, here)
    length = 2  # of the open block, in ids
    document = 0
    for end in sentence_ends:
        if end - here > room:
            cut += 1
        while here < end:
            step = min(end - here, room)
            while document < len(document_ends) and document_ends[document] < here:
                document += 1
            new_document = document < len(document_ends) and document_ends[document] == here
            added = step
            if here > start:  # what is before `here` gets its separators once something follows
                added += int(new_document) + int(sentence_separator)
            if here > start and (length + added > max_tokens or (new_document and not cross_documents)):
                blocks[count, 0], blocks[count, 1] = start, here
                count += 1
                start, length, added = here, 2, step
            length += added
            here += step
    if here > start:
        blocks[count, 0], blocks[count, 1] = start, here
        count += 1
    return blocks[:count].copy(), cut


def full_sentences(
    sentence_ends: Int64, document_ends: Int64, max_tokens: int, sentence_separator: bool
) -> tuple[Int64, int]:
    """FULL-SENTENCES: whole sentences while they fit, across documents. (blocks (n, 2) int64, sentences cut)."""
    blocks, cut = _pack(sentence_ends, document_ends, max_tokens, sentence_separator, True)
    return blocks, int(cut)


def doc_sentences(
    sentence_ends: Int64, document_ends: Int64, max_tokens: int, sentence_separator: bool
) -> tuple[Int64, int]:
    """DOC-SENTENCES: the same, but a block ends where its document does. (blocks (n, 2) int64, sentences cut)."""
    blocks, cut = _pack(sentence_ends, document_ends, max_tokens, sentence_separator, False)
    return blocks, int(cut)


@dataclass(frozen=True)
class Packer:
    """A format: how tokens are cut into blocks, how blocks share rows, and which keys of [pack] shape it.

    `blocks` takes sentence_ends, document_ends, max_tokens and what `options` name, in that order: separators behind
    sentences or not for "separator", `pairs.part_state` for "seed".
    """

    blocks: Callable[..., tuple[Int64, int]]
    rows: Callable[[Int64, int], tuple[Int64, Int64]]
    options: tuple[str, ...]


PACKERS: dict[str, Packer] = {
    "full-sentences": Packer(full_sentences, one_block_a_row, ("separator",)),
    "doc-sentences": Packer(doc_sentences, best_fit_rows, ("separator",)),
    "segment-pair": Packer(segment_pair, best_fit_rows, ("seed", "short_sequence_probability")),
    "sentence-pair": Packer(sentence_pair, best_fit_rows, ("seed",)),
}
