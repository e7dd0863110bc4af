"""What of an ingested part passes from stage to stage until deduplication: which documents, and which of their text.

    filter ──> Passed ──decontaminate──> Passed ──cut_paragraphs──> Passed ──> deduplication, writing

No stage copies text. A stage drops rows and cuts stretches out of texts; whoever reads the part applies the cuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rbt.stage import Receipt


@dataclass(frozen=True)
class Passed:
    """One ingested part after some stages.

    Files with a hash are .npy: rows int64 (n,), ascending; sizes int64 (n,), their text bytes after all cuts; cuts
    int64 (3, m), applied one file after the other.
    """

    name: str
    source: str
    part: Path  # every document, as it was ingested
    part_hash: str
    documents: int  # in the part
    bytes: int  # of text in the part
    rows: Path
    rows_hash: str
    sizes: Path
    sizes_hash: str
    cuts: tuple[tuple[Path, str], ...]
    removed: tuple[Path, ...]  # tables of removals.SCHEMA: what each stage dropped

    @property
    def cut_paths(self) -> list[str]:
        """Where the cuts are, as JSON for a task's context."""
        return [str(path) for path, _ in self.cuts]

    @property
    def hashes(self) -> list[str]:
        """What names the texts that pass: hashes of the part, its rows and its cuts."""
        return [self.part_hash, self.rows_hash, *(hash for _, hash in self.cuts)]


def pass_filter(
    ingested: Sequence[Receipt], filtered: Sequence[Receipt], sources: Sequence[str], work: Path
) -> list[Passed]:
    """What the filter's receipts say, part by part."""
    return [
        Passed(
            part.task, source, work / "ingest" / part.files[0].path, part.files[0].hash, part.result["documents"],
            part.result["bytes"], *_record(kept, 0, work), *_record(kept, 1, work), (),
            (work / "filter" / kept.files[2].path,),
        )
        for part, kept, source in zip(ingested, filtered, sources, strict=True)
    ]


def _record(receipt: Receipt, place: int, work: Path) -> tuple[Path, str]:
    record = receipt.files[place]
    return work / "filter" / record.path, record.hash
