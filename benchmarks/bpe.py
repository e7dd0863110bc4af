"""Training a byte-level BPE: rbt beside Hugging Face tokenizers, ffbpe, rustbpe and bpeasy, in one run, on one core.

    python benchmarks/bpe.py [PATH] [--peer-python PYTHON] [--megabytes 70] [--generated 70] [--no-overflow]

From a file of documents to the merges: every trainer in a process of its own that is pinned to one core and has one
thread (contest.py, bpe_contenders.py), after a warm run on a slice. Figures are medians. The vocabulary is of 50,000
tokens, 256 bytes among them, and no specials. All split by the GPT-2 pattern, count every word, and have no minimum
frequency. Text: a text file at PATH (documents end in an empty line), or what real text there is in RBT_DATA, novels
first (text_corpus.py); the run says what it was. --generated adds a table on generated text (bpe_scale_corpus.py).

    tokens as tokenizers'   how many of the tokens, in the order of their ids, are the same from the first on, and the
                            share of its vocabulary that is anywhere in the other's: ties are broken in various ways
    merges                  where a trainer gives them: whether the merges are the same, one by one
    64-bit case             the first merge of 60,000 copies of 40,000 "a" and 50 of "bc": a pair that occurs 2.4e9
                            times, more than 32 bits count. 'aa' is right.

"Before" is the peak memory before the timed run: interpreter, imports, the warm slice.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bpe_contenders import CONTENDERS
from bpe_scale_corpus import batches
from contest import Contest, Job, Measured
from text_corpus import DATA, Documents, describe, read_texts, size_of, write_corpus, write_parquet

REFERENCE = "tokenizers"
WARM_MEGABYTES, WARM_VOCABULARY = 0.3, 1000
COPIES = 60_000
HEADER = ("| | seconds | MB/s | rbt is | peak memory, MB | before | tokens as tokenizers' | of its vocabulary | merges "
          "|\n|---|---:|---:|---:|---:|---:|---:|---:|---|")


def file_documents(path: Path, megabytes: float) -> Documents:
    """The documents of a text file: what stands between empty lines."""
    found, room = {}, megabytes * 1e6
    for number, text in enumerate(path.read_text("utf-8").split("\n\n")):
        if room <= 0:
            break
        found[f"{path.stem}:{number}"] = text
        room -= len(text.encode())
    return found


def generated_documents(megabytes: float) -> Documents:
    """Generated text."""
    texts = [text for batch in batches(int(megabytes * 1e6), seed=0) for text in batch.to_pylist()]
    return {f"generated:{number}": text for number, text in enumerate(texts)}


def write_job(folder: Path, documents: Documents, vocab: int) -> Job:
    """The fields of a job, its documents written for rbt and for the peers."""
    folder.mkdir()
    parquet = write_parquet(folder / "documents.parquet", documents)
    corpus = write_corpus(folder / "corpus", documents.items())
    return {"documents": str(parquet), "corpus": str(corpus), "vocab": vocab}


def equal_start(first: list[Any], second: list[Any]) -> int:
    """How many entries are the same from the first on."""
    for place, (left, right) in enumerate(zip(first, second, strict=False)):
        if left != right:
            return place
    return min(len(first), len(second))


def equality_cells(found: dict[str, Any], reference: dict[str, Any]) -> str:
    """Cells: equal tokens from the start, share of the reference's vocabulary, merges."""
    tokens, wanted = found["tokens"], reference["tokens"]
    merges = found.get("merges")
    if merges is None:
        said = "not given"
    elif merges == reference["merges"]:
        said = f"all {len(merges):,} equal"
    else:
        said = f"{equal_start(merges, reference['merges']):,} equal, of {len(merges):,}"
    share = len(set(tokens) & set(wanted)) / len(wanted)
    return f"{equal_start(tokens, wanted):,} of {len(wanted):,} | {share:.2%} | {said}"


def row(name: str, found: Measured, own: float, megabytes: float, reference: Measured) -> str:
    """A trainer's row; `own`: rbt's seconds."""
    if found.error:
        return f"| {name} | failed: {found.error} |"
    ratio = f"{found.seconds / own:.1f} times as fast" if name != "rbt" and own else ""
    equality = equality_cells(found.facts, reference.facts) if reference.facts else " | | "
    return (f"| {name} | {found.seconds:.1f} | {megabytes / found.seconds:.1f} | {ratio} | {found.megabytes:,.0f} | "
            f"{found.before_megabytes:,.0f} | {equality} |")


def print_training(contest: Contest, names: list[str], documents: Documents, folder: Path, options: Any) -> None:
    """One table, all trainers on the same documents."""
    print(f"\nA vocabulary of {options.vocabulary:,} on {describe(documents)}\n\n{HEADER}", flush=True)
    folder.mkdir()
    start = dict(list(documents.items())[-200:])  # the last ones are short
    warm = write_job(folder / "warm", {id: text[:10_000] for id, text in start.items()}, WARM_VOCABULARY)
    timed = write_job(folder / "timed", documents, options.vocabulary)
    order = sorted(names, key=lambda name: name != REFERENCE)  # the reference first, since others are compared with it
    found = {name: contest.measure(name, timed, warm=warm, runs=options.runs) for name in order}
    own, reference = found.get("rbt", Measured()).seconds, found.get(REFERENCE, Measured())
    for name in names:
        print(row(name, found[name], own, size_of(documents) / 1e6, reference), flush=True)


def print_overflow(contest: Contest, names: list[str]) -> None:
    """The case whose pair counts need 64 bits, one run each."""
    print(f"\n64-bit case: {COPIES:,} x 40,000 'a', 50 x 'bc'\n\n| | first merge | seconds | peak memory, MB |\n"
          "|---|---|---:|---:|")
    for name in names:
        found = contest.measure(name, {"copies": COPIES, "vocab": 258}, runs=1)
        if found.error:
            print(f"| {name} | failed: {found.error} |", flush=True)
            continue
        first = bytes.fromhex(found.facts["tokens"][0]).decode() if found.facts["tokens"] else "none"
        print(f"| {name} | {first!r} | {found.seconds:.1f} | {found.megabytes:,.0f} |", flush=True)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", type=Path, help="a text file; default: real text of --data")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--megabytes", type=float, default=70, help="of text, at most")
    parser.add_argument("--generated", type=float, default=0, help="MB of generated text, for a second table")
    parser.add_argument("--vocabulary", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3, help="the figures are medians of so many")
    parser.add_argument("--only", action="append", help="a trainer to measure (repeatable); default: all")
    parser.add_argument("--no-overflow", action="store_true", help="leave out the 64-bit case, which takes minutes")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--work", help="folder for temporary files; default: the system's")
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    options = parse_options()
    contest = Contest(Path(__file__).with_name("bpe_contenders.py"), options.peer_python, options.work)
    names = contest.introduce(list(CONTENDERS), options.only, options.runs)
    own_text = file_documents(options.path, options.megabytes) if options.path else None
    with TemporaryDirectory(dir=options.work) as folder:
        documents = own_text or read_texts(options.data, options.megabytes)
        print_training(contest, names, documents, Path(folder) / "real", options)
        if options.generated:
            print_training(contest, names, generated_documents(options.generated), Path(folder) / "generated", options)
    if not options.no_overflow:
        print_overflow(contest, names)


if __name__ == "__main__":
    main()
