"""The S-curve of MinHash bands: which pairs become candidates, and what a choice of bands and rows costs.

Two documents of Jaccard similarity s share the minima of one band of r rows with probability s**r, and at least one of
b bands with probability 1 - (1 - s**r)**b (Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4).
Verification turns false candidates down, so a choice costs time there; a pair that is missed is never seen again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rbt.storage import atomic_path

RECALL = 0.99  # asked of a suggestion, at the threshold
NOISE = 0.1  # most of the pairs at half the threshold that a suggestion may let through
MAXIMUM_PERMUTATIONS = 1 << 14  # of a suggestion
STEP, FIRST = 0.05, 0.5  # similarities in the table
KEY_BYTES = 8
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Banding:
    """A choice of bands and of rows a band."""

    bands: int
    rows: int

    @property
    def permutations(self) -> int:
        """Minima a document."""
        return self.bands * self.rows

    @property
    def key_bytes(self) -> int:
        """Bytes of band keys that are kept a document."""
        return self.bands * KEY_BYTES

    def __str__(self) -> str:
        return f"{self.bands} x {self.rows}"

    def probability(self, similarity: float) -> float:
        """Probability that a pair of this similarity (0 to 1) becomes a candidate."""
        return float(self.probabilities(np.array([similarity]))[0])

    def probabilities(self, similarities: Float64) -> Float64:
        """The same of many, float64 of the same shape; exact to the last digits where it is almost 0 or 1."""
        with np.errstate(divide="ignore"):  # log(0) at similarity 1
            found: Float64 = -np.expm1(self.bands * np.log1p(-(similarities**self.rows)))
        return found

    def false_area(self, threshold: float) -> float:
        """Area under the curve below the threshold: datasketch's false-positive probability."""
        return threshold - self._misses_from_zero(threshold)

    def missed_area(self, threshold: float) -> float:
        """Area above the curve from the threshold on: datasketch's false-negative probability."""
        return self._misses_from_zero(1.0) - self._misses_from_zero(threshold)

    def share_below(self, threshold: float) -> float:
        """Share of candidates below the threshold, were pairs of every similarity from 0 to 1 equally frequent."""
        below = self.false_area(threshold)
        return below / (below + 1 - threshold - self.missed_area(threshold))

    def _misses_from_zero(self, similarity: float) -> float:
        """Integral of (1 - s**r)**b over s from 0: with u = s**r an incomplete beta function."""
        from scipy.special import beta, betainc

        a, b = 1 / self.rows, self.bands + 1
        return float(beta(a, b) * betainc(a, b, similarity**self.rows) / self.rows)


def cheapest(threshold: float, recall: float = RECALL, noise: float = NOISE) -> Banding | None:
    """The banding of fewest permutations that finds a pair at the threshold with probability `recall` or more, and
    one at half the threshold with probability `noise` or less; None where none has up to MAXIMUM_PERMUTATIONS.

    More rows never need fewer bands, so it is the first that does. Without the second bound it would have one row, and
    make a candidate of nearly every pair.
    """
    rows = 1
    while (banding := Banding(_fewest_bands(threshold**rows, recall), rows)).permutations <= MAXIMUM_PERMUTATIONS:
        if banding.probability(threshold / 2) <= noise:
            return banding
        rows += 1
    return None


def _fewest_bands(chance: float, recall: float) -> int:
    """Bands needed for one of them, each with this chance, to match with probability `recall`."""
    if chance == 1:
        return 1
    if chance < 1 / MAXIMUM_PERMUTATIONS:  # more would be needed than that, and log1p below might be 0
        return MAXIMUM_PERMUTATIONS + 1
    return math.ceil(math.log1p(-recall) / math.log1p(-chance))


def similarities(threshold: float) -> list[float]:
    """The similarities of the table: from FIRST in steps, or from the threshold where that is lower, to 1."""
    steps = round((1 - FIRST) / STEP)
    return sorted({round(FIRST + STEP * step, 10) for step in range(steps + 1)} | {threshold})


def curve_table(chosen: Banding, threshold: float) -> list[str]:
    """What to print of a choice."""
    suggested = cheapest(threshold)
    lines = [
        f"{chosen.bands} bands of {chosen.rows} rows: {chosen.permutations} permutations, {chosen.key_bytes} bytes of "
        "band keys a document", "", "similarity  candidate   missed",
    ]
    for similarity in similarities(threshold):
        probability = chosen.probability(similarity)
        words = f"{similarity:.2f}" if similarity == round(similarity, 2) else f"{similarity:g}"
        missed = f"{1 - probability:>9.4f}" if similarity >= threshold else ""
        mark = "  <- threshold" if similarity == threshold else ""
        lines.append(f"{words:<10}{probability:>11.4f}{missed}{mark}")
    return [*lines, "", *_verification(chosen, threshold), *_suggestion(chosen, suggested, threshold)]


def _verification(chosen: Banding, threshold: float) -> list[str]:
    return [
        f"Were pairs of every similarity from 0 to 1 equally frequent, {chosen.share_below(threshold):.0%} of the "
        f"candidates would be below {threshold:g},", "for verification to turn down. A real corpus has more pairs of "
        "low similarity; what it had is in its ledger", "(candidate_pairs, verified_edges).", "",
    ]


def _suggestion(chosen: Banding, suggested: Banding | None, threshold: float) -> list[str]:
    rule = (
        f"with recall {RECALL:g} or more at {threshold:g}, and {NOISE:.0%} or less of the pairs at {threshold / 2:g} "
        "as candidates"
    )
    if suggested is None:
        return [f"No bands and rows of up to {MAXIMUM_PERMUTATIONS:,} permutations {rule}."]
    found = f"{suggested.probability(threshold):.4f} at {threshold:g}, {suggested.probability(threshold / 2):.4f} at "
    found = f"{suggested.permutations} permutations; {found}{threshold / 2:g}"
    this = ", which is this one" if suggested == chosen else ""
    return [f"Fewest permutations {rule}:", f"{suggested.bands} bands of {suggested.rows} rows{this} ({found})."]


def plot_curve(path: Path, chosen: Banding, threshold: float) -> None:
    """Draw the curve of a choice, what it misses and what it lets through, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5.6), dpi=150, layout="constrained")
    _draw(figure.add_subplot(), chosen, threshold)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    FigureCanvasAgg(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def _draw(axes: Any, chosen: Banding, threshold: float) -> None:
    x = np.unique(np.append(np.linspace(0, 1, 1001), threshold))
    y = chosen.probabilities(x)
    below, above = x <= threshold, x >= threshold
    label = "below the threshold: candidates to turn down"
    axes.fill_between(x[below], 0, y[below], color="#f2c14e", alpha=0.5, lw=0, label=label)
    label = "above it: pairs that are missed"
    axes.fill_between(x[above], y[above], 1, color="#c0392b", alpha=0.6, lw=0, label=label)
    suggested = cheapest(threshold)
    if suggested is not None and suggested != chosen:
        label = f"{suggested}: {suggested.permutations} permutations, the fewest for recall {RECALL:g}"
        axes.plot(x, suggested.probabilities(x), color="#7f8c8d", lw=1.2, ls="--", label=label)
    axes.plot(x, y, color="#1f4e79", lw=2.2, label=f"{chosen}: {chosen.permutations} permutations")
    recall = chosen.probability(threshold)
    axes.axvline(threshold, color="black", lw=1, ls=":", label=f"threshold {threshold:g}: found with p = {recall:.4f}")
    axes.plot([threshold], [recall], "o", color="#1f4e79", ms=6)
    axes.set(
        xlim=(0, 1), ylim=(0, 1.01), xlabel="Jaccard similarity of a pair, s",
        ylabel="probability to become a candidate",
        title=f"{chosen.bands} bands of {chosen.rows} rows: 1 - (1 - s$^{{{chosen.rows}}}$)$^{{{chosen.bands}}}$",
    )
    axes.grid(alpha=0.25)
