"""rbt against pairs that others listed: `neardup/` of RBT_DATA. A table of benchmarks/dedup.py.

Candidates are read from the signatures that deduplication writes: pairs that share a band key. (A pair beyond the group
limit would not be compared; the count of such pairs is printed.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from dedup_corpus import Texts, bbc, plagiarism, reuters
from dedup_runs import write_ingested
from dedup_truth import jaccard, ngram_sets

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.pipeline import Ingested, deduplicate
from rbt.engine import LocalEngine

BINS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
LOW = DeduplicateConfig(threshold=0.5, bands=30, rows=4)  # for the planted articles, some of which are below .8
Listed = dict[tuple[str, str], float]


@dataclass(frozen=True)
class Found:
    """What became of some texts: the band keys (n, bands), the kept document of each that was removed, by name."""

    names: list[str]
    bands: npt.NDArray[np.uint64]
    kept: dict[str, str]
    counts: dict[str, int]

    def is_candidate(self, first: str, second: str) -> bool:
        """Whether two documents share a band key."""
        places = [self.names.index(name) for name in (first, second)]
        return bool((self.bands[places[0]] == self.bands[places[1]]).any())


def find(texts: Texts, config: DeduplicateConfig) -> Found:
    """Deduplicate some texts."""
    names = list(texts)
    with TemporaryDirectory() as folder:
        fields = write_ingested(Path(folder), list(texts.values()))
        fields |= {name: Path(fields[name]) for name in ("path", "rows_path")}
        result = deduplicate([Ingested(**fields)], config, 0, Path(folder) / "work", LocalEngine(1))
        bands = pa.ipc.open_file(result.signatures[0][0]).read_all().column("band_keys").combine_chunks()
        removals = pa.ipc.open_file(result.removals[0][0]).read_all().to_pylist()
        keys = bands.flatten().to_numpy().reshape(len(texts), -1).copy()
    kept = {names[row["row"]]: names[row["kept_number"]] for row in removals}
    return Found(names, keys, kept, result.counts)


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson's score interval)."""
    z, share = 1.96, hits / total
    center, spread = share + z * z / (2 * total), z * math.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    return (center - spread) / (1 + z * z / total), (center + spread) / (1 + z * z / total)


def read_listed(path: Path) -> Listed:
    """Pairs of names and their exact Jaccard similarity."""
    lines = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]
    return {(first, second): float(similarity) for first, second, similarity in lines}


def print_curve(pairs: Sequence[tuple[float, bool]], config: DeduplicateConfig) -> None:
    """The share of pairs that became candidates, by similarity, beside the theory."""
    print("\n| Jaccard | listed pairs | candidates | 95 % interval | theory |\n|---|---:|---:|---|---:|")
    for low, high in pairwise(BINS):
        inside = [pair for pair in pairs if low <= pair[0] < high or (high == BINS[-1] and pair[0] == high)]
        if inside:
            theory = [1 - (1 - similarity**config.rows) ** config.bands for similarity, _ in inside]
            hits = sum(is_candidate for _, is_candidate in inside)
            bounds = wilson(hits, len(inside))
            print(f"| {low:.1f} to {high:.1f} | {len(inside)} | {hits / len(inside):.3f} | "
                  f"{bounds[0]:.3f} to {bounds[1]:.3f} | {sum(theory) / len(theory):.3f} |")


def print_known(data: Path) -> None:
    """All of it."""
    config = DeduplicateConfig()
    pairs: list[tuple[float, bool]] = []
    lines = []
    for name, texts in (("reuters21578_A", reuters(data)), ("bbc_A", bbc(data))):
        found, listed = find(texts, config), read_listed(data / "neardup" / "derived" / f"{name}_pairs.tsv")
        pairs += [(similarity, found.is_candidate(*pair)) for pair, similarity in listed.items()]
        wanted = [pair for pair, similarity in listed.items() if similarity >= config.threshold]
        hits = sum(not found.kept.keys().isdisjoint(pair) for pair in wanted)
        sets = dict(zip(texts, ngram_sets(texts.values(), config.ngram), strict=True))
        wrong = sum(jaccard(sets[one], sets[other]) < config.threshold for one, other in found.kept.items())
        lines.append(f"{name}: {len(texts)} documents, {hits} of {len(wanted)} listed pairs at {config.threshold} "
                     f"or more lost a member; {len(found.kept)} documents removed, {wrong} of them wrongly; "
                     f"{found.counts['pairs_not_compared']} pairs not compared")
    print_curve(pairs, config)
    truth = (data / "neardup" / "minhash_plagiarism" / "articles_1000.truth").read_text("utf-8").splitlines()
    planted, texts = [tuple(line.split()) for line in truth], plagiarism(data)
    for setting in (config, LOW):
        kept = find(texts, setting).kept
        hits = sum(kept.get(first) == second or kept.get(second) == first for first, second in planted)
        lines.append(f"planted articles, threshold {setting.threshold}, {setting.bands} x {setting.rows}: "
                     f"{hits} of {len(planted)} pairs found, {len(kept) - hits} other documents removed")
    print("\n" + "\n".join(lines))
