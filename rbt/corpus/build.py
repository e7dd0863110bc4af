"""`rbt corpus build` and `rbt corpus add`: the stages in order.

    raw files ─ingest─> ingested parts ─score, filter─> rows ─deduplicate─> removals ─write─> parts, signatures
                                                                            └─> removed.arrow, quarantine.arrow, ledger

Everything under OUT/work/ can be made again; it is kept (`keep_work`) so that a change of thresholds does not extract
again. Documents are numbered over all ingested parts in the recipe's order: the number is the document's priority. An
added generation goes through the same stages; its documents are numbered behind those of the older ones.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rbt.config import Recipe
from rbt.corpus.audit import audit, stores_of
from rbt.corpus.config import CleanConfig, CorpusConfig, DeduplicateConfig, QualityConfig, SourceConfig
from rbt.corpus.dedup.inputs import Ingested, Known
from rbt.corpus.dedup.paragraphs import cut_paragraphs, keep_paragraphs
from rbt.corpus.dedup.pipeline import Deduplicated, check_config, deduplicate
from rbt.corpus.dedup.sign import identity as signature_identity
from rbt.corpus.filter import filter_parts
from rbt.corpus.identity import find_finished, identity, known_hashes, raw_provenance, read_hashes
from rbt.corpus.ingest import RawTask, check_not_empty, check_sources, ingest, plan_tasks
from rbt.corpus.known_corpora import know, known_paragraphs
from rbt.corpus.passed import Passed, pass_filter
from rbt.corpus.raw_files import RawFile, list_raw_files
from rbt.corpus.removed import write_removed
from rbt.corpus.report import check_duplicates, name_the_most_frequent, write_quarantined
from rbt.corpus.score import score_parts
from rbt.corpus.story_scores import select_stories
from rbt.corpus.write import Selected, plan_parts, write_parts, write_removed_signatures
from rbt.engine import Engine
from rbt.formats import audit as audits
from rbt.formats import parts, quarantine, removals, signatures
from rbt.ledger import Ledger
from rbt.manifest import Manifest, is_artefact, load_manifest, record_files, to_json, write_manifest
from rbt.stage import LOCK, WORK, Receipt, clear, exclusive
from rbt.storage import write_text

log = logging.getLogger(__name__)
BUILD, ADD = "corpus build", "corpus add"
REMOVED_SIGNATURES = f"{signatures.FOLDER}/{signatures.REMOVED}"
LEDGER_STAGES = ("read", "extract", "clean", "filter", "paragraphs", "deduplicate", "parts")


def build_corpus(
    recipe: Recipe, out: Path, engine: Engine, *, replace: bool = False, against: Sequence[Path] = ()
) -> Manifest:
    """Build the corpus of a recipe in `out`, or find that it is there; `against`: other corpora, of which it holds no
    duplicate. Raises InputError, ArtefactError."""
    check_config(recipe.section("deduplicate", DeduplicateConfig))
    files = list_raw_files(recipe.sources(SourceConfig), recipe.base)
    known, ancestry = know(recipe, None, against)
    with exclusive(out, parts.KIND):
        built = find_finished(recipe, files, out, BUILD, ancestry, replace)
        if built is None:
            return make_generation(recipe, files, out, engine, BUILD, known, ancestry)
        log.info("%s: already built from this recipe", out)
        if not recipe.section("corpus", CorpusConfig).keep_work:  # a kill may have come between the manifest and this
            drop_work(out / WORK)
        return built


def add_generation(
    recipe: Recipe, folder: Path, engine: Engine, *, against: Sequence[Path] = ()
) -> tuple[Path, Manifest]:
    """Append the recipe's sources to a corpus as a generation, or find that one holds them; its folder and manifest.

    The documents kept are those of one build that lists the old sources and then the new. Raises InputError,
    ArtefactError.
    """
    check_config(recipe.section("deduplicate", DeduplicateConfig))
    files = list_raw_files(recipe.sources(SourceConfig), recipe.base)
    parts.open_corpus(folder)  # before a lock is made in a folder that is no corpus
    with exclusive(folder, parts.KIND):
        corpus = parts.open_corpus(folder)
        known, ancestry = know(recipe, corpus, against)
        for number in range(1, len(corpus.folders)):
            grown_from = {**ancestry, "parent": corpus.manifests[number - 1].fingerprint}
            if find_added(recipe, files, corpus.folders[number], grown_from):
                log.info("%s: already added", corpus.folders[number])
                return corpus.folders[number], corpus.manifests[number]
        out = folder / parts.generation_name(len(corpus.folders))
        return out, make_generation(recipe, files, out, engine, ADD, known, ancestry, corpus)


def make_generation(
    recipe: Recipe, files: Sequence[RawFile], out: Path, engine: Engine, stage: str, known: Known,
    ancestry: dict[str, Any], grown: parts.Corpus | None = None,
) -> Manifest:
    """Run all stages into OUT, whose lock is held."""
    config, sources = recipe.section("corpus", CorpusConfig), recipe.sources(SourceConfig)
    work = out / WORK
    tasks = plan_tasks(files, select_stories(files, work, engine))
    clean, quality = recipe.section("clean", CleanConfig), recipe.section("quality", QualityConfig)
    ingested = ingest(tasks, work / "ingest", engine, clean.mojibake)
    ledger = merged_ledger(ingested)
    check_sources(sources, ledger)
    labels = [task.raw.source.label for task in tasks]
    near = recipe.section("deduplicate", DeduplicateConfig)
    scored = score_parts(ingested, work / "ingest", work / "score", engine) if quality.rules else []
    filtered = filter_parts(ingested, scored, labels, work, clean, quality, engine)
    ledger.merge(merged_ledger(filtered))
    check_not_empty(sources, lambda label: ledger.row("filter", label), "see [clean], [quality], `kind`, `paths`")
    passed = pass_filter(ingested, filtered, labels, work)
    paragraphs: list[tuple[Path, str]] = []
    if near.paragraphs:
        first, runs = known.base - known.others, known_paragraphs(grown)
        passed, paragraphs, counts = cut_paragraphs(passed, first, runs, near, work, engine)
        ledger.merge(counts)
    inputs = deduplication_inputs(passed, known.base)
    selection = deduplicate(inputs, near, config.seed, work, engine, known)
    selected = select(passed, selection)
    write_removed(passed, inputs, known, selection, work, ledger)
    audit(work, stores_of(inputs, known), near, config.seed, engine).count(ledger.row("deduplicate", ""))
    check_duplicates(sources, ledger, work)
    if is_artefact(out):  # --replace: only now is it known that the new recipe gives a corpus
        clear(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in (removals.NAME, audits.NAME):
        (work / name).replace(out / name)
    write_removed_signatures(selected, known.others, out / REMOVED_SIGNATURES)
    written = write_parts(plan_parts(selected, config.part_bytes), out, work / "write" / "receipts", engine)
    ledger.merge(merged_ledger(written))
    write_quarantined([task.name for task in tasks], work / "ingest", out / quarantine.NAME)
    name_the_most_frequent(ledger, [source.label for source in sources])
    ledger.chain(stage for stage in LEDGER_STAGES if stage in {name for name, _, _ in ledger})
    kept = keep_paragraphs(paragraphs, out)
    numbers = known.base - known.others + sum(part.documents for part in inputs)
    facts = {
        "generation": 0 if grown is None else len(grown.folders), "numbers": numbers,
        "signatures": signature_identity(near, config.seed),
        **corpus_facts(tasks, ingested, written, ledger),
    }
    manifest = finish(recipe, tasks, ingested, written, kept, ledger, out, stage, ancestry, facts)
    if not config.keep_work:
        drop_work(work)
    return manifest


def find_added(recipe: Recipe, files: Sequence[RawFile], out: Path, ancestry: dict[str, Any]) -> bool:
    """Whether a generation is what the recipe asks for. Raw files are read only where their names are its own."""
    names = [(entry["source"], entry["origin"]) for entry in load_manifest(out).inputs["raw"]]
    if names != [(file.source.label, file.origin) for file in files]:
        return False
    wanted = identity(recipe, files, known_hashes(files, out), ADD, ancestry)
    return wanted.fingerprint == load_manifest(out).fingerprint


def merged_ledger(receipts: Sequence[Receipt]) -> Ledger:
    """The sum of the tasks' ledgers."""
    ledger = Ledger()
    for receipt in receipts:
        ledger.merge(receipt.ledger)
    return ledger


def deduplication_inputs(passed: Sequence[Passed], number: int) -> list[Ingested]:
    """The ingested parts as deduplication wants them, numbered from `number` on."""
    inputs = []
    for part in passed:
        inputs.append(
            Ingested(
                part.name, part.part, part.part_hash, part.rows, part.rows_hash, number, part.documents, part.bytes,
                part.cuts,
            )
        )
        number += part.documents
    return inputs


def select(passed: Sequence[Passed], selection: Deduplicated) -> list[Selected]:
    """What is left of each ingested part."""
    return [
        Selected(
            part.name, part.source, part.part, part.rows, part.sizes, signed, removed,
            tuple(path for path, _ in part.cuts), (*part.hashes, signed_hash, removed_hash),
        )
        for part, (signed, signed_hash), (removed, removed_hash) in zip(
            passed, selection.signatures, selection.removals, strict=True
        )
    ]


def finish(
    recipe: Recipe, tasks: Sequence[RawTask], ingested: Sequence[Receipt], written: Sequence[Receipt],
    kept: Sequence[str], ledger: Ledger, out: Path, stage: str, ancestry: dict[str, Any], facts: dict[str, Any],
) -> Manifest:
    """Drop what an older run left, write the ledger, then the manifest. `kept`: files beside those of the parts."""
    names = [*(record.path for receipt in written for record in receipt.files), *kept]
    old = [*out.glob("part-*.arrow"), *(out / signatures.FOLDER).glob("pa*")]
    for stale in set(old) - {out / name for name in names}:
        stale.unlink()
    write_text(out / parts.LEDGER, to_json(ledger.table()))
    records = [record for receipt in written for record in receipt.files]
    records += record_files(out, [*kept, removals.NAME, audits.NAME, REMOVED_SIGNATURES, quarantine.NAME, parts.LEDGER])
    files, hashes = zip(*read_hashes(tasks, ingested), strict=True)
    base = identity(recipe, files, hashes, stage, ancestry)
    manifest = dataclasses.replace(base, files=tuple(records), facts=facts, ledger=ledger)
    return write_manifest(out, manifest, raw_provenance(files, hashes))


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
        "sources": sources, "parts": listed,
        "documents": sum(part["documents"] for part in listed), "bytes": sum(part["bytes"] for part in listed),
    }


def drop_work(work: Path) -> None:
    """Delete the work folder's contents, save the lock that is held."""
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
