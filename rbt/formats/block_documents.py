"""Which documents a block holds, and which blocks hold a document.

    block ──spans──> [start, end) ──document_ends──> documents (their numbers in the part) and tokens of each
    id ──documents.arrow──> (part, number in it) ──document_ends──> [start, end) ──blocks──> those that overlap

Documents without tokens are in no block. Parts are looked at one by one, and ids a record batch at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rbt.errors import ArtefactError
from rbt.formats.blocks import IndexPart, Int64
from rbt.formats.document import ID_SCHEMA
from rbt.formats.parts import read_batches
from rbt.formats.tokens import TokenPart, TokenStore, part_files

PAIR_COLUMNS = 5  # a_start, a_end, b_start, b_end, is_next
DAMAGED = "`rbt verify` says what is damaged; `rbt pack --replace` makes it anew"
SCANNED_BLOCKS = 1 << 20  # at a time, so that a part of any size needs little memory


@dataclass(frozen=True)
class DocumentPlace:
    """Where a document is in the token store: its part, the part's split, its number in the part."""

    stem: str
    split: str
    number: int


def block_spans(block: Int64) -> list[tuple[int, int]]:
    """[start, end) of the tokens of one line of blocks.npy: one span, or those of A and B of a pair."""
    spans = [(int(block[0]), int(block[1]))]
    return [*spans, (int(block[2]), int(block[3]))] if len(block) == PAIR_COLUMNS else spans


def read_block(folder: Path, part: IndexPart, local: int) -> Int64:
    """Line `local` of a part's blocks, of the index in `folder`.

    Raises ArtefactError where it names no tokens or some that the part does not have: whoever reads a block or two
    has not checked the index.
    """
    block: Int64 = part.blocks[local]
    if not all(0 <= start < end <= len(part.tokens.tokens) for start, end in block_spans(block)):
        raise ArtefactError(
            f"expected block {local:,} of the part inside its {len(part.tokens.tokens):,} tokens",
            path=folder / f"{part.tokens.stem}.blocks.npy", found=str(block.tolist()), cure=DAMAGED,
        )
    return block


def span_documents(part: TokenPart, start: int, end: int) -> tuple[Int64, Int64]:
    """(numbers, tokens), both int64 ascending by number: the documents of a part in [start, end), and how much of each.

    A span has a token at least.
    """
    first, last = np.searchsorted(part.document_ends, [start, end - 1], side="right")
    ends = np.minimum(part.document_ends[first : last + 1], end)
    tokens = np.diff(ends, prepend=start)
    numbers = np.arange(first, last + 1, dtype=np.int64)
    return numbers[tokens > 0], np.asarray(tokens[tokens > 0], dtype=np.int64)


def block_documents(part: TokenPart, block: Int64) -> dict[int, int]:
    """Tokens of each document in a block, by its number in the part; a pair's of A and B together."""
    found: dict[int, int] = {}
    for start, end in block_spans(block):
        for number, tokens in zip(*(array.tolist() for array in span_documents(part, start, end)), strict=True):
            found[number] = found.get(number, 0) + tokens
    return found


def document_span(part: TokenPart, number: int) -> tuple[int, int]:
    """[start, end) of a document's tokens."""
    return (int(part.document_ends[number - 1]) if number else 0), int(part.document_ends[number])


def blocks_with(blocks: Int64, start: int, end: int) -> tuple[Int64, Int64]:
    """(numbers, tokens), both int64 ascending by number: the blocks, in any order, that hold some of [start, end)."""
    found = []
    for first in range(0, len(blocks), SCANNED_BLOCKS):
        some = blocks[first : first + SCANNED_BLOCKS]
        tokens = _overlap(some[:, 0], some[:, 1], start, end)
        if blocks.shape[1] == PAIR_COLUMNS:
            tokens = tokens + _overlap(some[:, 2], some[:, 3], start, end)
        numbers = np.flatnonzero(tokens)
        found.append((numbers + first, tokens[numbers]))
    return _joined([numbers for numbers, _ in found]), _joined([tokens for _, tokens in found])


def _joined(arrays: list[Int64]) -> Int64:
    return np.concatenate([np.empty(0, dtype=np.int64), *arrays])


def _overlap(starts: Int64, ends: Int64, start: int, end: int) -> Int64:
    return np.asarray(np.maximum(np.minimum(ends, end) - np.maximum(starts, start), 0), dtype=np.int64)


def document_ids(tokens: Path, stem: str, numbers: Int64) -> list[str]:
    """Ids of documents of a token part, given their numbers in it, ascending."""
    path, first = tokens / part_files(stem)[-1], 0
    found: list[str] = []
    for batch in read_batches(path, ID_SCHEMA):
        here = numbers[(numbers >= first) & (numbers < first + batch.num_rows)] - first
        if len(here):
            found += batch.column("id").take(pa.array(here)).to_pylist()
        first += batch.num_rows
    if len(found) != len(numbers):
        raise ArtefactError(
            f"expected the ids of {int(numbers[-1]) + 1} documents or more", path=path, found=str(first),
            cure="pack again",
        )
    return found


def find_document(store: TokenStore, id: str) -> DocumentPlace | None:
    """The place of the document with this id; None where there is none."""
    wanted = pa.scalar(id, pa.string())
    for fact in store.manifest.facts["parts"]:
        first = 0
        for batch in read_batches(store.folder / part_files(fact["stem"])[-1], ID_SCHEMA):
            number = pc.index(batch.column("id"), wanted).as_py()
            if number >= 0:
                return DocumentPlace(fact["stem"], fact["split"], first + number)
            first += batch.num_rows
    return None
