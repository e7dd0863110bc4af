"""A run starts from a model: with its weights, its size, its tokenizer, and goes on without its folder."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from rbt.errors import ArtefactError, ConfigError
from rbt.formats.blocks import Index, open_index
from rbt.formats.checkpoint import latest_checkpoint
from rbt.formats.tokenizer import FILES
from rbt.trainer.batches import read_batch
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.export import export
from rbt.trainer.hugging_face import TOKEN_TYPES, names
from rbt.trainer.initial import load_initial
from rbt.trainer.masking import mask_block, masking_rule, validation_seed
from rbt.trainer.model_folder import load_model
from rbt.trainer.optim import learning_rate
from rbt.trainer.order import rows_at, step_positions
from rbt.trainer.pretrain import main, pretrain
from rbt.trainer.reporting import describe_flops
from rbt.trainer.training import Training

from .conftest import VOCAB, VOCAB_SIZE, random_documents, write_packed, write_pairs
from .hugging_face_models import padded, their_model

POSITIONS = 64  # more than the 32 of a row
DATA = DataConfig(global_batch=6, micro_batch=2)
SCHEDULE = ScheduleConfig(max_steps=6, warmup_steps=2, peak_learning_rate=1e-3)
RUN = RunConfig(log_every=1, checkpoint_every=2, validate_every=3, device="cpu")
RECIPE = ModelConfig(size="tiny", dropout=0.0, attention_dropout=0.05)
Ints = npt.NDArray[np.int64]
CALM = ModelConfig(dropout=0.0, attention_dropout=0.0)


@pytest.fixture(scope="module")
def folder(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of transformers with the tokenizer of `packed`."""
    out = tmp_path_factory.mktemp("initial") / "model"
    their_model(time=POSITIONS, deviation=0.1).save_pretrained(out)
    for name in FILES:
        shutil.copyfile(packed / name, out / name)
    return out


def train(
    packed: Path, out: Path, init: Path | None, *, format: str = "doc-sentences", model: ModelConfig = RECIPE,
    data: DataConfig = DATA, **run: Any,
) -> Path:
    """One invocation."""
    return pretrain(packed, format, out, model, data, SCHEDULE, dataclasses.replace(RUN, **run), init)


def records(out: Path) -> list[dict[str, Any]]:
    """metrics.jsonl."""
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[float]:
    """Of each step."""
    return [record["loss"] for record in records(out) if "loss" in record]


def newest(out: Path) -> dict[str, Tensor]:
    """The weights of the newest checkpoint."""
    checkpoint = latest_checkpoint(out)
    assert checkpoint is not None
    return load_file(checkpoint / "model.safetensors")


def assert_same_weights(first: Path, second: Path) -> None:
    found, expected = newest(first), newest(second)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.fixture(scope="module")
def straight(packed: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run from the model that was never stopped."""
    return train(packed, tmp_path_factory.mktemp("straight") / "run", folder)


def masked_blocks(index: Index, step: int) -> list[tuple[list[int], list[int], list[int]]]:
    """(inputs, ids, selected places) of each block of a step, masked one by one."""
    positions = step_positions(step - 1, DATA.global_batch)
    return masked_at(index, *rows_at(positions, DATA.seed, index.num_rows), DATA.seed)


def masked_at(index: Index, epochs: Ints, rows: Ints, seed: int) -> list[tuple[list[int], list[int], list[int]]]:
    """The same of any rows in their epochs, under a seed."""
    rule = dataclasses.replace(masking_rule(DATA, VOCAB), seed=seed)
    batch = read_batch(index, rows, epochs)
    found = []
    for number, (start, end) in enumerate(zip(batch.block_edges, batch.block_edges[1:], strict=False)):
        ids = batch.ids[start:end]
        inputs, places = mask_block(ids, rule, int(batch.block_epochs[number]), int(batch.blocks[number]))
        found.append((inputs.tolist(), ids.tolist(), places.tolist()))
    return found


def their_loss(model: Any, blocks: list[tuple[list[int], list[int], list[int]]]) -> Tensor:
    """The mean over selected tokens of one padded batch, by a model of transformers."""
    inputs, ids = padded([block for block, _, _ in blocks]), padded([block for _, block, _ in blocks])
    labels = torch.full_like(ids, -100)
    for line, (_, _, places) in enumerate(blocks):
        labels[line, places] = ids[line, places]
    loss: Tensor = model(inputs, attention_mask=(ids != 1).long(), labels=labels).loss
    return loss


def plain_loop(model: Any, index: Index, steps: Sequence[int]) -> list[float]:
    """The losses of a plain loop over a model of transformers: padded batches, labels of -100, torch's AdamW."""
    model.get_parameter(TOKEN_TYPES).requires_grad_(False)  # RoBERTa has no token types: fairseq's has no such row
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    found = []
    for step in steps:
        loss = their_loss(model, masked_blocks(index, step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = learning_rate(step, SCHEDULE)
        optimizer.step()
        found.append(float(loss.detach()))
    return found


def test_v45_a_continued_run_learns_what_a_plain_loop_over_transformers_learns(
    packed: Path, folder: Path, tmp_path: Path
) -> None:
    """The first loss is that of the given model; the others follow from it. Dropout is off."""
    from transformers import RobertaForMaskedLM

    out = train(packed, tmp_path / "run", folder, model=CALM)
    theirs = RobertaForMaskedLM.from_pretrained(folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    expected = plain_loop(theirs.train(), open_index(packed / "doc-sentences-32", "train"), range(1, 7))
    assert losses(out) == pytest.approx(expected, rel=1e-5)
    assert expected[-1] < expected[0] - 0.05  # it learns
    found, state = newest(out), theirs.state_dict()
    for ours, parts in names(3).items():
        weight = torch.cat([state[part] for part in parts])
        torch.testing.assert_close(found[ours], weight, rtol=0, atol=5e-5, msg=ours)


def test_the_first_record_is_the_given_model_on_held_out_text(
    packed: Path, folder: Path, straight: Path, tmp_path: Path
) -> None:
    """What an adaptation is compared with; a run that begins again has it once."""
    from transformers import RobertaForMaskedLM

    index, seed = open_index(packed / "doc-sentences-32", "validation"), validation_seed(DATA.seed)
    blocks = masked_at(index, *rows_at(np.arange(index.num_rows), seed, index.num_rows), seed)
    expected = float(their_loss(RobertaForMaskedLM.from_pretrained(folder).eval(), blocks).detach())
    assert records(straight)[0]["step"] == 0
    assert records(straight)[0]["validation_loss"] == pytest.approx(expected, rel=1e-5)
    out = shutil.copytree(straight, tmp_path / "run")
    shutil.rmtree(out / "checkpoints")
    train(packed, out, folder, stop_after=3)
    train(packed, out, None)
    found = [(record["step"], record["validation_loss"]) for record in records(out) if "validation_loss" in record]
    assert [step for step, _ in found] == [0, 3, 6]
    assert found[0][1] == records(straight)[0]["validation_loss"] > found[-1][1]


def test_its_work_is_counted_by_its_rows_not_by_its_positions(
    packed: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def step(self: Training, *rest: Any) -> Any:
        found.append(describe_flops(self))
        raise KeyboardInterrupt

    monkeypatch.setattr(Training, "step", step)
    with pytest.raises(KeyboardInterrupt):
        train(packed, tmp_path / "run", folder)
    assert "L 3, H 32, F 48, T 32, V 261" in found[0]


def test_size_and_positions_are_the_models_and_dropouts_the_recipes(straight: Path) -> None:
    config = tomllib.loads((straight / "config.toml").read_text())
    shape = {"layers": 3, "hidden": 32, "heads": 4, "feed_forward": 48}
    assert config["model"] == {"size": "base", **shape, "dropout": 0.0, "attention_dropout": 0.05}
    assert config["init"]["max_tokens"] == POSITIONS
    assert config["init"]["weights"].startswith("blake2b:")
    assert config["packed"]["max_tokens"] == 32
    assert newest(straight)["position_embedding.weight"].shape == (POSITIONS + 2, 32)


def test_its_export_has_all_positions_of_the_model(straight: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    out = export(straight, tmp_path / "model", replace=False)
    assert json.loads((out / "config.json").read_text())["max_position_embeddings"] == POSITIONS + 2
    model, info = AutoModelForMaskedLM.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert AutoTokenizer.from_pretrained(out).model_max_length == POSITIONS
    assert model(torch.full((1, POSITIONS), 7)).logits.shape == (1, POSITIONS, VOCAB_SIZE)
    assert load_model(out).max_tokens == POSITIONS


@pytest.mark.parametrize("again", [False, True])
def test_v42_it_is_resumed_with_or_without_the_folder(
    packed: Path, folder: Path, straight: Path, tmp_path: Path, again: bool
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")  # where the folder lies is not what it is
    train(packed, tmp_path / "run", copy, stop_after=3)
    train(packed, tmp_path / "run", folder if again else None)
    assert_same_weights(tmp_path / "run", straight)
    assert losses(tmp_path / "run") == losses(straight)


def test_without_a_checkpoint_it_needs_the_folder_again(
    packed: Path, folder: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(self: Training, *rest: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "step", step)
        train(packed, tmp_path / "run", folder)
    with pytest.raises(ArtefactError, match="expected --init MODEL again, of a run that has no checkpoint yet"):
        train(packed, tmp_path / "run", None)
    train(packed, tmp_path / "run", folder)
    assert_same_weights(tmp_path / "run", straight)


def test_a_run_keeps_to_the_model_that_it_began_from(
    packed: Path, folder: Path, straight: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(straight, tmp_path / "run")
    other = shutil.copytree(folder, tmp_path / "other")
    their_model(time=POSITIONS, deviation=0.3).save_pretrained(other)
    with pytest.raises(ConfigError, match=r"expected --init of the model that the run in .*, with weights"):
        train(packed, run, other)
    fresh = train(packed, tmp_path / "fresh", None, model=ModelConfig(layers=1, hidden=16, heads=2, feed_forward=16))
    with pytest.raises(ConfigError, match=r"expected no --init: the run in .* began without one"):
        train(packed, fresh, folder)


def test_another_dropout_is_an_error_on_resume(packed: Path, straight: Path, tmp_path: Path) -> None:
    run = shutil.copytree(straight, tmp_path / "run")
    with pytest.raises(ArtefactError, match=r"expected model\.attention_dropout = 0\.05, with which this run began"):
        train(packed, run, None, model=CALM)


def test_the_module_takes_the_same_option(packed: Path, folder: Path, straight: Path, tmp_path: Path) -> None:
    tables = {"model": RECIPE, "data": DATA, "schedule": SCHEDULE, "run": RUN}
    settings = [
        part for name, table in tables.items() for key, value in dataclasses.asdict(table).items()
        for part in ("--set", f"{name}.{key}={json.dumps(value)}")
    ]
    arguments = ["--packed", str(packed), "--format", "doc-sentences", "--out", str(tmp_path / "run"), *settings]
    assert main([*arguments, "--init", str(folder)]) == 0
    assert_same_weights(tmp_path / "run", straight)


def test_a_model_without_a_head_begins_with_a_fresh_one_and_says_so(
    packed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    theirs = their_model("RobertaModel", time=POSITIONS)
    theirs.save_pretrained(tmp_path / "encoder")
    for name in FILES:
        shutil.copyfile(packed / name, tmp_path / "encoder" / name)
    with caplog.at_level(logging.WARNING):
        train(packed, tmp_path / "run", tmp_path / "encoder", stop_after=1)
    assert "encoder: no masked-language head in it, so that the run begins with a fresh one" in caplog.text
    state = newest(tmp_path / "run")
    expected = theirs.encoder.layer[1].intermediate.dense.weight
    torch.testing.assert_close(state["layers.1.expand.weight"], expected, rtol=0, atol=2e-3)  # one update away
    assert float(state["head_dense.weight"].std()) == pytest.approx(0.02, rel=0.1)
    train(packed, tmp_path / "run", None, stop_after=1)


def test_a_head_for_pairs_is_fresh_and_not_exported(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    packed = write_packed(tmp_path / "packed", [random_documents(1, 60)], [random_documents(3, 12)])
    write_pairs(packed, "segment-pair")
    out = train(packed, tmp_path / "run", folder, format="segment-pair")
    assert newest(out)["next_output.weight"].shape == (2, 32)
    assert records(out)[1]["next_loss"] == pytest.approx(np.log(2), rel=0.2)  # a fresh head knows nothing
    model, info = AutoModelForMaskedLM.from_pretrained(
        export(out, tmp_path / "model", replace=False), output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    torch.testing.assert_close(model.lm_head.dense.weight, newest(out)["head_dense.weight"])


@pytest.mark.parametrize(
    ("vocab_size", "max_tokens", "message"),
    [
        (VOCAB_SIZE, POSITIONS + 1, r"positions for rows of 65 tokens; found 64 \(`rbt pack --max-tokens 64`\)"),
        (VOCAB_SIZE + 3, 32, "expected a model of 264 ids, as its tokenizer has; found 261"),
    ],
)
def test_a_model_that_does_not_fit_the_packed_folder_is_refused(
    packed: Path, folder: Path, vocab_size: int, max_tokens: int, message: str
) -> None:
    with pytest.raises(ArtefactError, match=message):
        load_initial(folder, packed, vocab_size, max_tokens, RECIPE)
