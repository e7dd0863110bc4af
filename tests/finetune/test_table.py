"""Runs beside the paper's tables: what stands where, what is marked, and what is left empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbt.errors import ConfigError
from rbt.finetune.metrics import METRICS
from rbt.finetune.paper import TABLES
from rbt.finetune.results import read_results
from rbt.finetune.sweep import write_sweep
from rbt.finetune.table import write_tables
from rbt.tasks.sets import TASKS

from .runs import fake_run, fake_seeds, invoke, must

Cells = dict[str, dict[str, str]]  # name of a line -> column -> cell
PNG = b"\x89PNG\r\n\x1a\n"


def page_of(folder: Path, *runs: Path) -> str:
    """The page of some runs."""
    out = folder / "table.md"
    picture = write_tables(out, runs)
    assert picture == folder / "table.png" and picture.read_bytes().startswith(PNG)
    return out.read_text("utf-8")


def table_of(page: str, name: str) -> Cells:
    """A table of a page, without emphasis."""
    part = page.partition(f"## {name}")[2].partition("\n## ")[0]
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in part.splitlines() if line[:1] == "|"]
    return {row[0]: dict(zip(rows[0][1:], row[1:], strict=True)) for row in rows[2:]}


def test_every_column_is_a_metric_of_a_task_on_a_dev_split_of_it() -> None:
    for column in [column for table in TABLES for column in table.columns]:
        split, metric = column.score.split(" ")
        assert split in TASKS[column.task].dev_splits
        assert metric in TASKS[column.task].metrics and metric in METRICS


def test_table_5_has_the_papers_figures_and_the_medians_of_runs(tmp_path: Path) -> None:
    runs = [
        *fake_seeds(tmp_path, "rte", "dev accuracy", [60, 64.26, 61]),
        fake_run(tmp_path / "mnli", "mnli", {"dev_matched accuracy": 70.0, "dev_mismatched accuracy": 71.0}),
        fake_run(tmp_path / "stsb", "stsb", {"dev pearson": 80.0, "dev spearman": 70.0}),
        fake_run(tmp_path / "cola", "cola", {"dev matthews": 12.3}),
        fake_run(tmp_path / "mrpc", "mrpc", {"dev accuracy": 81.0, "dev f1": 87.0}),
    ]
    page = page_of(tmp_path, *runs)
    table = table_of(page, "Table 5")
    assert table["paper: RoBERTa large"] == {
        "MNLI-m": "90.2", "MNLI-mm": "90.2", "QNLI": "94.7", "QQP": "92.2", "RTE": "86.6", "SST": "96.4",
        "MRPC": "90.9", "CoLA": "68.0", "STS": "92.4", "WNLI": "91.3",
    }
    assert table["paper: RoBERTa base (table 8)"]["CoLA"] == "63.6"
    assert table["paper: RoBERTa base (table 8)"]["WNLI"] == ""
    assert table["model"] == {
        "MNLI-m": "70.0 (1)", "MNLI-mm": "71.0 (1)", "QNLI": "", "QQP": "", "RTE": "61.0 [60.0, 64.3] (3)", "SST": "",
        "MRPC": "81.0 (1)", "CoLA": "12.3 (1)", "STS": "80.0 (1)", "WNLI": "",
    }
    assert "Table 6" not in page and "Table 7" not in page and "diverged" in page.partition("## What was run")[2]
    assert "dev accuracy 81.00; dev f1 87.00" in page and "75.0% for 3 seeds" in page


def test_diverged_runs_are_marked_and_the_figures_given_with_and_without_them(tmp_path: Path) -> None:
    page = page_of(tmp_path, *fake_seeds(tmp_path, "rte", "dev accuracy", [64, 66, 50], diverged=[3]))
    assert table_of(page, "Table 5")["model"]["RTE"] == "64.0 [50.0, 66.0] (3)†"
    assert "† model, rte: 1 of 3 runs diverged (stuck at one answer, or not finite): rte-1e-05-3." in page
    assert "without the diverged: dev accuracy 65.0 [64.0, 66.0]." in page
    assert "†" not in page_of(tmp_path, *fake_seeds(tmp_path / "other", "rte", "dev accuracy", [64, 66]))


def test_of_a_sweep_the_chosen_configuration_is_shown(tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    runs = [
        *fake_seeds(out, "rte", "dev accuracy", [60, 61], rate=1e-5),
        *fake_seeds(out, "rte", "dev accuracy", [70, 72], rate=2e-5),
    ]
    write_sweep(out, [result for run in runs for result in read_results(run)], 4)
    page = page_of(tmp_path, out)
    assert table_of(page, "Table 5")["model"]["RTE"] == "71.0 [70.0, 72.0] (2)"
    assert "| model | rte | 2e-05 | 16 | 2 |" in page
    assert page_of(tmp_path, *runs) == page


def test_models_have_a_line_each_named_by_what_tells_them_apart(tmp_path: Path) -> None:
    runs = [
        *fake_seeds(tmp_path / "a", "rte", "dev accuracy", [60], weights="blake2b:aaaaaaaaaa", pretrained="one/model"),
        *fake_seeds(tmp_path / "b", "rte", "dev accuracy", [61], weights="blake2b:bbbbbbbbbb", pretrained="two/model"),
        fake_run(
            tmp_path / "c", "rte", {"dev accuracy": 70.0}, weights="blake2b:bbbbbbbbbb", pretrained="two/model",
            learned=["mnli"],
        ),
    ]
    page = page_of(tmp_path, *runs)
    table = table_of(page, "Table 5")
    found = {name: cells["RTE"] for name, cells in table.items() if not name.startswith("paper")}
    assert found == {"one/model": "60.0 (1)", "two/model": "61.0 (1)", "two/model, then mnli": "70.0 (1)"}
    same = fake_seeds(tmp_path / "d", "rte", "dev accuracy", [62], weights="blake2b:cccccccccc", pretrained="two/model")
    names = list(table_of(page_of(tmp_path, *runs, *same), "Table 5"))
    assert "two/model (bbbbbbbb)" in names and "two/model (cccccccc)" in names


def test_squad_has_two_data_sets_told_apart_by_the_questions_without_an_answer(tmp_path: Path) -> None:
    runs = [
        fake_run(tmp_path / "one", "squad", {"dev exact_match": 50.0, "dev token_f1": 60.0}),
        fake_run(tmp_path / "two", "squad", {
            "dev exact_match": 40.0, "dev token_f1": 45.0, "dev exact_match_unanswerable": 20.0
        }),
        fake_run(tmp_path / "race", "race", {"dev accuracy": 30.0, "dev accuracy_middle": 31.0}),
    ]
    page = page_of(tmp_path, *runs)
    assert table_of(page, "Table 6")["model"] == {
        "SQuAD 1.1 EM": "50.0 (1)", "SQuAD 1.1 F1": "60.0 (1)", "SQuAD 2.0 EM": "40.0 (1)", "SQuAD 2.0 F1": "45.0 (1)"
    }
    assert table_of(page, "Table 6")["paper: XLNet large"]["SQuAD 1.1 EM"] == "89.0"
    assert table_of(page, "Table 7")["model"] == {"Accuracy": "30.0 (1)", "Middle": "31.0 (1)", "High": ""}
    assert "of the test set, those of runs here of dev" in page


def test_a_cell_is_of_one_data_set_and_counts_a_seed_once(tmp_path: Path) -> None:
    first = fake_run(tmp_path / "one", "rte", {"dev accuracy": 50.0})
    other = fake_run(tmp_path / "two", "rte", {"dev accuracy": 16.7}, data="others")
    with pytest.raises(ConfigError, match=r"expected runs of rte with the same files"):
        page_of(tmp_path, first, other)
    again = fake_run(tmp_path / "three", "rte", {"dev accuracy": 50.0})
    with pytest.raises(ConfigError, match=r"expected runs of different seeds"):
        page_of(tmp_path, first, again)


def test_a_run_is_shown_once(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", "rte", {"dev accuracy": 60.0})
    with pytest.raises(ConfigError, match=r"expected different runs; found .*run twice"):
        page_of(tmp_path, run, tmp_path / "." / "run")


def test_the_command_shows_the_page(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", "rte", {"dev accuracy": 60.0})
    output = must(invoke("table", run, "--out", tmp_path / "table.md", settings=()))
    assert (tmp_path / "table.md").read_text("utf-8") in output and (tmp_path / "table.png").is_file()
