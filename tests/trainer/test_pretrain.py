"""A run as a whole: stopped, resumed, refused, and learning."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from rbt.errors import ArtefactError, ConfigError, RbtError
from rbt.formats.blocks import PAIR_FORMATS, open_index
from rbt.formats.checkpoint import checkpoints, latest_checkpoint, read_checkpoint, step_folder, step_of
from rbt.formats.tokenizer import FILES
from rbt.manifest import read_json
from rbt.stage import exclusive
from rbt.trainer.config import DataConfig, ScheduleConfig
from rbt.trainer.order import rows_at, step_positions
from rbt.trainer.training import Training

from .conftest import random_documents, write_packed, write_pairs
from .runs import CALM, DATA, MODEL, RUN, SCHEDULE, records, tensors, train


@pytest.fixture(scope="module")
def straight(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    return train(packed, tmp_path_factory.mktemp("straight") / "run")


def test_a_run_has_its_parts(straight: Path, packed: Path) -> None:
    assert {*FILES, "config.toml", "metrics.jsonl", "checkpoints"} <= {path.name for path in straight.iterdir()}
    for name in FILES:
        assert (straight / name).read_bytes() == (packed / name).read_bytes()
    config = tomllib.loads((straight / "config.toml").read_text())
    assert config["data"] == dataclasses.asdict(DATA)
    assert config["model"] == dataclasses.asdict(MODEL)
    assert config["schedule"] == dataclasses.asdict(SCHEDULE)
    assert config["run"] == dataclasses.asdict(RUN)
    assert config["packed"]["index"] == "doc-sentences-32"
    assert [step_of(folder) for folder in checkpoints(straight)] == [10, 14]


@pytest.mark.parametrize("format", PAIR_FORMATS)
def test_masked_tokens_and_is_next_of_pairs_are_trained_on(tmp_path: Path, format: str) -> None:
    folder = write_packed(tmp_path / "packed", [random_documents(1, 60)], [random_documents(3, 12)])
    write_pairs(folder, format)
    out = train(folder, tmp_path / "run", format=format)
    assert tomllib.loads((out / "config.toml").read_text())["packed"]["format"] == format
    assert records(out)[-1]["step"] == 14 and 0 < records(out)[-1]["validation_loss"] < 6
    first, *_, last, validated = records(out)
    assert last["loss"] < first["loss"] and 0 < last["next_loss"] < 1.5 and 0 < validated["validation_next_loss"] < 1.5
    names = load_file(step_folder(out, 14) / "model.safetensors").keys()
    assert {"next_dense.weight", "next_output.bias"} <= names
    out = train(folder, tmp_path / "alone", format=format, data=dataclasses.replace(DATA, next_sentence_weight=0.0))
    assert not [row for row in records(out) if "next_loss" in row or "validation_next_loss" in row]
    assert not [name for name in load_file(step_folder(out, 14) / "model.safetensors") if name.startswith("next")]


def test_a_checkpoint_says_where_in_the_data_it_stands(straight: Path) -> None:
    folder = step_folder(straight, 14)
    state = read_json(folder / "state.json")
    rows = state["config"]["packed"]["rows"]
    assert (state["step"], state["position"], state["global_batch"]) == (14, 14 * 8, 8)
    assert state["epoch"] == 14 * 8 // rows
    assert read_checkpoint(folder).inputs["index"] == state["config"]["packed"]["fingerprint"]


def test_records_hold_the_numbers_of_their_step(straight: Path) -> None:
    rows = records(straight)
    assert [row["step"] for row in rows if "loss" in row] == [2, 4, 6, 8, 10, 12, 14]
    assert [row["step"] for row in rows if "validation_loss" in row] == [7, 14]
    for row in rows:
        name = "validation_" if "validation_loss" in row else ""
        assert row[f"{name}perplexity"] == pytest.approx(2.718281828459045 ** row[f"{name}loss"])
        if "loss" in row:
            assert {"learning_rate", "gradient_norm", "epoch", "tokens", "masked_tokens"} <= row.keys()
    lines = (straight / "metrics.jsonl").read_text().splitlines()
    clocked = json.loads(lines[0])
    assert 0 <= clocked["loader_share"] <= 1 and clocked["tokens_per_second"] > 0 and clocked["memory_bytes"] > 10**7
    assert all(0 < row["other_share"] < 1 for row in map(json.loads, lines) if "loss" in row)
    assert rows[0]["learning_rate"] == pytest.approx(3e-3 * 2 / 3)


@pytest.mark.parametrize("stops", [(5,), (3, 1, 4), (13,)])
def test_v42_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    packed: Path, straight: Path, tmp_path: Path, stops: tuple[int, ...]
) -> None:
    """Dropout is on."""
    for stop in stops:
        train(packed, tmp_path / "run", stop_after=stop)
    assert step_of(latest_checkpoint(tmp_path / "run") or Path("step-0")) == sum(stops)
    train(packed, tmp_path / "run")
    assert tensors(tmp_path / "run") == tensors(straight)
    assert records(tmp_path / "run") == records(straight)


def test_v42_a_run_killed_between_checkpoints_goes_on_from_the_last(
    packed: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps 6 to 8 are done twice, and recorded once."""
    def step(self: Training, number: int, *rest: Any) -> Any:
        if number == 9:
            raise KeyboardInterrupt
        return original(self, number, *rest)

    original = Training.step
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "step", step)
        train(packed, tmp_path / "run")
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 8, "lo')  # the line it was writing
    assert step_of(latest_checkpoint(tmp_path / "run") or Path("step-0")) == 5
    train(packed, tmp_path / "run")
    assert tensors(tmp_path / "run") == tensors(straight)
    assert records(tmp_path / "run") == records(straight)


def test_v42_another_micro_batch_gives_the_same_losses_without_dropout(packed: Path, tmp_path: Path) -> None:
    reference = records(train(packed, tmp_path / "reference", model=CALM))
    train(packed, tmp_path / "run", model=CALM, stop_after=6)
    resized = dataclasses.replace(DATA, micro_batch="auto")
    rows = records(train(packed, tmp_path / "run", model=CALM, data=resized, log_every=2))
    for row, expected in zip(rows, reference, strict=True):
        assert row == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_a_run_after_its_step_and_the_run_goes_on(
    packed: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signal_number: signal.Signals
) -> None:
    def step(self: Training, number: int, *rest: Any) -> Any:
        if number == 6:
            signal.raise_signal(signal_number)
        return original(self, number, *rest)

    original, before = Training.step, signal.getsignal(signal_number)
    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", step)
        train(packed, tmp_path / "run")
    assert signal.getsignal(signal_number) == before
    assert step_of(latest_checkpoint(tmp_path / "run") or Path("step-0")) == 7
    train(packed, tmp_path / "run")
    assert tensors(tmp_path / "run") == tensors(straight)


def test_a_finished_run_says_so_and_is_left_alone(
    packed: Path, straight: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = (straight / "metrics.jsonl").read_bytes(), tensors(straight)
    with caplog.at_level(logging.INFO):
        assert train(packed, straight) == straight
    assert "finished at step 14" in caplog.text
    assert ((straight / "metrics.jsonl").read_bytes(), tensors(straight)) == before


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("data.seed", {"data": dataclasses.replace(DATA, seed=2)}),
        ("data.global_batch", {"data": dataclasses.replace(DATA, global_batch=16)}),
        ("data.masked_fraction", {"data": dataclasses.replace(DATA, masked_fraction=0.2)}),
        ("model.layers", {"model": dataclasses.replace(MODEL, layers=2)}),
        ("schedule.max_steps", {"schedule": dataclasses.replace(SCHEDULE, max_steps=20)}),
        ("packed.fingerprint", {"format": "full-sentences"}),
    ],
)
def test_another_configuration_is_an_error_that_names_the_key(
    packed: Path, straight: Path, key: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(ArtefactError, match=key):
        train(packed, straight, **changes)


def test_another_tokenizer_is_an_error_that_names_the_key(packed: Path, straight: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "packed")
    with (tmp_path / "packed" / "tokenizer_config.json").open("a") as stream:
        stream.write(" ")
    with pytest.raises(ArtefactError, match=r"expected packed\.tokenizer"):
        train(tmp_path / "packed", straight)


def test_a_resumed_run_may_change_its_own_section(packed: Path, tmp_path: Path) -> None:
    train(packed, tmp_path / "run", stop_after=2)
    train(packed, tmp_path / "run", stop_after=1, log_every=1, checkpoint_every=3)
    config = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    assert (config["run"]["log_every"], config["run"]["checkpoint_every"]) == (1, 3)


def test_a_run_that_began_before_a_key_existed_goes_on_with_its_default(packed: Path, tmp_path: Path) -> None:
    train(packed, tmp_path / "run", stop_after=1)
    config = tmp_path / "run" / "config.toml"
    config.write_text(config.read_text().replace("clip_norm = 0.0\n", ""))
    with pytest.raises(ArtefactError, match=r"expected schedule\.clip_norm = 0\.0.*found 1\.0"):
        train(packed, tmp_path / "run", schedule=dataclasses.replace(SCHEDULE, clip_norm=1.0))
    train(packed, tmp_path / "run", stop_after=1)
    assert "clip_norm = 0.0\n" in config.read_text()


def test_without_held_out_rows_a_run_has_no_validation(packed: Path, tmp_path: Path) -> None:
    out = train(packed, tmp_path / "run", validation_rows=0, validate_every=1, stop_after=2)
    assert [row["step"] for row in records(out)] == [2]


def test_a_folder_with_other_files_is_refused(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(ArtefactError, match=r"other files and no config\.toml"):
        train(packed, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_second_process_on_one_run_is_refused(packed: Path, straight: Path) -> None:
    with exclusive(straight, "run"), pytest.raises(ArtefactError, match="expected no other run on this folder"):
        train(packed, straight)


def test_a_damaged_checkpoint_is_an_error_that_names_it(packed: Path, tmp_path: Path) -> None:
    train(packed, tmp_path / "run", stop_after=2)
    file = step_folder(tmp_path / "run", 2) / "optimizer.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(ArtefactError, match=r"step-00000002/optimizer\.safetensors"):
        train(packed, tmp_path / "run")


def test_losses_that_are_not_finite_are_recorded_and_end_the_run_and_the_checkpoints_stay(
    packed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wild, out = dataclasses.replace(SCHEDULE, peak_learning_rate=1e30, warmup_steps=0), tmp_path / "run"
    with pytest.raises(RbtError, match="expected an update in 4 steps; found all left out up to step 5: the loss is"):
        train(packed, out, schedule=wild, checkpoint_every=1, skipped_steps=4)
    assert latest_checkpoint(out) == step_folder(out, 1)
    left_out = [row for row in records(out) if "skipped" in row]
    assert [row["step"] for row in left_out] == [2, 3, 4, 5]
    index = open_index(packed / "doc-sentences-32", "train")
    for row in left_out:
        positions = step_positions(int(row["step"]) - 1, 8)
        assert set(row["rows"]) <= set(rows_at(positions, 1, index.num_rows)[1].tolist())
        assert row["blocks"] == [block for number in row["rows"] for block, _ in index.read_row(number)]
        assert row["skipped"] == "the loss is not finite" and row["skipped_loss"] == "nan"
    assert "step 2: update left out" in caplog.text and "`rbt trace --step 2`" in caplog.text


def test_v42_a_run_that_left_out_a_spike_resumes_bit_for_bit(packed: Path, tmp_path: Path) -> None:
    """What was left out, and the losses that a spike is measured by, are the same."""
    schedule = dataclasses.replace(SCHEDULE, spike_nats=0.001, spike_window=1, max_steps=10)
    straight = train(packed, tmp_path / "straight", schedule=schedule)
    for stop in (3, 2, 0):
        train(packed, tmp_path / "run", schedule=schedule, stop_after=stop)
    assert any("skipped" in row for row in records(straight))
    assert records(tmp_path / "run") == records(straight)
    assert tensors(tmp_path / "run") == tensors(straight)


def test_validation_is_the_same_however_it_is_cut(packed: Path, tmp_path: Path) -> None:
    losses = []
    for number, rows in enumerate((1, 4)):
        data = dataclasses.replace(DATA, micro_batch=rows)
        out = train(packed, tmp_path / str(number), model=CALM, data=data, stop_after=1, validate_every=1)
        losses += [row["validation_loss"] for row in records(out) if "validation_loss" in row]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_rows_that_cannot_be_trained_on_are_errors(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="warmup_steps"):
        train(packed, tmp_path / "run", schedule=ScheduleConfig(max_steps=10))
    with pytest.raises(ConfigError, match="expected one index"):
        train(packed, tmp_path / "run", format="")
    with pytest.raises(ArtefactError, match="expected an index of format 'segment-pair'"):
        train(packed, tmp_path / "run", format="segment-pair")
    assert not (tmp_path / "run" / "config.toml").exists()


def test_the_loss_falls_on_a_small_language(packed: Path, tmp_path: Path) -> None:
    """From that of a guess among all ids to near the entropy of the tokens' distribution, 2.5 nats."""
    schedule = ScheduleConfig(max_steps=100, warmup_steps=10, peak_learning_rate=5e-3)
    data = DataConfig(global_batch=16, micro_batch=16)
    out = train(packed, tmp_path / "run", model=CALM, data=data, schedule=schedule, log_every=1, validate_every=100)
    losses = [row["loss"] for row in records(out) if "loss" in row]
    assert losses[0] == pytest.approx(5.56, abs=0.1)
    assert sum(losses[-10:]) / 10 < 3.0
    assert next(row["validation_loss"] for row in records(out) if "validation_loss" in row) < 3.2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")  # the compiler imports parts of torch that are one
def test_a_compiled_model_trains_as_one_that_is_not(packed: Path, tmp_path: Path) -> None:
    """Without dropout, whose numbers a compiled model draws in another way; a run may change over."""
    reference = records(train(packed, tmp_path / "reference", model=CALM))
    train(packed, tmp_path / "run", model=CALM, stop_after=4)
    rows = records(train(packed, tmp_path / "run", model=CALM, compile=True))
    for row, expected in zip(rows, reference, strict=True):
        assert row == pytest.approx(expected, rel=1e-3)
