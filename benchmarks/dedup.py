"""Deduplication: rbt beside datatrove, text-dedup, datasketch and rensa, in one run, on one core, same documents.

    python benchmarks/dedup.py [RBT_DATA] [--peer-python PYTHON] [--megabytes 60] [--peer-megabytes 20]

Prints three tables. Signatures: MinHash of real novels. From end to end: every contender from a file of documents to
the documents it removes, in a process of its own that is pinned to one core (dedup_contenders.py); kernels and imports
are warm, from a small slice. Peers have the slice of --peer-megabytes, rbt that one and all --megabytes. All use word
5-grams, a threshold of .8 and 20 bands x 6 rows; datatrove has its default of 14 x 8 as well. Known pairs: rbt against
pairs that others listed.

    recall      of all pairs of an exact Jaccard similarity >= .8, those of which at least one document is removed
    precision   of the removed documents, those with an exact similarity >= .8 to a document that is kept

The truth is exact (dedup_truth.py) and looks at each contender's removals alone, so what it calls a pair or a cluster
does not matter. A contender that removes everything has a recall of 1 and a precision of 0. "Before" is the peak memory
before the timed run: interpreter, imports, the warm slice. Nobody's time includes writing the texts that are kept.
Peers may live in another interpreter's packages (--peer-python): text-dedup asks for a newer Python than rbt does.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from sys import executable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from datasketch import MinHash
from dedup_contenders import CONTENDERS
from dedup_corpus import build_corpus, novels
from dedup_known import print_known
from dedup_runs import SETTINGS, Measured, availability, measure, write_documents
from dedup_truth import Pairs, ngram_sets, precision, recall, similar_pairs

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.minhash import sign_texts
from rbt.engine import available_cores

CONFIG = DeduplicateConfig()
PERMUTATIONS = CONFIG.bands * CONFIG.rows
WARM_MEGABYTES = 0.5
HEADER = ("| | decides by | documents/s | MB/s | rbt is | peak memory, MB | before | removed | recall | precision |\n"
          "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")


def sign_by_rbt(documents: list[str]) -> None:
    """Signatures and band keys of all documents."""
    array = pa.array(documents)
    sign_texts(array, np.arange(len(array)), CONFIG.ngram, CONFIG.bands, CONFIG.rows, 0)


def sign_by_datasketch(hash_function: Callable[[bytes], int] | None) -> Callable[[list[str]], None]:
    """The same shingles through datasketch, with one of its hash functions (None: its default, SHA-1)."""
    permutations = MinHash(PERMUTATIONS, seed=0, scheme="affine32").permutations

    def run(documents: list[str]) -> None:
        for document in documents:
            words = re.findall(r"\w+", document.lower())
            count = max(1, len(words) - CONFIG.ngram + 1)
            shingles = {" ".join(words[start : start + CONFIG.ngram]).encode() for start in range(count)}
            sketch = MinHash(
                PERMUTATIONS, seed=0, scheme="affine32", permutations=permutations, hashfunc=hash_function
            )
            sketch.update_batch(shingles)

    return run


def median_seconds(run: Callable[[list[str]], None], documents: list[str], runs: int) -> float:
    """Median of the runs, after one that compiles and warms up."""
    run(documents[:20])
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        run(documents)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def text_megabytes(documents: Sequence[str]) -> float:
    """MB (10^6 bytes) of text."""
    return sum(len(document.encode()) for document in documents) / 1e6


def print_signatures(data: Path, runs: int) -> None:
    """MinHash alone."""
    documents = list(novels(data).values())
    megabytes = text_megabytes(documents)
    print(f"\nSignatures: {megabytes:.1f} MB of novels in {len(documents)} documents, {PERMUTATIONS} permutations\n")
    contenders = {
        "rbt": sign_by_rbt,
        "datasketch, xxh32": sign_by_datasketch(xxhash.xxh32_intdigest),
        "datasketch, SHA-1": sign_by_datasketch(None),
    }
    rates = {name: megabytes / median_seconds(run, documents, runs) for name, run in contenders.items()}
    print("| signatures | MB/s | rbt is |\n|---|---:|---:|")
    for name, rate in rates.items():
        print(f"| {name} | {rate:.1f} | {rates['rbt'] / rate:.1f} times as fast |")


def score_cells(pairs: Pairs, found: Measured) -> str:
    """Cells: removed documents, recall, precision."""
    hits, wanted = recall(pairs, found.removed)
    right, gone = precision(pairs, found.removed)
    return f"{gone:,} | {hits / max(wanted, 1):.4f} | {right / max(gone, 1):.4f}"


def print_contest(corpora: list[list[str]], available: dict[str, Any], options: argparse.Namespace) -> None:
    """Everything from documents to removals: peers and rbt on the first corpus, rbt on the second."""
    with TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        warm = write_documents(work / "warm", build_corpus(options.data, [WARM_MEGABYTES], 1)[0])
        for number, documents in enumerate(corpora):
            pairs = similar_pairs(ngram_sets(documents, SETTINGS["ngram"]), SETTINGS["threshold"])
            print(f"\nFrom end to end: {text_megabytes(documents):.1f} MB, {len(documents):,} documents, "
                  f"{len(pairs):,} pairs at {SETTINGS['threshold']} or more\n\n{HEADER}")
            timed = write_documents(work / str(number), documents)
            own = 0.0
            for name in CONTENDERS:
                if name != "rbt" and (number or (options.only and name not in options.only)):
                    continue
                error = available["contenders"][name].get("error")
                if error:
                    print(f"| {name} | not installed: {error} |")
                    continue
                python = executable if name == "rbt" else options.peer_python
                found = measure(name, python, warm, timed, work, options.runs)
                own = found.seconds if name == "rbt" else own
                print(row(name, found, own, documents, pairs), flush=True)


def row(name: str, found: Measured, own: float, documents: Sequence[str], pairs: Pairs) -> str:
    """A contender's row; `own`: rbt's seconds."""
    if found.error:
        return f"| {name} | failed: {found.error} |"
    ratio = f"{found.seconds / own:.1f} times as fast" if name != "rbt" and own else ""
    return (f"| {name} | {CONTENDERS[name].decides} | {len(documents) / found.seconds:,.0f} | "
            f"{text_megabytes(documents) / found.seconds:.2f} | {ratio} | {found.megabytes:,.0f} | "
            f"{found.warm_megabytes:,.0f} | {score_cells(pairs, found)} |")


def parse_options() -> argparse.Namespace:
    """The command line."""
    root = Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser()
    shared = os.environ.get("RBT_DATA", str(root.parent / "shared" / "data"))
    parser.add_argument("data", nargs="?", type=Path, default=Path(shared))
    parser.add_argument("--megabytes", type=float, default=60, help="of text, for rbt")
    parser.add_argument("--peer-megabytes", type=float, default=20, help="of text, for the peers and rbt")
    parser.add_argument("--peer-python", default=executable, help="interpreter that has the peers")
    parser.add_argument("--runs", type=int, default=3, help="the figures are medians of so many")
    parser.add_argument("--only", action="append", help="a peer to measure (repeatable); default: all")
    parser.add_argument("--work", help="folder for temporary files; default: the system's")
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    options = parse_options()
    available = availability(options.peer_python)
    peers = [facts for name, facts in available["contenders"].items() if name != "rbt" and "error" not in facts]
    packages = {name: number for facts in peers for name, number in facts.items()}
    own = ", ".join(f"{name} {version(name)}" for name in ("rbt", "datasketch", "numba", "numpy", "pyarrow", "xxhash"))
    print(f"One of {available_cores()} cores; medians of {options.runs}. Python {platform.python_version()}: {own}. "
          f"Peers, Python {available['python']}: "
          + ", ".join(f"{name} {number}" for name, number in packages.items()))
    print_signatures(options.data, options.runs)
    print_contest(build_corpus(options.data, [options.peer_megabytes, options.megabytes], 0), available, options)
    print_known(options.data)


if __name__ == "__main__":
    main()
