"""What a corpus, or a generation of one, is made by and from; how raw files are known again without reading them.

    recipe, raw files, parent, other corpora ──> manifest without files ──compare──> built already, or to be made
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rbt.config import Recipe, to_table
from rbt.corpus.audit import VERSION as AUDIT_VERSION
from rbt.corpus.config import DecontaminateConfig, QualityConfig, SourceConfig
from rbt.corpus.cut_matches import rule_table
from rbt.corpus.decontaminate import VERSION as DECONTAMINATE_VERSION
from rbt.corpus.dedup.paragraphs import VERSION as PARAGRAPHS_VERSION
from rbt.corpus.dedup.pipeline import VERSION as DEDUPLICATE_VERSION
from rbt.corpus.evaluation import VERSION as EVALUATION_VERSION
from rbt.corpus.filter import VERSION as FILTER_VERSION
from rbt.corpus.ingest import VERSION as INGEST_VERSION
from rbt.corpus.ingest import RawTask
from rbt.corpus.raw_files import RawFile, joined_hash, source_identity
from rbt.corpus.score import VERSION as SCORE_VERSION
from rbt.corpus.score import effective
from rbt.corpus.story_scores import VERSION as STORIES_VERSION
from rbt.corpus.write import VERSION as WRITE_VERSION
from rbt.formats import parts
from rbt.manifest import PROVENANCE, Manifest, is_artefact, read_json, to_json
from rbt.stage import Receipt, finished
from rbt.storage import as_text, write_text

VERSION = sum(  # versions only rise, so that any change of one changes the sum
    (
        STORIES_VERSION, INGEST_VERSION, SCORE_VERSION, FILTER_VERSION, EVALUATION_VERSION, DECONTAMINATE_VERSION,
        PARAGRAPHS_VERSION, DEDUPLICATE_VERSION, AUDIT_VERSION, WRITE_VERSION,
    )
)


def identity(
    recipe: Recipe, files: Sequence[RawFile], hashes: Sequence[str], stage: str, inputs: dict[str, Any]
) -> Manifest:
    """The manifest without its files. `inputs`, where there are any: fingerprints of the generation it grew from
    (`parent`) and of the other corpora (`against`), and hashes of the evaluation files (`evaluation`)."""
    sections: dict[str, Any] = {
        "corpus": {key: value for key, value in to_table(recipe.sections["corpus"]).items() if key != "keep_work"},
        "source": [source_identity(source) for source in recipe.sources(SourceConfig)],
        "clean": to_table(recipe.sections["clean"]),
        "quality": effective(recipe.section("quality", QualityConfig)),
        "deduplicate": to_table(recipe.sections["deduplicate"]),
    }
    if "evaluation" in inputs:
        sections["decontaminate"] = rule_table(recipe.section("decontaminate", DecontaminateConfig))
    raw = [
        {"source": file.source.label, "origin": file.origin, "hash": hash, **file.resources}
        for file, hash in zip(files, hashes, strict=True)
    ]
    return Manifest(parts.KIND, parts.VERSION, stage, VERSION, sections, {"raw": raw, **inputs}, ())


def find_finished(
    recipe: Recipe, files: Sequence[RawFile], out: Path, stage: str, inputs: dict[str, Any], replace: bool
) -> Manifest | None:
    """The corpus in `out` if it is what the recipe asks for; see `stage.finished`."""
    if not is_artefact(out):
        return None
    hashes = [""] * len(files) if replace else known_hashes(files, out)
    built = finished(out, identity(recipe, files, hashes, stage, inputs), replace)
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


def raw_provenance(files: Sequence[RawFile], hashes: Sequence[str]) -> dict[str, Any]:
    """By what the raw files are known again without reading them."""
    raw = [
        {"location": as_text(file.location), "stamp": file.stamp, "hash": hash}
        for file, hash in zip(files, hashes, strict=True)
    ]
    return {"raw": raw}
