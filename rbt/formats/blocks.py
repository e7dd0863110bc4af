"""An index: blocks (what the model reads as one text) in rows (what fits one line of a batch), over a token store.

    INDEX/train-00000.blocks.npy   int64 (blocks, 2): [start, end) in the part's tokens; pair formats (blocks, 5):
                                   [a_start, a_end, b_start, b_end, is_next]; in row order
    INDEX/train-00000.rows.npy     int64 (rows + 1,): row r holds the blocks rows[r] to rows[r + 1]

A block's text is <s> tokens </s>, with one more </s> where a document ends inside it; `separator = "sentence"` puts
</s> behind every sentence besides. Documents without tokens leave no trace. A pair is <s> A </s> </s> B </s>. Rows and
blocks are numbered over all parts of a split, in order; the trainer's order permutes rows, its masks are drawn by block
number. Read with numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rbt.errors import ArtefactError, ConfigError
from rbt.formats.tokenizer import BOS, EOS, read_tokenizer
from rbt.formats.tokens import TokenPart, open_array, open_tokens
from rbt.manifest import Manifest, is_artefact, load_manifest, read_manifest
from rbt.storage import allow_open_files

KIND, VERSION = "blocks", 1
MADE_BY = "rbt pack"
TOKENS_FOLDER = "tokens"
PAIR_FORMATS = ("segment-pair", "sentence-pair")
FORMATS = ("full-sentences", "doc-sentences", *PAIR_FORMATS)  # = rbt.packing.packers.PACKERS
PAIR_SPECIALS = 4  # <s> A </s> </s> B </s>
FILES_A_PART = 5  # tokens, both ends, blocks, rows: each mapped file stays open
Int64 = npt.NDArray[np.int64]


def separator_positions(part: TokenPart, start: int, end: int, separator: str) -> Int64:
    """Where a </s> stands inside the block [start, end): token indices relative to `start`, before which it goes."""
    documents = np.unique(_inside(part.document_ends, start, end))
    if separator == "document":
        return documents
    return np.sort(np.concatenate([_inside(part.sentence_ends, start, end), documents]))


def _inside(ends: Int64, start: int, end: int) -> Int64:
    first, last = np.searchsorted(ends, [start, end], side="left")
    found: Int64 = ends[first:last]
    return found[found > start] - start


def block_ids(part: TokenPart, block: Int64, separator: str) -> Int64:
    """Token ids of a block with its special tokens, int64 (length,). `block` is one line of blocks.npy."""
    start, end = int(block[0]), int(block[1])
    first = np.asarray(part.tokens[start:end], dtype=np.int64)
    if len(block) == 5:
        second = np.asarray(part.tokens[int(block[2]) : int(block[3])], dtype=np.int64)
        return np.concatenate([[BOS], first, [EOS, EOS], second, [EOS]])
    inside = separator_positions(part, start, end, separator)
    return np.concatenate([[BOS], np.insert(first, inside, EOS) if len(inside) else first, [EOS]])


def block_lengths(part: TokenPart, blocks: Int64, separator: str) -> Int64:
    """Ids of each block with its special tokens, int64 (blocks,): `len(block_ids(...))` of all."""
    if blocks.shape[1] == 5:
        return np.asarray(blocks[:, 1] - blocks[:, 0] + blocks[:, 3] - blocks[:, 2] + PAIR_SPECIALS, dtype=np.int64)
    starts, ends = blocks[:, 0], blocks[:, 1]
    lengths: Int64 = ends - starts + 2 + count_inside(np.unique(part.document_ends), starts, ends)
    return lengths if separator == "document" else lengths + count_inside(part.sentence_ends, starts, ends)


def count_inside(positions: Int64, starts: Int64, ends: Int64) -> Int64:
    """How many positions (ascending) are strictly inside each [start, end), int64 (stretches,)."""
    before_end = np.searchsorted(positions, ends, side="left")
    return np.asarray(before_end - np.searchsorted(positions, starts, side="right"), dtype=np.int64)


def own_stretches(blocks: Int64) -> Int64:
    """The tokens that are a block's own, int64 (blocks, 2): not what B of a pair that is not next repeats."""
    if blocks.shape[1] == 2:
        return blocks
    return np.stack([blocks[:, 0], np.where(blocks[:, 4] == 1, blocks[:, 3], blocks[:, 1])], axis=1)


def cover_problem(blocks: Int64, num_tokens: int) -> str:
    """Why blocks (n, 2), in any order, do not hold each of the tokens exactly once; "" when they do."""
    if len(blocks) == 0:
        return f"no block for {num_tokens} tokens" if num_tokens else ""
    if (empty := np.flatnonzero(blocks[:, 0] >= blocks[:, 1])).size:
        return f"block {empty[0]} is {blocks[empty[0]].tolist()}"
    ordered = blocks[np.argsort(blocks[:, 0], kind="stable")]
    edges = np.concatenate([[0], ordered[:, 1]])
    starts = np.concatenate([ordered[:, 0], [num_tokens]])
    if (broken := np.flatnonzero(edges != starts)).size:
        return f"a block ends at token {edges[broken[0]]} and the next one starts at {starts[broken[0]]}"
    return ""


def tokens_to_hold(part: TokenPart, blocks: Int64) -> int:
    """How many of a part's tokens, from the first, its blocks are to hold: all of them.

    Where a part has one document, its last sentence may find none to make a pair with: then the tokens before it.
    """
    if blocks.shape[1] == 2 or np.count_nonzero(np.diff(part.document_ends, prepend=0)) > 1:
        return len(part.tokens)
    return int(blocks[:, 3].max(initial=0))


@dataclass(frozen=True)
class IndexPart:
    """One part of an index beside its token part."""

    tokens: TokenPart
    blocks: Int64  # (blocks, 2 or 5)
    rows: Int64  # (rows + 1,)

    def counts(self, separator: str) -> dict[str, int]:
        """What the ledger counts of a part, but the sentences that were cut."""
        own = own_stretches(self.blocks)
        counts = {
            "tokens_in": len(self.tokens.tokens), "tokens_in_blocks": int((own[:, 1] - own[:, 0]).sum()),
            "ids": int(block_lengths(self.tokens, self.blocks, separator).sum()), "blocks": len(self.blocks),
            "rows": len(self.rows) - 1,
        }
        if self.blocks.shape[1] == 5:
            other = self.blocks[self.blocks[:, 4] == 0]
            counts["next"] = len(self.blocks) - len(other)
            counts["tokens_repeated"] = int((other[:, 3] - other[:, 2]).sum())
            counts["dropped_no_other_document"] = counts["tokens_in"] - counts["tokens_in_blocks"]
        ends = 2 * counts["blocks"]  # <s> and the last </s>
        counts["separators"] = counts["ids"] - counts["tokens_in_blocks"] - counts.get("tokens_repeated", 0) - ends
        return counts


@dataclass(frozen=True)
class Index:
    """One split of a finished index: rows and blocks numbered over all parts."""

    manifest: Manifest
    vocab_size: int
    parts: tuple[IndexPart, ...]
    first_row: Int64  # (parts + 1,): number of the first row of each part, then the number of rows
    first_block: Int64  # (parts + 1,)

    @property
    def num_rows(self) -> int:
        """Rows of the split."""
        return int(self.first_row[-1])

    @property
    def num_blocks(self) -> int:
        """Blocks of the split."""
        return int(self.first_block[-1])

    @property
    def max_tokens(self) -> int:
        """Most tokens of a row, special tokens included."""
        return int(self.manifest.config["max_tokens"])

    def locate(self, row: int) -> tuple[IndexPart, int, int, int]:
        """(part, first block in it, last block + 1, number of the first block over all parts) of a row."""
        if not 0 <= row < self.num_rows:
            raise IndexError(f"row {row} of {self.num_rows}")
        number = int(np.searchsorted(self.first_row, row, side="right")) - 1
        part, local = self.parts[number], row - int(self.first_row[number])
        first, last = int(part.rows[local]), int(part.rows[local + 1])
        return part, first, last, int(self.first_block[number]) + first

    def row_blocks(self, row: int) -> range:
        """Numbers of the blocks of a row."""
        _, first, last, number = self.locate(row)
        return range(number, number + last - first)

    def read_row(self, row: int) -> list[tuple[int, Int64]]:
        """The blocks of a row as (block number, ids with special tokens)."""
        part, first, last, number = self.locate(row)
        separator = self.manifest.config["separator"]
        return [
            (number + local - first, block_ids(part.tokens, part.blocks[local], separator))
            for local in range(first, last)
        ]


def is_pair_index(index: Index) -> bool:
    """Whether blocks are pairs."""
    return index.manifest.config["format"] in PAIR_FORMATS


def index_folders(packed: Path) -> list[Path]:
    """The finished indices of a packed folder."""
    found = [path for path in sorted(packed.glob("*")) if path.is_dir() and is_artefact(path)]
    return [path for path in found if load_manifest(path).kind == KIND]


def choose_index(packed: Path, format: str) -> Path:
    """The one index of a format (or of any, with ""), or the index whose folder has that name.

    Raises ArtefactError where there is none, ConfigError naming them where there are several.
    """
    folders = index_folders(packed)
    matching = [path for path in folders if format in ("", path.name, load_manifest(path).config["format"])]
    if not matching:
        found = ", ".join(path.name for path in folders) or "none"
        expected = f"expected an index of format {format!r}" if format else "expected an index"
        of_format = f"run `{MADE_BY} --format {format}`"
        others = f"name a folder's, or one of {', '.join(FORMATS)}"
        cure = f"run `{MADE_BY}`" if not format else of_format if format in FORMATS else others
        raise ArtefactError(expected, path=packed, found=found, cure=cure)
    if len(matching) > 1:
        names = ", ".join(path.name for path in matching)
        cure = f"say which: --format {matching[0].name}"
        raise ConfigError("expected one index", path=packed, found=names, cure=cure)
    return matching[0]


def open_index(folder: Path, split: str) -> Index:
    """Open one split of a finished index and the token store beside it.

    Raises ArtefactError, also where index, tokens and the tokenizer around them were not made from each other: a
    replacement that was cut short leaves such a folder.
    """
    manifest = read_manifest(folder, KIND, VERSION, MADE_BY)
    store = open_tokens(folder.parent / TOKENS_FOLDER)
    if store.manifest.fingerprint != manifest.inputs["tokens"]:
        raise ArtefactError(
            "expected an index over the token store beside it", path=folder, found="one over other tokens",
            cure=f"run `{MADE_BY} --replace`",
        )
    if read_tokenizer(folder.parent).fingerprint != store.manifest.inputs["tokenizer"]:
        raise ArtefactError(
            "expected the tokenizer of the token store", path=folder.parent, found="another one",
            cure=f"run `{MADE_BY} --replace`",
        )
    allow_open_files(FILES_A_PART * len(store.stems(split)))
    parts = tuple(
        IndexPart(store.part(stem), open_array(folder / f"{stem}.blocks.npy"), open_array(folder / f"{stem}.rows.npy"))
        for stem in store.stems(split)
    )
    for part in parts:
        _check_shapes(folder, part)
    rows = np.cumsum([0, *(len(part.rows) - 1 for part in parts)], dtype=np.int64)
    blocks = np.cumsum([0, *(len(part.blocks) for part in parts)], dtype=np.int64)
    return Index(manifest, store.vocab_size, parts, rows, blocks)


def _check_shapes(folder: Path, part: IndexPart) -> None:
    """Raise ArtefactError where the arrays of a part cannot be those of an index; `check_index` reads them all."""
    blocks, rows, stem = part.blocks, part.rows, part.tokens.stem
    if blocks.ndim != 2 or blocks.shape[1] not in (2, 5):
        raise ArtefactError(
            "expected blocks of shape (n, 2) or (n, 5)", path=folder / f"{stem}.blocks.npy", found=str(blocks.shape),
            cure=f"run `{MADE_BY} --replace`",
        )
    if rows.ndim != 1 or len(rows) == 0 or rows[0] != 0 or rows[-1] != len(blocks):
        raise ArtefactError(
            f"expected row offsets ascending from 0 to {len(blocks)}", path=folder / f"{stem}.rows.npy",
            found=str(rows.ravel()[[0, -1]].tolist() if rows.size else "none"), cure=f"run `{MADE_BY} --replace`",
        )
