"""Small tables: the settings, the command, and what it writes, read back."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from rbt import cli

SMALL = (
    "model.layers=2", "model.hidden=16", "model.heads=2", "model.feed_forward=32", "pack.max_tokens=48",
    "pack.validation_fraction=0.2", "data.global_batch=4", "schedule.max_steps=4", "run.log_every=1",
    "run.checkpoint_every=2", "run.validate_every=2", "run.device=cpu",
)
FORMATS = ["full-sentences", "segment-pair", "sentence-pair", "doc-sentences"]  # in the order of the columns
Steps = list[tuple[int, int]]  # (seed, number) of updates that were made


def ablate(inputs: Path, out: Path, table: str, *words: str) -> Result:
    """Run the command on the corpus, small."""
    settings = [part for setting in SMALL for part in ("--set", setting)]
    folders = ["--corpus", str(inputs / "corpus"), "--tokenizer", str(inputs / "tokenizer"), "--out", str(out)]
    arguments = ["ablate", table, *folders, "--workers", "1", *settings, *words]
    return CliRunner().invoke(cli.main, arguments)


def must(result: Result) -> str:
    """The output of a command that must succeed."""
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


def read_table(page: Path) -> list[dict[str, str]]:
    """The rows of a page's table by column, without emphasis."""
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def read_losses(out: Path) -> dict[str, list[dict[str, float]]]:
    """Losses of table 2, by row."""
    rows = json.loads((out / "table-2.json").read_text())["rows"]
    return {row["name"]: [run["losses"] for run in row["runs"]] for row in rows}
