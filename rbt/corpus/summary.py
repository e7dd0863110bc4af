"""What `rbt corpus build` says at its end: the ledger by source, and how much of the paper's corpora that is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rbt.corpus.contamination import REPORT, contamination_table
from rbt.formats.audit import RULES
from rbt.manifest import Manifest, read_json


@dataclass(frozen=True)
class PaperFigure:
    """What the paper says of some kinds of source together (arXiv 1907.11692, section 3.2)."""

    kinds: tuple[str, ...]
    gigabytes: float  # uncompressed text
    documents: int = 0  # 0: not said
    noun: str = ""


PAPER = (
    PaperFigure(("bookcorpus", "wikipedia"), 16),
    PaperFigure(("ccnews",), 76, 63_000_000, "articles"),
    PaperFigure(("openwebtext",), 38),
    PaperFigure(("stories",), 31),
)


PREFIXES = (("G", 1e9), ("M", 1e6), ("k", 1e3), ("", 1))


def corpus_summary(out: Path, manifest: Manifest) -> list[str]:
    """The lines to print."""
    facts = manifest.facts
    total = f"{facts['documents']:,} documents, {facts['bytes'] / 1e6:,.2f} MB of text in {len(facts['parts'])} part(s)"
    return [
        *ledger_table(manifest), *audit_line(manifest), *contamination_lines(out, manifest),
        *against_the_paper(manifest),
        f"{out}: {total}; every record is accounted for in {out / 'ledger.json'}",
    ]


def contamination_lines(out: Path, manifest: Manifest) -> list[str]:
    """What a corpus had of evaluation sets, where it was decontaminated."""
    if all(record.path != REPORT for record in manifest.files):
        return []
    return contamination_table(read_json(out / REPORT))


def ledger_table(manifest: Manifest) -> list[str]:
    """One line a source: what was read, kept, and dropped by which rule."""
    lines = [f"{'source':<14}{'read':>9}{'kept':>9}{'MB kept':>10}  dropped"]
    sources = dict.fromkeys(name for _, name, _ in manifest.ledger if name)  # in the recipe's order
    for source in sources:
        rows = [row for _, name, row in manifest.ledger if name == source]
        dropped: dict[str, int] = {}
        for row in rows:
            for rule, amount in row.dropped.items():
                dropped[rule] = dropped.get(rule, 0) + amount.documents
        words = ", ".join(f"{rule} {number:,}" for rule, number in sorted(dropped.items(), key=lambda item: -item[1]))
        kept = rows[-1].outgoing
        lines.append(
            f"{source:<14}{rows[0].incoming.documents:>9,}{kept.documents:>9,}{kept.bytes / 1e6:>10,.2f}  {words}"
        )
    return lines


def audit_line(manifest: Manifest) -> list[str]:
    """How many of deduplication's removals were looked at again, and how many are right; nothing where it has none."""
    rows = [(source, row) for stage, source, row in manifest.ledger if stage == "deduplicate"]
    counts = next((row.other for source, row in rows if not source), {})
    if "precision_sampled" not in counts:
        return []
    total = sum(
        row.dropped[rule].documents for _, row in rows for rule in RULES if rule in row.dropped
    )
    sampled, right = counts["precision_sampled"], counts["precision_confirmed"]
    line = f"deduplication: {sampled:,} of {total:,} removals looked at again: {right:,} right"
    if sampled < total:
        lower = f"{counts['precision_lower_ppm'] // 100 / 1e4:.4f}".removeprefix("0")
        line += f" (precision at least {lower}, 95 % interval)"
    return [line]


def against_the_paper(manifest: Manifest) -> list[str]:
    """One line for each of the paper's corpora that the recipe has sources of."""
    lines = []
    for figure in PAPER:
        found = [source for source in manifest.facts["sources"].values() if source["kind"] in figure.kinds]
        if not found:
            continue
        size, documents = (sum(source[key] for source in found) for key in ("bytes", "documents"))
        share = f"{amount(size, 'B')} of {figure.gigabytes:g} GB, {percent(size / 1e9 / figure.gigabytes)}"
        if figure.documents:
            of_documents = percent(documents / figure.documents)
            share += f"; {amount(documents)} of {amount(figure.documents)} {figure.noun}, {of_documents}"
        kinds = [kind for kind in figure.kinds if any(source["kind"] == kind for source in found)]
        missing = "" if len(kinds) == len(figure.kinds) else f" (the figure is {' and '.join(figure.kinds)} together)"
        lines.append(f"of the paper's {' and '.join(kinds)}: {share}{missing}")
    return lines


def amount(number: float, unit: str = "") -> str:
    """A number to two digits with its unit: 0.71 M, 63 M, 16 GB."""
    prefix, size = next((unit for unit in PREFIXES if number >= unit[1] / 2), PREFIXES[-1])
    value = number / size
    digits = f"{value:.0f}" if value >= 10 or not prefix else f"{value:.2g}"
    return f"{digits} {prefix}{unit}".strip()


def percent(share: float) -> str:
    """A share in percent, to two digits below 10 %."""
    value = 100 * share
    if value >= 10 or value == 0:
        return f"{value:.0f} %"
    return f"{value:.2g} %" if value >= 0.01 else "less than 0.01 %"
