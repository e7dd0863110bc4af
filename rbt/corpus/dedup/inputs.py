"""What deduplication is given: new documents, what is known of older ones, and the numbers that order them all.

    numbers    0 ................................................................ documents
               other corpora (--against)   older generations   new parts
    priority   highest                                          lowest

A document's number in a run is its priority. Numbers that are stored (in signatures) leave the other corpora out, so
that they mean the same with and without --against: stored = number - `Known.others`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ingested:
    """One ingested part: documents of `document.SCHEMA`, numbered first_number, first_number + 1, ... in file order.

    `rows_path` is a .npy of int64 row numbers, ascending: the documents that passed the filters. `cuts`: files of what
    is cut out of their texts, and their hashes (see `rbt.corpus.cuts`). Parts come in the order of their numbers.
    """

    name: str
    path: Path
    hash: str  # of the file's content
    rows_path: Path
    rows_hash: str
    first_number: int
    documents: int  # in the file, those that did not pass included
    bytes: int  # of text, for the progress bar
    cuts: tuple[tuple[Path, str], ...] = ()

    @property
    def cut_paths(self) -> list[str]:
        """Where the cuts are, as JSON for a task's context."""
        return [str(path) for path, _ in self.cuts]

    @property
    def cut_hashes(self) -> list[str]:
        """What the cuts are."""
        return [hash for _, hash in self.cuts]


@dataclass(frozen=True)
class KnownPart:
    """A part of a finished corpus, with its signatures; `path` is None for the signatures of removed documents.

    A signature's `number` and this part's `shift` make the document's number in this run.
    """

    name: str  # unique among the known parts of a run
    path: Path | None
    hash: str  # of the documents
    signatures: Path
    signatures_hash: str
    documents: int
    shift: int
    corpus: str = ""  # name of the other corpus it belongs to, whose ids mean nothing here; "": an older generation


@dataclass(frozen=True)
class Known:
    """What new documents are compared with: parts of older generations and of other corpora, in order of number.

    `others`: how many numbers the other corpora take, from 0; `base`: the first number of a new document.
    """

    parts: tuple[KnownPart, ...] = ()
    others: int = 0
    base: int = 0


NOTHING_KNOWN = Known()


@dataclass(frozen=True)
class Numbering:
    """Document numbers as positions 0, 1, 2, ...: numbers may have gaps between stretches, arrays have none."""

    firsts: Int64 = field(repr=False)
    shifts: Int64 = field(repr=False)
    documents: int  # positions in all

    @classmethod
    def of(cls, known: Known, ingested: Sequence[Ingested]) -> Numbering:
        """The numbering of a run: what is known is one stretch from 0, each new part is another."""
        stretches = [(0, known.base)] if known.base else []
        stretches += [(part.first_number, part.documents) for part in ingested]
        counts = np.array([count for _, count in stretches], dtype=np.int64)
        firsts = np.array([first for first, _ in stretches], dtype=np.int64)
        ends = np.cumsum(counts)
        return cls(firsts, ends - counts - firsts, int(counts.sum()))

    def positions(self, numbers: Int64) -> Int64:
        """Positions of document numbers."""
        stretches = np.searchsorted(self.firsts, numbers, side="right") - 1
        return numbers + self.shifts[stretches]

    def table(self) -> dict[str, list[int] | int]:
        """As JSON, for a task's context."""
        return {"firsts": self.firsts.tolist(), "shifts": self.shifts.tolist(), "documents": self.documents}

    @classmethod
    def from_table(cls, table: dict[str, list[int] | int]) -> Numbering:
        """Read back what `table` wrote."""
        firsts, shifts = (np.array(table[name], dtype=np.int64) for name in ("firsts", "shifts"))
        documents = table["documents"]
        assert isinstance(documents, int)
        return cls(firsts, shifts, documents)


NO_NUMBERING = Numbering(np.empty(0, np.int64), np.empty(0, np.int64), 0)  # where nothing is flagged
