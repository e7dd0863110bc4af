"""Runs beside the paper's tables 5 to 7: `rbt table`.

    results ──by pretrained model and task──> configurations ──choose──> a cell: median over seeds, and the interval
        ──> TABLE.md, TABLE.png

A run that was started from another fine-tuned one stands in a line of its own: its start is not the paper's of dev.
A cell is of one data set: scores on different ones are no seeds of each other, nor is one chosen by them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rbt.finetune.paper import PAPER, TABLES, Column, PaperTable
from rbt.finetune.results import (
    SELECTION,
    Configuration,
    Result,
    check_comparable,
    choose,
    configurations,
    read_results,
)
from rbt.finetune.table_plot import MARK, plot_tables
from rbt.runs import distinct_names
from rbt.spread import coverage
from rbt.storage import write_text

SQUAD_TASK, UNANSWERABLE = "squad", "dev exact_match_unanswerable"  # a score that v2.0 has
OTHER = "Other tasks"
Key = tuple[str, str]  # (task, part)


@dataclass(frozen=True)
class Line:
    """What was found for a pretrained model: of each task the chosen configuration."""

    name: str
    weights: str
    chosen: Mapping[Key, Configuration]

    def cell(self, column: Column) -> Configuration | None:
        """What stands in a column; None where nothing was run."""
        found = self.chosen.get((column.task, column.part))
        return found if found is not None and found.spread(column.score) is not None else None


def part_of(result: Result) -> str:
    """Which data set of its task a run is scored on: of SQuAD, one with unanswerable questions or one without."""
    if result.task != SQUAD_TASK:
        return ""
    return "v2.0" if UNANSWERABLE in result.scores else "v1.1"


def read_lines(folders: Sequence[Path]) -> list[Line]:
    """A line a pretrained model, in the order of the folders. Raises ArtefactError, ConfigError."""
    results = [result for folder in folders for result in read_results(folder)]
    groups: dict[tuple[str, tuple[str, ...]], list[Result]] = {}
    for result in results:
        key = result.facts["pretrained_weights"], tuple(result.facts["learned_before"])
        groups.setdefault(key, []).append(result)
    names = model_names({weights: group[0].facts["pretrained"] for (weights, _), group in groups.items()})
    lines = []
    for (weights, learned), group in groups.items():
        tasks: dict[Key, list[Result]] = {}
        for result in group:
            tasks.setdefault((result.task, part_of(result)), []).append(result)
        for found in tasks.values():
            check_comparable(found)
        name = names[weights] + "".join(f", then {task}" for task in learned)
        lines.append(Line(name, weights, {key: choose(configurations(found)) for key, found in tasks.items()}))
    return lines


def model_names(folders: Mapping[str, str]) -> dict[str, str]:
    """Names by the hash of their weights: as much of the folders as tells them apart, else the hash, too."""
    names = distinct_names([Path(folder) for folder in folders.values()])
    digests = [weights.rpartition(":")[2][:8] for weights in folders]
    if len(set(names)) < len(names):
        names = [f"{name} ({digest})" for name, digest in zip(names, digests, strict=True)]
    return dict(zip(folders, names, strict=True))


def tables_of(lines: Sequence[Line]) -> list[PaperTable]:
    """The paper's tables of which something was run, and one of what else was."""
    known = {(column.task, column.part) for table in TABLES for column in table.columns}
    others = dict.fromkeys(
        Column(f"{task} {name}", task, name, part)
        for line in lines for (task, part), found in line.chosen.items() if (task, part) not in known
        for name in found.results[0].scores if name != SELECTION
    )
    tables = [*TABLES, PaperTable(OTHER, "not in the paper", tuple(others), {}, ())]
    return [table for table in tables if any(line.cell(column) for line in lines for column in table.columns)]


def cell_text(line: Line, column: Column) -> str:
    """Median, interval and number of seeds, marked where runs diverged."""
    found = line.cell(column)
    if found is None or (spread := found.spread(column.score)) is None:
        return ""
    return f"{spread.show('.1f')} ({spread.seeds}){MARK if found.num_diverged else ''}"


def markdown(lines: Sequence[Line]) -> str:
    """The whole page."""
    tables = "\n".join(_table_text(table, lines) for table in tables_of(lines))
    return f"# Fine-tuning beside the paper\n\n{tables}\n## What was run\n\n{_runs_text(lines)}\n{_notes(lines)}"


def _grid(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, ["---"] * len(head), *body))


def _table_text(table: PaperTable, lines: Sequence[Line]) -> str:
    ours = [line for line in lines if any(line.cell(column) for column in table.columns)]
    rows = [
        ["", *(column.name for column in table.columns)],
        *([f"paper: {name}", *(f"{row[c.name]:.1f}" if c.name in row else "" for c in table.columns)]
          for name, row in table.rows.items()),
        *([f"**{line.name}**", *(cell_text(line, column) for column in table.columns)] for line in ours),
    ]
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return f"## {table.name}: {table.title}\n\n{_grid(rows)}{notes}"


def _runs_text(lines: Sequence[Line]) -> str:
    """A line a task of a model: what was chosen, and all that it is scored by."""
    rows = [["model", "task", "learning rate", "batch", "seeds", "diverged", "scores on dev"]]
    for line in lines:
        for (task, part), found in line.chosen.items():
            names = [name for name in found.results[0].scores if name != SELECTION]
            spreads = [(name, found.spread(name)) for name in names]
            words = "; ".join(f"{name} {spread.show('.2f')}" for name, spread in spreads if spread is not None)
            rows.append([
                line.name, f"{task} {part}".strip(), f"{found.config.learning_rate:g}", f"{found.config.batch_size}",
                f"{len(found.results)}", f"{found.num_diverged}" if found.num_diverged else "", words,
            ])
    return _grid(rows)


def _notes(lines: Sequence[Line]) -> str:
    """What the figures are, and which runs diverged."""
    seeds = sorted({len(found.results) for line in lines for found in line.chosen.values()} - {1})
    notes = ["Figures of runs: median over seeds [smallest, largest] (seeds), in percent, of the best epoch on dev."]
    if seeds:
        chances = ", ".join(f"{coverage(count):.1%} for {count} seeds" for count in seeds)
        notes.append(f"The interval holds the median of all seeds with a probability of {chances}.")
    notes += [note for line in lines for key, found in line.chosen.items() for note in _diverged(line, key, found)]
    notes += [f"{line.name}: weights {line.weights}." for line in lines]
    notes.append(f"The paper's figures: {PAPER}.")
    return "".join(f"- {note}\n" for note in notes)


def _diverged(line: Line, key: Key, found: Configuration) -> list[str]:
    """Which runs of a cell diverged, and what it is without them."""
    if not found.num_diverged:
        return []
    names = ", ".join(result.folder.name for result in found.results if result.has_diverged)
    scores = [name for name in found.results[0].scores if name != SELECTION]
    spreads = [(name, found.spread(name, with_diverged=False)) for name in scores]
    without = "; ".join(f"{name} {spread.show('.1f')}" for name, spread in spreads if spread is not None)
    return [
        f"{MARK} {line.name}, {' '.join(key).strip()}: {found.num_diverged} of {len(found.results)} runs diverged "
        f"(stuck at one answer, or not finite): {names}. The figures above are of all runs; "
        + (f"without the diverged: {without}." if without else "there is no other.")
    ]


def write_tables(out: Path, folders: Sequence[Path]) -> Path:
    """Write the page, and the picture beside it; the picture's path. Raises ArtefactError, ConfigError."""
    lines = read_lines(folders)
    picture = out.with_suffix(".png")
    plot_tables(picture, tables_of(lines), {line.name: line.cell for line in lines})
    write_text(out, markdown(lines))
    return picture
