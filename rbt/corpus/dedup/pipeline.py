"""Deduplication from end to end, as a shuffle: every step's tasks are bounded, and only arrays lie between them.

    sign      texts -> signatures; runs of (id hash, number), (text hash, number), (band key, number)
    known     the same runs for older generations and other corpora, from their signatures
    ids       ranges of id hashes -> documents whose id was seen before: they leave, and take part in nothing more
    texts     ranges of text hashes -> copies, which stand behind the first document of their text
    bands     ranges of band keys -> candidate pairs of the documents that are left
    pairs, sets, verify    buckets of pairs and the shingle sets they need -> edges of exact Jaccard >= threshold
    select    greedy in the order of priority -> which documents go
    follow    ranges of firsts of texts -> what their copies go for
    collect   the removals of each part, checked

A document's number is its priority: the order of the recipe's sources, then of their files, then of positions. It is
removed only if it has a verified edge to a kept document of higher priority. Work lies in one folder a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.arrays import Int64, open_array, write_flags
from rbt.corpus.dedup.collect import RULES, collect
from rbt.corpus.dedup.follow import follow
from rbt.corpus.dedup.groups import Runs, find_groups
from rbt.corpus.dedup.inputs import NOTHING_KNOWN, Ingested, Known, Numbering
from rbt.corpus.dedup.known import near_runs, shuffle_known
from rbt.corpus.dedup.select import REMOVED, runs_named, select
from rbt.corpus.dedup.sign import runs_of, sign
from rbt.corpus.dedup.verify import verify
from rbt.engine import Engine
from rbt.errors import ArtefactError, ConfigError
from rbt.stage import Receipt

__all__ = ["VERSION", "Deduplicated", "Ingested", "check_config", "deduplicate"]

VERSION = 2  # moves whenever a step would decide otherwise


@dataclass(frozen=True)
class Deduplicated:
    """The result, part by part in the order of `ingested`. `counts`: documents, the removed by rule, candidate_pairs,
    verified_edges, pairs_not_compared."""

    signatures: tuple[tuple[Path, str], ...]  # file of signatures.SCHEMA, one line a row of the part's rows; its hash
    removals: tuple[tuple[Path, str], ...]  # file of REMOVAL_SCHEMA, by row; its hash
    threshold: float
    counts: dict[str, int]


def deduplicate(
    ingested: Sequence[Ingested], config: DeduplicateConfig, seed: int, work: Path, engine: Engine,
    known: Known = NOTHING_KNOWN,
) -> Deduplicated:
    """Decide which documents go, and for which kept ones. Raises ConfigError, ArtefactError."""
    check_config(config)
    _check_numbers(ingested, known)
    numbering, base = Numbering.of(known, ingested), known.base
    signed = sign(ingested, config, seed, known.others, work / "sign", engine)
    shuffled = shuffle_known(known, config.bands if config.near else 0, work / "known", engine)
    runs = {
        kind: runs_of(shuffled, work / "known", kind) + runs_of(signed, work / "sign", kind)
        for kind in ("ids", "texts", "bands")
    }
    flag = _Flags(numbering, work / "flags")
    nothing, removed_before = flag("nothing"), flag("removed_before", near_runs(shuffled, work / "known"))
    ids = find_groups("ids", runs["ids"], 1, numbering, base, {"left_out": nothing}, work / "ids", engine)
    id_runs, copies, pairs = runs_named(ids, work / "ids"), [], []
    repeated_ids = flag("repeated_ids", id_runs)
    if config.exact or config.near:  # equal texts have a similarity of 1, so near duplicates include them
        left_out = {"left_out": repeated_ids}
        found = find_groups("texts", runs["texts"], 1, numbering, 0, left_out, work / "texts", engine, by_first=True)
        copies = runs_named(found, work / "texts")
    left_out = {"left_out": flag("left_out", id_runs, copies), "not_first": removed_before}
    if config.near:
        limit = config.group_limit
        pairs = find_groups("bands", runs["bands"], limit, numbering, base, left_out, work / "bands", engine)
    edges = verify(
        ingested, known, shuffled, runs_named(pairs, work / "bands"), config.ngram, config.threshold, work, engine
    )
    # an older document that has the text of one of another corpus stays: what was removed for it may come again
    gone = flag("gone", id_runs, copies, near_runs(shuffled, work / "known"), copies_from=base)
    selected = [select(runs_named(edges, work / "verify"), copies, gone, numbering, work / "select", engine)]
    removed = runs_named(selected, work / "select", REMOVED)[0]
    near = runs_named(selected, work / "select", "near")
    followed = follow(
        copies, near_runs(shuffled, work / "known") + near, runs_named(selected, work / "select", "between"), removed,
        numbering, base, work / "follow", engine,
    )
    collected = collect(
        ingested, known, id_runs, near, runs_named(followed, work / "follow"), removed, config.threshold, numbering,
        work / "collect", engine,
    )
    return _result(signed, pairs, edges, collected, config.threshold, work)


class _Flags:
    """Writes flags of the documents in the first row of some files (of texts, whose first row is the one that stays, in
    the second, if numbered `copies_from` or more)."""

    def __init__(self, numbering: Numbering, folder: Path) -> None:
        self._numbering, self._folder = numbering, folder

    def __call__(self, name: str, *files: Runs, copies_from: int = 0) -> Path:
        def numbers(path: Path) -> Int64:
            if path.parent.name != "texts":
                first_row: Int64 = open_array(path)[0]
                return first_row
            copies: Int64 = open_array(path)[1]
            return copies[copies >= copies_from]

        found = (self._numbering.positions(numbers(path)) for runs in files for path, _ in runs)
        return write_flags(self._folder / f"{name}.npy", self._numbering.documents, found)


def _result(
    signed: Sequence[Receipt], pairs: Sequence[Receipt], edges: Sequence[Receipt], collected: Sequence[Receipt],
    threshold: float, work: Path,
) -> Deduplicated:
    def total(receipts: Sequence[Receipt], name: str) -> int:
        return sum(receipt.result[name] for receipt in receipts)

    counts = {
        "documents": total(signed, "documents"), **{rule: total(collected, rule) for rule in RULES},
        "candidate_pairs": total(edges, "candidates"), "verified_edges": total(edges, "edges"),
        "pairs_not_compared": total(pairs, "pairs_not_compared"),
    }
    signatures, removals = (
        tuple((work / step / receipt.files[0].path, receipt.files[0].hash) for receipt in receipts)
        for step, receipts in (("sign", signed), ("collect", collected))
    )
    return Deduplicated(signatures, removals, threshold, counts)


def check_config(config: DeduplicateConfig) -> None:
    """Raise ConfigError where a value of [deduplicate] cannot be used."""
    if not 0 < config.threshold <= 1:
        raise ConfigError("[deduplicate] threshold: expected above 0, at most 1", found=str(config.threshold))
    for name in ("ngram", "bands", "rows", "group_limit", "paragraph_words"):
        if getattr(config, name) < 1:
            raise ConfigError(f"[deduplicate] {name}: expected 1 or more", found=str(getattr(config, name)))


def _check_numbers(ingested: Sequence[Ingested], known: Known) -> None:
    stretches = [("what is known", 0, known.base)]
    stretches += [(f"part {part.name}", part.first_number, part.documents) for part in ingested]
    for (before, first, documents), (after, next_number, _) in pairwise(stretches):
        if first + documents > next_number:
            raise ArtefactError(
                f"deduplication: expected {after} to be numbered behind {before}",
                found=f"{next_number} after {first} and {documents} documents",
            )
