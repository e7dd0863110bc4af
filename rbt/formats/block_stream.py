"""The blocks of some rows, one behind the other: what `Index.read_row` gives of each, for many rows at a time.

    rows ──index──> blocks ──separators──> pieces of tokens and special tokens between them ──joined──> ids (tokens,)
                      └──> advice to the system, which reads them meanwhile

Rows are looked up one by one, by views of memory, of which one number costs less than of an array; what is done for
each token is done for all of them together. numpy alone.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, NamedTuple

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


class RowBlocks(NamedTuple):
    """Where a row is."""

    row: int  # over all parts
    part: IndexPart
    first_block: int  # over all parts
    blocks: list[list[int]]  # as in the index: [start, end], or [a_start, a_end, b_start, b_end, is_next]


def locate_rows(index: Index, rows: Int64) -> list[RowBlocks]:
    """Look up rows, in the order given. Raises IndexError for one that the index has not."""
    if len(rows) and not 0 <= rows.min() <= rows.max() < index.num_rows:
        raise IndexError(f"rows {rows.min()} to {rows.max()} of {index.num_rows}")
    in_part = index.first_row.searchsorted(rows, side="right") - 1
    found, local = list[RowBlocks](), (rows - index.first_row[in_part]).tolist()
    for row, number, first_block, place in zip(
        rows.tolist(), in_part.tolist(), index.first_block[in_part].tolist(), local, strict=True
    ):
        part = index.parts[number]
        first, last = part.rows[place : place + 2].tolist()
        found.append(RowBlocks(row, part, first_block + first, part.blocks[first:last].tolist()))
    return found


def will_read(rows: list[RowBlocks]) -> None:
    """Tell the system which bytes of the token files will be read soon; nothing where it takes no advice."""
    for row in rows:
        tokens = row.part.tokens
        for block in row.blocks:
            tokens.will_read(block[0], block[1])
            if len(block) == 5:
                tokens.will_read(block[2], block[3])


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


def _outside(row: RowBlocks, block: list[int]) -> ArtefactError:
    tokens = row.part.tokens
    return ArtefactError(
        f"expected blocks of tokens 0 to {len(tokens.tokens)} of {tokens.stem} in row {row.row} of the index",
        found=" and ".join(f"{block[place]} to {block[place + 1]}" for place in range(0, len(block) - 1, 2)),
        cure="pack again",
    )


def _add_row(row: RowBlocks, by_sentence: bool, pieces: _Pieces) -> list[int]:
    """Add the blocks of a row; is_next of each, where they are pairs."""
    part = row.part.tokens
    tokens, documents = part.tokens.data, part.document_ends.data
    count, is_next = len(tokens), []
    for block in row.blocks:
        if not 0 <= block[0] < block[1] <= count or (len(block) == 5 and not 0 <= block[2] < block[3] <= count):
            raise _outside(row, block)
        if len(block) == 5:
            pieces.add_pair(tokens, *block[:4])
            is_next.append(block[4])
            continue
        start, end = block
        cuts = _inside(documents, start, end)
        if cuts or by_sentence:
            sentences = _inside(part.sentence_ends.data, start, end) if by_sentence else []
            pieces.add_cut_block(tokens, start, end, cuts, sentences)
        else:
            pieces.add_block(tokens, start, end)
    return is_next


def read_stream(index: Index, rows: list[RowBlocks]) -> BlockStream:
    """The blocks of rows, in the order given. Raises ArtefactError for a row that cannot be one of this index."""
    by_sentence, dtype = index.manifest.config["separator"] == "sentence", token_dtype(index.vocab_size)
    pieces = _Pieces(dtype)
    numbers, row_ends, is_next = list[int](), [0], list[int]()
    for row in rows:
        is_next += _add_row(row, by_sentence, pieces)
        numbers += range(row.first_block, row.first_block + len(row.blocks))
        row_ends.append(pieces.length)
    stream = BlockStream(
        np.frombuffer(b"".join(pieces.parts), dtype=dtype).astype(np.int64),
        np.array(pieces.block_edges, dtype=np.int64), np.array(row_ends, dtype=np.int64),
        np.array(pieces.document_starts, dtype=np.int64), np.array(numbers, dtype=np.int64),
        np.array(is_next, dtype=np.int64),
    )
    _check(index, rows, stream)
    return stream


def _check(index: Index, rows: list[RowBlocks], stream: BlockStream) -> None:
    widths = np.diff(stream.row_edges)
    if (wrong := np.flatnonzero((widths < 1) | (widths > index.max_tokens))).size:
        raise ArtefactError(
            f"expected 1 to {index.max_tokens} tokens in row {rows[wrong[0]].row} of the index",
            found=str(widths[wrong[0]]), cure="pack again",
        )
    if len(stream.ids) and (top := int(stream.ids.max())) >= index.vocab_size:
        row = rows[np.searchsorted(stream.row_edges, stream.ids.argmax(), side="right") - 1].row
        raise ArtefactError(
            f"expected token ids below {index.vocab_size} in row {row} of the index", found=str(top), cure="pack again"
        )
