"""Words at scale: counting gigabytes of generated text in bounded memory, and merging ten million distinct words.

    python benchmarks/bpe_scale.py FOLDER [--gigabytes 1 2 5 10 20] [--memory 2000] [--check]
    python benchmarks/bpe_scale.py FOLDER --merge [--words 10000000] [--merges 50000]

Counting. Text is made in batches while it is counted (bpe_scale_corpus.py) and never stored; its distinct words grow
with an exponent of 2/3. Each size is a process of its own on one core: rbt's counter with --memory MB, whose sorted
runs go to FOLDER when it is full and are merged in the end, as `rbt bpe count` does with one part. Shown: what was
counted, seconds with and without the making of text, peak memory, and what the merged words take on disk. --check
compares with an exact count by the generator's own numbers of its words (it takes as long again, and more memory).

Merging. So many distinct words with Zipf counts, laid out and merged as `rbt bpe train` does, in a process on one core.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from bpe_scale_corpus import batches, distinct_words, documents
from contest import ONE_THREAD, peak_megabytes

from rbt.engine import available_cores
from rbt.formats.word_counts import write_counts
from rbt.packing.laid_words import lay_out
from rbt.packing.merges import NUM_BYTES, byte_ids, learn_merges
from rbt.packing.word_counts import WordCounter
from rbt.packing.word_runs import as_batch, merge_runs

SEED = 0
GROWTH = ["GB of text", "words", "distinct words", "seconds", "of it making text", "MB/s of counting",
          "peak memory, MB", "runs", "GB of words on disk"]
EXPONENTS = ("distinct", "seconds", "megabytes")
MERGING = ["distinct words", "merges", "seconds", "of it laying out", "peak memory, MB", "before"]
KEYS = 1 << 24  # of words that are held before they are counted exactly


class Timed:
    """An iterator that knows how long its elements took to make."""

    def __init__(self, elements: Iterator[pa.Array]) -> None:
        self._elements, self.seconds = elements, 0.0

    def __iter__(self) -> Iterator[pa.Array]:
        while True:
            started = time.perf_counter()
            element = next(self._elements, None)
            self.seconds += time.perf_counter() - started
            if element is None:
                return
            yield element


def count_words(folder: Path, size: int, memory_bytes: int) -> dict[str, Any]:
    """Count generated text of `size` bytes, the words sorted into a file of FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    WordCounter(memory_bytes).count(documents(0, 1, SEED)[0])  # compiles
    counter, runs = WordCounter(memory_bytes), list[Path]()
    text_bytes, started, made = 0, time.perf_counter(), Timed(batches(size, SEED))

    def spill() -> None:
        runs.append(folder / f"words-{len(runs):05d}.run.arrow")
        write_counts(runs[-1], [as_batch(counter.take())])

    for texts in made:
        text_bytes += texts.buffers()[2].size
        place = counter.count(texts)
        while place is not None:
            spill()
            place = counter.count(texts, place)
    path = folder / "words.arrow"
    if runs:
        spill()
        distinct, words = write_counts(path, merge_runs(runs, memory_bytes, folder / "words"))
    else:
        distinct, words = write_counts(path, [as_batch(counter.take())])
    seconds, size_on_disk = time.perf_counter() - started, path.stat().st_size
    for left in (path, *runs):
        left.unlink()
    return {
        "bytes": text_bytes, "words": words, "distinct": distinct, "seconds": seconds, "making": made.seconds,
        "megabytes": peak_megabytes(), "runs": len(runs), "disk": size_on_disk,
    }


def exact_count(size: int) -> tuple[int, int]:
    """(words, distinct words) of the same text, by the generator's numbers."""
    words, seen, first = 0, np.empty(0, dtype=np.uint64), 0
    waiting: list[np.ndarray] = []
    for texts in batches(size, SEED):
        _, keys = documents(first, len(texts), SEED, with_keys=True)
        first, words = first + len(texts), words + len(keys)
        waiting.append(np.unique(keys))
        if sum(map(len, waiting)) > KEYS:
            seen, waiting = np.unique(np.concatenate([seen, *waiting])), []
    return words, len(np.unique(np.concatenate([seen, *waiting])))


def merge_words(words: int, merges: int) -> dict[str, Any]:
    """Learn so many merges over so many distinct words."""
    few = distinct_words(100)
    learn_merges(lay_out(lambda: [few], byte_ids(), NUM_BYTES + 10), NUM_BYTES + 10)  # compiles
    data, ends, counts = distinct_words(words)
    before, started = peak_megabytes(), time.perf_counter()
    laid = lay_out(lambda: [(data, ends, counts)], byte_ids(), NUM_BYTES + merges)
    laid_out = time.perf_counter()
    found = learn_merges(laid, NUM_BYTES + merges)
    seconds = time.perf_counter() - started
    return {
        "distinct": words, "merges": len(found), "lay_out": laid_out - started, "seconds": seconds,
        "before": before, "megabytes": peak_megabytes(),
    }


def in_process(*arguments: str) -> dict[str, Any]:
    """The JSON that this script prints for some arguments, in a process of its own."""
    command = [sys.executable, __file__, *arguments]
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, **ONE_THREAD})
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def header(columns: list[str]) -> str:
    """The first two lines of a table."""
    return f"| {' | '.join(columns)} |\n{'|---:' * len(columns)}|"


def print_growth(options: argparse.Namespace) -> None:
    """A row a size, and the exponents from each to the next."""
    columns = [*GROWTH, "exact count"] if options.check else GROWTH
    print(f"\nCounting, {options.memory} MB for the counter\n\n{header(columns)}", flush=True)
    rows = []
    for size in options.gigabytes:
        found = in_process(str(options.folder), "--count", str(int(size * 1e9)), "--memory", str(options.memory))
        rows.append(found)
        rate = found["bytes"] / 1e6 / (found["seconds"] - found["making"])
        checked = ""
        if options.check:
            exact = exact_count(int(size * 1e9))
            checked = " equal |" if exact == (found["words"], found["distinct"]) else f" {exact} |"
        print(f"| {found['bytes'] / 1e9:.1f} | {found['words']:,} | {found['distinct']:,} | {found['seconds']:,.1f} | "
              f"{found['making']:,.1f} | {rate:.1f} | {found['megabytes']:,.0f} | {found['runs']} | "
              f"{found['disk'] / 1e9:.2f} |{checked}", flush=True)
    for before, after in pairwise(rows):
        growth = math.log(after["bytes"] / before["bytes"])
        exponents = {name: math.log(after[name] / before[name]) / growth for name in EXPONENTS}
        said = ", ".join(f"{name} {exponent:.2f}" for name, exponent in exponents.items())
        print(f"\nexponents from {before['bytes'] / 1e9:.1f} to {after['bytes'] / 1e9:.1f} GB: {said}")


def print_merging(options: argparse.Namespace) -> None:
    """One row."""
    sizes = ("--words", str(options.words), "--merges", str(options.merges))
    found = in_process(str(options.folder), "--merge-here", *sizes)
    print(f"\n{header(MERGING)}\n| {found['distinct']:,} | {found['merges']:,} | {found['seconds']:,.1f} | "
          f"{found['lay_out']:,.1f} | {found['megabytes']:,.0f} | {found['before']:,.0f} |")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for sorted runs; what is made there is deleted")
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1, 2, 5, 10, 20])
    parser.add_argument("--memory", type=int, default=2000, help="MB for counting")
    parser.add_argument("--check", action="store_true", help="compare with an exact count")
    parser.add_argument("--merge", action="store_true", help="merge distinct words instead")
    parser.add_argument("--words", type=int, default=10_000_000)
    parser.add_argument("--merges", type=int, default=50_000)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--merge-here", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Print a table, or, as a process of one, the JSON of a measurement."""
    options = parse_options()
    if options.count or options.merge_here:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        found = merge_words(options.words, options.merges) if options.merge_here else count_words(
            options.folder, options.count, options.memory * 1_000_000
        )
        print(json.dumps(found))
        return
    versions = ", ".join(f"{name} {version(name)}" for name in ("rbt", "numba", "numpy", "polars", "pyarrow"))
    print(f"One of {available_cores()} cores, {platform.machine()}. Python {platform.python_version()}, {versions}")
    print_merging(options) if options.merge else print_growth(options)


if __name__ == "__main__":
    main()
