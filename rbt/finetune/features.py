"""Examples as token sequences, in memory, in the order of their file.

    examples ──texts──> encoder of `packing`, a thread a core ──ids of each text──> pieces ──specials──> Features

A unit is what is trained on and scored as one: a sentence or pair, the options of a question, a window of a passage.
It has one sequence, or several that are compared with each other. What kinds of tasks make of an example is in their
modules: `sentences`, `choices`, `spans`, `pronouns`.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.formats.tokenizer import BOS, EOS
from rbt.packing.encode import Encoded, Encoder
from rbt.trainer.order import Int64

NO_TARGET = float("nan")  # where the answer is not known: no number, as any may be a score
Float64 = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Features:
    """A split of a task, encoded. Unit u is the sequences [unit_edges[u], unit_edges[u + 1])."""

    ids: Int64  # (tokens,)
    edges: Int64  # (sequences + 1,): sequence s is ids[edges[s]:edges[s + 1]]
    unit_edges: Int64  # (units + 1,)
    targets: Float64  # (units, n): a class, a score, an option, or a span's first and last token; NO_TARGET: unknown
    width: int  # scores of a unit
    details: Any = None  # what else a kind needs to make predictions of scores, see its module

    @property
    def num_units(self) -> int:
        """Units of the split."""
        return len(self.unit_edges) - 1

    @property
    def has_target(self) -> Bools:
        """Whether the answer of each unit is known, (units,)."""
        return np.asarray(~np.isnan(self.targets).any(axis=1), dtype=np.bool_)

    @cached_property
    def longest(self) -> Int64:
        """Tokens of each unit's longest sequence, (units,)."""
        lengths = np.diff(self.edges)
        return np.maximum.reduceat(lengths, self.unit_edges[:-1]) if self.num_units else lengths

    @cached_property
    def counts(self) -> Int64:
        """Sequences of each unit, (units,)."""
        return np.diff(self.unit_edges)

    @cached_property
    def unit_tokens(self) -> Int64:
        """Tokens of each unit's longest sequence times its sequences, (units,): what it costs with padding."""
        return np.asarray(self.longest * self.counts)


class Texts:
    """The token ids of many texts, and where each token ends in its text."""

    def __init__(self, parts: Sequence[Encoded]) -> None:
        self._parts, self._first = parts, np.cumsum([0, *(len(part.text_ends) for part in parts)])

    def _place(self, text: int) -> tuple[Encoded, int, int]:
        number = int(np.searchsorted(self._first, text, side="right")) - 1
        part, local = self._parts[number], text - int(self._first[number])
        return part, int(part.text_ends[local - 1]) if local else 0, int(part.text_ends[local])

    def ids(self, text: int) -> Int64:
        """Token ids of a text, (tokens,)."""
        part, start, end = self._place(text)
        return part.ids[start:end].astype(np.int64)

    def byte_ends(self, text: int) -> Int64:
        """Bytes of the text up to the end of each token, (tokens,)."""
        part, start, end = self._place(text)
        return part.byte_ends[start:end]


def encode_texts(tokenizer: Path, texts: Sequence[str], threads: int = 1) -> Texts:
    """Encode texts, each by itself, with the tokenizer of a folder. Raises ArtefactError."""
    count = max(1, min(threads, len(texts)))
    cuts = [number * len(texts) // count for number in range(count + 1)]
    parts = [pa.array(texts[start:end], pa.large_string()) for start, end in pairwise(cuts)]
    with ThreadPoolExecutor(count) as pool:
        return Texts(list(pool.map(lambda part: Encoder(tokenizer).encode(part), parts)))


def shortened(first: Int64, second: Int64, room: int) -> tuple[Int64, Int64]:
    """Two texts cut at their ends, the longer one first, until they have at most `room` tokens."""
    over = max(0, len(first) + len(second) - max(0, room))
    from_longer = min(over, abs(len(first) - len(second)))
    cuts = [0, 0]
    cuts[len(second) > len(first)] += from_longer
    cuts[0] += (over - from_longer + 1) // 2
    cuts[1] += (over - from_longer) // 2
    return first[: len(first) - cuts[0]], second[: len(second) - cuts[1]]


def joined(*texts: Int64) -> list[Int64]:
    """The pieces of <s> A </s>, or of <s> A </s> </s> B </s>."""
    bos, eos = np.array([BOS]), np.array([EOS])
    pieces = [bos, texts[0], eos]
    for text in texts[1:]:
        pieces += [eos, text, eos]
    return pieces


def make_features(
    units: Sequence[Sequence[Sequence[Int64]]], targets: Float64, width: int, details: Any = None
) -> Features:
    """Features of units, each of which is sequences, each of which is pieces of token ids."""
    sequences = list(chain.from_iterable(units))
    lengths = [sum(map(len, pieces)) for pieces in sequences]
    by_unit = targets if targets.ndim == 2 else targets[:, None]
    ids = np.concatenate([np.empty(0, dtype=np.int64), *chain.from_iterable(sequences)])
    unit_edges = np.cumsum([0, *map(len, units)])
    return Features(ids, np.cumsum([0, *lengths]), unit_edges, by_unit, width, details)
