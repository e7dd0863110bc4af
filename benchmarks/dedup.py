"""MinHash signatures of real novels: rbt beside datasketch, in one run, on one core.

    python benchmarks/dedup.py [RBT_DATA]

Word 5-grams, 120 affine32 permutations. A document is STRETCH characters of a novel. Medians of 3 runs.
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash
from datasketch import MinHash

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.minhash import sign_texts
from rbt.engine import available_cores

STRETCH = 5000
RUNS = 3
CONFIG = DeduplicateConfig()
SHINGLE_WORDS = CONFIG.ngram
PERMUTATIONS = CONFIG.bands * CONFIG.rows


def read_documents(data: Path) -> list[str]:
    """The novels, cut."""
    texts = [path.read_text("utf-8-sig") for path in sorted((data / "books" / "100_english_novels").glob("*.txt"))]
    return [text[start : start + STRETCH] for text in texts for start in range(0, len(text), STRETCH)]


def by_rbt(documents: list[str]) -> None:
    """Signatures and band keys of all documents."""
    array = pa.array(documents)
    sign_texts(array, np.arange(len(array)), CONFIG.ngram, CONFIG.bands, CONFIG.rows, 0)


def by_datasketch(hash_function: Callable[[bytes], int] | None) -> Callable[[list[str]], None]:
    """The same shingles through datasketch, with one of its hash functions (None: its default, SHA-1)."""
    permutations = MinHash(PERMUTATIONS, seed=0, scheme="affine32").permutations

    def run(documents: list[str]) -> None:
        for document in documents:
            words = re.findall(r"\w+", document.lower())
            count = max(1, len(words) - SHINGLE_WORDS + 1)
            shingles = {" ".join(words[start : start + SHINGLE_WORDS]).encode() for start in range(count)}
            sketch = MinHash(
                PERMUTATIONS, seed=0, scheme="affine32", permutations=permutations, hashfunc=hash_function
            )
            sketch.update_batch(shingles)

    return run


def median_seconds(run: Callable[[list[str]], None], documents: list[str]) -> float:
    """Median of RUNS runs, after one that compiles and warms up."""
    run(documents[:20])
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run(documents)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    """Print the table."""
    root = Path(__file__).resolve().parent.parent
    argument = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("RBT_DATA", str(root.parent / "shared" / "data"))
    documents = read_documents(Path(argument))
    megabytes = sum(len(document.encode()) for document in documents) / 1e6
    versions = ", ".join(f"{name} {version(name)}" for name in ("rbt", "datasketch", "numba", "numpy", "xxhash"))
    print(f"{megabytes:.1f} MB, {len(documents)} documents; Python {platform.python_version()}, {versions}; "
          f"one of {available_cores()} cores")
    contenders = {
        "rbt": by_rbt,
        "datasketch, xxh32": by_datasketch(xxhash.xxh32_intdigest),
        "datasketch, SHA-1": by_datasketch(None),
    }
    rates = {name: megabytes / median_seconds(run, documents) for name, run in contenders.items()}
    for name, rate in rates.items():
        print(f"{name:<20} {rate:8.1f} MB/s   rbt is {rates['rbt'] / rate:6.1f} times as fast")


if __name__ == "__main__":
    main()
