"""What hashes cannot tell of an index: each token in exactly one block, pairs of what they say, the ledger's counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.errors import ArtefactError
from rbt.formats.blocks import (
    PAIR_FORMATS,
    PAIR_SPECIALS,
    Index,
    IndexPart,
    Int64,
    block_lengths,
    count_inside,
    cover_problem,
    open_index,
    own_stretches,
    tokens_to_hold,
)
from rbt.formats.tokens import SPLITS, TokenPart


def check_index(folder: Path) -> list[str]:
    """What is wrong with an index: tokens in no block or in two, rows above `max_tokens`, pairs of the wrong label."""
    problems = []
    for split in SPLITS:
        try:
            index = open_index(folder, split)
        except ArtefactError as error:
            problems.append(str(error))
            continue
        found = [
            f"{folder / part.tokens.stem}: {problem}" for part in index.parts if (problem := _part_problem(index, part))
        ]
        problems += found or _ledger_problems(index, folder, split)
    return problems


def _part_problem(index: Index, part: IndexPart) -> str:
    blocks, rows, config = np.asarray(part.blocks), part.rows, index.manifest.config
    is_pair = config["format"] in PAIR_FORMATS
    if blocks.ndim != 2 or blocks.shape[1] != (5 if is_pair else 2):
        return f"expected blocks of shape (n, {5 if is_pair else 2}); found {blocks.shape}"
    if len(rows) == 0 or rows[0] != 0 or rows[-1] != len(blocks) or (np.diff(rows) <= 0).any():
        return f"expected row offsets ascending from 0 to {len(blocks)}"
    if is_pair and (problem := _pair_problem(part.tokens, blocks, config)):
        return problem
    if problem := cover_problem(own_stretches(blocks), tokens_to_hold(part.tokens, blocks)):
        return f"expected each token in exactly one block; found that {problem}"
    lengths = block_lengths(part.tokens, blocks, config["separator"])
    sizes = np.diff(np.concatenate([[0], np.cumsum(lengths)])[rows])
    if (wide := np.flatnonzero(sizes > index.max_tokens)).size:
        return f"expected rows of at most {index.max_tokens} ids; found {sizes[wide[0]]} in row {wide[0]}"
    return ""


def _pair_problem(part: TokenPart, blocks: Int64, config: Mapping[str, Any]) -> str:
    """What is wrong with the first pair that is not as its format says."""
    a_start, a_end, b_start, b_end, is_next = blocks.T
    outside = (a_start < 0) | (a_start >= a_end) | (b_start < 0) | (b_start >= b_end)
    outside = outside | (np.maximum(a_end, b_end) > len(part.tokens))
    if outside.any():
        return _first(outside, blocks, "expected two stretches of tokens in a pair")
    longest = (config["max_tokens"] - PAIR_SPECIALS) // 2
    cut = np.asarray(_inside_sentences(part, blocks[:, :4].ravel(), longest).reshape(-1, 4).any(axis=1))
    a_document, b_document = (np.searchsorted(part.document_ends, start, side="right") for start in (a_start, b_start))
    crossing = (part.document_ends[a_document] < a_end) | (part.document_ends[b_document] < b_end)
    same = a_document == b_document
    wrong: npt.NDArray[np.bool_] = np.where(is_next == 1, ~same | (b_start != a_end), same | (is_next != 0))
    if config["format"] == "sentence-pair":
        for start, end in ((a_start, a_end), (b_start, b_end)):
            cut |= (count_inside(part.sentence_ends, start, end) > 0) | (end - start > longest)
    for flags, expected in (
        (cut, "expected whole sentences in a pair"),
        (crossing, "expected each half of a pair in one document"),
        (wrong, "expected halves that follow each other where is_next is 1, of two documents where it is 0, in a pair"),
    ):
        if flags.any():
            return _first(flags, blocks, expected)
    return ""


def _first(flags: npt.NDArray[np.bool_], blocks: Int64, expected: str) -> str:
    place = int(np.flatnonzero(flags)[0])
    return f"{expected}; found {blocks[place].tolist()} in block {place}"


def _inside_sentences(part: TokenPart, positions: Int64, longest: int) -> npt.NDArray[np.bool_]:
    """Which positions are neither between two sentences nor where a sentence of more than `longest` tokens is cut."""
    ends = np.concatenate([[0], part.sentence_ends])
    behind = np.searchsorted(ends, positions, side="left")  # the first end at or behind the position
    into = positions - ends[np.maximum(behind - 1, 0)]
    return np.asarray((ends[behind] != positions) & (into % longest != 0))


def _ledger_problems(index: Index, folder: Path, split: str) -> list[str]:
    """Counts of a split that are not those in the ledger."""
    found: Counter[str] = Counter()
    for part in index.parts:
        found.update(part.counts(index.manifest.config["separator"]))
    told = index.manifest.ledger.row(index.manifest.stage, split).other
    return [
        f"{folder}: expected {told.get(name, 0)} {name} in {split} as in the ledger; found {number}"
        for name, number in sorted(found.items()) if number != told.get(name, 0)
    ]
