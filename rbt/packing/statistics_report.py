"""`rbt pack stats`, what it shows: SplitStatistics as a table of lines, and as a PNG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rbt.formats.blocks import Int64
from rbt.packing.statistics import SplitStatistics, largest, mean, median
from rbt.storage import atomic_path

BINS, BAR = 16, 30  # lines of the table of block lengths, and characters of its longest bar
FEWEST_BARS, MOST_BARS = 6, 24  # that a panel has room for; values above share the last
SHOWN = frozenset({"ids", "blocks", "rows", "next"})  # counts of the ledger that have a line of their own
DROPPED = "dropped_"  # tokens, in front of the reason
COLORS = {"train": "#1f4e79", "validation": "#e08e0b"}


def report(found: Sequence[SplitStatistics]) -> list[str]:
    """The lines to print of an index, a column a split."""
    head = f"{'':<30}" + "".join(f"{statistics.split:>16}" for statistics in found)
    return [head, *_rows(found), *_ledger(found), "", *length_table(found)]


def _line(name: str, found: Sequence[SplitStatistics], show: Callable[[SplitStatistics], str]) -> str:
    return f"{name:<30}" + "".join(f"{show(statistics):>16}" for statistics in found)


def _rows(found: Sequence[SplitStatistics]) -> list[str]:
    def spread(name: str) -> Callable[[SplitStatistics], str]:
        return lambda split: f"{mean(part := getattr(split.histograms, name)):,.2f} / {largest(part):,}"

    lines = [
        _line("documents", found, lambda split: f"{split.stored['documents']:,}"),
        _line("bytes a token", found, lambda split: _ratio(split.stored["bytes"], split.stored["tokens"])),
        _line("rows", found, lambda split: f"{split.rows:,}"),
        _line("blocks", found, lambda split: f"{split.blocks:,}"),
        _line("ids in rows", found, lambda split: f"{split.ids:,}"),
        _line("fill rate", found, lambda split: f"{split.fill_rate:.2%}"),
        _line("ids a block (mean / most)", found, spread("block_ids")),
        _line("  median", found, lambda split: f"{median(split.histograms.block_ids):,}"),
        _line("blocks a row (mean / most)", found, spread("row_blocks")),
        _line("sentences a block (mean/most)", found, spread("block_sentences")),
        _line("documents a block (mean/most)", found, spread("block_documents")),
        _line("blocks across documents", found, _crossing),
    ]
    if any(split.is_pair for split in found):
        lines.append(_line("pairs that are next", found, _following))
    return lines


def _ratio(number: int, of: int) -> str:
    return f"{number / of:.3f}" if of else "-"


def _share(number: int, of: int) -> str:
    return f"{number / of:.2%}" if of else "-"


def _crossing(split: SplitStatistics) -> str:
    return _share(int(split.histograms.block_documents[2:].sum()), split.blocks)


def _following(split: SplitStatistics) -> str:
    return _share(split.histograms.following, split.blocks)


def _ledger(found: Sequence[SplitStatistics]) -> list[str]:
    """What the index's ledger counted besides, and the tokens that it dropped, by reason."""
    names = sorted({name for split in found for name in split.counted} - SHOWN)
    reasons = [name for name in names if name.startswith(DROPPED)]
    words = {name: name.removeprefix(DROPPED).replace("_", " ") for name in names}
    return [
        "", "counted by `rbt pack`",
        *(_line(f"  {words[name]}", found, partial(_count, name)) for name in names if name not in reasons),
        _line("  tokens dropped", found, _dropped),
        *(_line(f"    {words[name]}", found, partial(_count, name)) for name in reasons),
    ]


def _dropped(split: SplitStatistics) -> str:
    return f"{sum(number for name, number in split.counted.items() if name.startswith(DROPPED)):,}"


def _count(name: str, split: SplitStatistics) -> str:
    return f"{split.counted.get(name, 0):,}"


def length_table(found: Sequence[SplitStatistics]) -> list[str]:
    """Blocks by their ids, in at most BINS lines; bars show the shares of the first split."""
    width = -(-found[0].max_tokens // BINS)
    counts = [binned(split.histograms.block_ids, width) for split in found]
    shares = [count / max(1, count.sum()) for count in counts]
    longest = max(float(shares[0].max()), 1e-9)
    lines = [f"{'ids a block':<30}" + "".join(f"{split.split:>16}" for split in found)]
    for place in range(len(counts[0])):
        first, last = place * width + 1, min((place + 1) * width, found[0].max_tokens)
        cells = "".join(f"{share[place]:>16.2%}" for share in shares)
        bar = "#" * round(float(shares[0][place]) / longest * BAR)
        lines.append(f"  {f'{first} to {last}':<28}{cells}  {bar}".rstrip())
    return lines


def binned(histogram: Int64, width: int) -> Int64:
    """Sums of `width` values each, of the values 1 to max_tokens of a histogram (max_tokens + 2,)."""
    values = histogram[1:-1]
    return np.asarray(np.add.reduceat(values, np.arange(0, len(values), width)), dtype=np.int64)


def plot_statistics(path: Path, title: str, found: Sequence[SplitStatistics]) -> None:
    """Draw block lengths, how full rows are, blocks a row and documents a block as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7.5), dpi=150, layout="constrained")
    figure.suptitle(title)
    panels = figure.subplots(2, 2)
    drawn = [split for split in found if split.blocks]
    _draw_lengths(panels[0, 0], drawn, "block_ids", "ids of a block, special tokens included", "share of the blocks")
    _draw_lengths(panels[0, 1], drawn, "row_ids", "ids of a row", "share of the rows")
    _draw_counts(panels[1, 0], drawn, "row_blocks", "blocks of a row", "share of the rows")
    _draw_counts(panels[1, 1], drawn, "block_documents", "documents of a block", "share of the blocks")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_lengths(axes: Any, found: Sequence[SplitStatistics], name: str, x: str, y: str) -> None:
    """Shares by length: the first split filled, the others as outlines."""
    width = -(-found[0].max_tokens // 64) if found else 1
    for number, split in enumerate(found):
        counts = binned(getattr(split.histograms, name), width)
        edges = np.minimum(np.arange(len(counts) + 1) * width, split.max_tokens) + 0.5
        label, color = f"{split.split}: {split.blocks:,} blocks in {split.rows:,} rows", COLORS[split.split]
        axes.stairs(counts / counts.sum(), edges, fill=number == 0, color=color, lw=1.6, label=label)
    axes.set(xlabel=x, ylabel=y)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.grid(alpha=0.25)


def _draw_counts(axes: Any, found: Sequence[SplitStatistics], name: str, x: str, y: str) -> None:
    """Shares of the values 1, 2, ...; of more than MOST_BARS, the last is for all above."""
    histograms = [getattr(split.histograms, name) for split in found]
    top = max((largest(histogram) for histogram in histograms), default=1)
    bars = min(top, MOST_BARS)
    for number, (split, histogram) in enumerate(zip(found, histograms, strict=True)):
        shares = histogram[1 : bars + 1] / histogram.sum()
        shares[-1] = histogram[bars:].sum() / histogram.sum()
        places = np.arange(1, bars + 1) + (number - (len(found) - 1) / 2) * 0.4
        axes.bar(places, shares, width=0.38, color=COLORS[split.split])
    names = [str(value) for value in range(1, bars)] + [f"{bars}" if top == bars else f">={bars}"]
    axes.set(xlabel=x, ylabel=y, xticks=range(1, bars + 1), xticklabels=names, xlim=(0.4, max(bars, FEWEST_BARS) + 0.6))
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.tick_params(axis="x", labelsize=8 if bars > 12 else 10)
    axes.grid(alpha=0.25, axis="y")
