"""Runs are evaluated on held-out rows of any format, masked alike."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rbt.engine import LocalEngine
from rbt.errors import ArtefactError
from rbt.formats.blocks import choose_index, open_index
from rbt.packing.bpe import train_bpe
from rbt.packing.config import BpeConfig, PackConfig
from rbt.packing.pack import pack
from rbt.runs import read_run
from rbt.trainer.config import DataConfig, RunConfig
from rbt.trainer.evaluate import evaluate


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
    config = PackConfig(max_tokens=48, validation_fraction=0.2)
    pack(inputs / "corpus", tmp_path / "tokenizer", tmp_path / "packed", config, LocalEngine(1), replace=False)
    index = open_index(choose_index(tmp_path / "packed", ""), "validation")
    with pytest.raises(ArtefactError, match="expected a model of 300 ids and rows of 48 tokens; found 320 ids"):
        evaluate(formats / "runs" / "doc-sentences-seed1", index, tmp_path / "packed", DataConfig(), RunConfig())
