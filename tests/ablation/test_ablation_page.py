"""What a table says: its lines, its columns, and the notes under it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from statistics import median

import pytest

from rbt.ablation import report
from rbt.formats.blocks import choose_index, open_index
from rbt.spread import Spread, coverage

from .small_tables import FORMATS, ablate, must, read_table


def test_table_2_has_a_line_a_format_with_the_perplexities_of_its_runs(formats: Path) -> None:
    rows, found = read_table(formats / "table-2.md"), json.loads((formats / "table-2.json").read_text())
    assert [row["row"] for row in rows] == ["segment-pair", "sentence-pair", "full-sentences", "doc-sentences"]
    assert [name for name in rows[0] if "perplexity" in name] == [f"perplexity on {format}" for format in FORMATS]
    for row, line in zip(rows, found["rows"], strict=True):
        assert (row["row"], row["seeds"]) == (line["name"], "2")
        assert [run["seed"] for run in line["runs"]] == [1, 2]
        for format in FORMATS:
            values = [math.exp(run["losses"][format]) for run in line["runs"]]
            assert row[f"perplexity on {format}"] == f"{median(values):.1f} [{min(values):.1f}, {max(values):.1f}]"
            assert min(values) < max(values) < 400
        assert float(row["tokens a step"].replace(",", "")) <= 4 * 48
        assert row["paper: RACE"] == str(line["paper"]["RACE"])
    assert {row["paper: SQuAD 1.1 F1"] for row in rows} == {"90.4", "88.7", "90.6"}


def test_only_the_format_that_a_row_was_trained_on_is_bold(formats: Path) -> None:
    lines = (formats / "table-2.md").read_text().splitlines()
    head = [cell.strip() for cell in lines[2].strip("|").split("|")]
    for line in lines[4:8]:
        cells = dict(zip(head, (cell.strip() for cell in line.strip("|").split("|")), strict=True))
        assert [name for name, cell in cells.items() if "**" in cell] == [f"perplexity on {cells['row']}"]


def test_all_formats_are_laid_over_one_token_store(formats: Path) -> None:
    packed = formats / "packed"
    stores = {
        read.manifest.inputs["tokens"]
        for format in FORMATS for read in [open_index(choose_index(packed, format), "validation")]
    }
    assert len(stores) == 1


def test_the_page_says_what_can_be_compared_and_how_sure_it_is(formats: Path) -> None:
    page = (formats / "table-2.md").read_text()
    held_out = json.loads((formats / "table-2.json").read_text())["held_out_rows"]
    for format in FORMATS:
        assert f"{held_out[format]} of {format}" in page
        assert held_out[format] == open_index(choose_index(formats / "packed", format), "validation").num_rows
    for words in (
        "masked positions alone", "two columns cannot be compared", "full-sentences is the common measure",
        "All formats lay out the same held-out documents.",
        "50.0% for 2 seeds", "arXiv 1907.11692", "Changed from the size `mini`, for all rows: `model.layers=2`, ",
    ):
        assert words in page, words


def test_columns_of_which_rows_were_left_out_are_not_said_to_be_of_one_text(
    inputs: Path, formats: Path, tmp_path: Path
) -> None:
    """And of [run] the page names what all runs had: those that were found began under other settings."""
    out = shutil.copytree(formats, tmp_path / "out", ignore=shutil.ignore_patterns("packed", "evaluations"))
    more = ("--packed", str(formats / "packed"), "--set", "run.validation_rows=3", "--set", "run.keep_checkpoints=3")
    must(ablate(inputs, out, "table-2", "--seeds", "2", *more))
    page, found = (out / "table-2.md").read_text(), json.loads((out / "table-2.json").read_text())
    assert "the same held-out documents" not in page
    for format in FORMATS:
        count = open_index(choose_index(formats / "packed", format), "validation").num_rows
        assert f"3 of {count} of {format}" in page
    assert "columns are not of the same documents" in page
    assert "`run.keep_checkpoints=3`" in page and "run.keep_checkpoints=3" in found["set"]  # they had the default
    assert "`run.validation_rows=3`" not in page and "run.validation_rows=3" not in found["set"]
    assert set(found["held_out_rows"].values()) == {3}


@pytest.mark.parametrize(("values", "shown"), [([2.0], "2.00"), ([3.0, 1.0, 2.5], "2.50 [1.00, 3.00]")])
def test_a_number_over_seeds_is_a_median_and_a_range(values: list[float], shown: str) -> None:
    assert Spread.of(values).show(".2f") == shown


def test_the_range_holds_the_median_as_often_as_is_said() -> None:
    """Of n draws, all are above the median in one of 2^n cases, and all below it in another."""
    for seeds in range(1, 8):
        sides = [[number >> bit & 1 for bit in range(seeds)] for number in range(2**seeds)]
        held = sum(0 < sum(case) < seeds for case in sides)
        assert coverage(seeds) == pytest.approx(held / 2**seeds)


def test_a_column_that_no_run_has_is_empty() -> None:
    assert report._shown(None, ".0f", True) == ""
