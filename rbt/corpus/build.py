"""`rbt corpus build`: the stages in order.

    raw files ─ingest─> ingested parts ─score, filter─> rows ─deduplicate─> removals ─write─> parts, signatures
                                                                            └─> removed.arrow, quarantine.arrow, ledger

Everything under OUT/work/ can be made again; it is kept (`keep_work`) so that a change of thresholds does not extract
again. Documents are numbered over all ingested parts in the recipe's order: the number is the document's priority.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rbt.config import Recipe, to_table
from rbt.corpus.audit import VERSION as AUDIT_VERSION
from rbt.corpus.audit import audit
from rbt.corpus.config import CleanConfig, CorpusConfig, DeduplicateConfig, QualityConfig, SourceConfig
from rbt.corpus.dedup.pipeline import VERSION as DEDUPLICATE_VERSION
from rbt.corpus.dedup.pipeline import Deduplicated, Ingested, check_config, deduplicate
from rbt.corpus.filter import VERSION as FILTER_VERSION
from rbt.corpus.filter import filter_parts
from rbt.corpus.ingest import VERSION as INGEST_VERSION
from rbt.corpus.ingest import RawTask, check_not_empty, check_sources, ingest, plan_tasks
from rbt.corpus.lookup import DocumentFile
from rbt.corpus.raw_files import RawFile, joined_hash, list_raw_files, source_identity
from rbt.corpus.report import check_duplicates, name_the_most_frequent, write_quarantined, write_removed
from rbt.corpus.score import VERSION as SCORE_VERSION
from rbt.corpus.score import effective, score_parts
from rbt.corpus.story_scores import VERSION as STORIES_VERSION
from rbt.corpus.story_scores import select_stories
from rbt.corpus.write import SIGNATURES, Selected, plan_parts, write_parts, write_removed_signatures
from rbt.corpus.write import VERSION as WRITE_VERSION
from rbt.engine import Engine
from rbt.formats import audit as audits
from rbt.formats import parts, quarantine, removals
from rbt.ledger import Ledger
from rbt.manifest import PROVENANCE, Manifest, is_artefact, read_json, record_files, to_json, write_manifest
from rbt.stage import LOCK, WORK, Receipt, clear, exclusive, finished
from rbt.storage import as_text, write_text

log = logging.getLogger(__name__)
STAGE = "corpus build"
REMOVED_SIGNATURES = f"{SIGNATURES}/{removals.NAME}"
VERSION = sum(  # versions only rise, so that any change of one changes the sum
    (
        STORIES_VERSION, INGEST_VERSION, SCORE_VERSION, FILTER_VERSION, DEDUPLICATE_VERSION, AUDIT_VERSION,
        WRITE_VERSION,
    )
)
LEDGER_STAGES = ("read", "extract", "clean", "filter", "deduplicate", "parts")


def build_corpus(recipe: Recipe, out: Path, engine: Engine, *, replace: bool = False) -> Manifest:
    """Build the corpus of a recipe in `out`, or find that it is there. Raises InputError, ArtefactError."""
    config = recipe.section("corpus", CorpusConfig)
    check_config(recipe.section("deduplicate", DeduplicateConfig))
    files = list_raw_files(recipe.sources(SourceConfig), recipe.base)
    with exclusive(out, parts.KIND):
        built = find_finished(recipe, files, out, replace)
        if built is not None:
            log.info("%s: already built from this recipe", out)
            if not config.keep_work:  # a kill may have come between the manifest and this
                drop_work(out / WORK)
            return built
        work = out / WORK
        tasks = plan_tasks(files, select_stories(files, work, engine))
        clean, quality = recipe.section("clean", CleanConfig), recipe.section("quality", QualityConfig)
        ingested = ingest(tasks, work / "ingest", engine, clean.mojibake)
        ledger = merged_ledger(ingested)
        sources = recipe.sources(SourceConfig)
        check_sources(sources, ledger)
        labels = [task.raw.source.label for task in tasks]
        near = recipe.section("deduplicate", DeduplicateConfig)
        scored = score_parts(ingested, work / "ingest", work / "score", engine) if quality.rules else []
        filtered = filter_parts(ingested, scored, labels, work, clean, quality, engine)
        ledger.merge(merged_ledger(filtered))
        check_not_empty(sources, lambda label: ledger.row("filter", label), "see [clean], [quality], `kind`, `paths`")
        inputs = deduplication_inputs(ingested, filtered, work)
        selection = deduplicate(inputs, near, config.seed, work, engine)
        selected = select(inputs, labels, filtered, selection, work)
        write_removed(selected, inputs, selection, work, ledger)
        looked_up = [DocumentFile(part.path, part.hash, part.rows_path, part.rows_hash) for part in inputs]
        audited = audit(
            work / removals.NAME, {"": looked_up}, work / audits.NAME, threshold=near.threshold, ngram=near.ngram,
            seed=config.seed, work=work / "audit", engine=engine,
        )
        audited.count(ledger.row("deduplicate", ""))
        check_duplicates(sources, ledger, work)
        if is_artefact(out):  # --replace: only now is it known that the new recipe gives a corpus
            clear(out)
        for name in (removals.NAME, audits.NAME):
            (work / name).replace(out / name)
        planned = plan_parts(selected, config.part_bytes)  # not empty: the first document of all is always kept
        write_removed_signatures(selected, out / REMOVED_SIGNATURES)
        written = write_parts(planned, out, work / "write" / "receipts", engine)
        ledger.merge(merged_ledger(written))
        write_quarantined([task.name for task in tasks], work / "ingest", out / quarantine.NAME)
        name_the_most_frequent(ledger, [source.label for source in sources])
        ledger.chain(LEDGER_STAGES)
        manifest = finish(recipe, tasks, ingested, written, ledger, out)
        if not config.keep_work:
            drop_work(work)
        return manifest


def merged_ledger(receipts: Sequence[Receipt]) -> Ledger:
    """The sum of the tasks' ledgers."""
    ledger = Ledger()
    for receipt in receipts:
        ledger.merge(receipt.ledger)
    return ledger


def deduplication_inputs(ingested: Sequence[Receipt], filtered: Sequence[Receipt], work: Path) -> list[Ingested]:
    """The ingested parts as deduplication wants them, with the number of their first document."""
    inputs, number = [], 0
    for part, rows in zip(ingested, filtered, strict=True):
        inputs.append(
            Ingested(
                name=part.task, path=work / "ingest" / part.files[0].path, hash=part.files[0].hash,
                rows_path=work / "filter" / rows.files[0].path, rows_hash=rows.files[0].hash,
                first_number=number, documents=part.result["documents"], bytes=part.result["bytes"],
            )
        )
        number += part.result["documents"]
    return inputs


def select(
    inputs: Sequence[Ingested], labels: Sequence[str], filtered: Sequence[Receipt], selection: Deduplicated, work: Path
) -> list[Selected]:
    """What is left of each ingested part."""
    return [
        Selected(
            item.name, label, item.path, item.rows_path, work / "filter" / rows.files[1].path, signatures, removed,
            (item.hash, item.rows_hash, signatures_hash, removed_hash),
        )
        for item, label, rows, (signatures, signatures_hash), (removed, removed_hash) in zip(
            inputs, labels, filtered, selection.signatures, selection.removals, strict=True
        )
    ]


def identity(recipe: Recipe, files: Sequence[RawFile], hashes: Sequence[str]) -> Manifest:
    """The manifest without its files: what the corpus is made by and from."""
    sections = {
        "corpus": {key: value for key, value in to_table(recipe.sections["corpus"]).items() if key != "keep_work"},
        "source": [source_identity(source) for source in recipe.sources(SourceConfig)],
        "clean": to_table(recipe.sections["clean"]),
        "quality": effective(recipe.section("quality", QualityConfig)),
        "deduplicate": to_table(recipe.sections["deduplicate"]),
    }
    raw = [
        {"source": file.source.label, "origin": file.origin, "hash": hash, **file.resources}
        for file, hash in zip(files, hashes, strict=True)
    ]
    return Manifest(parts.KIND, parts.VERSION, STAGE, VERSION, sections, {"raw": raw}, ())


def find_finished(recipe: Recipe, files: Sequence[RawFile], out: Path, replace: bool) -> Manifest | None:
    """The corpus in `out` if it is what the recipe asks for; see `stage.finished`."""
    if not is_artefact(out):
        return None
    hashes = [""] * len(files) if replace else known_hashes(files, out)
    built = finished(out, identity(recipe, files, hashes), replace)
    if built is not None:
        remember(out, files, hashes)
    return built


def remember(out: Path, files: Sequence[RawFile], hashes: Sequence[str]) -> None:
    """Write down new places and time stamps of the same raw files, so that they are not hashed again."""
    before = read_json(out / PROVENANCE) if (out / PROVENANCE).is_file() else {}
    after = {**before, **raw_provenance(files, hashes)}
    if after != before:
        write_text(out / PROVENANCE, to_json(after))


def known_hashes(files: Sequence[RawFile], out: Path) -> list[str]:
    """Content hashes of the raw files: as recorded where size and time stamp are the same, else read again."""
    provenance = read_json(out / PROVENANCE) if (out / PROVENANCE).is_file() else {}
    recorded = {entry["location"]: entry for entry in provenance.get("raw", [])}
    hashes = []
    for file in files:
        entry = recorded.get(as_text(file.location))
        hashes.append(entry["hash"] if entry is not None and entry["stamp"] == file.stamp else file.hash())
    return hashes


def read_hashes(tasks: Sequence[RawTask], ingested: Sequence[Receipt]) -> list[tuple[RawFile, str]]:
    """The raw files with their content hashes, as they were read."""
    found: dict[str, list[tuple[RawTask, str]]] = {}
    for task, receipt in zip(tasks, ingested, strict=True):
        found.setdefault(task.raw.task, []).append((task, receipt.result["raw_hash"]))
    return [
        (read[0][0].raw, joined_hash([task.span for task, _ in read], [hash for _, hash in read]))
        for read in found.values()
    ]


def finish(
    recipe: Recipe, tasks: Sequence[RawTask], ingested: Sequence[Receipt], written: Sequence[Receipt], ledger: Ledger,
    out: Path,
) -> Manifest:
    """Drop what an older run left, write the ledger, then the manifest."""
    names = [record.path for receipt in written for record in receipt.files]
    for stale in {*out.glob("part-*.arrow"), *out.glob("signatures/part-*.arrow")} - {out / name for name in names}:
        stale.unlink()
    write_text(out / parts.LEDGER, to_json(ledger.table()))
    records = [record for receipt in written for record in receipt.files]
    records += record_files(out, [removals.NAME, audits.NAME, REMOVED_SIGNATURES, quarantine.NAME, parts.LEDGER])
    files, hashes = zip(*read_hashes(tasks, ingested), strict=True)
    base = identity(recipe, files, hashes)
    manifest = Manifest(
        base.kind, base.format_version, base.stage, base.stage_version, base.config, base.inputs, tuple(records),
        corpus_facts(tasks, ingested, written, ledger), ledger,
    )
    return write_manifest(out, manifest, raw_provenance(files, hashes))


def raw_provenance(files: Sequence[RawFile], hashes: Sequence[str]) -> dict[str, Any]:
    """By what the raw files are known again without reading them."""
    raw = [
        {"location": as_text(file.location), "stamp": file.stamp, "hash": hash}
        for file, hash in zip(files, hashes, strict=True)
    ]
    return {"raw": raw}


def corpus_facts(
    tasks: Sequence[RawTask], ingested: Sequence[Receipt], written: Sequence[Receipt], ledger: Ledger
) -> dict[str, Any]:
    """What readers of a corpus need to know: its parts and its sources."""
    sources: dict[str, dict[str, Any]] = {}
    for task, receipt in zip(tasks, ingested, strict=True):
        source = task.raw.source
        amount = ledger.row("parts", source.label).outgoing
        fact = sources.setdefault(source.label, {"kind": source.kind, "has_documents": True, **amount.table()})
        fact["has_documents"] = fact["has_documents"] and receipt.result["has_documents"]
    listed = [
        {"path": receipt.files[0].path, "documents": receipt.result["documents"], "bytes": receipt.result["bytes"]}
        for receipt in written
    ]
    return {
        "generation": 0, "sources": sources, "parts": listed,
        "documents": sum(part["documents"] for part in listed), "bytes": sum(part["bytes"] for part in listed),
    }


def drop_work(work: Path) -> None:
    """Delete the work folder's contents, save the lock that is held."""
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
