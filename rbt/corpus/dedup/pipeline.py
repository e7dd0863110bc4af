"""Deduplication from end to end, as a shuffle: every step's tasks are bounded, and only sorted files lie between them.

    sign      texts -> signatures; (id hash, number), (text hash, number), (band key, number) sorted by key
    ids       ranges of id hashes -> documents whose id was seen before: they leave, and take part in nothing more
    texts     ranges of text hashes -> copies, which stand behind the first document of their text
    bands     ranges of band keys -> candidate pairs of the documents that are left
    pairs, sets, verify    buckets of pairs and the shingle sets they need -> edges of exact Jaccard >= threshold
    select    greedy in the order of priority -> removals

A document's number is its priority: the order of the recipe's sources, then of their files, then of positions. It is
removed only if it has a verified edge to a kept document of higher priority. Work lies in one folder a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.arrays import open_array
from rbt.corpus.dedup.exact import find_repeats, merge_repeats, no_repeats
from rbt.corpus.dedup.lsh import find_candidates
from rbt.corpus.dedup.select import RULES, Removals, select, write_removals
from rbt.corpus.dedup.sign import Ingested, runs_of, sign
from rbt.corpus.dedup.verify import verify
from rbt.engine import Engine
from rbt.errors import ArtefactError, ConfigError
from rbt.stage import Receipt
from rbt.storage import hash_file

__all__ = ["VERSION", "Deduplicated", "Ingested", "check_config", "deduplicate"]

VERSION = 1  # moves whenever a step would decide otherwise


@dataclass(frozen=True)
class Deduplicated:
    """The result, part by part in the order of `ingested`. `counts`: documents, the removed by rule, candidate_pairs,
    verified_edges, pairs_not_compared."""

    signatures: tuple[tuple[Path, str], ...]  # file of SIGNATURE_SCHEMA, one line a row of the part's rows; its hash
    removals: tuple[tuple[Path, str], ...]  # file of REMOVAL_SCHEMA, by row; its hash
    threshold: float
    counts: dict[str, int]


def deduplicate(
    ingested: Sequence[Ingested], config: DeduplicateConfig, seed: int, work: Path, engine: Engine
) -> Deduplicated:
    """Decide which documents go, and for which kept ones. Raises ConfigError, ArtefactError."""
    check_config(config)
    _check_numbers(ingested)
    signed = sign(ingested, config, seed, work / "sign", engine)
    nothing = no_repeats(work / "select")
    ids = find_repeats("ids", runs_of(signed, work / "sign", "ids"), nothing, work / "ids", engine)
    edges: list[Path] = []
    copies, counts = nothing, {"candidate_pairs": 0, "verified_edges": 0, "pairs_not_compared": 0}
    if config.exact or config.near:  # equal texts have a similarity of 1, so near duplicates include them
        copies = find_repeats("texts", runs_of(signed, work / "sign", "texts"), ids, work / "texts", engine)
    if config.near:
        left_out = merge_repeats(ids, copies, work / "select" / "left_out.npy")
        runs = runs_of(signed, work / "sign", "bands")
        paired = find_candidates(runs, left_out, config.group_limit, work / "bands", engine)
        pair_runs = [(work / "bands" / record.path, record.hash) for task in paired for record in task.files]
        verified = verify(ingested, pair_runs, config.ngram, config.threshold, work, engine)
        edges = [work / "verify" / receipt.files[0].path for receipt in verified]
        counts = _count(paired, verified)
    removals = select(ingested, open_array(ids)[0], open_array(copies), edges, config.threshold)
    return _write(ingested, signed, removals, config.threshold, counts, work)


def _count(paired: Sequence[Receipt], verified: Sequence[Receipt]) -> dict[str, int]:
    return {
        "candidate_pairs": sum(receipt.result["candidates"] for receipt in verified),
        "verified_edges": sum(receipt.result["edges"] for receipt in verified),
        "pairs_not_compared": sum(receipt.result["pairs_not_compared"] for receipt in paired),
    }


def _write(
    ingested: Sequence[Ingested], signed: Sequence[Receipt], removals: Removals, threshold: float,
    counts: dict[str, int], work: Path,
) -> Deduplicated:
    paths = [work / "select" / f"{part.name}.removals.arrow" for part in ingested]
    written = [write_removals(part, removals, path) for part, path in zip(ingested, paths, strict=True)]
    if sum(written) != len(removals.number):
        raise ArtefactError(
            f"deduplication: expected {len(removals.number)} removals in the parts", path=work / "select",
            found=str(sum(written)), cure="delete work/ and run again; report this",
        )
    removed = {rule: int((removals.rule == place).sum()) for place, rule in enumerate(RULES)}
    documents = sum(receipt.result["documents"] for receipt in signed)
    return Deduplicated(
        tuple((work / "sign" / receipt.files[0].path, receipt.files[0].hash) for receipt in signed),
        tuple((path, hash_file(path)) for path in paths),
        threshold, {"documents": documents, **removed, **counts},
    )


def check_config(config: DeduplicateConfig) -> None:
    """Raise ConfigError where a value of [deduplicate] cannot be used."""
    if not 0 < config.threshold <= 1:
        raise ConfigError("[deduplicate] threshold: expected above 0, at most 1", found=str(config.threshold))
    for name in ("ngram", "bands", "rows", "group_limit"):
        if getattr(config, name) < 1:
            raise ConfigError(f"[deduplicate] {name}: expected 1 or more", found=str(getattr(config, name)))


def _check_numbers(ingested: Sequence[Ingested]) -> None:
    for before, after in pairwise(ingested):
        if before.first_number + before.documents > after.first_number:
            raise ArtefactError(
                f"deduplication: expected part {after.name} to be numbered behind part {before.name}",
                found=f"{after.first_number} after {before.first_number} and {before.documents} documents",
            )
