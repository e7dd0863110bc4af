"""Selection: in the order of priority, a document goes if a verified neighbor of higher priority was kept.

    edges by (b, a) ──greedy──> what each removed document is removed for ──> <part>.removals.arrow

It names the kept neighbor with the highest similarity, of equals the one of the highest priority. A copy of a text has
the neighbors of the first document with that text: it goes for that document or, where that one went itself, for the
most similar of its kept neighbors, among which are now those between the first document and the copy.
Memory: one byte a document, the copies with their edges, and what is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from rbt.corpus.dedup.arrays import Int64, is_member
from rbt.corpus.dedup.sign import Ingested
from rbt.corpus.dedup.verify import EDGE_SCHEMA
from rbt.errors import ArtefactError
from rbt.formats.parts import read_batches, write_table
from rbt.kernels import kernel

DUPLICATE_ID, EXACT, NEAR = "duplicate_id", "exact_duplicate", "near_duplicate"
RULES = (DUPLICATE_ID, EXACT, NEAR)
REMOVAL_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),  # in the ingested part
        ("rule", pa.string()),
        ("kept_number", pa.int64()),  # of a kept document; -1 for a repeated id
        ("jaccard", pa.float64()),  # with it; null for a repeated id
    ]
)
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Removals:
    """Removed documents by ascending number: rule is a place in RULES; kept -1 and jaccard NaN for a repeated id."""

    number: Int64
    rule: npt.NDArray[np.int8]
    kept: Int64
    jaccard: Float64


class Positions:
    """Document numbers as positions 0, 1, 2, ... over all parts (numbers may have gaps between parts)."""

    def __init__(self, ingested: Sequence[Ingested]) -> None:
        self.firsts = np.array([part.first_number for part in ingested], dtype=np.int64)
        self._shift = np.cumsum([0, *(part.documents for part in ingested)])[:-1] - self.firsts
        self.documents = sum(part.documents for part in ingested)

    def of(self, numbers: Int64) -> Int64:
        """Positions of document numbers."""
        parts = np.searchsorted(self.firsts, numbers, side="right") - 1
        return numbers + self._shift[parts]


def select(
    ingested: Sequence[Ingested], repeated_ids: Int64, copies: Int64, edges: Sequence[Path], threshold: float
) -> Removals:
    """Decide. `repeated_ids` int64 (n,); `copies` int64 (2, m), document and first of its text, by document; `edges`:
    files of EDGE_SCHEMA that are in order of b. Raises ArtefactError where the result breaks the rule."""
    positions = Positions(ingested)
    is_removed = np.zeros(positions.documents, dtype=np.bool_)
    is_removed[positions.of(repeated_ids)] = True
    near, between = _select_near(positions, is_removed, edges, np.unique(copies[1]))
    copied = _follow(copies, near, between)
    is_removed[positions.of(copied.number)] = True
    count = len(repeated_ids)
    ids = Removals(
        repeated_ids, np.zeros(count, np.int8), np.full(count, -1, np.int64), np.full(count, np.nan, np.float64)
    )
    removals = _join([ids, near, copied])
    _check(removals, positions, is_removed, threshold)
    return removals


def _join(parts: Sequence[Removals]) -> Removals:
    number, rule, kept, jaccard = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("number", "rule", "kept", "jaccard")
    )
    order = np.argsort(number, kind="stable")
    return Removals(number[order], rule[order], kept[order], jaccard[order])


Edges = tuple[Int64, Int64, Float64]  # (b, a, jaccard)


def _select_near(
    positions: Positions, is_removed: Bool, files: Iterable[Path], firsts: Int64
) -> tuple[Removals, Edges]:
    """(near duplicates removed, edges from a kept b to a removed a that has copies: a is in `firsts`)."""
    taken: list[Edges] = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float64))]
    between = taken.copy()
    for path in files:
        for b, a, jaccard in _edge_columns(path):
            chosen = choose(positions.of(b), positions.of(a), jaccard, is_removed)
            taken.append((b[chosen], a[chosen], jaccard[chosen]))
            serves = is_removed[positions.of(a)] & ~is_removed[positions.of(b)] & is_member(a, firsts)
            between.append((b[serves], a[serves], jaccard[serves]))
    number, kept, similarity = _concatenate(taken)
    rule = np.full(len(number), RULES.index(NEAR), dtype=np.int8)
    return Removals(number, rule, kept, similarity), _concatenate(between)


def _concatenate(edges: Sequence[Edges]) -> Edges:
    b, a, jaccard = zip(*edges, strict=True)
    return np.concatenate(b), np.concatenate(a), np.concatenate(jaccard)


def _edge_columns(path: Path) -> Iterator[Edges]:
    """Columns of a whole file: a document's edges must be seen together, and a bucket is of bounded size."""
    batches = list(read_batches(path, EDGE_SCHEMA))
    if batches:
        yield tuple(  # type: ignore[misc]
            np.concatenate([batch.column(name).to_numpy() for batch in batches]) for name in EDGE_SCHEMA.names
        )


@kernel
def choose(b: Int64, a: Int64, jaccard: Float64, is_removed: Bool) -> Int64:
    """Go through edges sorted by (b, a), positions int64 (n,); set `is_removed` of each b that has a kept a.

    Returns for each removed b, in order, the place of its edge of highest Jaccard to a kept a (of equals the first).
    """
    chosen = np.empty(len(b), dtype=np.int64)
    count = 0
    start = 0
    while start < len(b):
        best = -1
        stop = start
        while stop < len(b) and b[stop] == b[start]:
            if not is_removed[a[stop]] and (best < 0 or jaccard[stop] > jaccard[best]):
                best = stop
            stop += 1
        if best >= 0:
            is_removed[b[start]] = True
            chosen[count] = best
            count += 1
        start = stop
    return chosen[:count]


def _follow(copies: Int64, near: Removals, between: Edges) -> Removals:
    """What copies are removed for: the first document of their text or, where that one went, its best neighbor."""
    number, first = copies[:, np.lexsort((copies[0], copies[1]))]
    rule = np.full(len(number), RULES.index(EXACT), dtype=np.int8)
    kept, jaccard = first.copy(), np.ones(len(number), dtype=np.float64)
    gone = is_member(first, near.number)
    place = np.searchsorted(near.number, first[gone])
    rule[gone] = RULES.index(NEAR)
    b, a, similarity = between
    order = np.lexsort((b, a))
    kept[gone], jaccard[gone] = improve(
        number[gone], first[gone], near.kept[place], near.jaccard[place], b[order], a[order], similarity[order]
    )
    return Removals(number, rule, kept, jaccard)


@kernel
def improve(
    number: Int64, first: Int64, kept: Int64, jaccard: Float64, b: Int64, a: Int64, similarity: Float64
) -> tuple[Int64, Float64]:
    """The best kept neighbor of each copy: (kept, jaccard), of the shape of `number`.

    Copies (number, and first of the text) come by (first, number) with what their first was removed for; edges of
    those firsts `a` to kept documents `b` behind them by (a, b). An edge serves the copies behind its b.
    """
    best_kept, best_jaccard = kept.copy(), jaccard.copy()
    edge = 0
    for copy in range(len(number)):
        if copy and first[copy] == first[copy - 1]:
            best_kept[copy], best_jaccard[copy] = best_kept[copy - 1], best_jaccard[copy - 1]
        while edge < len(b) and (a[edge] < first[copy] or (a[edge] == first[copy] and b[edge] < number[copy])):
            if a[edge] == first[copy] and similarity[edge] > best_jaccard[copy]:
                best_kept[copy], best_jaccard[copy] = b[edge], similarity[edge]
            edge += 1
    return best_kept, best_jaccard


def _check(removals: Removals, positions: Positions, is_removed: Bool, threshold: float) -> None:
    """The rule, asserted on the result of every run."""
    named = removals.kept[removals.rule != RULES.index(DUPLICATE_ID)]
    similar = removals.jaccard[removals.rule != RULES.index(DUPLICATE_ID)]
    broken = {
        "every document removed at most once": len(removals.number) != np.count_nonzero(is_removed),
        "every removed document to name a kept one": bool(is_removed[positions.of(named)].any()),
        f"every removed document to be at least {threshold} similar": bool((similar < threshold).any()),
    }
    for expected, is_broken in broken.items():
        if is_broken:
            raise ArtefactError(
                f"deduplication: expected {expected}", found="otherwise", cure="delete work/ and run again; report this"
            )


def write_removals(part: Ingested, removals: Removals, path: Path) -> int:
    """Write the removals of one part by row; how many they are."""
    low, high = np.searchsorted(removals.number, [part.first_number, part.first_number + part.documents])
    jaccard: Any = removals.jaccard[low:high]
    columns = [
        pa.array(removals.number[low:high] - part.first_number),
        pa.array([RULES[rule] for rule in removals.rule[low:high]], pa.string()),
        pa.array(removals.kept[low:high]),
        pa.array(jaccard, mask=np.isnan(jaccard)),
    ]
    batches = [pa.RecordBatch.from_arrays(columns, schema=REMOVAL_SCHEMA)] if low < high else []
    write_table(path, batches, REMOVAL_SCHEMA)
    return int(high - low)
