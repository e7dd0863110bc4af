"""`rbt bpe stats`, what it shows: TokenStatistics as lines, and as a PNG."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from rbt.formats.tokenizer import unspell
from rbt.packing.token_statistics import TextAmount, TokenStatistics
from rbt.storage import atomic_path

SHOWN = 10  # tokens of a list
UNUSED_SHOWN = 5  # ids at each end
TOKEN_WIDTH = 48  # characters of a token, quoted
COLOR, MEAN_COLOR = "#1f4e79", "#e08e0b"


def report(found: TokenStatistics) -> list[str]:
    """The lines to print."""
    return [*_sources(found), "", *_ids(found), "", *_frequent(found), "", *_longest(found)]


def _sources(found: TokenStatistics) -> list[str]:
    names = ["documents", "bytes", "tokens", "bytes a token", "tokens a word"]
    width = 2 + max(len(source) for source in ["most frequent", *found.sources])
    lines = [" " * width + "".join(f"{name:>18}" for name in names)]
    for source, amount in [*found.sources.items(), ("all", found.all)]:
        cells = [
            f"{amount.documents:,}", f"{amount.bytes:,}", f"{amount.tokens:,}",
            _ratio(amount.bytes, amount.tokens), _ratio(amount.tokens, amount.words),
        ]
        lines.append(f"{source:<{width}}" + "".join(f"{cell:>18}" for cell in cells))
    return lines


def _ratio(number: int, of: int | None) -> str:
    return f"{number / of:.3f}" if of else "-"


def _share(number: int, of: int) -> str:
    return f"{number / of:.2%}" if of else "-"


def _ids(found: TokenStatistics) -> list[str]:
    total, unused = len(found.uses), found.unused
    lines = [
        f"{'ids':<32}{total:>12,}",
        f"{'  for no text':<32}{len(found.silent):>12,}",
        f"{'  never used':<32}{len(unused):>12,}  {_share(len(unused), total)}",
        f"{'tokens that are one byte':<32}{found.single_bytes:>12,}  {_share(found.single_bytes, found.all.tokens)}",
    ]
    if len(unused) > 2 * UNUSED_SHOWN:
        lines.insert(3, f"    first  {_named(found, unused[:UNUSED_SHOWN])}")
        lines.insert(4, f"    last   {_named(found, unused[-UNUSED_SHOWN:])}")
    elif len(unused):
        lines.insert(3, f"    {_named(found, unused)}")
    return lines


def _named(found: TokenStatistics, ids: Iterable[int]) -> str:
    return "  ".join(f"{id} {show_token(found.tokens[id])}" for id in ids)


def show_token(token: str) -> str:
    """A token's text, quoted, cut where it is long; bytes that are no whole characters as escapes."""
    data = unspell(token)
    try:
        shown = repr(data.decode())
    except UnicodeDecodeError:
        shown = repr(data)
    return shown if len(shown) <= TOKEN_WIDTH else f"{shown[: TOKEN_WIDTH - 4]}...{shown[-1]}"


def _frequent(found: TokenStatistics) -> list[str]:
    total = found.all.tokens
    lines = [f"{'most frequent':<16}{'uses':>14}{'share':>9}  token"]
    for id in found.most_frequent(SHOWN).tolist():
        uses = int(found.uses[id])
        lines.append(f"  id {id:<11}{uses:>14,}{_share(uses, total):>9}  {show_token(found.tokens[id])}")
    return lines


def _longest(found: TokenStatistics) -> list[str]:
    lines = [f"{'longest':<16}{'uses':>14}{'bytes':>9}  token"]
    for id in found.longest(SHOWN).tolist():
        lines.append(
            f"  id {id:<11}{int(found.uses[id]):>14,}{int(found.lengths[id]):>9}  {show_token(found.tokens[id])}"
        )
    return lines


def plot_tokens(path: Path, title: str, found: TokenStatistics) -> None:
    """Draw uses by rank, and bytes a token by source, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), dpi=150, layout="constrained")
    figure.suptitle(title)
    by_rank, by_source = figure.subplots(1, 2)
    _draw_ranks(by_rank, found)
    _draw_sources(by_source, found)
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw_ranks(axes: Any, found: TokenStatistics) -> None:
    uses = np.sort(found.uses[found.uses > 0])[::-1]
    axes.plot(np.arange(1, len(uses) + 1), uses, color=COLOR, lw=1.8)
    axes.set(xlabel=f"rank of the token ({len(found.unused):,} more never occur)", ylabel="uses")
    if len(uses):
        axes.set(xscale="log", yscale="log")
    axes.grid(alpha=0.25)


def _draw_sources(axes: Any, found: TokenStatistics) -> None:
    drawn = {source: _bytes_a_token(amount) for source, amount in found.sources.items() if amount.tokens}
    bars = axes.barh(list(drawn), list(drawn.values()), height=0.6, color=COLOR)
    axes.bar_label(bars, fmt="%.2f", padding=3)
    mean = _bytes_a_token(found.all)
    axes.axvline(mean, color=MEAN_COLOR, lw=1.6, label=f"all: {mean:.2f}")
    axes.set(xlabel="bytes a token", xlim=(0, 1.15 * max(drawn.values(), default=1)))
    axes.set_axisbelow(True)
    axes.invert_yaxis()
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), frameon=False)
    axes.grid(alpha=0.25, axis="x")


def _bytes_a_token(amount: TextAmount) -> float:
    return amount.bytes / max(1, amount.tokens)
