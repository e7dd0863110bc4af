"""GPT-2's split and the counting of words: rbt beside the `regex` package with a Counter, on one core, in one process.

    python benchmarks/split.py [--megabytes 70] [--runs 5]

Texts are in memory (rbt: Arrow arrays of about 4 MB; regex: strings). A counter starts empty in every run. The words
and counts of both are compared; they differ where `regex` knows letters that Hugging Face tokenizers does not.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import pyarrow as pa
import regex
from text_corpus import DATA, describe, read_texts, size_of

from rbt.engine import available_cores
from rbt.formats.parts import BATCH_BYTES, string_buffers
from rbt.packing.character_classes import character_classes
from rbt.packing.pretokenize import word_ends
from rbt.packing.word_counts import WordCounter

PATTERN = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
MEMORY_BYTES = 2_000_000_000


def batches_of(texts: list[str]) -> list[pa.Array]:
    """String arrays of about as many bytes as a batch of a corpus part."""
    found, waiting, size = [], list[str](), 0
    for text in texts:
        waiting.append(text)
        size += len(text)
        if size >= BATCH_BYTES:
            found.append(pa.array(waiting, pa.string()))
            waiting, size = [], 0
    return [*found, pa.array(waiting, pa.string())]


def seconds(run: Callable[[], object], runs: int) -> float:
    """The median of so many runs."""
    found = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def split(batches: list[pa.Array]) -> None:
    """Split alone, text by text."""
    for batch in batches:
        data, edges = string_buffers(batch)
        for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            word_ends(data, start, stop, *character_classes())


def count(batches: list[pa.Array]) -> WordCounter:
    """Split and count."""
    counter = WordCounter(MEMORY_BYTES)
    for batch in batches:
        assert counter.count(batch) is None
    return counter


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=70)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    print(f"One of {available_cores()} cores, {platform.machine()}, Python {platform.python_version()}, "
          f"numba {version('numba')}, regex {version('regex')}")
    os.sched_setaffinity(0, {core})
    documents = read_texts(DATA, options.megabytes)
    texts = list(documents.values())
    batches, megabytes = batches_of(texts), size_of(documents) / 1e6
    print(describe(documents), "\n")
    words = count(batches).take()
    theirs = Counter(word for text in texts for word in PATTERN.findall(text))
    ours = dict(zip((word.decode() for word in words["word"].to_list()), words["count"].to_list(), strict=True))
    equal = sum(ours.get(word) == number for word, number in theirs.items())
    split(batches)
    rows = {
        "rbt, split": seconds(lambda: split(batches), options.runs),
        "rbt, split and count": seconds(lambda: count(batches), options.runs),
        "regex, split and count": seconds(
            lambda: Counter(word for text in texts for word in PATTERN.findall(text)), min(3, options.runs)
        ),
    }
    print("| | MB/s |\n|---|---:|")
    for name, took in rows.items():
        print(f"| {name} | {megabytes / took:.1f} |")
    print(f"\n{np.sum(words['count'].to_numpy()):,} words, {len(words):,} different ones; regex has {len(theirs):,}, "
          f"of which {equal:,} with the same count.")


if __name__ == "__main__":
    main()
