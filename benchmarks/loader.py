"""Rows to masked batches: tokens a second of each part of the way and of all of it, beside transformers' collator.

    python benchmarks/loader.py [--cold-gigabytes 8]

Each contender has a process of its own that is pinned to one core (contest.py, loader_contenders.py), and has read a
few rows before it is timed; figures are medians, of CPU time but for the last table. The rows are generated
(generated_rows.py) and as full as rbt's packers make them, or those of `--packed`; they lie in memory, but for the last
table.

    order     positions of the run to rows            mask      streams to inputs and labels
    advice    telling the system what will be read    tensors   to tensors of the sizes of a compiled run
    read      rows to streams of blocks               all of it the same, as the thread that reads ahead does it

Of a step: what one core spends on the batches of a training step on one GPU, at `--rate` tokens a second. The collator
finds its rows in memory, as lists; it masks by coin flips, and pads.

`--cold-gigabytes N` writes a token store of that size, asks the system to forget it, and reads random rows from the
disk, with and without telling it of a step's rows before the step. That needs a disk with so much room, and shows
something only where the system does forget.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import checkout  # noqa: F401
from contest import Contest, Measured
from generated_rows import FORMATS, write_packed
from loader_contenders import CONTENDERS

from rbt.formats.blocks import open_index

MAX_TOKENS = 512
PARTS = {
    "order": "rbt: order", "advice": "rbt: advice", "read": "rbt: read", "mask": "rbt: mask",
    "tensors": "rbt: tensors", "all of it": "rbt: all of it", "transformers' collator": "transformers' collator",
}
COLD = ("rbt: from disk, not told", "rbt: from disk, told before")
RESUME = "rbt: resume at step 1,000,000"


def million_rate(found: Measured) -> float:
    """Million tokens a second of CPU time."""
    return float(found.facts["tokens"]) / found.cpu_seconds / 1e6


def cell(found: Measured) -> str:
    """A rate, or why there is none."""
    return f"failed: {found.error}" if found.error else f"{million_rate(found):.1f}"


def job(packed: Path, index: str, options: argparse.Namespace, words: bool = False) -> dict[str, Any]:
    """The fields of a contender's job."""
    return {
        "packed": str(packed), "index": index, "steps": options.steps, "global_batch": options.step_rows,
        "micro_batch": options.micro_batch, "max_tokens": MAX_TOKENS, "words": words,
    }


def print_rates(contest: Contest, names: list[str], packed: Path, options: argparse.Namespace) -> None:
    """The table of parts of the way, a column for each format."""
    columns = [(format, format, False) for format in options.format]
    if "full-sentences" in options.format:
        columns.append(("full-sentences, whole words", "full-sentences", True))
    print(f"\nMillion tokens a second of CPU time; {options.steps} steps of {options.step_rows} rows of {MAX_TOKENS}, "
          f"in micro-batches of {options.micro_batch}\n\n| | " + " | ".join(title for title, _, _ in columns)
          + " |\n|---|" + "---:|" * len(columns), flush=True)
    found = dict[tuple[str, str], Measured]()
    for row, name in PARTS.items():
        if name not in names:
            continue
        cells = []
        for title, format, words in columns:
            fields = job(packed, f"{format}-{MAX_TOKENS}", options, words)
            small = {**fields, "steps": 1}
            found[name, title] = contest.measure(name, fields, warm=small, runs=options.runs)
            cells.append(cell(found[name, title]))
        print(f"| {row} | {' | '.join(cells)} |", flush=True)
    shares = [
        f"{options.rate / 1e6 / million_rate(whole):.2%}" if whole and not whole.error else ""
        for whole in (found.get((PARTS["all of it"], title)) for title, _, _ in columns)
    ]
    print(f"| all of it, of a step at {options.rate:,} tokens/s | {' | '.join(shares)} |", flush=True)


def print_resume(contest: Contest, packed: Path, options: argparse.Namespace) -> None:
    """What a start at a late step costs before its first batches are there."""
    print("\n| start at step 1,000,000 | seconds | of CPU time | epoch | tokens |\n|---|---:|---:|---:|---:|")
    for format in options.format:
        answer = contest.measure(RESUME, job(packed, f"{format}-{MAX_TOKENS}", options), runs=options.runs)
        cells = answer.error or (f"{answer.seconds:.3f} | {answer.cpu_seconds:.3f} | {answer.facts['epoch']:,} | "
                                 f"{answer.facts['tokens']:,}")
        print(f"| {format} | {cells} |", flush=True)


def print_cold(contest: Contest, folder: Path, options: argparse.Namespace) -> None:
    """Random rows from the disk."""
    count = int(options.cold_gigabytes * 1e9 / 2)
    packed = write_packed(folder / "cold", count, parts=max(1, count // 100_000_000))
    index = f"full-sentences-{MAX_TOKENS}"
    rows = open_index(packed / index, "train").num_rows
    print(f"\n{options.cold_steps} steps of {options.step_rows} rows, of {rows:,} in {2 * count / 1e9:.1f} GB of tokens"
          "\n\n| | rows/s | M tokens/s | CPU, of the time |\n|---|---:|---:|---:|", flush=True)
    fields = {**job(packed, index, options), "steps": options.cold_steps}
    for name in COLD:
        answer = contest.measure(name, fields, runs=options.runs)
        cells = answer.error
        if not cells:
            rows_read, tokens = (answer.facts[key] / answer.seconds for key in ("rows", "tokens"))
            cells = f"{rows_read:,.0f} | {tokens / 1e6:.1f} | {answer.cpu_seconds / answer.seconds:.0%}"
        print(f"| {name} | {cells} |", flush=True)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", action="append", choices=FORMATS, help="of the index (repeatable)")
    parser.add_argument("--packed", type=Path, help="a packed folder to read, with indices of these formats and 512")
    parser.add_argument("--tokens", type=int, default=40_000_000, help="of the generated folder")
    parser.add_argument("--parts", type=int, default=4, help="of the generated folder")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--step-rows", type=int, default=2048, help="rows of a step")
    parser.add_argument("--micro-batch", type=int, default=128, help="rows of a micro-batch")
    parser.add_argument("--rate", type=int, default=508_100, help="tokens/s of training, for the share of a step")
    parser.add_argument("--runs", type=int, default=3, help="the figures are medians of so many")
    parser.add_argument("--only", action="append", help="a contender to measure (repeatable); default: all")
    parser.add_argument("--cold-gigabytes", type=float, default=0.0, help="size of a token store to read from disk")
    parser.add_argument("--cold-steps", type=int, default=2)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--work", help="folder for temporary files; default: the system's")
    options = parser.parse_args()
    options.format = options.format or list(FORMATS[:3])
    return options


def main() -> None:
    """Print the tables."""
    options = parse_options()
    contest = Contest(Path(__file__).with_name("loader_contenders.py"), options.peer_python, options.work)
    names = contest.introduce(list(CONTENDERS), options.only, options.runs)
    with TemporaryDirectory(dir=options.work) as temporary:
        folder = Path(temporary)
        packed = options.packed or write_packed(
            folder / "packed", options.tokens, formats=tuple(options.format), parts=options.parts
        )
        print_rates(contest, names, packed, options)
        if RESUME in names:
            print_resume(contest, packed, options)
        if options.cold_gigabytes:
            print_cold(contest, folder, options)


if __name__ == "__main__":
    main()
