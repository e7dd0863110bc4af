"""What benchmarks/dedup.py compares, each in a process of its own: texts in, the numbers of the removed ones out.

    python benchmarks/dedup_contenders.py JOB.json      one contender, once; writes its Result where the job says
    python benchmarks/dedup_contenders.py               as JSON: which contenders can be imported, and their versions

The process is pinned to one core before anything else is imported, runs the contender on the warm documents, and then,
timed, on all. Documents are a Parquet file of (id, text); rbt has Arrow parts. rbt is imported by its own contender
alone, so that peers can run with another interpreter. No contender writes the texts that are kept.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import json
import os
import platform
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Job:
    """One run. `documents`: a Parquet file; `parts`: rbt's `Ingested` as tables."""

    contender: str
    documents: str
    parts: list[dict[str, Any]]
    work: str  # an empty folder
    ngram: int
    bands: int
    rows: int
    threshold: float


def read_texts(path: str) -> list[str]:
    """The texts of a Parquet file."""
    from pyarrow import parquet

    return list(parquet.read_table(path, columns=["text"]).column("text").to_pylist())


def shingles(text: str, ngram: int) -> list[str]:
    """Word n-grams, joined by blanks, with repeats: what the libraries without texts of their own are given."""
    words = re.findall(r"\w+", text.lower())
    if len(words) <= ngram:
        return [" ".join(words)]
    return list(map(" ".join, zip(*(words[offset:] for offset in range(ngram)), strict=False)))


def by_rbt(job: Job) -> list[int]:
    """All of rbt's stages over Arrow parts, with one worker: the removals are written, then read from their files."""
    import pyarrow as pa

    from rbt.corpus.config import DeduplicateConfig
    from rbt.corpus.dedup.pipeline import Ingested, deduplicate
    from rbt.engine import LocalEngine

    paths = ("path", "rows_path")
    parts = [Ingested(**{key: Path(value) if key in paths else value for key, value in part.items()})
             for part in job.parts]
    config = DeduplicateConfig(ngram=job.ngram, bands=job.bands, rows=job.rows, threshold=job.threshold)
    result = deduplicate(parts, config, 0, Path(job.work), LocalEngine(1))
    removed = []
    for part, (path, _) in zip(parts, result.removals, strict=True):
        rows = pa.ipc.open_file(path).read_all().column("row").to_pylist()
        removed += [part.first_number + row for row in rows]
    return removed


def by_datatrove(bands: int = 0, rows: int = 0) -> Callable[[Job], list[int]]:
    """Signatures, buckets, clusters, filter: one task after the other (a task a bucket in the second stage). With its
    own bands and rows, or the job's."""

    def run(job: Job) -> list[int]:
        from datatrove.executor import LocalPipelineExecutor
        from datatrove.pipeline import dedup
        from datatrove.pipeline.readers import ParquetReader
        from datatrove.pipeline.writers import JsonlWriter
        from loguru import logger

        logger.remove()
        work, config = Path(job.work), dedup.MinhashConfig(job.ngram, bands or job.bands, rows or job.rows)
        folder, name = os.path.split(job.documents)
        stages = ("signatures", "buckets", "clusters", "removed")
        signatures, buckets, clusters, removed = (str(work / stage) for stage in stages)

        def execute(tasks: int, *steps: Any) -> None:
            logs = str(work / "logs" / type(steps[-1]).__name__)
            LocalPipelineExecutor(list(steps), tasks=tasks, workers=1, logging_dir=logs).run()

        execute(1, ParquetReader(folder, glob_pattern=name), dedup.MinhashDedupSignature(signatures, config))
        execute(config.num_buckets, dedup.MinhashDedupBuckets(signatures, buckets, config=config))
        execute(1, dedup.MinhashDedupCluster(buckets, clusters, config=config))
        writer = JsonlWriter(removed, "${rank}.jsonl", compression=None)
        execute(1, ParquetReader(folder, glob_pattern=name), dedup.MinhashDedupFilter(clusters, writer))
        lines = [line for path in Path(removed).glob("*") for line in path.read_text().splitlines()]
        return [int(json.loads(line)["id"]) for line in lines]

    return run


def by_text_dedup(verify: bool) -> Callable[[Job], list[int]]:
    """Its MinHash steps; what its configuration calls check_false_positive compares the members of clusters exactly."""

    def run(job: Job) -> list[int]:
        from datasets import disable_progress_bars
        from text_dedup import minhash
        from text_dedup.config.base import load_config_from_toml
        from text_dedup.utils.logger import log

        log.setLevel("ERROR")
        disable_progress_bars()
        config_path, cache = Path(job.work) / "config.toml", Path(job.work) / "cache"
        config_path.write_text("\n".join([
            "[input]", 'input_type = "local_files"', 'file_type = "parquet"', "[input.read_arguments]",
            'path = "parquet"', 'split = "train"', f"data_files = {json.dumps(job.documents)}",
            f"cache_dir = {json.dumps(str(cache))}",
            "[algorithm]", 'algorithm_name = "minhash"', 'text_column = "text"', f"num_perm = {job.bands * job.rows}",
            f"bands = {job.bands}", f"rows = {job.rows}", f"ngram_size = {job.ngram}", f"threshold = {job.threshold}",
            f"check_false_positive = {str(verify).lower()}", "num_proc = 1",
            "[output]", f"output_dir = {json.dumps(str(cache / 'out'))}", "[debug]",
        ]))
        config = load_config_from_toml(config_path)
        documents, _, _ = minhash.load_and_preprocess(config)
        clusters = minhash.cluster(config, minhash.fingerprint(config, documents))
        assigned = minhash.assign(config, documents, clusters)
        if verify:
            assigned, _ = minhash.check_false_positives(config, assigned)
        kept = minhash.remove_duplicates(config, assigned)
        index = config.algorithm.internal_index_column
        return sorted(set(documents[index]) - set(kept[index]))

    return run


def by_datasketch(verify: bool) -> Callable[[Job], list[int]]:
    """A document is removed where a kept one shares a band; `verify`: and where their exact similarity is enough."""

    def run(job: Job) -> list[int]:
        import xxhash
        from datasketch import MinHash, MinHashLSH

        permutations = job.bands * job.rows
        empty = MinHash(permutations, seed=0, scheme="affine32", hashfunc=xxhash.xxh32_intdigest)
        index = MinHashLSH(num_perm=permutations, params=(job.bands, job.rows))
        kept: dict[int, set[bytes]] = {}
        removed = []
        for number, text in enumerate(read_texts(job.documents)):
            items = {shingle.encode() for shingle in shingles(text, job.ngram)}
            sketch = MinHash(
                permutations, seed=0, scheme="affine32", hashfunc=xxhash.xxh32_intdigest,
                permutations=empty.permutations,
            )
            sketch.update_batch(items)
            found = index.query(sketch)
            if verify:
                found = [other for other in found if _jaccard(items, kept[other]) >= job.threshold]
            if found:
                removed.append(number)
            else:
                index.insert(number, sketch)
                kept[number] = items if verify else set()
        return removed

    return run


def _jaccard(first: set[bytes], second: set[bytes]) -> float:
    common = len(first & second)
    return common / (len(first) + len(second) - common)


def by_rensa(job: Job) -> list[int]:
    """Its deduplicator, which compares estimated similarities with the threshold."""
    from rensa import RMinHashDeduplicator

    deduplicator = RMinHashDeduplicator(
        threshold=job.threshold, num_perm=job.bands * job.rows, use_lsh=True, num_bands=job.bands, seed=0
    )
    entries = ((str(number), shingles(text, job.ngram)) for number, text in enumerate(read_texts(job.documents)))
    return [number for number, is_kept in enumerate(deduplicator.add_pairs(entries)) if not is_kept]


def by_rensa_rho(job: Job) -> list[int]:
    """Its bulk sketch, which samples, flags documents that share a band with any other; its deduplicator decides on
    those, since flags alone would remove all members of a group."""
    from rensa import RMinHash, RMinHashDeduplicator, RMinHashLSH

    permutations, texts = job.bands * job.rows, read_texts(job.documents)
    matrix = RMinHash.digest_matrix_from_token_sets_rho(
        (shingles(text, job.ngram) for text in texts), num_perm=permutations, seed=0
    )
    flags = RMinHashLSH(job.threshold, permutations, job.bands).query_duplicate_flags_matrix_one_shot(matrix)
    flagged = [number for number, is_flagged in enumerate(flags) if is_flagged]
    deduplicator = RMinHashDeduplicator(
        threshold=job.threshold, num_perm=permutations, use_lsh=True, num_bands=job.bands, seed=0
    )
    kept = deduplicator.add_pairs((str(number), shingles(texts[number], job.ngram)) for number in flagged)
    return [number for number, is_kept in zip(flagged, kept, strict=True) if not is_kept]


@dataclass(frozen=True)
class Contender:
    """A row of the table: what runs, the modules it needs, the packages whose versions matter."""

    run: Callable[[Job], list[int]]
    modules: tuple[str, ...]
    packages: tuple[str, ...]
    decides: str  # by what


CONTENDERS = {
    "rbt": Contender(by_rbt, ("rbt",), ("rbt", "numba", "numpy", "pyarrow", "polars"), "exact similarity"),
    "datatrove": Contender(
        by_datatrove(), ("datatrove.pipeline.dedup", "spacy", "xxhash"), ("datatrove", "spacy", "xxhash", "numpy"),
        "bands",
    ),
    "datatrove, 14 x 8": Contender(
        by_datatrove(14, 8), ("datatrove.pipeline.dedup", "spacy", "xxhash"), ("datatrove",), "its default bands"
    ),
    "text-dedup": Contender(
        by_text_dedup(False), ("text_dedup.minhash",), ("text-dedup", "datasets", "polars"), "bands"
    ),
    "text-dedup, verified": Contender(
        by_text_dedup(True), ("text_dedup.minhash",), ("text-dedup",), "exact similarity in clusters"
    ),
    "datasketch": Contender(by_datasketch(False), ("datasketch", "xxhash"), ("datasketch", "xxhash"), "bands"),
    "datasketch, verified": Contender(
        by_datasketch(True), ("datasketch", "xxhash"), ("datasketch",), "exact similarity, by this script"
    ),
    "rensa": Contender(by_rensa, ("rensa",), ("rensa",), "estimated similarity"),
    "rensa, rho first": Contender(by_rensa_rho, ("rensa",), ("rensa",), "estimated similarity"),
}


def availability() -> dict[str, dict[str, str]]:
    """Of each contender: {"error": why it cannot be imported} or the versions of its packages."""
    found = {}
    for name, contender in CONTENDERS.items():
        try:
            for module in contender.modules:
                importlib.import_module(module)
            found[name] = {package: importlib.metadata.version(package) for package in contender.packages}
        except Exception as error:  # what a peer raises while it is imported is its own
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    return found


def peak_megabytes() -> float:
    """The larger of this process's peak resident memory and that of its largest child.

    Its own is VmHWM, since ru_maxrss starts from the peak of the process that started it.
    """
    status = Path("/proc/self/status").read_text()
    own = int(re.findall(r"VmHWM:\s+(\d+)", status)[0])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024 / 1e6


def main() -> None:
    """See the module."""
    if len(sys.argv) == 1:
        with contextlib.redirect_stdout(sys.stderr):
            facts = {"python": platform.python_version(), "contenders": availability()}
        print(json.dumps(facts))
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    job = json.loads(Path(sys.argv[1]).read_text())
    run = CONTENDERS[job["contender"]].run
    run(Job(**job["warm"]))
    warm_peak = peak_megabytes()
    started = time.perf_counter()
    removed = run(Job(**job["timed"]))
    seconds = time.perf_counter() - started
    result = {"seconds": seconds, "removed": removed, "warm_megabytes": warm_peak, "megabytes": peak_megabytes()}
    Path(job["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
