"""The blocks of some rows, one behind the other: what `Index.read_row` gives of each, for many rows at a time.

    rows ──index──> blocks ──separators──> pieces of tokens and special tokens between them ──joined──> ids (tokens,)

Rows are looked up one by one, by views of memory, of which one number costs less than of an array; what is done for
each token is done for all of them together. numpy alone.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import numpy as np

from rbt.errors import ArtefactError
from rbt.formats.blocks import PAIR_SPECIALS, Index, IndexPart, Int64
from rbt.formats.tokenizer import BOS, EOS
from rbt.formats.tokens import token_dtype


@dataclass(frozen=True)
class BlockStream:
    """Blocks of rows without padding, in the order of the rows. Arrays are int64."""

    ids: Int64  # (tokens,) with special tokens
    block_edges: Int64  # (blocks + 1,): block b is ids[block_edges[b]:block_edges[b + 1]]
    row_edges: Int64  # (rows + 1,): row r is ids[row_edges[r]:row_edges[r + 1]]
    document_starts: Int64  # ascending: where documents but a block's first begin
    blocks: Int64  # (blocks,): numbers over all parts
    is_next: Int64  # (blocks,) of pair formats: 1 where B is what follows A; else (0,)


class _Pieces:
    """What the blocks read so far are made of, one behind the other: bytes, and views of the mapped tokens."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.parts: list[bytes | memoryview] = []
        self.length = 0
        self.block_edges, self.document_starts = [0], list[int]()
        self._bos, self._eos = (np.array(special, dtype=dtype).tobytes() for special in (BOS, EOS))

    def add_block(self, tokens: memoryview, start: int, end: int) -> None:
        """<s>, tokens [start, end), </s>."""
        self.parts += (self._bos, tokens[start:end], self._eos)
        self.length += end - start + 2
        self.block_edges.append(self.length)

    def add_cut_block(
        self, tokens: memoryview, start: int, end: int, documents: list[int], sentences: list[int]
    ) -> None:
        """The same with a </s> at the end of each document and sentence inside."""
        self.parts.append(self._bos)
        before = self.length + 1 - start  # what a token's place in the stream is ahead of that in the part
        for cut, ends_document in sorted([(cut, True) for cut in documents] + [(cut, False) for cut in sentences]):
            self.parts += (tokens[start:cut], self._eos)
            start = cut
            before += 1
            if ends_document:
                self.document_starts.append(before + cut)
        self.parts += (tokens[start:end], self._eos)
        self.length = before + end + 1
        self.block_edges.append(self.length)

    def add_pair(self, tokens: memoryview, a_start: int, a_end: int, b_start: int, b_end: int) -> None:
        """<s> A </s> </s> B </s>."""
        self.parts += (self._bos, tokens[a_start:a_end], self._eos, self._eos, tokens[b_start:b_end], self._eos)
        self.length += a_end - a_start + b_end - b_start + PAIR_SPECIALS
        self.block_edges.append(self.length)


def _inside(ends: memoryview, start: int, end: int) -> list[int]:
    """Each of the ends, which ascend, that is strictly inside; once, where documents without tokens repeat it."""
    first = last = bisect_right(ends, start)
    while last < len(ends) and ends[last] < end:
        last += 1
    return sorted(set(ends[first:last])) if last > first else []


def _add_row(part: IndexPart, first: int, last: int, by_sentence: bool, pieces: _Pieces) -> list[int]:
    """Add blocks [first, last) of a part; is_next of each, where they are pairs."""
    tokens, documents = part.tokens.tokens.data, part.tokens.document_ends.data
    is_next = []
    for block in part.blocks[first:last].tolist():
        if len(block) == 5:
            pieces.add_pair(tokens, *block[:4])
            is_next.append(block[4])
            continue
        start, end = block
        cuts = _inside(documents, start, end)
        if cuts or by_sentence:
            sentences = _inside(part.tokens.sentence_ends.data, start, end) if by_sentence else []
            pieces.add_cut_block(tokens, start, end, cuts, sentences)
        else:
            pieces.add_block(tokens, start, end)
    return is_next


def read_stream(index: Index, rows: Int64) -> BlockStream:
    """The blocks of rows, in the order given. Raises ArtefactError for a row that cannot be one of this index."""
    if len(rows) and not 0 <= rows.min() <= rows.max() < index.num_rows:
        raise IndexError(f"rows {rows.min()} to {rows.max()} of {index.num_rows}")
    by_sentence, dtype = index.manifest.config["separator"] == "sentence", token_dtype(index.vocab_size)
    pieces = _Pieces(dtype)
    numbers, of_row, is_next = list[int](), list[int](), list[int]()
    in_part = index.first_row.searchsorted(rows, side="right") - 1
    first_blocks = index.first_block[in_part].tolist()
    for place, row in enumerate((rows - index.first_row[in_part]).tolist()):
        part = index.parts[in_part[place]]
        first, last = part.rows[row : row + 2].tolist()
        is_next += _add_row(part, first, last, by_sentence, pieces)
        numbers += range(first_blocks[place] + first, first_blocks[place] + last)
        of_row.append(last - first)
    edges = np.array(pieces.block_edges, dtype=np.int64)
    stream = BlockStream(
        np.frombuffer(b"".join(pieces.parts), dtype=dtype).astype(np.int64), edges,
        edges[np.cumsum([0, *of_row], dtype=np.int64)], np.array(pieces.document_starts, dtype=np.int64),
        np.array(numbers, dtype=np.int64), np.array(is_next, dtype=np.int64),
    )
    _check(index, rows, stream)
    return stream


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
