"""What an ablation found, beside the paper's figures: OUT/table-N.md for people, OUT/table-N.json with every run.

    results of runs ──by row──> median over seeds, and the smallest and largest ──> one line a row

A column is a name and a function of a row, so that what is measured later is one more entry of `columns`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbt.ablation.tables import Ablation, Plan, varied_keys
from rbt.manifest import to_json
from rbt.runs import Run
from rbt.spread import Spread, coverage
from rbt.storage import write_text

PAPER = "RoBERTa: A Robustly Optimized BERT Pretraining Approach, arXiv 1907.11692"
MASKED_TOKENS = "e^loss over the masked positions alone"


@dataclass(frozen=True)
class Heading:
    """What a table is of."""

    ablation: Ablation
    size: str
    settings: tuple[str, ...]  # --set, over the size's
    held_out: Mapping[str, int]  # rows that all runs are evaluated on, by format
    all_held_out: Mapping[str, int]  # rows that there are


@dataclass(frozen=True)
class Result:
    """A finished run, and its mean losses in nats on held-out rows of each format."""

    row: str
    seed: int
    run: Run
    losses: Mapping[str, float]


@dataclass(frozen=True)
class Line:
    """A row of the table with its results."""

    plan: Plan
    results: tuple[Result, ...]

    def perplexity(self, format: str) -> Spread:
        """On the held-out rows of a format."""
        return Spread.of([math.exp(result.losses[format]) for result in self.results])

    def typical(self, name: str) -> Spread | None:
        """Of a number that steps record, the median of each run; None where they do not."""
        values = [value for result in self.results if (value := result.run.typical(name)) is not None]
        return Spread.of(values) if values else None

    @property
    def epochs(self) -> float:
        """Passes over the rows of its index."""
        rows = self.results[0].run.settings["packed.rows"]
        return float(self.plan.schedule.max_steps * self.plan.data.global_batch / rows)


Column = tuple[str, Callable[[Line], str]]


def columns(lines: Sequence[Line], formats: Sequence[str]) -> list[Column]:
    """The columns of a table: what rows differ in, what was measured, and the paper's figures."""
    varied = [key for key in varied_keys([line.plan for line in lines]) if not _names_the_row(lines, key)]
    measures = dict.fromkeys(name for line in lines for name in line.plan.row.paper)
    return [
        ("row", lambda line: line.plan.row.name),
        *(_setting_column(key) for key in varied),
        *(_perplexity_column(format, len(formats) > 1) for format in formats),
        ("tokens a step", lambda line: _shown(line.typical("tokens"), ",.0f", False)),
        ("tokens/s", lambda line: _shown(line.typical("tokens_per_second"), ",.0f", True)),
        ("epochs", lambda line: f"{line.epochs:.3g}"),
        ("seeds", lambda line: f"{len(line.results)}"),
        *(_paper_column(name) for name in measures),
    ]


def _names_the_row(lines: Sequence[Line], key: str) -> bool:
    return all(line.plan.settings()[key] == line.plan.row.name for line in lines)


def _setting_column(key: str) -> Column:
    def show(line: Line) -> str:
        value = line.plan.settings()[key]
        return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"{value}"

    return f"`{key}`", show


def _perplexity_column(format: str, is_one_of_many: bool) -> Column:
    def show(line: Line) -> str:
        spread = line.perplexity(format)
        cell = spread.show(f".{max(0, 3 - math.floor(math.log10(spread.median)))}f")  # of four digits
        return f"**{cell}**" if line.plan.pack.format == format and is_one_of_many else cell

    return f"perplexity on {format}", show


def _paper_column(name: str) -> Column:
    return f"paper: {name}", lambda line: f"{line.plan.row.paper[name]}" if name in line.plan.row.paper else ""


def _shown(spread: Spread | None, format: str, with_range: bool) -> str:
    if spread is None:
        return ""
    return spread.show(format) if with_range else f"{spread.median:{format}}"


def lines_of(plans: Sequence[Plan], results: Sequence[Result]) -> list[Line]:
    """The rows of which there is a result, in the order of the table."""
    found = [Line(plan, tuple(result for result in results if result.row == plan.row.name)) for plan in plans]
    return [line for line in found if line.results]


def write_table(out: Path, heading: Heading, plans: Sequence[Plan], results: Sequence[Result]) -> None:
    """Write OUT/<name>.md and OUT/<name>.json."""
    lines, name = lines_of(plans, results), heading.ablation.name
    write_text(out / f"{name}.md", markdown(heading, lines))
    write_text(out / f"{name}.json", to_json(as_json(heading, lines)))


def markdown(heading: Heading, lines: Sequence[Line]) -> str:
    """The table as a page."""
    shown = columns(lines, list(heading.held_out))
    rows = [[name for name, _ in shown], ["---"] * len(shown), *([show(line) for _, show in shown] for line in lines)]
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    notes = "\n".join(f"- {note}" for note in [*_notes(heading, lines), *heading.ablation.notes])
    number = heading.ablation.name.removeprefix("table-")
    return f"# Table {number}: {heading.ablation.title} ({heading.size})\n\n{table}\n\n{notes}\n"


def _notes(heading: Heading, lines: Sequence[Line]) -> list[str]:
    """What the columns are, which depends on how many there are, and what was set otherwise."""
    held_out = heading.held_out
    rows = ", ".join(f"{count:,} of {format}" for format, count in held_out.items())
    notes = [
        f"Perplexity is {MASKED_TOKENS}, at the last step. All runs are shown the same held-out rows ({rows}) with the "
        "same masks, whatever their seed: what is in one column can be compared.",
    ]
    if len(held_out) > 1:
        first = next(iter(held_out))
        notes.append(
            f"{_same_documents(heading)} Masked tokens have more context in longer blocks, too, so that two columns "
            f"cannot be compared. {first} is the common measure. Bold: the format that a row was trained on."
        )
    seeds = sorted({len(line.results) for line in lines})
    if seeds[-1] > 1:
        chances = ", ".join(f"{coverage(count):.1%} for {count} seeds" for count in seeds if count > 1)
        notes.append(
            "Over seeds: median [smallest, largest]. That range holds the median of all seeds with a probability of "
            f"{chances}, whatever the distribution. Seeds draw weights, order, masks and dropout; the text is the same."
        )
    if settings := true_settings(heading, lines):
        changed = ", ".join(f"`{setting}`" for setting in settings)
        notes.append(f"Changed from the size `{heading.size}`, for all rows: {changed}.")
    return [
        *notes, "tokens/s: the median of what a run logged, on the machine that it ran on.",
        f"The paper's figures are of fine-tuned models, in percent, but for perplexity: {PAPER}.",
    ]


def _same_documents(heading: Heading) -> str:
    """Whether columns are of the same text, which they are not where run.validation_rows leaves rows out."""
    parts = [
        f"{count:,} of {heading.all_held_out[format]:,} of {format}"
        for format, count in heading.held_out.items() if count < heading.all_held_out[format]
    ]
    if not parts:
        return "All formats lay out the same held-out documents."
    return (
        f"Not all held-out rows are looked at ({', '.join(parts)}: `run.validation_rows`), so that columns are not of "
        "the same documents."
    )


def true_settings(heading: Heading, lines: Sequence[Line]) -> list[str]:
    """What --set changed; of [run], what all runs had: those that were found may have begun under other settings."""
    return [setting for setting in heading.settings if all(_had(line, setting) for line in lines)]


def _had(line: Line, setting: str) -> bool:
    section, _, key = setting.partition("=")[0].strip().partition(".")
    wanted = getattr(line.plan.run, key) if section == "run" else None
    return section != "run" or all(result.run.settings[f"run.{key}"] == wanted for result in line.results)


def as_json(heading: Heading, lines: Sequence[Line]) -> dict[str, Any]:
    """The table with every run of it."""
    varied, held_out = varied_keys([line.plan for line in lines]), heading.held_out
    return {
        "table": heading.ablation.name, "title": heading.ablation.title, "size": heading.size,
        "set": true_settings(heading, lines), "held_out_rows": dict(held_out),
        "rows": [
            {
                "name": line.plan.row.name, "paper": dict(line.plan.row.paper), "epochs": line.epochs,
                "settings": {key: line.plan.settings()[key] for key in varied},
                "perplexity": {format: line.perplexity(format).table() for format in held_out},
                "runs": [_run_json(result) for result in line.results],
            }
            for line in lines
        ],
    }


def _run_json(result: Result) -> dict[str, Any]:
    run = result.run
    names = ("tokens", "tokens_per_second", "model_flops_utilization")
    found = {name: value for name in names if (value := run.typical(name)) is not None}
    validated = {key: run.validations[-1][key] for key in ("validation_loss", "validation_perplexity")} \
        if run.validations else {}
    return {
        "seed": result.seed, "run": run.folder.name, "steps": run.last_step, "skipped": len(run.skipped), **found,
        **validated, "losses": dict(result.losses),
    }
