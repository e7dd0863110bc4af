"""Encoding with a 50K vocabulary: rbt beside Hugging Face tokenizers, tiktoken and ffbpe, in one run, on one core.

    python benchmarks/encode.py [--peer-python PYTHON] [--megabytes 70]

All have GPT-2's vocabulary and merges (RBT_DATA), no special tokens, and the same documents (text_corpus.py), English
and then other languages, which have more tokens a byte. Each encoder has a process of its own that is pinned to one
core (contest.py, encode_contenders.py), and has encoded a slice before it is timed; figures are medians. From texts in
memory, as each takes them (rbt: Arrow arrays; peers: Python strings), to uint16 ids and document ends.

"Equal" counts the documents whose ids are all those of Hugging Face tokenizers. "Before" is the peak memory before the
timed run, documents in memory included.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from contest import Contest, Job, Measured
from encode_contenders import CONTENDERS
from text_corpus import DATA, ENGLISH, Documents, describe, read_texts, size_of, write_parquet

from rbt.formats.tokenizer import write_tokenizer

REFERENCE = "tokenizers"
WARM_MEGABYTES = 0.5
HEADER = ("| | MB/s | M tokens/s | rbt is | peak memory, MB | before | documents with equal ids |\n"
          "|---|---:|---:|---:|---:|---:|---:|")


def gpt2_folder(data: Path, folder: Path) -> Path:
    """GPT-2's merges as a tokenizer folder: other ids, the same tokens in the same order."""
    lines = (data / "bpe/vocab.bpe").read_text("utf-8").splitlines()[1:]
    pairs = [(left, right) for left, _, right in (line.partition(" ") for line in lines if line)]
    folder.mkdir()
    write_tokenizer(folder, pairs)
    return folder


def equal_documents(path: Path, reference: Path, to_reference: np.ndarray | None) -> tuple[int, int]:
    """(documents with the same ids as the reference, documents). `to_reference`: the reference's id of each id."""
    with np.load(path) as found, np.load(reference) as wanted:
        ids = found["ids"] if to_reference is None else to_reference[found["ids"]]
        places, truth = np.cumsum(found["counts"])[:-1], np.cumsum(wanted["counts"])[:-1]
        pairs = zip(np.split(ids, places), np.split(wanted["ids"], truth), strict=True)
        equal = [np.array_equal(one, other) for one, other in pairs]
    return sum(equal), len(equal)


def ids_to_gpt2(data: Path, folder: Path) -> np.ndarray:
    """GPT-2's id of each id of the tokenizer folder, 0 for specials."""
    theirs = json.loads((data / "bpe/encoder.json").read_text("utf-8"))
    ours = json.loads((folder / "vocab.json").read_text("utf-8"))
    found = np.zeros(max(ours.values()) + 1, dtype=np.uint16)
    for token, number in ours.items():
        found[number] = theirs.get(token, 0)
    return found


def row(name: str, found: Measured, own: Measured, megabytes: float, equality: str) -> str:
    """An encoder's row."""
    if found.error:
        return f"| {name} | failed: {found.error} |"
    ratio = f"{found.seconds / own.seconds:.1f} times as fast" if name != "rbt" and own.seconds else ""
    tokens = found.facts["tokens"] / 1e6
    return (f"| {name} | {megabytes / found.seconds:.1f} | {tokens / found.seconds:.2f} | {ratio} | "
            f"{found.megabytes:,.0f} | {found.before_megabytes:,.0f} | {equality} |")


def print_encoding(
    contest: Contest, names: Sequence[str], documents: Documents, folder: Path, data: Path, runs: int
) -> None:
    """One table."""
    print(f"\n{describe(documents)}\n\n{HEADER}", flush=True)
    folder.mkdir()
    tokenizer = gpt2_folder(data, folder / "tokenizer")
    files = {"encoder": str(data / "bpe/encoder.json"), "merges": str(data / "bpe/vocab.bpe")}
    fields: Job = {**files, "tokenizer": str(tokenizer)}
    room, start = int(WARM_MEGABYTES * 1e6), {}
    for id, text in documents.items():
        start[id] = text[:50_000]
        room -= len(start[id].encode())
        if room < 0:
            break
    warm = {**fields, "documents": str(write_parquet(folder / "warm.parquet", start)), "ids": ""}
    timed = {**fields, "documents": str(write_parquet(folder / "timed.parquet", documents))}
    found = {}
    for name in sorted(names, key=lambda name: name != REFERENCE):
        found[name] = contest.measure(name, {**timed, "ids": str(folder / f"{name}.npz")}, warm=warm, runs=runs)
    for name in names:
        equality = ""
        if not found[name].error and REFERENCE in found and not found[REFERENCE].error:
            to_reference = ids_to_gpt2(data, tokenizer) if name == "rbt" else None
            equal, total = equal_documents(folder / f"{name}.npz", folder / f"{REFERENCE}.npz", to_reference)
            equality = f"{equal:,} of {total:,}"
        megabytes = size_of(documents) / 1e6
        print(row(name, found[name], found.get("rbt", Measured()), megabytes, equality), flush=True)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--megabytes", type=float, default=70, help="of text, at most")
    parser.add_argument("--runs", type=int, default=3, help="the figures are medians of so many")
    parser.add_argument("--only", action="append", help="an encoder to measure (repeatable); default: all")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--work", help="folder for temporary files; default: the system's")
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    options = parse_options()
    contest = Contest(Path(__file__).with_name("encode_contenders.py"), options.peer_python, options.work)
    names = contest.introduce(list(CONTENDERS), options.only, options.runs)
    with TemporaryDirectory(dir=options.work) as folder:
        for label, kinds in (("english", ENGLISH), ("others", ("other languages",))):
            documents = read_texts(options.data, options.megabytes, kinds)
            print_encoding(contest, names, documents, Path(folder) / label, options.data, options.runs)


if __name__ == "__main__":
    main()
