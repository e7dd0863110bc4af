"""The S-curve against datasketch's integrals, exact fractions and brute force."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from datasketch.lsh import _false_negative_probability, _false_positive_probability
from hypothesis import given
from hypothesis import strategies as st

from rbt.corpus.config import DeduplicateConfig
from rbt.corpus.dedup.curve import Banding, cheapest, curve_table, plot_curve, similarities

bandings = st.builds(Banding, st.integers(1, 300), st.integers(1, 40))


@given(bandings, st.integers(0, 1000))
def test_the_probability_is_that_of_exact_fractions(banding: Banding, thousandths: int) -> None:
    s = Fraction(thousandths / 1000)  # the float itself
    exact = 1 - (1 - s**banding.rows) ** banding.bands
    assert banding.probability(thousandths / 1000) == pytest.approx(float(exact), rel=1e-12, abs=0)


@given(bandings, st.integers(1, 100))
def test_the_areas_are_those_that_datasketch_integrates(banding: Banding, hundredths: int) -> None:
    threshold = hundredths / 100
    false, missed = banding.false_area(threshold), banding.missed_area(threshold)
    assert false == pytest.approx(_false_positive_probability(threshold, banding.bands, banding.rows), abs=1e-7)
    assert missed == pytest.approx(_false_negative_probability(threshold, banding.bands, banding.rows), abs=1e-7)
    x = np.linspace(0, 1, 100_001)
    found = banding.probabilities((x[1:] + x[:-1]) / 2)  # a sum over midpoints
    share = found[: hundredths * 1000].sum() / found.sum()
    assert banding.share_below(threshold) == pytest.approx(share, abs=1e-4)


def test_the_default_has_the_recall_that_the_usual_bands_lack() -> None:
    default = DeduplicateConfig()
    assert Banding(14, 8).probability(0.8) == pytest.approx(0.924, abs=5e-4)
    assert Banding(default.bands, default.rows).probability(default.threshold) == pytest.approx(0.998, abs=5e-4)
    assert Banding(default.bands, default.rows).probability(default.threshold) >= 0.99


@pytest.mark.parametrize("threshold", [0.7, 0.8, 0.9, 0.97, 1.0])
def test_the_cheapest_banding_is_the_one_of_all_that_do_with_the_fewest_permutations(threshold: float) -> None:
    fitting = [
        banding.permutations
        for banding in (Banding(bands, rows) for bands in range(1, 101) for rows in range(1, 31))
        if banding.probability(threshold) >= 0.99 and banding.probability(threshold / 2) <= 0.1
    ]
    found = cheapest(threshold)
    assert found is not None
    assert found.probability(threshold) >= 0.99
    assert found.probability(threshold / 2) <= 0.1
    assert found.permutations == min(fitting)


def test_there_is_no_cheapest_banding_where_all_are_out_of_reach() -> None:
    assert cheapest(0.05) is None
    assert any("No bands and rows" in line for line in curve_table(Banding(20, 6), 0.05))


@given(st.integers(1, 1000))
def test_the_table_goes_from_a_half_to_one_by_way_of_the_threshold(thousandths: int) -> None:
    threshold = thousandths / 1000
    values = similarities(threshold)
    assert values == sorted(set(values))
    assert set(values) == {0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, threshold}


def test_the_table_says_what_is_found_missed_and_cheapest() -> None:
    lines = curve_table(Banding(14, 8), 0.8)
    assert lines[0] == "14 bands of 8 rows: 112 permutations, 112 bytes of band keys a document"
    assert "0.80           0.9235   0.0765  <- threshold" in lines
    assert "0.50           0.0533" in lines
    assert "16 bands of 6 rows (96 permutations; 0.9923 at 0.8, 0.0636 at 0.4)." in lines
    assert any(line.startswith("16 bands of 6 rows, which is this one") for line in curve_table(Banding(16, 6), 0.8))


@pytest.mark.parametrize("threshold", [0.05, 0.8, 1.0])
def test_the_plot_is_a_png_and_the_same_every_time(tmp_path: Path, threshold: float) -> None:
    for name in ("a.png", "b.png"):
        plot_curve(tmp_path / name, Banding(14, 8), threshold)
    data = (tmp_path / "a.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", data[16:24]) == (1200, 840)
    assert data == (tmp_path / "b.png").read_bytes()
    plot_curve(tmp_path / "c.png", Banding(20, 6), threshold)
    assert data != (tmp_path / "c.png").read_bytes()
