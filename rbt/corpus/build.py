"""`rbt corpus build` and `rbt corpus add`: the stages in order.

    raw files ─ingest─> ingested parts ─score, filter─> rows ─decontaminate, cut paragraphs─> rows and cuts
              ─deduplicate─> removals ─audit, write─> parts, signatures, removed.arrow, quarantine.arrow, ledger

Everything under OUT/work/ can be made again; it is kept (`keep_work`) so that a change of thresholds does not extract
again. Documents are numbered over all ingested parts in the recipe's order: the number is the document's priority. An
added generation goes through the same stages; its documents are numbered behind those of the older ones.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbt.config import Recipe
from rbt.corpus.audit import audit, stores_of
from rbt.corpus.config import (
    CleanConfig,
    CorpusConfig,
    DecontaminateConfig,
    DeduplicateConfig,
    QualityConfig,
    SourceConfig,
)
from rbt.corpus.contamination import REPORT, keep_contamination
from rbt.corpus.decontaminate import decontaminate
from rbt.corpus.dedup.inputs import Ingested, Known
from rbt.corpus.dedup.paragraphs import cut_paragraphs, keep_paragraphs
from rbt.corpus.dedup.pipeline import Deduplicated, check_config, deduplicate
from rbt.corpus.dedup.sign import identity as signature_identity
from rbt.corpus.evaluation import find_evaluation_files, hash_evaluation_files
from rbt.corpus.filter import filter_parts
from rbt.corpus.identity import find_finished, identity, known_hashes, raw_provenance, read_hashes
from rbt.corpus.ingest import RawTask, check_not_empty, check_sources, ingest, plan_tasks
from rbt.corpus.known_corpora import know, known_contamination, known_paragraphs
from rbt.corpus.passed import Passed, pass_filter
from rbt.corpus.raw_files import RawFile, list_raw_files
from rbt.corpus.removed import write_removed
from rbt.corpus.report import check_duplicates, name_the_most_frequent, write_quarantined
from rbt.corpus.score import score_parts
from rbt.corpus.story_scores import select_stories
from rbt.corpus.write import Selected, plan_parts, write_parts, write_removed_signatures
from rbt.engine import Engine
from rbt.errors import ArtefactError, ConfigError
from rbt.formats import audit as audits
from rbt.formats import parts, quarantine, removals, signatures
from rbt.ledger import Ledger
from rbt.manifest import Manifest, is_artefact, load_manifest, record_files, to_json, write_manifest
from rbt.stage import LOCK, WORK, Receipt, clear, exclusive
from rbt.storage import write_text
from rbt.tasks.files import TaskFile

log = logging.getLogger(__name__)
BUILD, ADD = "corpus build", "corpus add"
REMOVED_SIGNATURES = f"{signatures.FOLDER}/{signatures.REMOVED}"
LEDGER_STAGES = ("read", "extract", "clean", "filter", "decontaminate", "paragraphs", "deduplicate", "parts")


@dataclass(frozen=True)
class Job:
    """What a corpus, or a generation of one, is made from; `inputs` are what of it goes into the manifest by name."""

    stage: str
    recipe: Recipe
    files: Sequence[RawFile]
    evaluation: Sequence[TaskFile]
    known: Known
    inputs: dict[str, Any]
    grown: parts.Corpus | None

    @classmethod
    def of(cls, stage: str, recipe: Recipe, against: Sequence[Path], grown: parts.Corpus | None = None) -> Job:
        """Find and check everything that a recipe names. Raises ConfigError, InputError, ArtefactError."""
        check_config(recipe.section("deduplicate", DeduplicateConfig))
        files = list_raw_files(recipe.sources(SourceConfig), recipe.base)
        evaluation = find_evaluation_files(recipe.section("decontaminate", DecontaminateConfig), recipe.base)
        known, inputs = know(recipe, grown, against)
        if evaluation:
            inputs["evaluation"] = hash_evaluation_files(evaluation)
        return cls(stage, recipe, files, evaluation, known, inputs, grown)


def build_corpus(
    recipe: Recipe, out: Path, engine: Engine, *, replace: bool = False, against: Sequence[Path] = ()
) -> Manifest:
    """Build the corpus of a recipe in `out`, or find that it is there; `against`: other corpora, of which it holds no
    duplicate. Raises InputError, ArtefactError."""
    check_against(against, out)
    job = Job.of(BUILD, recipe, against)
    with exclusive(out, parts.KIND):
        built = find_finished(recipe, job.files, out, BUILD, job.inputs, replace)
        if built is None:
            refuse_grown(out)
            return make_generation(job, out, engine)
        log.info("%s: already built from this recipe", out)
        drop_left_work(recipe, out)
        return built


def add_generation(
    recipe: Recipe, folder: Path, engine: Engine, *, against: Sequence[Path] = ()
) -> tuple[Path, Manifest]:
    """Append the recipe's sources to a corpus as a generation, or find that one holds them; its folder and manifest.

    The documents kept are those of one build that lists the old sources and then the new. Raises InputError,
    ArtefactError.
    """
    check_against(against, folder)
    parts.open_corpus(folder)  # before a lock is made in a folder that is no corpus
    with exclusive(folder, parts.KIND):
        corpus = parts.open_corpus(folder)
        job = Job.of(ADD, recipe, against, corpus)
        for number in range(1, len(corpus.folders)):
            inputs = {**job.inputs, "parent": corpus.manifests[number - 1].fingerprint}
            if find_added(recipe, job.files, corpus.folders[number], inputs):
                log.info("%s: already added", corpus.folders[number])
                drop_left_work(recipe, corpus.folders[number])
                return corpus.folders[number], corpus.manifests[number]
        out = folder / parts.generation_name(len(corpus.folders))
        return out, make_generation(job, out, engine)


def refuse_grown(out: Path) -> None:
    """Raise ArtefactError where a corpus that is to be replaced has grown: what was added would go with it."""
    if grown := sorted(path.name for path in out.glob(f"{parts.GENERATION}[0-9]*") if is_artefact(path)):
        raise ArtefactError(
            "expected --replace of a corpus that has not grown", path=out, found=", ".join(grown),
            cure="they were added to the corpus that would go: build into another --out, or delete them first",
        )


def check_against(against: Sequence[Path], out: Path) -> None:
    """Raise ConfigError where a corpus is to be compared with itself as another one."""
    for folder in against:
        if folder.resolve() == out.resolve():
            raise ConfigError("expected --against another corpus", path=folder, found="the one that is made")


def make_generation(job: Job, out: Path, engine: Engine) -> Manifest:
    """Run all stages into OUT, whose lock is held."""
    recipe, known = job.recipe, job.known
    config, sources = recipe.section("corpus", CorpusConfig), recipe.sources(SourceConfig)
    work = out / WORK
    tasks = plan_tasks(job.files, select_stories(job.files, work, engine))
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
    passed, cut_ledger, to_keep = cut_texts(pass_filter(ingested, filtered, labels, work), job, work, engine)
    ledger.merge(cut_ledger)
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
    kept = [*keep_paragraphs(to_keep, out), *(keep_contamination(work, out) if job.evaluation else ())]
    numbers = known.base - known.others + sum(part.documents for part in inputs)
    facts = {
        "generation": 0 if job.grown is None else len(job.grown.folders), "numbers": numbers,
        "signatures": signature_identity(near, config.seed),
        **corpus_facts(tasks, ingested, written, ledger),
    }
    manifest = finish(job, tasks, ingested, written, kept, ledger, out, facts)
    if not config.keep_work:
        drop_work(work)
    return manifest


def cut_texts(
    passed: list[Passed], job: Job, work: Path, engine: Engine
) -> tuple[list[Passed], Ledger, list[tuple[Path, str]]]:
    """Cut evaluation text and shared paragraphs, where the recipe says so: (what passes, the ledger's rows, runs of
    paragraphs that later generations need)."""
    ledger, runs = Ledger(), list[tuple[Path, str]]()
    if job.evaluation:
        rule, older = job.recipe.section("decontaminate", DecontaminateConfig), known_contamination(job.grown)
        passed, counts = decontaminate(passed, job.evaluation, rule, work, engine, older)
        ledger.merge(counts)
    near = job.recipe.section("deduplicate", DeduplicateConfig)
    if near.paragraphs:
        first, before = job.known.base - job.known.others, known_paragraphs(job.grown)
        passed, runs, counts = cut_paragraphs(passed, first, before, near, work, engine)
        ledger.merge(counts)
    return passed, ledger, runs


def find_added(recipe: Recipe, files: Sequence[RawFile], out: Path, inputs: dict[str, Any]) -> bool:
    """Whether a generation is what the recipe asks for. Raw files are read only where their names are its own."""
    names = [(entry["source"], entry["origin"]) for entry in load_manifest(out).inputs["raw"]]
    if names != [(file.source.label, file.origin) for file in files]:
        return False
    wanted, found = identity(recipe, files, known_hashes(files, out), ADD, inputs), load_manifest(out)
    if wanted.fingerprint != found.fingerprint:
        return False
    if missing := next((record.path for record in found.files if not record.is_present(out)), None):
        raise ArtefactError(
            "expected the generation of this recipe to be whole", path=out, found=f"{missing} missing or cut",
            cure="delete its folder, if none was added after it, and run the same command again",
        )
    return True


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
    job: Job, tasks: Sequence[RawTask], ingested: Sequence[Receipt], written: Sequence[Receipt], kept: Sequence[str],
    ledger: Ledger, out: Path, facts: dict[str, Any],
) -> Manifest:
    """Drop what an older run left, write the ledger, then the manifest. `kept`: files beside those of the parts."""
    names = [*(record.path for receipt in written for record in receipt.files), *kept]
    signed = (out / signatures.FOLDER).glob("*")
    old = [*out.glob("part-*.arrow"), out / REPORT, *(path for path in signed if path != out / REMOVED_SIGNATURES)]
    for stale in set(old) - {out / name for name in names}:
        stale.unlink(missing_ok=True)
    write_text(out / parts.LEDGER, to_json(ledger.table()))
    records = [record for receipt in written for record in receipt.files]
    records += record_files(out, [*kept, removals.NAME, audits.NAME, REMOVED_SIGNATURES, quarantine.NAME, parts.LEDGER])
    files, hashes = zip(*read_hashes(tasks, ingested), strict=True)
    base = identity(job.recipe, files, hashes, job.stage, job.inputs)
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


def drop_left_work(recipe: Recipe, out: Path) -> None:
    """Drop the work folder of a finished run, if the recipe says so: a kill may have come before that."""
    if not recipe.section("corpus", CorpusConfig).keep_work and (out / WORK).is_dir():
        drop_work(out / WORK)


def drop_work(work: Path) -> None:
    """Delete the work folder's contents, save the lock that is held."""
    for entry in work.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
