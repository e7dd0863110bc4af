"""The blocks of some rows, one behind the other: what `Index.read_row` gives of each, for many rows at a time.

    rows ──index──> blocks ──separators──> pieces of tokens ──<s> and </s> between them──> ids (tokens,)

A piece is what stands between two special tokens. Rows are looked up one by one; all that is done for each token is
done for all of them together. numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rbt.errors import ArtefactError
from rbt.formats.blocks import Index, IndexPart, Int64
from rbt.formats.tokenizer import BOS, EOS
from rbt.formats.tokens import Tokens


@dataclass(frozen=True)
class BlockStream:
    """Blocks of rows without padding, in the order of the rows. Arrays are int64."""

    ids: Int64  # (tokens,) with special tokens
    block_edges: Int64  # (blocks + 1,): block b is ids[block_edges[b]:block_edges[b + 1]]
    row_edges: Int64  # (rows + 1,): row r is ids[row_edges[r]:row_edges[r + 1]]
    document_starts: Int64  # ascending: where documents but a block's first begin
    blocks: Int64  # (blocks,): numbers over all parts
    is_next: Int64  # (blocks,) of pair formats: 1 where B is what follows A; else (0,)


@dataclass
class _Pieces:
    """Pieces of the blocks read so far; of each, the </s> that follow it."""

    tokens: list[Tokens]
    lengths: list[int]
    separators: list[int]
    ends_document: list[bool]  # the piece, and its block does not end with it
    of_block: list[int]  # pieces of each block

    def add(self, tokens: Tokens, length: int, separators: int, ends_document: bool) -> None:
        self.tokens.append(tokens)
        self.lengths.append(length)
        self.separators.append(separators)
        self.ends_document.append(ends_document)


def _add_block(part: IndexPart, block: list[int], by_sentence: bool, pieces: _Pieces) -> None:
    start, end = block[0], block[1]
    tokens = part.tokens.tokens
    if len(block) == 5:
        pieces.add(tokens[start:end], end - start, 2, False)
        pieces.add(tokens[block[2] : block[3]], block[3] - block[2], 1, False)
        pieces.of_block.append(2)
        return
    documents = _between(part.tokens.document_ends, start, end)
    sentences = _between(part.tokens.sentence_ends, start, end) if by_sentence else []
    if not documents and not sentences:
        pieces.add(tokens[start:end], end - start, 1, False)
        pieces.of_block.append(1)
        return
    of_document = set(documents)
    cuts = sorted(of_document.union(sentences))
    for first, last in pairwise([start, *cuts, end]):
        both = by_sentence and last in of_document  # a </s> for the sentence, and one for the document
        pieces.add(tokens[first:last], last - first, 2 if both else 1, last in of_document)
    pieces.of_block.append(len(cuts) + 1)


def _between(ends: Int64, start: int, end: int) -> list[int]:
    first, last = ends.searchsorted((start + 1, end))
    return ends[first:last].tolist() if last > first else []


def read_stream(index: Index, rows: Int64) -> BlockStream:
    """The blocks of rows, in the order given. Raises ArtefactError for a row that cannot be one of this index."""
    by_sentence = index.manifest.config["separator"] == "sentence"
    pieces = _Pieces([], [], [], [], [])
    numbers, of_row, is_next = [], [], []
    for row in rows.tolist():
        part, first, last, number = index.locate(row)
        of_row.append(last - first)
        for local, block in enumerate(part.blocks[first:last].tolist()):
            _add_block(part, block, by_sentence, pieces)
            numbers.append(number + local)
            if len(block) == 5:
                is_next.append(block[4])
    stream = _joined(pieces, numbers, of_row, is_next)
    _check(index, rows, stream)
    return stream


def _joined(pieces: _Pieces, numbers: list[int], of_row: list[int], is_next: list[int]) -> BlockStream:
    lengths, separators = np.array(pieces.lengths, dtype=np.int64), np.array(pieces.separators, dtype=np.int64)
    first_piece = np.concatenate([[0], np.cumsum(pieces.of_block, dtype=np.int64)])
    begins = np.zeros(len(lengths) + 1, dtype=np.int64)  # whether a piece has <s> before it
    begins[first_piece[:-1]] = 1
    ends = np.cumsum(begins[:-1] + lengths + separators)  # of each piece with what stands around it
    edges = np.concatenate([[0], ends])
    block_edges = edges[first_piece]
    ids = np.full(edges[-1], EOS, dtype=np.int64)
    ids[block_edges[:-1]] = BOS
    shifts = edges[:-1] + begins[:-1] - (np.cumsum(lengths) - lengths)
    tokens = np.concatenate(pieces.tokens) if pieces.tokens else np.empty(0, dtype=np.uint16)
    ids[np.repeat(shifts, lengths) + np.arange(len(tokens))] = tokens
    first_block = np.concatenate([[0], np.cumsum(of_row, dtype=np.int64)])
    return BlockStream(
        ids, block_edges, block_edges[first_block], ends[np.array(pieces.ends_document, dtype=bool)],
        np.array(numbers, dtype=np.int64), np.array(is_next, dtype=np.int64),
    )


def _check(index: Index, rows: Int64, stream: BlockStream) -> None:
    widths = np.diff(stream.row_edges)
    if (wrong := np.flatnonzero((widths < 1) | (widths > index.max_tokens))).size:
        raise ArtefactError(
            f"expected 1 to {index.max_tokens} tokens in row {rows[wrong[0]]} of the index",
            found=str(widths[wrong[0]]), cure="pack again",
        )
    if len(stream.ids) and (top := int(stream.ids.max())) >= index.vocab_size:
        row = rows[np.searchsorted(stream.row_edges, stream.ids.argmax(), side="right") - 1]
        raise ArtefactError(
            f"expected token ids below {index.vocab_size} in row {row} of the index", found=str(top), cure="pack again"
        )
