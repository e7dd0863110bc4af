"""The commands: what they take, what they write, and their one-line errors."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from safetensors.torch import load_file

from rbt.config import to_table
from rbt.errors import ArtefactError
from rbt.finetune.config import FinetuneConfig
from rbt.finetune.results import read_result
from rbt.finetune.run import SECTIONS
from rbt.tasks.sets import TASKS
from rbt.tasks.task import Defaults, Task
from rbt.tasks.tsv import Layout, TableTask
from rbt.trainer.config import RunConfig
from rbt.trainer.run_folder import check_run

from .conftest import write_rows, write_start_model
from .runs import SMALL, fake_run, invoke, line_of, must, write_mnli

WEATHER = Task(
    TableTask(("Weather",), (Layout(("report",), label="sky"),), {"w": "wet", "d": "dry"}), "class", ("accuracy", "f1"),
    {"w": "wet", "d": "dry"}, {"test": "Weather.tsv"}, Defaults(batch_size=4, learning_rate=3e-3),
)


def test_a_task_is_one_entry_and_no_edit_elsewhere(
    start_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fine-tuned, asked, scored, and in the table."""
    monkeypatch.setitem(TASKS, "weather", WEATHER)
    data, run = tmp_path / "data", tmp_path / "run"
    rows = ["elm\td", "oak\tw"] * 6
    write_rows(data / "Weather" / "train.tsv", "report\tsky", rows)
    write_rows(data / "Weather" / "dev.tsv", "report\tsky", rows[:5])
    write_rows(data / "Weather" / "test.tsv", "index\treport", ["0\toak", "1\telm"])
    settings = ("finetune.epochs=20", "finetune.early_stopping=0", "run.device=cpu")
    must(invoke("finetune", "weather", "--model", start_model, "--data", data, "--out", run, settings=settings))
    assert read_result(run).config.batch_size == 4
    must(invoke("predict", run, "--data", data, "--out", tmp_path / "test.zip"))
    with zipfile.ZipFile(tmp_path / "test.zip") as archive:
        assert archive.read("Weather.tsv").decode().splitlines()[0::2] == ["index\tprediction", "1\td"]
    said = must(invoke("score", "weather", run / "predictions-dev.jsonl", "--data", data))
    assert said == "weather dev: accuracy 100.00, f1 100.00\n"
    page = must(invoke("table", run, "--out", tmp_path / "table.md"))
    assert "weather dev accuracy" in page and "100.0 (1)" in page
    assert "expected a task; found 'wether' (one of cola, sst2, " in line_of(
        invoke("finetune", "wether", "--model", start_model, "--data", data, "--out", tmp_path / "other")
    )
    assert ", weather)" in line_of(invoke("score", "x", run / "predictions-dev.jsonl", "--data", data))


def test_a_run_may_start_from_another_with_a_fresh_head(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    """Of a sweep, from the run that is used of it. Its weights are the start's but for what was learned anew."""
    mnli = write_mnli(tmp_path / "data", dev=20)
    shutil.copytree(sst2 / "SST-2", mnli / "SST-2")
    given = ("--data", mnli, "--out")
    words = ("mnli", "--model", start_model, *given, tmp_path / "mnli", "--seeds", 2)
    must(invoke("finetune", *words, settings=(*SMALL, "finetune.epochs=6", "finetune.batch_size=8")))
    must(invoke("finetune", "sst2", "--init-from", tmp_path / "mnli", *given, tmp_path / "sst2"))
    used = json.loads((tmp_path / "mnli" / "sweep.json").read_text())["chosen"]["best_run"]
    first, second = read_result(tmp_path / "mnli" / used), read_result(tmp_path / "sst2")
    assert first.facts["learned_before"] == [] and second.facts["learned_before"] == ["mnli"]
    assert first.facts["pretrained_weights"] == second.facts["pretrained_weights"] == first.facts["weights"]
    assert first.facts["pretrained"] == second.facts["pretrained"] == str(start_model)
    still = ("finetune.epochs=1", "finetune.learning_rate=1e-12", "finetune.seed=9", "run.device=cpu")
    must(invoke("finetune", "sst2", "--init-from", first.folder, *given, tmp_path / "still", settings=still))
    before = load_file(first.folder / "model" / "model.safetensors")
    after = load_file(tmp_path / "still" / "model" / "model.safetensors")
    for name, tensor in after.items():
        if name.startswith("roberta."):
            assert (tensor - before[name]).abs().max() < 1e-9, name
    assert before["classifier.out_proj.weight"].shape[0] == 3 and after["classifier.out_proj.weight"].shape[0] == 2
    assert (before["classifier.dense.weight"] - after["classifier.dense.weight"]).abs().max() > 1e-3
    both = ("finetune", "sst2", "--init-from", tmp_path / "mnli", *given, tmp_path / "sst2", "--model")
    must(invoke(*both, start_model))
    other = write_start_model(tmp_path / "other", seed=2)
    assert f"--init-from: expected a run that began from {other}" in line_of(invoke(*both, other))


def test_v49_a_run_to_start_from_that_is_missing_or_not_finished_is_an_error(
    start_model: Path, sst2: Path, tmp_path: Path
) -> None:
    given = ("finetune", "sst2", "--data", sst2, "--out", tmp_path / "out", "--init-from")
    missing = line_of(invoke(*given, tmp_path / "nowhere"))
    assert "expected a fine-tuning run or a sweep; found no such folder" in missing
    stopped = ("finetune.epochs=2", "run.stop_after=1", "run.device=cpu")
    command = ("finetune", "sst2", "--model", start_model, "--data", sst2, "--out", tmp_path / "stopped")
    assert "not all of it yet" in must(invoke(*command, settings=stopped))
    assert "expected a finished fine-tuning run" in line_of(invoke(*given, tmp_path / "stopped"))
    bare = fake_run(tmp_path / "bare", "mnli", {"dev_matched accuracy": 60.0})
    assert "expected the folder of a model" in line_of(invoke(*given, bare))
    assert not (tmp_path / "out").exists()


def test_a_diverged_run_is_nothing_to_start_from(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "mnli", "mnli", {"dev_matched accuracy": 33.0}, diverged=True)
    given = ("finetune", "rte", "--init-from", run, "--data", tmp_path, "--out", tmp_path / "out")
    assert f"--init-from: expected a run that did not diverge; found {run}" in line_of(invoke(*given))


def test_another_task_in_the_folder_of_a_run_is_named_before_what_follows_from_it(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", "rte", {"dev accuracy": 60.0})
    task = {"name": "sst2", "data": "others", "weights": "others"}
    tables = {"task": task, "finetune": to_table(FinetuneConfig(epochs=3)), "run": to_table(RunConfig())}
    with pytest.raises(ArtefactError, match=r"expected task\.name = 'rte', with which this run began; found 'sst2'"):
        check_run(run, tables, SECTIONS)


def test_a_run_needs_a_model(sst2: Path, tmp_path: Path) -> None:
    found = line_of(invoke("finetune", "sst2", "--data", sst2, "--out", tmp_path / "out"))
    assert "expected --model or --init-from; found neither" in found
    missing = invoke("finetune", "sst2", "--model", tmp_path / "nowhere", "--data", sst2, "--out", tmp_path / "out")
    assert "expected the folder of a model" in line_of(missing)


def test_missing_data_is_an_error_in_one_line(start_model: Path, sst2: Path, tmp_path: Path) -> None:
    given = ("finetune", "rte", "--model", start_model, "--out", tmp_path / "out", "--data")
    assert "no such folder or file" in line_of(invoke(*given, tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    assert "expected files of rte" in line_of(invoke(*given, tmp_path / "empty"))
    assert "expected a header with the columns sentence1, sentence2" in line_of(invoke(*given, sst2))
    assert not (tmp_path / "out").exists()


def test_pages_of_tables_end_in_md(tmp_path: Path) -> None:
    assert "ends in .md" in line_of(invoke("table", tmp_path, "--out", tmp_path / "table.txt", settings=()))
    assert "no scores.json" in line_of(invoke("table", tmp_path, "--out", tmp_path / "table.md", settings=()))
