"""`rbt runs compare`, what it shows: runs as a table of lines, and their curves side by side as a PNG.

Perplexity is e to the loss over the masked positions alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.errors import ArtefactError
from rbt.runs import CONFIG, Record, Run, differences
from rbt.storage import atomic_path

HEADS = ("run", "steps", "loss", "validation: last", "best", "tokens/s", "MFU", "left out")
NOTHING = "-"
NATS = "nats a masked token"
COLORS = ("#1f4e79", "#e08e0b", "#2e8b57", "#c0392b", "#7d5ba6", "#8c6d31", "#d675b0", "#5f6b6d", "#00a0b0", "#a4b000")
STYLES = ("-", "--", ":", "-.")  # of the runs beyond as many as there are colors
SMOOTHED = 20  # a smoothed curve is a mean of this part of its records
FEW = 20  # values, each of which has a dot
LEGEND_LINES = 16  # that the panel has room for in one column
SETTLED = 20  # the part of the records, from the first, that may be above the panel of a loss
X_AXES = ("step", "epoch", "row")
X_LABELS = {"step": "step", "epoch": "epoch (rows read / rows of the index)", "row": "rows read"}
Floats = npt.NDArray[np.float64]


def table(runs: Sequence[Run]) -> list[str]:
    """A line a run, then a line a key in which they differ."""
    cells = [HEADS, *(_cells(run) for run in runs)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return [*lines, *_differing(runs)]


def _cells(run: Run) -> tuple[str, ...]:
    last, best = run.validations[-1] if run.validations else None, run.best_validation
    rate, utilization = run.typical("tokens_per_second"), run.typical("model_flops_utilization")
    return (
        run.name, f"{run.last_step:,} of {run.settings['schedule.max_steps']:,}",
        f"{run.steps[-1]['loss']:.3f}" if run.steps else NOTHING,
        _validation(last), NOTHING if best is None else f"{_validation(best)} at {best['step']:,}",
        NOTHING if rate is None else f"{rate:,.0f}",
        NOTHING if utilization is None else f"{utilization:.1%}", f"{len(run.skipped):,}",
    )


def _validation(record: Record | None) -> str:
    if record is None:
        return NOTHING
    return f"{record['validation_loss']:.3f} (ppl {math.exp(min(record['validation_loss'], 700.0)):,.2f})"


def _differing(runs: Sequence[Run]) -> list[str]:
    """Each key that differs, with its values and who has them."""
    found = differences(runs)
    if len(runs) < 2:
        return []
    if not found:
        return ["", "their recipes do not differ"]
    width = max(map(len, found))
    return ["", *(f"{key:<{width}}  {_holders(runs, values)}" for key, values in found.items())]


def _holders(runs: Sequence[Run], values: Sequence[Any]) -> str:
    holders: dict[str, list[str]] = {}
    for run, value in zip(runs, values, strict=True):
        holders.setdefault(NOTHING if value is None else f"{value}", []).append(run.name)
    return "; ".join(f"{value}: {', '.join(names)}" for value, names in holders.items())


def smooth(values: Floats, part: int = SMOOTHED) -> Floats:
    """Means of each value and those around it, 1/`part` of all; at the ends, of those that there are; (n,) each."""
    half = len(values) // (2 * part)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    first, end = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    return np.asarray((sums[end] - sums[first]) / (end - first))


def plot_runs(path: Path, runs: Sequence[Run], x: str = "step") -> None:
    """Draw losses, learning rate, gradient norm and tokens a second of runs, by one of X_AXES, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 8.5), dpi=150, layout="constrained")
    figure.get_layout_engine().set(wspace=0.06, hspace=0.06)  # type: ignore[call-arg,union-attr]
    panels = figure.subplots(2, 3)
    _draw_loss(panels[0, 0], runs, x)
    _draw_validation(panels[0, 1], runs, x)
    _draw(panels[0, 2], runs, x, "learning_rate", "learning rate", "learning rate")
    _draw_norm(panels[1, 0], runs, x)
    _draw(panels[1, 1], runs, x, "tokens_per_second", "speed", "tokens a second, of all ranks", raw=True)
    for axes in (panels[0, 2], panels[1, 1]):
        axes.set_ylim(bottom=0)
    panels[1, 1].yaxis.set_major_formatter(_short)
    _draw_legend(panels[1, 2], runs)
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def x_values(run: Run, steps: npt.NDArray[np.int64], x: str) -> Floats:
    """Where steps stand on one of X_AXES. Raises ArtefactError for a run without the rows of an epoch."""
    if x == "step":
        return steps.astype(np.float64)
    rows = steps * float(run.settings["data.global_batch"])
    if x == "row":
        return np.asarray(rows)
    whole = run.settings.get("packed.rows")
    if not isinstance(whole, int) or whole < 1:
        raise ArtefactError(
            "expected the rows of an epoch, as packed.rows", path=run.folder / CONFIG, found=f"{whole or 'none'}",
            cure="draw it by --x step or --x row",
        )
    return np.asarray(rows / whole)


def _short(value: float, place: int = 0) -> str:
    """A number in few characters: 16M, 250K, 0.5."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _style(number: int) -> dict[str, Any]:
    return {"color": COLORS[number % len(COLORS)], "ls": STYLES[number // len(COLORS) % len(STYLES)]}


def _draw(
    axes: Any, runs: Sequence[Run], x: str, name: str, title: str, unit: str, raw: bool = False, **marks: Any
) -> None:
    """One line a run; with `raw`, the values faint and their smoothed line over them."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(0, 1.02 * max(float(x_values(run, np.array([run.last_step]), x)[0]) for run in runs))
    for number, run in enumerate(runs):
        series = run.series(name)
        places, values = x_values(run, series[0], x), series[1]
        if raw:
            axes.plot(places, values, lw=0.8, alpha=0.25, **_style(number))
            values = smooth(values)
        dots = {"marker": "o", "ms": 3.5} if len(values) < FEW else {}
        axes.plot(places, values, lw=1.6, **_style(number), **{**dots, **marks})
    axes.set(title=title, xlabel=X_LABELS[x], ylabel=unit)
    axes.xaxis.set_major_formatter(_short)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(alpha=0.25)


def _draw_loss(axes: Any, runs: Sequence[Run], x: str) -> None:
    """The training loss, and at the lower edge a tick for each update that was left out."""
    _draw(axes, runs, x, "loss", "training loss", NATS, raw=True)
    _cut_top(axes, [run.series("loss")[1] for run in runs])
    for number, run in enumerate(runs):
        steps = np.array([record["step"] for record in run.skipped], dtype=np.int64)
        places = x_values(run, steps, x)
        axes.plot(
            places, np.full(len(places), 0.02), "|", color=COLORS[number % len(COLORS)], ms=9,
            transform=axes.get_xaxis_transform(),
        )


def _draw_validation(axes: Any, runs: Sequence[Run], x: str) -> None:
    """The validation loss, and on the right the perplexity that it is the logarithm of."""
    _draw(axes, runs, x, "validation_loss", "validation loss", NATS, marker="o", ms=3.5)
    _cut_top(axes, [run.series("validation_loss")[1] for run in runs])
    if not any(run.validations for run in runs):
        axes.text(0.5, 0.5, "no validation", ha="center", va="center", transform=axes.transAxes)
        return
    right = axes.twinx()  # the same places, named by e to the loss
    right.set(ylim=axes.get_ylim(), yticks=(places := axes.get_yticks()), ylabel="perplexity")
    right.set(ylim=axes.get_ylim(), yticklabels=[_perplexity(place) for place in places])


def _perplexity(loss: float) -> str:
    value = math.exp(min(loss, 700.0))
    return f"{value:.3g}" if value < 1000 else f"{float(f'{value:.3g}'):,.0f}"


def _draw_norm(axes: Any, runs: Sequence[Run], x: str) -> None:
    """The gradient norm, by its logarithm."""
    from matplotlib.ticker import LogLocator, NullFormatter

    _draw(axes, runs, x, "gradient_norm", "gradient norm", "global norm, before clipping", raw=True)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _cut_top(axes: Any, found: Sequence[Floats]) -> None:
    """Leave out what falls from the height of a guess in the first records, beside which the rest would be flat."""
    settled = [values[len(values) // SETTLED :] for values in found if len(values)]
    if settled:
        low, high = min(float(values.min()) for values in settled), max(float(values.max()) for values in settled)
        margin = 0.05 * (high - low) or 0.05
        axes.set_ylim(low - margin, high + margin)


def _draw_legend(axes: Any, runs: Sequence[Run]) -> None:
    axes.axis("off")
    lines = [axes.plot([], [], lw=2, label=run.name, **_style(number))[0] for number, run in enumerate(runs)]
    columns = 1 if len(runs) <= LEGEND_LINES else 2
    axes.legend(
        handles=lines, loc="upper left", frameon=False, ncols=columns, fontsize=10 if columns == 1 else 8,
        title="faint: as recorded; bold: smoothed\n| updates that were left out", alignment="left",
    )
