"""Runs beside each other: what is read from their folders, what is said of it, and how it is drawn."""

from __future__ import annotations

import json
import logging
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from rbt import cli
from rbt.cli.runs import X_AXES
from rbt.errors import ArtefactError, ConfigError
from rbt.runs import CONFIG, METRICS, SECTIONS, differences, distinct_names, read_run, read_runs
from rbt.runs_report import COLORS, STYLES, _style, smooth, table, x_values
from rbt.runs_report import X_AXES as REPORT_X_AXES
from rbt.trainer import run_folder
from rbt.trainer.config import DataConfig, RunConfig

CONFIGURATION = """
[model]
size = "tiny"
[data]
global_batch = {batch}
[schedule]
max_steps = 40
peak_learning_rate = {rate}
[packed]
index = "full-sentences-32"
rows = 80
"""


def step(number: int, loss: float, **more: float) -> dict[str, Any]:
    """A record of a step."""
    rest = {"learning_rate": 1e-3 * number, "gradient_norm": 1.5, "tokens_per_second": 1000.0 + number, **more}
    return {"step": number, "loss": loss, "perplexity": math.exp(loss), **rest}


def validation(number: int, loss: float) -> dict[str, Any]:
    """A record of a validation."""
    return {"step": number, "validation_loss": loss, "validation_perplexity": math.exp(loss)}


RECORDS = [
    step(10, 5.0), step(20, 4.0), validation(20, 3.0), {"step": 25, "skipped": "a spike", "skipped_loss": "nan"},
    step(30, 3.5, model_flops_utilization=0.25), validation(30, 2.5), step(40, 3.25, model_flops_utilization=0.75),
    validation(40, 2.75),
]


def write_run(folder: Path, records: list[dict[str, Any]] = RECORDS, batch: int = 8, rate: float = 1e-3) -> Path:
    """A run's configuration and metrics, as far as they are compared."""
    folder.mkdir(parents=True)
    (folder / CONFIG).write_text(CONFIGURATION.format(batch=batch, rate=rate))
    (folder / METRICS).write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def compare(*arguments: str | Path) -> Result:
    """Run the command."""
    return CliRunner().invoke(cli.main, ["runs", "compare", *map(str, arguments)], catch_exceptions=False)


def test_files_of_a_run_are_where_the_trainer_writes_them() -> None:
    assert (CONFIG, METRICS) == (run_folder.CONFIG, run_folder.METRICS)
    assert X_AXES == REPORT_X_AXES
    assert {name: kind for name, kind in SECTIONS.items() if name != "run"} == run_folder.SECTIONS


def test_records_are_told_apart_by_what_they_are_of(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run"), "run")
    assert [record["step"] for record in run.steps] == [10, 20, 30, 40]
    assert [record["step"] for record in run.validations] == [20, 30, 40]
    assert [record["step"] for record in run.skipped] == [25]
    assert run.last_step == 40
    assert run.best_validation == RECORDS[5]
    assert run.typical("tokens_per_second") == 1025.0
    assert run.typical("model_flops_utilization") == 0.5
    assert run.typical("loss_scale") is None
    steps, losses = run.series("validation_loss")
    assert (steps.tolist(), losses.tolist()) == ([20, 30, 40], [3.0, 2.5, 2.75])
    assert run.series("next_loss")[0].tolist() == []


def test_a_key_that_a_run_lacks_had_its_default(tmp_path: Path) -> None:
    settings = read_run(write_run(tmp_path / "run"), "run").settings
    assert settings["data.global_batch"] == 8
    assert settings["data.masked_fraction"] == DataConfig().masked_fraction
    assert settings["run.log_every"] == RunConfig().log_every
    assert settings["packed.rows"] == 80


def test_the_table_has_the_numbers_of_the_records(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b", RECORDS[:2])])
    lines = table(runs)
    assert lines[1].split() == [
        "a", "40", "of", "40", "3.250", "2.750", "(ppl", "15.64)", "2.500", "(ppl", "12.18)", "at", "30", "1,025",
        "50.0%", "1",
    ]
    assert lines[2].split() == ["b", "20", "of", "40", "4.000", "-", "-", "1,015", "-", "0"]
    assert lines[3:] == ["", "their recipes do not differ"]
    assert len(table(runs[:1])) == 2


def test_only_keys_that_differ_are_listed_each_value_with_its_runs(tmp_path: Path) -> None:
    runs = read_runs([
        write_run(tmp_path / "a"), write_run(tmp_path / "b", batch=16), write_run(tmp_path / "c", rate=2e-3),
    ])
    assert differences(runs) == {"data.global_batch": [8, 16, 8], "schedule.peak_learning_rate": [1e-3, 1e-3, 2e-3]}
    assert table(runs)[-2:] == [
        "data.global_batch            8: a, c; 16: b", "schedule.peak_learning_rate  0.001: a, b; 0.002: c",
    ]


def test_a_key_that_one_run_alone_has_differs(tmp_path: Path) -> None:
    runs = read_runs([write_run(tmp_path / "a"), write_run(tmp_path / "b")])
    with (tmp_path / "b" / CONFIG).open("a") as stream:
        stream.write('[init]\nweights = "blake2b:00"\n')
    runs = read_runs([tmp_path / "a", tmp_path / "b"])
    assert differences(runs) == {"init.weights": [None, "blake2b:00"]}
    assert table(runs)[-1] == "init.weights  -: a; blake2b:00: b"


@given(st.lists(st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=3), min_size=1, max_size=6))
def test_runs_are_named_by_as_few_parts_as_tell_them_apart(parts: list[list[str]]) -> None:
    folders = list({Path("/", *words) for words in parts})
    names = distinct_names(folders)
    assert len(set(names)) == len(folders)
    assert all(str(folder).endswith(name) for folder, name in zip(folders, names, strict=True))
    shorter = ["/".join(name.split("/")[1:]) for name in names]
    assert len(set(shorter)) < len(folders) or len(folders) == 1


def test_a_last_line_that_is_cut_is_left_out_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_run(tmp_path / "run")
    with (folder / METRICS).open("a") as stream:
        stream.write('{"step": 50, "lo')
    with caplog.at_level(logging.WARNING):
        assert read_run(folder, "run").last_step == 40
    assert f"{folder / METRICS}: the last line is cut" in caplog.text


@pytest.mark.parametrize("line", ["{", "[]", '"step"', '{"loss": 1.0}', '{"step": "1"}', ""])
def test_another_line_that_is_no_record_is_an_error_that_names_it(tmp_path: Path, line: str) -> None:
    folder = write_run(tmp_path / "run")
    lines = (folder / METRICS).read_text().splitlines()
    (folder / METRICS).write_text("\n".join([lines[0], line, *lines[1:]]) + "\n")
    with pytest.raises(ArtefactError, match=r"metrics\.jsonl: expected a JSON object with a step.*line 2"):
        read_run(folder, "run")


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    (tmp_path / "file").touch()
    empty = write_run(tmp_path / "empty", [])
    (write_run(tmp_path / "young") / METRICS).unlink()
    (write_run(tmp_path / "damaged") / CONFIG).write_text("[model\n")
    (write_run(tmp_path / "odd") / CONFIG).write_text("model = 1\n")
    cut = write_run(tmp_path / "cut", [])
    (cut / METRICS).write_text('{"step": 1')
    for arguments, message in (
        (["nowhere"], f"nowhere/{CONFIG}: expected a run, with its config.toml; found none (run `rbt pretrain`)"),
        (["file"], "expected a run"),
        (["young"], "expected a run with its metrics.jsonl; found none"),
        (["empty"], "expected the record of a step; found none (wait for it, or log more often"),
        (["cut"], "expected the record of a step; found none"),
        (["damaged"], "expected the configuration of a run"),
        (["odd"], "expected the configuration of a run"),
        (["run", "run"], "expected different runs; found"),
    ):
        result = compare(*(tmp_path / name for name in arguments))
        assert result.exit_code == 2
        assert message in result.output.splitlines()[-1] and result.output.splitlines()[-1].startswith("Error: ")
    result = compare(tmp_path / "run", "--plot", "curves.svg")
    assert (result.exit_code, result.output.count("\n")) == (2, 1)
    assert "--plot: expected a file name that ends in .png; found curves.svg" in result.output
    assert empty.is_dir()


def test_runs_are_different_by_where_they_are_not_by_how_they_are_written(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="twice"):
        read_runs([folder, folder / ".." / "run"])


@pytest.mark.parametrize("rows", ["", "rows = 0", 'rows = "many"'])
def test_a_run_that_does_not_say_what_an_epoch_is_is_drawn_by_steps_alone(tmp_path: Path, rows: str) -> None:
    folder = write_run(tmp_path / "run")
    config = folder / CONFIG
    config.write_text(config.read_text().replace("rows = 80", rows))
    for x, code in (("step", 0), ("row", 0), ("epoch", 2)):
        result = compare(folder, "--plot", tmp_path / "curves.png", "--x", x)
        assert result.exit_code == code, x
    assert f"{config}: expected the rows of an epoch, as packed.rows; found " in result.output.splitlines()[-1]


@given(st.lists(st.floats(-1e3, 1e3), max_size=300), st.integers(1, 50))
def test_a_smoothed_curve_is_a_mean_of_neighbors(values: list[float], part: int) -> None:
    half = len(values) // (2 * part)
    expected = [float(np.mean(values[max(0, i - half) : i + half + 1])) for i in range(len(values))]
    assert smooth(np.array(values), part) == pytest.approx(expected, abs=1e-6)


def test_curves_stand_where_rows_were_read(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run"), "run")
    steps, _ = run.series("loss")
    found = {x: x_values(run, steps, x).tolist() for x in X_AXES}
    assert found == {"step": [10, 20, 30, 40], "row": [80, 160, 240, 320], "epoch": [1.0, 2.0, 3.0, 4.0]}


def test_the_plot_is_a_png_and_the_same_every_time(tmp_path: Path) -> None:
    from matplotlib.image import imread

    many = [step(number, 5 - number / 100) for number in range(1, 400)]
    folders = [
        write_run(tmp_path / "a", many), write_run(tmp_path / "b"), write_run(tmp_path / "one", RECORDS[:1]),
        write_run(tmp_path / "skipped", RECORDS[3:4]),
    ]
    for name in ("first.png", "second.png"):
        result = compare(*folders, "--plot", tmp_path / name, "--x", "epoch")
        assert result.exit_code == 0, result.output
        assert result.output.endswith(f"drawn: {tmp_path / name}\n")
    assert (tmp_path / "first.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    image = imread(tmp_path / "first.png")
    assert image.shape[:2] == (1275, 2100)
    colors = set(np.unique((image[:, :, :3] * 255).round().astype(np.int64) @ [1 << 16, 1 << 8, 1]).tolist())
    assert {int(color[1:], 16) for color in COLORS[:4]} <= colors


def test_many_runs_are_drawn_with_a_style_each(tmp_path: Path) -> None:
    styles = [tuple(_style(number).items()) for number in range(len(COLORS) * len(STYLES))]
    assert len(set(styles)) == len(styles)
    folders = [write_run(tmp_path / f"run-{number}") for number in range(23)]
    result = compare(*folders, "--plot", tmp_path / "curves.png", "--quiet")
    assert (result.exit_code, len(result.output.splitlines())) == (0, 26)
    assert (tmp_path / "curves.png").is_file()


def test_comparing_needs_no_torch(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from rbt.cli import main\n"
        f"main(['runs', 'compare', {str(folder)!r}, '--plot', {str(tmp_path / 'curves.png')!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves.png").is_file()
