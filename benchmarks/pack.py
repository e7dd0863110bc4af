"""Documents to blocks: `rbt pack` beside datatrove's tokenizer and the `datasets.map` way, in one run, on one core.

    python benchmarks/pack.py [--peer-python PYTHON] [--megabytes 70]

All have the same real documents (text_corpus.py) and the same tokenizer of 50,265 ids, which rbt trains on them first.
Each contender has a process of its own that is pinned to one core (contest.py, pack_contenders.py), and has packed a
slice before it is timed; figures are medians. rbt also finds sentences and writes where they end; the others do not.

    tokens        of text, not counting special tokens, read back from what was packed
    all there     whether these are, in order, all that Hugging Face tokenizers makes of the documents
    bytes a token on disk, of what a trainer reads

Then the packers alone, on generated sentence and document ends: tokens a second, and how full their rows are.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from contest import Contest, Measured
from pack_contenders import CONTENDERS
from text_corpus import DATA, Documents, describe, read_texts, size_of, write_corpus, write_parquet
from tokenizers import Tokenizer

from rbt.engine import LocalEngine
from rbt.formats.blocks import block_lengths
from rbt.formats.tokens import TokenPart
from rbt.packing.bpe import train_bpe
from rbt.packing.config import BpeConfig
from rbt.packing.index import make_blocks
from rbt.packing.packers import PACKERS
from rbt.rng import rng

MAX_TOKENS = 512
MEMORY_BYTES = 4 << 30  # for counting words
SENTENCE_TOKENS, DOCUMENT_SENTENCES = 25, 30  # on average, of the generated ends
HEADER = ("| | tokens/s | MB/s | rbt is | peak memory, MB | before | bytes a token | tokens | all there |\n"
          "|---|---:|---:|---:|---:|---:|---:|---:|---|")


def reference_ids(tokenizer: Path, documents: Documents) -> np.ndarray:
    """What Hugging Face tokenizers makes of all documents, special strings in them taken as text, uint16 (tokens,)."""
    table = json.loads((tokenizer / "tokenizer.json").read_text("utf-8"))
    table["added_tokens"], table["post_processor"] = [], None
    encodings = Tokenizer.from_str(json.dumps(table)).encode_batch_fast(list(documents.values()))
    return np.concatenate([np.array(encoding.ids, dtype=np.uint16) for encoding in encodings])


def row(name: str, found: Measured, own: float, megabytes: float, ids: Path, reference: np.ndarray) -> str:
    """A contender's row; `own`: rbt's seconds."""
    if found.error:
        return f"| {name} | failed: {found.error} |"
    tokens, lost = found.facts["tokens"], len(reference) - found.facts["tokens"]
    if np.array_equal(np.load(ids), reference):
        said = "yes"
    else:
        said = f"{lost:,} fewer ({lost / len(reference):.2%})" if lost > 0 else "other tokens"
    ratio = f"{found.seconds / own:.1f} times as fast" if not name.startswith("rbt") and own else ""
    return (f"| {name} | {tokens / found.seconds:,.0f} | {megabytes / found.seconds:.2f} | {ratio} | "
            f"{found.megabytes:,.0f} | {found.before_megabytes:,.0f} | {found.facts['disk'] / tokens:.2f} | "
            f"{tokens:,} | {said} |")


def print_packing(contest: Contest, names: list[str], documents: Documents, folder: Path, runs: int) -> None:
    """The table from documents to blocks."""
    print(f"\nBlocks of {MAX_TOKENS} tokens from {describe(documents)}\n\n{HEADER}", flush=True)
    start = {id: text[:5000] for id, text in list(documents.items())[-1500:]}
    fields: dict[str, dict[str, Any]] = {}
    for name, part in (("warm", start), ("timed", documents)):
        (folder / name).mkdir()
        path = write_parquet(folder / name / "documents.parquet", part)
        fields[name] = {"documents": str(path), "corpus": str(write_corpus(folder / name / "corpus", part.items()))}
    tokenizer = folder / "tokenizer"
    train_bpe(
        Path(fields["timed"]["corpus"]), tokenizer, BpeConfig(), LocalEngine(1), memory_bytes=MEMORY_BYTES,
        replace=False,
    )
    shared = {"tokenizer": str(tokenizer), "max_tokens": MAX_TOKENS}
    reference, own = reference_ids(tokenizer, documents), 0.0
    for name in names:
        ids = folder / f"{name}.npy"
        found = contest.measure(
            name, {**fields["timed"], **shared, "ids": str(ids)}, warm={**fields["warm"], **shared, "ids": ""},
            runs=runs,
        )
        own = own or found.seconds  # the first one is rbt
        print(row(name, found, own if names[0].startswith("rbt") else 0.0, size_of(documents) / 1e6, ids, reference),
              flush=True)


def generated_ends(tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """(sentence ends, document ends), int64: geometric lengths of sentences, and of documents in sentences."""
    random = rng(0, "ends")
    sentences = np.cumsum(random.geometric(1 / SENTENCE_TOKENS, tokens // SENTENCE_TOKENS))
    documents = np.cumsum(random.geometric(1 / DOCUMENT_SENTENCES, len(sentences)))
    places = np.append(documents[documents < len(sentences)], len(sentences))
    return sentences.astype(np.int64), sentences[places - 1].astype(np.int64)


def print_packers(tokens: int, runs: int) -> None:
    """Each packer alone, in this process, its kernels warm."""
    sentence_ends, document_ends = generated_ends(tokens)
    total = int(sentence_ends[-1])
    part = TokenPart("train-00000", np.zeros(total, dtype=np.uint16), sentence_ends, document_ends)
    few = TokenPart("train-00000", part.tokens, sentence_ends[:20_000], document_ends[:200])
    print(f"\nPackers alone: {total / 1e6:.1f} M tokens, {len(sentence_ends):,} sentences, {len(document_ends):,} "
          "documents, generated\n\n| | M tokens/s, blocks | with rows | blocks | rows | rows are full by |\n"
          "|---|---:|---:|---:|---:|---:|")
    for format, packer in PACKERS.items():
        config = {
            "format": format, "max_tokens": MAX_TOKENS, "separator": "document", "seed": 1,
            "short_sequence_probability": 0.0,
        }
        seconds: list[tuple[float, float]] = []
        for stage in (few, *[part] * runs):
            started = time.perf_counter()
            blocks, _ = make_blocks(stage, config)
            packed = time.perf_counter()
            lengths = block_lengths(stage, blocks, "document")
            _, rows = packer.rows(lengths, MAX_TOKENS)
            seconds.append((packed - started, time.perf_counter() - started))
        blocks_alone, with_rows = (statistics.median(column) for column in zip(*seconds[1:], strict=True))
        full = lengths.sum() / ((len(rows) - 1) * MAX_TOKENS)
        print(f"| {format} | {total / 1e6 / blocks_alone:.0f} | {total / 1e6 / with_rows:.0f} | {len(blocks):,} | "
              f"{len(rows) - 1:,} | {full:.2%} |", flush=True)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--megabytes", type=float, default=70, help="of text, at most")
    parser.add_argument("--tokens", type=int, default=50_000_000, help="for the packers alone")
    parser.add_argument("--runs", type=int, default=3, help="the figures are medians of so many")
    parser.add_argument("--only", action="append", help="a contender to measure (repeatable); default: all")
    parser.add_argument("--packers", action="store_true", help="only the packers alone")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--work", help="folder for temporary files; default: the system's")
    return parser.parse_args()


def main() -> None:
    """Print the tables."""
    options = parse_options()
    contest = Contest(Path(__file__).with_name("pack_contenders.py"), options.peer_python, options.work)
    names = contest.introduce(list(CONTENDERS), options.only, options.runs)
    if not options.packers:
        with TemporaryDirectory(dir=options.work) as folder:
            documents = read_texts(options.data, options.megabytes)
            print_packing(contest, names, documents, Path(folder), options.runs)
    print_packers(options.tokens, options.runs)


if __name__ == "__main__":
    main()
