"""`python -m rbt.trainer.pretrain` and `rbt pretrain`: what they hand on and refuse, and what they say at the end."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rbt import cli
from rbt.cli.training import run_summary
from rbt.trainer.pretrain import main

from .conftest import random_documents, write_packed, write_pairs
from .runs import records, settings, tensors, train

FOUND = "doc-sentences-32, full-sentences-32"


@pytest.fixture(scope="module")
def straight(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped. Not to be changed by tests."""
    return train(packed, tmp_path_factory.mktemp("straight") / "run")


def command(*words: str | Path) -> Result:
    """Run `rbt pretrain`."""
    return CliRunner().invoke(cli.main, ["pretrain", *map(str, words)])


def test_the_module_trains_like_the_function(
    packed: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["--packed", str(packed), "--format", "doc-sentences-32", "--out", "run", *settings()]
    assert main(arguments) == 0
    assert tensors(tmp_path / "run") == tensors(straight)


def test_the_module_reports_an_error_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--packed", "nowhere", "--out", "run", *settings()]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("Error: nowhere: expected an index")


def test_the_module_reports_a_file_it_may_not_write_in_one_line(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    assert main(["--packed", str(packed), "--format", "doc-sentences", "--out", "file/run", *settings()]) == 2
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and "file/run" in error and error.count("\n") == 1


def test_the_module_takes_the_format_of_the_recipe_as_the_command_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = write_packed(tmp_path / "packed", [random_documents(1, 60)], [random_documents(3, 12)])
    shutil.rmtree(packed / "doc-sentences-32")
    shutil.rmtree(packed / "full-sentences-32")
    write_pairs(packed, "segment-pair")
    arguments = ["--packed", str(packed), "--out", str(tmp_path / "run"), *settings()]
    assert main([*arguments, "--set", 'pack.format="doc-sentences"']) == 2
    line = capsys.readouterr().err
    assert "expected an index of format 'doc-sentences'; found segment-pair-32-seed1" in line
    assert command(*arguments, "--set", 'pack.format="doc-sentences"').output == line
    assert main([*arguments, "--set", 'pack.format="segment-pair"', "--set", "run.stop_after=1"]) == 0


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("sentence-pair", "run `rbt pack --format sentence-pair`"),
        ("nope", "name a folder's, or one of full-sentences, doc-sentences, segment-pair, sentence-pair"),
    ],
)
def test_an_index_that_is_not_there_is_to_be_packed_where_it_can_be(
    packed: Path, tmp_path: Path, name: str, cure: str
) -> None:
    result = command("--packed", packed, "--out", tmp_path / "run", "--format", name, *settings())
    assert result.exit_code == 2
    assert result.output.endswith(f"expected an index of format '{name}'; found {FOUND} ({cure})\n"), result.output


@pytest.mark.parametrize("gpus", [(), ("--gpus", "2")])
@pytest.mark.parametrize(
    ("key", "value"), [("run.patience", "0"), ("data.global_batch", "0"), ("model.dropout", "1.5")]
)
def test_a_number_outside_its_range_is_refused_before_anything_starts(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    gpus: tuple[str, ...], key: str, value: str,
) -> None:
    def never(*arguments: Any) -> int:
        raise AssertionError("started")

    monkeypatch.setattr("rbt.trainer.launch.launch", never)
    monkeypatch.setattr("rbt.trainer.pretrain.launch", never)
    monkeypatch.setattr("rbt.trainer.pretrain.pretrain", never)
    section, _, name = key.partition(".")
    words = ["--packed", str(packed), "--out", str(tmp_path / "run"), *settings(), *gpus, "--set", f"{key}={value}"]
    assert main(words) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"Error: [{section}] {name}: expected ") and line.count("\n") == 1
    result = command(*words)
    assert (result.exit_code, result.output) == (2, line)


def test_fewer_than_no_processes_are_refused_by_the_module(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--packed", str(packed), "--out", str(tmp_path / "run"), "--gpus", "-1"])
    assert "--gpus: expected 0 or more; found -1" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "level"), [((), logging.INFO), (("--quiet",), logging.WARNING)])
def test_the_module_is_quiet_where_it_is_told_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], level: int
) -> None:
    found = []
    monkeypatch.setattr(logging, "basicConfig", lambda **options: found.append(options["level"]))
    assert main(["--packed", str(tmp_path / "nowhere"), "--out", str(tmp_path / "run"), *words]) == 2
    assert found == [level]


def test_the_command_ends_with_the_last_losses(packed: Path, straight: Path) -> None:
    result = command("--packed", packed, "--format", "doc-sentences", "--out", straight, *settings())
    trained, validated = records(straight)[-2:]
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == (
        f"{straight}: step 14: loss {trained['loss']:.3f}; validation loss {validated['validation_loss']:.3f}, "
        f"perplexity {validated['validation_perplexity']:.2f} (masked tokens only, base e)"
    )


def test_a_finished_run_whose_last_record_is_cut_ends_with_those_before(
    packed: Path, straight: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(straight, tmp_path / "run")
    with (out / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 15, "lo')
    result = command("--packed", packed, "--format", "doc-sentences", "--out", out, *settings())
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == run_summary(straight)[0].replace(str(straight), str(out))


def test_a_run_that_stops_before_its_first_record_says_how_far_it_came(packed: Path, tmp_path: Path) -> None:
    words = ("--packed", packed, "--format", "doc-sentences", "--out", tmp_path / "run")
    result = command(*words, *settings(run__log_every=10, run__stop_after=3, run__validate_every=0))
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"{tmp_path / 'run'}: step 3, before the first that is logged"
