"""The picture of `rbt table`: a panel a table, a place a column.

Runs are dots, with their interval and median; the first lines of the paper are dashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rbt.finetune.paper import Column, PaperTable
from rbt.finetune.results import Configuration
from rbt.runs_report import COLORS
from rbt.storage import atomic_path

Cells = Callable[[Column], Configuration | None]
DASHES = (("#b8b8b8", 2.0), ("#808080", 2.0), ("#000000", 2.6), ("#000000", 1.0))  # of the paper's first lines
MARK = "†"  # of a cell with runs that diverged
ROOM = 0.62  # of a column's width, which the lines share
PANEL = 4.2  # inches


def plot_tables(path: Path, tables: Sequence[PaperTable], lines: Mapping[str, Cells]) -> None:
    """Draw tables, one above the other, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, PANEL * len(tables)), dpi=150, layout="constrained")
    for axes, table in zip(figure.subplots(len(tables), 1, squeeze=False)[:, 0], tables, strict=True):
        _draw(axes, table, lines)
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw(axes: Any, table: PaperTable, lines: Mapping[str, Cells]) -> None:
    for (name, row), (color, width) in zip(table.rows.items(), DASHES, strict=False):
        found = [(place, row[column.name]) for place, column in enumerate(table.columns) if column.name in row]
        axes.plot(*zip(*found, strict=True), "_", color=color, ms=22, mew=width, label=f"paper: {name}")
    ours = {name: cells for name, cells in lines.items() if any(cells(column) for column in table.columns)}
    for number, (name, cells) in enumerate(ours.items()):
        offset = ROOM * ((number + 1) / (len(ours) + 1) - 0.5)
        _draw_line(axes, table.columns, cells, offset, COLORS[number % len(COLORS)], name)
    axes.set_xticks(range(len(table.columns)), [column.name for column in table.columns])
    axes.set_xlim(-0.6, len(table.columns) - 0.4)
    axes.set(title=f"{table.name}: {table.title}", ylabel="percent")
    axes.margins(y=0.1)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, alignment="left",
        title="point: median; line: smallest to largest\ndots: runs; x, †: runs that diverged",
    )


def _draw_line(axes: Any, columns: Sequence[Column], cells: Cells, offset: float, color: str, name: str) -> None:
    """A model: of each column its runs, their interval and median, whose figure stands on the outer side."""
    side = 1 if offset >= 0 else -1
    axes.plot([], [], "o", color=color, ms=6, label=name)
    for number, column in enumerate(columns):
        found = cells(column)
        if found is None or (spread := found.spread(column.score)) is None:
            continue
        place = number + offset
        axes.plot([place, place], [spread.low, spread.high], "-", color=color, lw=3, alpha=0.4)
        all_diverged = found.num_diverged == len(found.results)
        axes.plot(place, spread.median, "o", color=color, ms=6, mfc="white" if all_diverged else color)
        for diverged, mark, size in ((False, ".", 4), (True, "x", 9)):
            values = [result.scores[column.score] for result in found.results if result.has_diverged == diverged]
            axes.plot([place] * len(values), values, mark, color=color, ms=size, mew=1.5 if diverged else 0.5)
        axes.annotate(
            f"{spread.median:.1f}{MARK if found.num_diverged else ''}", (place, spread.median), (side * 7, 0),
            textcoords="offset points", va="center", ha="left" if side > 0 else "right", fontsize=8, color=color,
        )
