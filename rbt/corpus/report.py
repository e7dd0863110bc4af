"""What a build says at its end: unreadable records, each source's share of duplicates, dropped templates by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rbt.corpus.config import SourceConfig
from rbt.corpus.removed import STAGE
from rbt.errors import InputError
from rbt.formats import quarantine, removals
from rbt.formats.parts import read_batches, rebatch, write_table
from rbt.ledger import Ledger

TEMPLATE, NAMED_TEMPLATES = "template:", 1000  # prefix of a count in the ledger; how many are named


def check_duplicates(sources: Sequence[SourceConfig], ledger: Ledger, work: Path) -> None:
    """Stop a build whose deduplication eats a source. Raises InputError, which says how to see pairs in `work`."""
    for source in sources:
        row = ledger.row(STAGE, source.label)
        lost = sum(amount.documents for amount in row.dropped.values())
        documents = max(row.incoming.documents, 1)
        if lost / documents > source.maximum_duplicates:
            rules = ", ".join(f"{rule} {amount.documents}" for rule, amount in sorted(row.dropped.items()))
            raise InputError(
                f"source {source.label!r}: expected deduplication to remove at most {source.maximum_duplicates:.0%}",
                found=f"{lost} of {documents} documents ({rules})",
                cure=f"`rbt corpus duplicates --corpus {work} --source {source.label}` shows some beside what is kept, "
                f"{removals.NAME} in that folder names each; if that is right, raise `maximum_duplicates` of this "
                "[[source]]",
            )


def write_quarantined(tasks: Sequence[str], ingested: Path, path: Path) -> None:
    """Join the tasks' quarantine tables."""
    batches = (
        batch for task in tasks for batch in read_batches(ingested / f"{task}.quarantine.arrow", quarantine.SCHEMA)
    )
    write_table(path, rebatch(batches), quarantine.SCHEMA)


def name_the_most_frequent(ledger: Ledger, sources: Sequence[str]) -> None:
    """Keep the counts of the most frequent dropped templates by name, and join those of the others."""
    for source in sources:
        counts = ledger.row("extract", source).other
        names = sorted((name for name in counts if name.startswith(TEMPLATE)), key=lambda name: (-counts[name], name))
        if others := sum(counts.pop(name) for name in names[NAMED_TEMPLATES:]):
            ledger.row("extract", source).count(f"{TEMPLATE}(other)", others)
