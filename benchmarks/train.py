"""Steps of training: `rbt pretrain` beside Hugging Face's Trainer, in one run, on the device at hand.

    python benchmarks/train.py --size base --micro-batch 64 --micro-batch 128

Each contender has a process of its own with the whole machine (contest.py, train_contenders.py), and takes its steps on
the same packed rows: generated ones (generated_rows.py), which are as full as rbt's packers make them, or `--packed`.
Figures are medians over the steps behind the warm ones. The Trainer is used as run_mlm does: masks by its collator in
loader processes, attention by scaled_dot_product_attention, the head on all positions, rows that are cut anew so that
each is full; and besides on rbt's own rows, padded. Both compile where rbt would, and take fused AdamW on a GPU.

    tokens/s      of text and special tokens, without padding
    rbt is        rbt's tokens/s over theirs
    MFU           model FLOP utilization: tokens/s x FLOP a token (printed; T is the row's length, whatever blocks it
                  has) over the GPU's nominal peak in bfloat16, whatever the precision
    of a matmul   the same over the rate of a large matrix product of the same type, measured behind the steps
    waiting       for batches; passes are forward and backward, the norm of the gradients with them
    warm, s       from the start to the end of the warm steps: compiling, for the most part
    memory        at its peak: of the GPU behind the warm steps, or of the process on a CPU

`--cpu-time` is for a CPU that others use as well: each contender has one thread on one core, and what is counted is the
CPU time of its process; loader and step share it.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import checkout  # noqa: F401
from contest import Contest, Measured
from generated_rows import FORMATS, VOCAB_SIZE, write_packed
from train_contenders import CONTENDERS, FRACTION

from rbt.formats.blocks import open_index
from rbt.trainer.config import SIZES
from rbt.trainer.flops import peak_flops, training_flops_per_token

MAX_TOKENS = 512
TRAINER, LOOP = "Trainer, run_mlm's rows", "no Trainer, a plain loop, run_mlm's rows"
COLUMNS = (
    "rows a pass", "tokens/s", "rbt is", "MFU", "of a matmul", "step, ms", "waiting", "passes", "optimizer", "warm, s",
    "memory, GB", "matmul, TFLOP/s",
)
HEADER = f"| | {' | '.join(COLUMNS)} |\n|---|{'---:|' * len(COLUMNS)}"


def part_of(milliseconds: Mapping[str, list[float]], name: str) -> str:
    """Median of a part of a step, and its share."""
    part = statistics.median(milliseconds[name])
    return f"{part:,.1f} ({part / statistics.median(milliseconds['whole']):.1%})"


def rate_of(found: Measured) -> float:
    """Tokens a second."""
    return 1e3 * float(found.facts["tokens"]) / statistics.median(found.facts["milliseconds"]["whole"])


def row(name: str, found: Measured, own: float, flops: float) -> str:
    """A contender's row; `own`: rbt's tokens/s."""
    if found.error:
        return f"| {name} | failed: {found.error} |"
    facts, rate = found.facts, rate_of(found)
    milliseconds, peak = facts["milliseconds"], peak_flops(facts["device"])
    how = f"{facts['device']}, {facts['precision']}{', compiled' if facts['compiled'] else ''}"
    cells = [
        f"{name} ({how})", str(facts["micro_batch"]), f"{rate:,.0f}",
        f"{own / rate:.2f} times as fast" if own and name != "rbt" else "",
        f"{rate * flops / peak:.1%}" if peak else "", f"{rate * flops / facts['matmul']:.1%}",
        f"{statistics.median(milliseconds['whole']):,.1f}",
        *(part_of(milliseconds, part) for part in ("waiting", "passes", "optimizer")),
        f"{facts['warm_seconds']:.0f}", f"{facts['memory'] / 1e9:.2f}", f"{facts['matmul'] / 1e12:.3g}",
    ]
    return f"| {' | '.join(cells)} |"


def halved(contest: Contest, name: str, job: dict[str, Any], own_rows: int) -> Measured:
    """A contender with as many rows a pass as rbt took, or half as many, and so on, until they fit."""
    rows = int(job["micro_batch"]) if job["micro_batch"] != "auto" else own_rows or int(job["step_rows"])
    while True:
        found = contest.measure(name, {**job, "micro_batch": rows}, runs=1)
        if "out of memory" not in found.error or rows == 1:
            return found
        rows //= 2


def print_rows(contest: Contest, names: list[str], job: dict[str, Any], flops: float) -> None:
    """The contenders' rows at one size of micro-batch."""
    own, own_rows = 0.0, 0
    for name in names:
        found = contest.measure(name, job, runs=1) if name == "rbt" else halved(contest, name, job, own_rows)
        if name == "rbt" and not found.error:
            own, own_rows = rate_of(found), found.facts["micro_batch"]
        print(row(name, found, own, flops), flush=True)


def describe_flops(size: str, max_tokens: int) -> str:
    """The formula and its numbers."""
    shape = asdict(SIZES[size])
    flops = training_flops_per_token(SIZES[size], max_tokens, VOCAB_SIZE, FRACTION)
    return (f"{flops:.4g} FLOP a token = 6 N + 12 L H T + 6 f (H^2 + V H), N = L (4 H^2 + 2 H F): L {shape['layers']}, "
            f"H {shape['hidden']}, F {shape['feed_forward']}, T {max_tokens}, V {VOCAB_SIZE}, f {FRACTION}")


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", choices=sorted(SIZES), help="of the model (repeatable); small")
    parser.add_argument("--step-rows", type=int, default=0, help="default: those of a micro-batch, 256 for auto")
    parser.add_argument("--micro-batch", action="append", help='rows of a pass (repeatable), or "auto"')
    parser.add_argument("--steps", type=int, default=10, help="that are timed")
    parser.add_argument("--warm-steps", type=int, default=5)
    parser.add_argument("--compile", choices=["auto", "yes", "no"], default="auto")
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="of the index")
    parser.add_argument("--packed", type=Path, help=f"a packed folder with an index of this format and {MAX_TOKENS}")
    parser.add_argument("--cpu-time", action="store_true", help="one thread on one core, and seconds of CPU time")
    parser.add_argument("--only", action="append", help="a contender to measure (repeatable); default: all")
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter that has the peers")
    parser.add_argument("--seconds", type=float, default=7200, help="for one contender, at most")
    parser.add_argument("--work", help="folder for temporary files; default: the system's")
    options = parser.parse_args()
    options.size, options.micro_batch = options.size or ["small"], options.micro_batch or ["auto"]
    return options


def jobs(packed: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A job for each size of micro-batch."""
    compiled = {"auto": "auto", "yes": True, "no": False}[options.compile]
    shared = {
        "packed": str(packed), "index": f"{options.format}-{MAX_TOKENS}", "max_tokens": MAX_TOKENS,
        "compile": compiled, "precision": options.precision, "warm_steps": options.warm_steps, "steps": options.steps,
        "cpu_time": options.cpu_time,
    }
    sizes = [rows if rows == "auto" else int(rows) for rows in options.micro_batch]
    return [
        {**shared, "micro_batch": rows, "step_rows": options.step_rows or (256 if rows == "auto" else rows)}
        for rows in sizes
    ]


def main() -> None:
    """Print the tables."""
    options = parse_options()
    contest = Contest(
        Path(__file__).with_name("train_contenders.py"), options.peer_python, options.work, options.cpu_time,
        options.seconds,
    )
    names = contest.introduce(list(CONTENDERS), options.only and [*options.only, LOOP], 1)
    if LOOP not in (options.only or []) and (TRAINER in names or TRAINER not in (options.only or [TRAINER])):
        names.remove(LOOP)  # it stands in for the Trainer
    with TemporaryDirectory(dir=options.work) as temporary:
        packed = options.packed or Path(temporary) / "packed"
        most = max(job["step_rows"] for job in jobs(packed, options)) * (options.steps + options.warm_steps + 4)
        if options.packed is None:
            write_packed(packed, most * MAX_TOKENS, formats=(options.format,))
        index = open_index(packed / f"{options.format}-{MAX_TOKENS}", "train")
        print(f"{index.num_rows:,} rows of {options.format}; medians of {options.steps} steps; {platform.system()}"
              f"{'; seconds of CPU time, one thread' if options.cpu_time else ''}")
        for size in options.size:
            flops = training_flops_per_token(SIZES[size], MAX_TOKENS, VOCAB_SIZE, FRACTION)
            print(f"\n{size}: {describe_flops(size, MAX_TOKENS)}\n\n{HEADER}", flush=True)
            for job in jobs(packed, options):
                print_rows(contest, names, {**job, "size": size}, flops)


if __name__ == "__main__":
    main()
