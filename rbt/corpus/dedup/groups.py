"""Groups: documents that share a key, as pairs of each with the first of its group.

    runs of (key, number) ──one range of keys a task──> pieces ──group──> pairs (b, a), a of higher priority

Used three times: for ids and texts (`limit` = 1: a document and the first one with its id, its text), and for band
keys: every member meets its group's first `limit` members by priority, and the pairs beyond are counted.

Memory is bounded whatever the keys are. A range that holds more than PIECE_ROWS splits itself, down to one key; the
group of one key is read twice, once for its first members, once for the pairs. Pairs are made CHUNK_PAIRS at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from rbt.corpus.dedup.arrays import Bool, Int64, chunk_ends, key_ranges, open_array, open_range
from rbt.corpus.dedup.inputs import Numbering
from rbt.engine import Engine
from rbt.formats.arrays import Array, write_array
from rbt.kernels import kernel
from rbt.manifest import fingerprint
from rbt.stage import Receipt, Task, TaskOutput, run_tasks
from rbt.storage import hash_file

VERSION = 2
PARTITION_BYTES = 64 << 20  # of runs: the expected size of a task's range
PIECE_ROWS = 1 << 23  # keys that are grouped at a time: about half a gigabyte
READ_ROWS = 1 << 20  # keys that are read at a time where a range is split
CHUNK_PAIRS = 1 << 22
SPLIT_BITS = 8  # a range that is too large is counted in so many bits' worth of smaller ones
Runs = Sequence[tuple[Path, str]]  # (path, content hash)


def find_groups(
    stage: str, runs: Runs, limit: int, numbering: Numbering, base: int, flags: dict[str, Path], folder: Path,
    engine: Engine, *, by_first: bool = False,
) -> list[Receipt]:
    """All pairs of a kind of key, in files int64 (2, n) of rows (b, a) sorted by (b, a), with no repeats inside a file;
    `by_first`: rows (a, b), sorted by (a, b). Results `pairs`, `pairs_not_compared`.

    flags["left_out"], if there: documents that take no part; flags["not_first"]: those whose pairs are of no use as a.
    `base`: pairs of documents b before this number are not made.
    """
    size = sum(path.stat().st_size for path, _ in runs)
    made_of = {"runs": fingerprint([hash for _, hash in runs]), "base": base, "limit": limit, "by_first": by_first}
    made_of |= {name: hash_file(path) for name, path in flags.items()}
    context = {
        "runs": [str(path) for path, _ in runs], "numbering": numbering.table(),
        "flags": {name: str(path) for name, path in flags.items()},
    }
    tasks = [
        Task(f"{number:05d}", {**made_of, "low": low, "high": high}, context=context)
        for number, (low, high) in enumerate(key_ranges(-(-size // PARTITION_BYTES)) if runs else ())
    ]
    return run_tasks(stage, VERSION, {}, tasks, pair_range, folder, engine, unit="range")


def pair_range(task: Task, folder: Path) -> TaskOutput:
    """The task: the pairs of one range of keys."""
    reader = KeyReader(task)
    limit, base = task.payload["limit"], task.payload["base"]
    names: list[str] = []
    pairs = beyond = 0
    for chunk, missed in reader.pairs(limit, base):
        beyond += missed
        if chunk.shape[1]:
            names.append(f"{task.name}-{len(names):05d}.npy")
            unique = sorted_pairs(chunk[::-1] if task.payload["by_first"] else chunk)
            write_array(folder / names[-1], unique)
            pairs += unique.shape[1]
    return TaskOutput(names, result={"pairs": pairs, "pairs_not_compared": beyond})


class KeyReader:
    """The keys of a task's range: uint64 (k, n) with int64 (n,) numbers, without the documents left out."""

    def __init__(self, task: Task) -> None:
        payload, context = task.payload, task.context
        self.low, self.high = payload["low"], payload["high"]
        self._views = [open_range(Path(path), self.low, self.high) for path in context["runs"]]
        self._numbering = Numbering.from_table(context["numbering"])
        self._flags = {name: open_array(Path(path)) for name, path in context["flags"].items()}

    def pairs(self, limit: int, base: int) -> Iterator[tuple[Int64, int]]:
        """Pairs (2, n) of b and a, CHUNK_PAIRS or a few more at a time, with the number of those not made."""
        for low, high in self._pieces(self.low, self.high, sum(view.shape[1] for view in self._views)):
            made = self._pairs_of_one_key(low, limit, base) if high - low == 1 else self._pairs(low, high, limit, base)
            for chunk, missed in made:
                yield chunk[:, ~self._is("not_first", chunk[1])], missed

    def _pieces(self, low: int, high: int, rows: int) -> Iterator[tuple[int, int]]:
        """Cut [low, high) into ranges of at most PIECE_ROWS keys, or of one key."""
        if rows <= PIECE_ROWS or high - low == 1:
            yield low, high
            return
        width = max(1, (high - low) >> SPLIT_BITS)
        counts = np.zeros(-(-(high - low) // width), dtype=np.int64)
        for keys, _ in self._read(low, high):
            places = (keys[0] - np.uint64(low)) // np.uint64(width)
            counts += np.bincount(places.astype(np.int64), minlength=len(counts))
        start = held = 0
        for place, count in enumerate([*counts.tolist(), PIECE_ROWS + 1]):
            if held and held + count > PIECE_ROWS:
                yield from self._pieces(low + start * width, min(low + place * width, high), held)
                held = 0
            if not held:  # empty ranges belong to no piece
                start = place
            held += count

    def _read(self, low: int, high: int) -> Iterator[tuple[Array, Int64]]:
        """(keys, numbers) of [low, high), READ_ROWS at most at a time."""
        for view in self._views:
            for start in range(0, view.shape[1], READ_ROWS):
                columns = view[:, start : start + READ_ROWS]
                if (low, high) != (self.low, self.high):
                    columns = columns[:, (columns[0] >= np.uint64(low)) & (columns[0] <= np.uint64(high - 1))]
                numbers = columns[-1].astype(np.int64)
                stays = ~self._is("left_out", numbers)
                yield columns[:-1, stays], numbers[stays]

    def _is(self, flag: str, numbers: Int64) -> Bool:
        if flag not in self._flags:
            return np.zeros(len(numbers), dtype=np.bool_)
        flags: Bool = self._flags[flag][self._numbering.positions(numbers)]
        return flags

    def _pairs(self, low: int, high: int, limit: int, base: int) -> Iterator[tuple[Int64, int]]:
        pieces = list(self._read(low, high))
        if not pieces:
            return
        keys, numbers = (np.concatenate(part, axis=-1) for part in zip(*pieces, strict=True))
        shared = maybe_shared(np.ascontiguousarray(keys[0]))
        keys, numbers = keys[:, shared], numbers[shared]
        order = np.lexsort((numbers, *keys[::-1]))
        keys, numbers = keys[:, order], numbers[order]
        yield from _pair_chunks(numbers, first_of_groups(keys), limit, base)

    def _pairs_of_one_key(self, key: int, limit: int, base: int) -> Iterator[tuple[Int64, int]]:
        """The same where all share the first row of their keys: the second, if there is one, tells groups apart."""
        heads: dict[int, Int64] = {}
        members: dict[int, tuple[int, int]] = {}  # of each group: all, those before `base`
        for group, numbers in self._read_groups(key):
            heads[group] = np.sort(np.concatenate([heads.get(group, numbers[:0]), numbers]))[:limit]
            count, known = members.get(group, (0, 0))
            members[group] = count + len(numbers), known + int((numbers < base).sum())
        missed = sum(_pairs_beyond(count, limit) - _pairs_beyond(known, limit) for count, known in members.values())
        yield np.empty((2, 0), np.int64), missed
        for group, numbers in self._read_groups(key):
            numbers = numbers[numbers >= base]
            for start in range(0, len(numbers), max(1, CHUNK_PAIRS // limit)):
                b = np.repeat(numbers[start : start + max(1, CHUNK_PAIRS // limit)], len(heads[group]))
                a = np.tile(heads[group], len(b) // len(heads[group]))
                yield np.stack([b, a])[:, a < b], 0

    def _read_groups(self, key: int) -> Iterator[tuple[int, Int64]]:
        for keys, numbers in self._read(key, key + 1):
            for group in np.unique(keys[-1]).tolist():
                yield group, numbers[keys[-1] == group]


def _pairs_beyond(members: int, limit: int) -> int:
    """Pairs of a group that its members beyond the first `limit` do not make."""
    return max(members - limit, 0) * max(members - limit - 1, 0) // 2


@kernel
def maybe_shared(keys: npt.NDArray[np.uint64]) -> Int64:
    """Places of all keys that occur more than once, and of a few that do not: int64, ascending.

    Nearly all band keys occur once: a table of two bits a slot, by the key's low bits, tells without sorting.
    """
    slots = 16
    while slots < 8 * len(keys):
        slots *= 2
    seen = np.zeros(slots, dtype=np.uint8)
    mask = np.uint64(slots - 1)
    for place in range(len(keys)):
        slot = np.int64(keys[place] & mask)
        seen[slot] = min(np.uint8(2), np.uint8(seen[slot] + 1))
    count = 0
    for place in range(len(keys)):
        count += seen[np.int64(keys[place] & mask)] > 1
    places = np.empty(count, dtype=np.int64)
    count = 0
    for place in range(len(keys)):
        if seen[np.int64(keys[place] & mask)] > 1:
            places[count] = place
            count += 1
    return places


def first_of_groups(keys: Array) -> Bool:
    """Which columns of sorted keys (rows, n) differ from the one before."""
    is_first = np.ones(keys.shape[1], dtype=np.bool_)
    is_first[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    return is_first


def _pair_chunks(numbers: Int64, is_first: Bool, limit: int, base: int) -> Iterator[tuple[Int64, int]]:
    """Pairs (2, n) of each member with the first `limit` of its group before it, cut at whole members."""
    places = np.arange(len(is_first), dtype=np.int64)
    ranks = places - np.maximum.accumulate(np.where(is_first, places, 0))
    is_new = numbers >= base
    yield np.empty((2, 0), np.int64), int(np.maximum(ranks - limit, 0)[is_new].sum())
    counts = np.where(is_new, np.minimum(ranks, limit), 0)
    ends = np.cumsum(counts)
    for start, stop in chunk_ends(counts, CHUNK_PAIRS):
        done = ends[start - 1] if start else 0
        members = np.repeat(places[start:stop], counts[start:stop])
        partners = np.arange(len(members)) - np.repeat(ends[start:stop] - counts[start:stop] - done, counts[start:stop])
        yield np.stack([numbers[members], numbers[members - ranks[members] + partners]]), 0


def sorted_pairs(pairs: Array) -> Int64:
    """Pairs int64 (2, n) sorted by the first row, then the second, each once."""
    frame = pl.DataFrame({"first": pairs[0], "second": pairs[1]}).unique().sort("first", "second")
    return np.stack([frame["first"].to_numpy(), frame["second"].to_numpy()])
