"""Tables are run, found again, gone on with, and written so that they can be read back."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rbt import cli
from rbt.ablation import report
from rbt.ablation.run import jobs, make_indices
from rbt.ablation.tables import load_ablation, make_plans
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError
from rbt.formats.blocks import choose_index, open_index
from rbt.formats.checkpoint import checkpoints, latest_checkpoint, step_of
from rbt.packing.bpe import train_bpe
from rbt.packing.config import BpeConfig
from rbt.runs import read_run
from rbt.spread import Spread, coverage
from rbt.trainer import pretrain as trainer
from rbt.trainer.config import DataConfig, RunConfig
from rbt.trainer.evaluate import evaluate
from rbt.trainer.training import Training

from ..packing.conftest import prose, write_corpus

SMALL = (
    "model.layers=2", "model.hidden=16", "model.heads=2", "model.feed_forward=32", "pack.max_tokens=48",
    "pack.validation_fraction=0.2", "data.global_batch=4", "schedule.max_steps=4", "run.log_every=1",
    "run.checkpoint_every=2", "run.validate_every=2", "run.device=cpu",
)
FORMATS = ["full-sentences", "segment-pair", "sentence-pair", "doc-sentences"]  # in the order of the columns
Steps = list[tuple[int, int]]  # (seed, number) of updates that were made


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with corpus/ and tokenizer/."""
    folder = tmp_path_factory.mktemp("ablation")
    write_corpus(folder / "corpus", [[(f"a:{number}", prose(number)) for number in range(50)]])
    train_bpe(folder / "corpus", folder / "tokenizer", BpeConfig(320), LocalEngine(1), replace=False)
    return folder


def ablate(inputs: Path, out: Path, table: str, *words: str) -> Result:
    """Run the command on the corpus, small."""
    settings = [part for setting in SMALL for part in ("--set", setting)]
    folders = ["--corpus", str(inputs / "corpus"), "--tokenizer", str(inputs / "tokenizer"), "--out", str(out)]
    arguments = ["ablate", table, *folders, "--workers", "1", *settings, *words]
    return CliRunner().invoke(cli.main, arguments)


def must(result: Result) -> str:
    """The output of a command that must succeed."""
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Which updates are made, from now on."""
    made: Steps = []

    def step(self: Training, number: int, *rest: Any) -> Any:
        made.append((self.data.seed, number))
        return original(self, number, *rest)

    original = Training.step
    monkeypatch.setattr(Training, "step", step)
    return made


@pytest.fixture(scope="module")
def formats(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Table 2 with two seeds. Not to be changed by tests."""
    out = tmp_path_factory.mktemp("formats") / "out"
    assert must(ablate(inputs, out, "table-2", "--seeds", "2")).endswith("table-2.md: finished\n")
    return out


def read_table(page: Path) -> list[dict[str, str]]:
    """The rows of a page's table by column, without emphasis."""
    lines = [line for line in page.read_text("utf-8").splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("*") for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


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
        "50.0% for 2 seeds", "arXiv 1907.11692", "Changed from the size `mini`, for all rows: `model.layers=2`, ",
    ):
        assert words in page, words


def test_a_run_is_evaluated_as_its_own_validation_does_it(formats: Path) -> None:
    """Of the first seed, whose masks are those that all are compared with."""
    found = json.loads((formats / "table-2.json").read_text())
    for line in found["rows"]:
        first, second = line["runs"]
        assert first["losses"][line["name"]] == pytest.approx(first["validation_loss"], rel=1e-5)
        assert second["losses"][line["name"]] != pytest.approx(second["validation_loss"], rel=1e-5)
        recorded = read_run(formats / "runs" / f"{line['name']}-seed1", "").validations[-1]
        assert recorded["validation_loss"] == first["validation_loss"]


def test_evaluation_depends_on_the_masks_that_it_is_given_and_not_on_how_it_is_cut(
    formats: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, run = formats / "packed", formats / "runs" / "doc-sentences-seed1"
    index = open_index(choose_index(packed, "segment-pair"), "validation")
    loss = evaluate(run, index, packed, DataConfig(seed=1), RunConfig(device="cpu"))
    assert loss == pytest.approx(json.loads((formats / "table-2.json").read_text())["rows"][3]["runs"][0]["losses"][
        "segment-pair"
    ], rel=1e-6)
    assert evaluate(run, index, packed, DataConfig(seed=2), RunConfig(device="cpu")) != loss
    monkeypatch.setattr("rbt.trainer.evaluate.PASS_ROWS", 3)
    assert evaluate(run, index, packed, DataConfig(seed=1), RunConfig(device="cpu")) == pytest.approx(loss, rel=1e-5)


def test_a_run_over_another_vocabulary_is_not_evaluated(formats: Path, tmp_path: Path, inputs: Path) -> None:
    train_bpe(inputs / "corpus", tmp_path / "tokenizer", BpeConfig(300), LocalEngine(1), replace=False)
    from rbt.packing.config import PackConfig
    from rbt.packing.pack import pack

    config = PackConfig(max_tokens=48, validation_fraction=0.2)
    pack(inputs / "corpus", tmp_path / "tokenizer", tmp_path / "packed", config, LocalEngine(1), replace=False)
    index = open_index(choose_index(tmp_path / "packed", ""), "validation")
    with pytest.raises(ArtefactError, match="expected a model of 300 ids and rows of 48 tokens; found 320 ids"):
        evaluate(formats / "runs" / "doc-sentences-seed1", index, tmp_path / "packed", DataConfig(), RunConfig())


def test_what_is_finished_is_found_and_not_trained_or_evaluated_again(
    inputs: Path, formats: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: Any) -> float:
        raise AssertionError("evaluated again")

    before = {path: path.read_bytes() for path in sorted(formats.glob("table-2.*"))}
    monkeypatch.setattr("rbt.trainer.evaluate.evaluate", never)
    must(ablate(inputs, formats, "table-2", "--seeds", "2"))
    assert steps == []
    assert {path: path.read_bytes() for path in sorted(formats.glob("table-2.*"))} == before


def test_another_seed_trains_the_new_runs_alone_and_a_packed_folder_is_enough(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    shutil.copytree(formats, tmp_path / "out", ignore=shutil.ignore_patterns("packed", "evaluations"))
    settings = [part for setting in SMALL for part in ("--set", setting)]
    arguments = ["ablate", "table-2", "--packed", str(formats / "packed"), "--out", str(tmp_path / "out"), *settings]
    must(CliRunner().invoke(cli.main, arguments))
    assert steps == [(3, number) for _ in range(4) for number in range(1, 5)]
    assert {row["seeds"] for row in read_table(tmp_path / "out" / "table-2.md")} == {"3"}
    assert not (tmp_path / "out" / "packed").exists()
    assert "75.0% for 3 seeds" in (tmp_path / "out" / "table-2.md").read_text()


def test_a_packed_folder_needs_neither_corpus_nor_what_reads_one(formats: Path, tmp_path: Path) -> None:
    """A machine that trains: torch, numpy, safetensors and click."""
    shutil.copytree(formats, tmp_path / "out", ignore=shutil.ignore_patterns("packed", "evaluations", "table-2.*"))
    settings = [part for setting in SMALL for part in ("--set", setting)]
    folders = ["--packed", str(formats / "packed"), "--out", str(tmp_path / "out")]
    arguments = ["ablate", "table-2", "--seeds", "2", "--quiet", *folders, *settings]
    absent = (
        "pyarrow", "polars", "numba", "scipy", "regex", "tokenizers", "lxml", "fsspec", "xxhash", "tqdm", "matplotlib",
    )
    code = (
        f"import sys\nfor name in {absent!r}: sys.modules[name] = None\n"
        f"import torch\ntorch.set_num_threads(1)\nfrom rbt.cli import main\nmain({arguments!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert read_losses(tmp_path / "out") == read_losses(formats)


def read_losses(out: Path) -> dict[str, list[dict[str, float]]]:
    """Losses of table 2, by row."""
    rows = json.loads((out / "table-2.json").read_text())["rows"]
    return {row["name"]: [run["losses"] for run in row["runs"]] for row in rows}


def test_a_row_that_another_table_has_run_is_found(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    """`dynamic` of table 1 is `segment-pair` of table 2; the static masks do not come back in less than an epoch."""
    shutil.copytree(formats, tmp_path / "out", ignore=shutil.ignore_patterns("packed", "evaluations"))
    output = must(ablate(inputs, tmp_path / "out", "table-1", "--seeds", "1", "--packed", str(formats / "packed")))
    assert steps == [(1, number) for number in range(1, 5)]
    found = json.loads((tmp_path / "out" / "table-1.json").read_text())
    assert [line["runs"][0]["run"] for line in found["rows"]] == ["static-seed1", "segment-pair-seed1"]
    assert [line["settings"] for line in found["rows"]] == [{"data.static_masks": 10}, {"data.static_masks": 0}]
    assert [row["`data.static_masks`"] for row in read_table(tmp_path / "out" / "table-1.md")] == ["10", "0"]
    assert [name for name in read_table(tmp_path / "out" / "table-1.md")[0] if name.startswith("perplexity")] == [
        "perplexity on segment-pair"
    ]
    assert "none of its 10 masks of a block comes back" in output


def test_static_masks_come_back_where_a_run_is_long_enough(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    """Up to the first repeat both rows are one experiment; behind it they are not."""
    rows = open_index(choose_index(formats / "packed", "segment-pair"), "train").num_rows
    more = ("--seeds", "1", "--packed", str(formats / "packed"), "--set", f"data.global_batch={rows}", "--set",
            "schedule.max_steps=12", "--set", "schedule.warmup_steps=1", "--set", "model.layers=1")
    assert "none of its 10 masks" not in must(ablate(inputs, tmp_path / "out", "table-1", *more))
    losses = [
        [record["loss"] for record in read_run(tmp_path / "out" / "runs" / f"{name}-seed1", "").steps]
        for name in ("static", "dynamic")
    ]
    assert losses[0][:10] == losses[1][:10]
    assert losses[0][10:] != losses[1][10:]
    assert read_table(tmp_path / "out" / "table-1.md")[0]["epochs"] == "12"


def test_a_table_that_was_killed_between_rows_and_in_one_goes_on(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third row dies at its third step, behind a checkpoint; the fourth begins afterwards."""
    def killed(self: Training, number: int, *rest: Any) -> Any:
        if len(steps) == 10:
            raise KeyboardInterrupt
        return counted(self, number, *rest)

    counted: Callable[..., Any] = Training.step
    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", killed)
        result = ablate(inputs, tmp_path / "out", "table-2", "--seeds", "1", "--packed", str(formats / "packed"))
    assert (result.exit_code, result.output.splitlines()[-1]) == (
        130, "Error: interrupted; the same command, run again, keeps what is finished"
    )
    assert [row["row"] for row in read_table(tmp_path / "out" / "table-2.md")] == ["segment-pair", "sentence-pair"]
    half = tmp_path / "out" / "runs" / "full-sentences-seed1"
    assert [step_of(folder) for folder in checkpoints(half)] == [2]
    must(ablate(inputs, tmp_path / "out", "table-2", "--seeds", "1", "--packed", str(formats / "packed")))
    assert [number for _, number in steps] == [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]
    found = read_losses(tmp_path / "out")
    assert found == {name: losses[:1] for name, losses in read_losses(formats).items()}


def test_a_run_that_stops_early_ends_the_command_which_then_goes_on(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    arguments = (inputs, tmp_path / "out", "table-1", "--seeds", "1", "--packed", str(formats / "packed"))
    output = must(ablate(*arguments, "--set", "run.stop_after=3"))
    assert output.endswith("table-1.md: not all of it yet: the same command goes on\n")
    assert step_of(latest_checkpoint(tmp_path / "out" / "runs" / "static-seed1") or Path("step-0")) == 3
    must(ablate(*arguments))
    assert [number for _, number in steps] == [1, 2, 3, 4, 1, 2, 3, 4]


def test_table_3_reads_the_same_rows_in_fewer_larger_steps(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    more = ("--seeds", "1", "--packed", str(formats / "packed"), "--set", "data.global_batch=1", "--set",
            "schedule.max_steps=32", "--set", "model.layers=1")
    must(ablate(inputs, tmp_path / "out", "table-3", *more))
    assert [number for _, number in steps] == [*range(1, 33), *range(1, 5), 1]
    rows = read_table(tmp_path / "out" / "table-3.md")
    columns = ("row", "`data.global_batch`", "`schedule.max_steps`", "`schedule.peak_learning_rate`")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("256", "1", "32", "0.0001"), ("2K", "8", "4", "0.0007"), ("8K", "32", "1", "0.001"),
    ]
    assert len({row["epochs"] for row in rows}) == 1
    assert [row["paper: perplexity"] for row in rows] == ["3.99", "3.68", "3.77"]
    assert "[" not in rows[0]["perplexity on full-sentences"]


def test_mistakes_are_one_line_and_come_before_any_training(
    inputs: Path, formats: Path, tmp_path: Path, steps: Steps
) -> None:
    packed = ["--packed", str(formats / "packed")]
    for words, message in (
        (["--seeds", "0"], "0 is not in the range x>=1"),
        (["--size", "huge"], "'huge' is not one of 'paper', 'mini'"),
        (["--set", "data.static_masks=1"], "expected rows of table-1 that differ"),
        (["--set", "pack.validation_fraction=0.0"], "expected held-out rows to compare runs on"),
        ([*packed, "--set", "run.validation_rows=0"], "expected held-out rows to compare runs on"),
    ):
        result = ablate(inputs, tmp_path / "out", "table-1", *words)
        assert result.exit_code == 2 and message in result.output.splitlines()[-1], result.output
    for words, message in (
        (["--corpus", "x"], "expected --corpus and --tokenizer together; found one of them"),
        (packed, "expected an index of segment-pair, 128 tokens a row; found"),
        (["table-1"], "Got unexpected extra argument (table-1)"),
    ):
        result = CliRunner().invoke(cli.main, ["ablate", "table-1", "--out", str(tmp_path / "other"), *words])
        assert result.exit_code == 2 and message in result.output.splitlines()[-1], result.output
    result = CliRunner().invoke(cli.main, ["ablate", "--out", str(tmp_path / "other")])
    assert (result.exit_code, result.output) == (
        2, "Error: expected a table, one of table-1, table-2, table-3; found none\n"
    )
    assert steps == []


def test_another_size_in_the_same_folder_is_an_error_that_names_the_key(
    inputs: Path, formats: Path, steps: Steps
) -> None:
    result = ablate(inputs, formats, "table-2", "--seeds", "1", "--set", "model.hidden=32")
    assert result.exit_code == 2 and "expected model.hidden = 16, with which this run began" in result.output
    assert steps == []


def test_the_trainer_is_called_in_one_place(
    inputs: Path, formats: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def pretrain(packed: Path, format: str, out: Path, *sections: Any) -> Path:
        called.append((format, out.name))
        return out

    monkeypatch.setattr(trainer, "pretrain", pretrain)
    must(ablate(inputs, tmp_path / "out", "table-2", "--packed", str(formats / "packed")))
    assert called == [("segment-pair-48-seed1", "segment-pair-seed1")]  # which has no checkpoint, so that it waits
    assert not (tmp_path / "out" / "table-2.md").exists()


def test_every_row_has_one_seed_before_any_has_two(formats: Path, tmp_path: Path) -> None:
    plans = make_plans(load_ablation("table-2"), "mini", SMALL)
    indices = make_indices(plans, formats / "packed", None)
    found = [job.folder.name for job in jobs(plans, 2, indices, tmp_path)]
    rows = ("segment-pair", "sentence-pair", "full-sentences", "doc-sentences")
    assert found == [f"{row}-seed{seed}" for seed in (1, 2) for row in rows]


@pytest.mark.slow
def test_several_processes_train_what_one_does(inputs: Path, formats: Path, tmp_path: Path, steps: Steps) -> None:
    """Without dropout, and stopped once on the way."""
    more = ("--seeds", "1", "--packed", str(formats / "packed"), "--set", "model.dropout=0.0", "--set",
            "model.attention_dropout=0.0")
    must(ablate(inputs, tmp_path / "one", "table-1", *more))
    del steps[:]
    output = must(ablate(inputs, tmp_path / "two", "table-1", *more, "--gpus", "2", "--set", "run.stop_after=3"))
    assert output.endswith("not all of it yet: the same command goes on\n")
    must(ablate(inputs, tmp_path / "two", "table-1", *more, "--gpus", "2"))
    assert steps == []
    expected, found = (
        [row["runs"][0] for row in json.loads((tmp_path / out / "table-1.json").read_text())["rows"]]
        for out in ("one", "two")
    )
    for run, other in zip(found, expected, strict=True):
        assert run["losses"] == pytest.approx(other["losses"], rel=1e-3)
        assert run["steps"] == 4


@pytest.mark.slow
def test_a_run_that_several_processes_cannot_train_is_one_line(inputs: Path, formats: Path, tmp_path: Path) -> None:
    more = ("--seeds", "1", "--packed", str(formats / "packed"), "--gpus", "2", "--set", "data.global_batch=3")
    result = ablate(inputs, tmp_path / "out", "table-1", *more)
    assert result.exit_code == 2
    assert "static-seed1: expected 2 processes to train this run; found exit code 2" in result.output.splitlines()[-1]


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
