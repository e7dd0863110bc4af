"""Deduplication at scale: time, memory and disk of exact and near deduplication of millions of generated documents.

    python benchmarks/dedup_scale.py FOLDER --documents 2000000     then 20000000
    python benchmarks/dedup_scale.py FOLDER --table                 growth between all runs there, and a projection

Documents have about 500 bytes (dedup_scale_corpus.py): 5 % exact copies, 5 % near copies, 3 % boilerplate. FOLDER takes
a gigabyte or two a million documents while it runs; what was made is deleted at the end (--keep leaves it), and a small
result-N.json stays. Checked by construction: every planted copy is removed (recall), and nothing else (precision).

A thread of the parent looks at the parent and every worker twice a second: VmRSS (all resident pages, those of mapped
files too), RssAnon (its private part: heap and stack) and Pss (resident, shared pages divided among their users); at
disk every five seconds; at both when a stage ends. A stage lasts until the next one starts, so it includes what the
parent does behind it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from dedup_scale_corpus import EXACT, NEAR, key_of, kinds, write_corpus

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.pipeline import Deduplicated, Ingested, deduplicate
from rbt.engine import LocalEngine, available_cores

SAMPLE_SECONDS, DISK_SECONDS = 0.5, 5.0
MEASURES = ("VmRSS", "RssAnon", "Pss")
PROJECTION_BYTES = 160e9  # of text
SEED = 0


def memory_of(process: int) -> dict[str, int]:
    """Bytes by measure; empty where the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text() + Path(f"/proc/{process}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return {}
    found = dict(line.split(":", 1) for line in lines.splitlines() if ":" in line)
    return {name: int(found[name].split()[0]) * 1024 for name in MEASURES if name in found}


def processes() -> list[int]:
    """This process and everything it started, and so on."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(parent, []).append(int(path.name))
    found = [os.getpid()]
    for process in found:
        found += parents.get(process, [])
    return found


def disk_of(folder: Path) -> int:
    """Bytes on disk below a folder; what vanishes meanwhile is not counted."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(root) / name).stat().st_blocks * 512
            except FileNotFoundError:
                continue
    return total


class Watch:
    """Peaks by stage, sampled by a thread; `start` begins a stage, which ends the one before it."""

    def __init__(self, folder: Path) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._folder, self._stage, self._since = folder, "", time.perf_counter()
        self._ends = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def start(self, stage: str) -> None:
        """Begin a stage (or go on with one of that name)."""
        self._sample(with_disk=True)
        with self._lock:
            now = time.perf_counter()
            if self._stage:
                self.stages[self._stage]["seconds"] += now - self._since
            self._stage, self._since = stage, now
            self.stages.setdefault(stage, dict.fromkeys(("seconds", "disk", "all_Pss", *MEASURES), 0.0))

    def close(self) -> None:
        """End the last stage and the thread."""
        self.start("end")
        del self.stages["end"]
        self._stage = ""
        self._ends.set()
        self._thread.join()

    def _look(self) -> None:
        looked = time.perf_counter()
        while not self._ends.wait(SAMPLE_SECONDS):
            with_disk = time.perf_counter() - looked > DISK_SECONDS
            self._sample(with_disk)
            looked = time.perf_counter() if with_disk else looked

    def _sample(self, with_disk: bool) -> None:
        memory = [memory_of(process) for process in processes()]
        peaks = {name: float(max((found.get(name, 0) for found in memory), default=0)) for name in MEASURES}
        peaks["all_Pss"] = float(sum(found.get("Pss", 0) for found in memory))
        if with_disk:
            peaks["disk"] = float(disk_of(self._folder))
        with self._lock:
            if self._stage in self.stages:
                row = self.stages[self._stage]
                row |= {name: max(row[name], value) for name, value in peaks.items()}


class WatchedEngine:
    """An engine that tells the watch which stage it works for: the folder of the stage's tasks."""

    def __init__(self, inner: LocalEngine, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    def map(
        self, function: Callable[[Any], Any], tasks: Sequence[Any], on_advance: Callable[[int], object]
    ) -> Iterator[Any]:
        """See `rbt.engine.Engine.map`."""
        if tasks and hasattr(tasks[0], "folder"):
            self._watch.start(tasks[0].folder.name)
        return self._inner.map(function, tasks, on_advance)


def removed_flags(ingested: Sequence[Ingested], result: Deduplicated) -> np.ndarray:
    """Which documents went, bool (documents,)."""
    flags = np.zeros(sum(part.documents for part in ingested), dtype=bool)
    for part, (path, _) in zip(ingested, result.removals, strict=True):
        with pa.memory_map(str(path)) as file:
            flags[part.first_number + pa.ipc.open_file(file).read_all().column("row").to_numpy()] = True
    return flags


def check(ingested: Sequence[Ingested], result: Deduplicated) -> dict[str, int]:
    """Planted copies and those removed of them, by kind; and what was removed without being one."""
    removed = removed_flags(ingested, result)
    kind = kinds(0, len(removed), key_of(SEED))
    counts = {}
    for name, value in (("exact", EXACT), ("near", NEAR)):
        counts |= {name: int((kind == value).sum()), f"{name}_removed": int(removed[kind == value].sum())}
    counts["wrongly_removed"] = int(removed[(kind != EXACT) & (kind != NEAR)].sum())
    return counts


def run(folder: Path, documents: int, part_documents: int, workers: int, keep: bool) -> dict[str, Any]:
    """Generate, deduplicate, check; the result, which is also written to FOLDER/result-N.json."""
    work = folder / f"work-{documents}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    watch, engine = Watch(work), LocalEngine(workers)
    watch.start("generate")
    ingested = write_corpus(work / "ingested", documents, part_documents, SEED, engine)
    watch.start("prepare")
    watched = WatchedEngine(engine, watch)
    result = deduplicate(ingested, DeduplicateConfig(), SEED, work / "dedup", watched)
    watch.start("check")
    checked = check(ingested, result)
    watch.close()
    found = {
        "documents": documents, "bytes": sum(part.bytes for part in ingested), "workers": workers,
        "stages": watch.stages, "check": checked, "counts": result.counts,
        "python": platform.python_version(), "cores": available_cores(),
        "versions": {name: version(name) for name in ("rbt", "numba", "numpy", "polars", "pyarrow")},
    }
    (folder / f"result-{documents}.json").write_text(json.dumps(found, indent=1))
    if not keep:
        shutil.rmtree(work)
    return found


def deduplication_seconds(result: dict[str, Any]) -> float:
    """Without generation and the check."""
    return float(sum(row["seconds"] for name, row in result["stages"].items() if name not in ("generate", "check")))


def peak(result: dict[str, Any], name: str) -> float:
    """The largest value of a measure in all stages of deduplication."""
    return float(max(row[name] for stage, row in result["stages"].items() if stage not in ("generate", "check")))


def print_result(result: dict[str, Any]) -> None:
    """One run."""
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    print(f"{result['documents']:,} documents, {result['bytes'] / 1e6:,.0f} MB; {result['workers']} workers on "
          f"{result['cores']} cores; Python {result['python']}, {versions}\n")
    print("| stage | seconds | VmRSS, MB | RssAnon, MB | Pss, MB | Pss of all processes, MB | disk, GB |\n"
          "|---|---:|---:|---:|---:|---:|---:|")
    for name, row in result["stages"].items():
        cells = " | ".join(f"{row[measure] / 1e6:,.0f}" for measure in (*MEASURES, "all_Pss"))
        print(f"| {name} | {row['seconds']:,.1f} | {cells} | {row['disk'] / 1e9:.2f} |")
    seconds = deduplication_seconds(result)
    generation = result["stages"]["generate"]["seconds"]
    print(f"\nDeduplication: {seconds:,.0f} s, {result['bytes'] / 1e6 / seconds:.1f} MB/s, "
          f"{result['documents'] / seconds:,.0f} documents/s; generation {generation:,.0f} s")
    checked = result["check"]
    for name in ("exact", "near"):
        print(f"{name} copies removed: {checked[f'{name}_removed']:,} of {checked[name]:,}")
    print(f"wrongly removed: {checked['wrongly_removed']:,}\ncounts: {result['counts']}")


def print_growth(results: Sequence[dict[str, Any]]) -> None:
    """Factors from each run to the next larger one, and what the last projects to: in proportion, and by exponent."""
    measures: dict[str, Callable[[dict[str, Any]], float]] = {
        "documents": lambda result: result["documents"], "bytes of text": lambda result: result["bytes"],
        "seconds": deduplication_seconds, "VmRSS of any process": lambda result: peak(result, "VmRSS"),
        "RssAnon of any process": lambda result: peak(result, "RssAnon"),
        "Pss of any process": lambda result: peak(result, "Pss"), "disk": lambda result: peak(result, "disk"),
    }
    sizes = " | ".join(f"{result['documents']:,}" for result in results)
    print(f"\n| | {sizes} | growth | exponent | at 160 GB, in proportion | at 160 GB, by exponent |\n|---"
          + "|---:" * (len(results) + 4) + "|")
    for name, measure in measures.items():
        values = [measure(result) for result in results]
        cells = " | ".join(f"{value:,.0f}" for value in values)
        growth = ", ".join(f"{after / before:.2f}" for before, after in pairwise(values))
        exponent = math.log(values[-1] / values[-2]) / math.log(results[-1]["bytes"] / results[-2]["bytes"])
        times = PROJECTION_BYTES / results[-1]["bytes"]
        print(f"| {name} | {cells} | {growth} | {exponent:.2f} | {values[-1] * times:,.0f} | "
              f"{values[-1] * times**exponent:,.0f} |")
    print("\nExponent e of value ~ bytes ** e between the last two. Projections are of this machine and of documents "
          "of this size.\nFixed costs make the exponents of small runs too small: believe the larger projection.")


def main() -> None:
    """Run once, or print the growth."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--documents", type=int, default=20_000_000)
    parser.add_argument("--part-documents", type=int, default=500_000, help="about 256 MB of text")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", action="store_true", help="leave the generated parts and the work folder")
    parser.add_argument("--table", action="store_true", help="only print the growth between the results there are")
    options = parser.parse_args()
    if not options.table:
        print_result(run(options.folder, options.documents, options.part_documents, options.workers, options.keep))
        return
    paths = options.folder.glob("result-*.json")
    results = sorted((json.loads(path.read_text()) for path in paths), key=lambda result: result["documents"])
    for result in results:
        print_result(result)
        print()
    if len(results) < 2:
        sys.exit(f"{options.folder}: expected the results of two runs or more, found {len(results)}")
    print_growth(results)


if __name__ == "__main__":
    main()
