"""Exported folders are read by transformers, and say the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from rbt.config import to_table
from rbt.errors import ArtefactError, InputError, RbtError
from rbt.formats.checkpoint import STATE
from rbt.formats.tokenizer import FILES, PAD, write_tokenizer
from rbt.manifest import MANIFEST, load_manifest
from rbt.trainer.checkpointing import save_checkpoint
from rbt.trainer.config import ModelConfig, ScheduleConfig
from rbt.trainer.export import TOKEN_TYPES, export, load_model
from rbt.trainer.fill_mask import predict_masks
from rbt.trainer.model import Roberta, build_model
from rbt.trainer.optim import build_optimizer

VOCABULARY, TIME = 261, 512
SHAPE = ModelConfig(layers=3, hidden=32, heads=4, feed_forward=48)
MakeRun = Callable[[int], Path]


def wild_model(seed: int) -> Roberta:
    """Weights large enough that every part changes the logits."""
    model = build_model(SHAPE, VOCABULARY, TIME, seed)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)) * 0.2)
    return model


def save_step(run: Path, step: int) -> None:
    """A checkpoint of random weights, and the tokenizer's files."""
    model = wild_model(step)
    optimizer = build_optimizer(model, ScheduleConfig())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    packed = {"vocab_size": VOCABULARY, "max_tokens": TIME}
    config = {"model": to_table(SHAPE), "packed": packed}
    state = {"step": step, "position": 8 * step, "global_batch": 8, "epoch": 0, "config": config}
    save_checkpoint(run, model, optimizer, state, {"index": "x"}, 0)
    write_tokenizer(run, [])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints."""
    folder = tmp_path_factory.mktemp("export") / "run"
    for step in (1, 2):
        save_step(folder, step)
    return folder


@pytest.fixture(scope="module")
def exported(run: Path) -> Path:
    """The newer one as a Hugging Face folder."""
    return export(run, run.parent / "model", replace=False)


@pytest.fixture(scope="module")
def theirs(exported: Path) -> Any:
    """The folder as transformers reads it."""
    from transformers import AutoModelForMaskedLM

    model, info = AutoModelForMaskedLM.from_pretrained(exported, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model.eval()


def ids_of(lengths: list[int]) -> Tensor:
    """Rows of random ids with padding behind, (rows, time)."""
    generator = np.random.default_rng(0)
    ids = np.full((len(lengths), max(lengths)), PAD)
    for line, length in enumerate(lengths):
        ids[line, :length] = [0, *generator.integers(4, VOCABULARY, length - 2), 2]
    return torch.from_numpy(ids)


def our_logits(model: Roberta, ids: Tensor) -> Tensor:
    """Logits at every position that is not padding, (tokens, vocabulary)."""
    real = ids != PAD
    positions = torch.where(real, torch.arange(2, 2 + ids.shape[1]), PAD)
    segments = torch.where(real, 0, -1)
    with torch.no_grad():
        result: Tensor = model.eval()(ids, positions, segments, real.flatten().nonzero().squeeze(1))
    return result


def their_logits(model: Any, ids: Tensor) -> Tensor:
    """The same from transformers."""
    with torch.no_grad():
        result: Tensor = model(ids, attention_mask=(ids != PAD).long()).logits[ids != PAD]
    return result


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_v45_logits_equal_those_of_transformers(
    exported: Path, theirs: Any, dtype: torch.dtype, tolerance: float
) -> None:
    ids = ids_of([40, 7, 23])
    ours = our_logits(load_model(exported).to(dtype), ids)
    expected = their_logits(theirs.to(dtype), ids)
    assert float(expected.abs().max()) > 1  # else the tolerance would say nothing
    torch.testing.assert_close(ours, expected, rtol=tolerance, atol=tolerance)


def test_v45_a_full_input_is_accepted_and_says_the_same(exported: Path, theirs: Any) -> None:
    ids = ids_of([TIME])
    ours = our_logits(load_model(exported).double(), ids)
    torch.testing.assert_close(ours, their_logits(theirs.double(), ids), rtol=1e-10, atol=1e-10)


def test_v45_what_is_exported_is_the_newest_checkpoint(exported: Path) -> None:
    for ours, expected in zip(load_model(exported).parameters(), wild_model(2).parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


def test_a_folder_that_transformers_wrote_is_read(theirs: Any, tmp_path: Path) -> None:
    theirs.double().save_pretrained(tmp_path)
    ids = ids_of([12])
    torch.testing.assert_close(our_logits(load_model(tmp_path).double(), ids), their_logits(theirs, ids))


def test_a_token_type_row_is_not_lost(exported: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    for name in ("config.json", *FILES):
        (tmp_path / name).write_bytes((exported / name).read_bytes())
    tensors = load_file(exported / "model.safetensors")
    tensors[TOKEN_TYPES] = torch.linspace(-1, 1, 32)[None]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    ids = ids_of([12])
    expected = their_logits(AutoModelForMaskedLM.from_pretrained(tmp_path).eval().double(), ids)
    torch.testing.assert_close(our_logits(load_model(tmp_path).double(), ids), expected)


def test_the_tokenizer_is_read_by_transformers(exported: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    assert tokenizer("a<mask>").input_ids[0] == 0
    assert (tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.model_max_length) == (VOCABULARY - 1, 1, TIME)


def test_the_configuration_names_every_field(exported: Path) -> None:
    config = json.loads((exported / "config.json").read_text())
    expected = {
        "model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "vocab_size": VOCABULARY, "hidden_size": 32,
        "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "max_position_embeddings": TIME + 2,
        "type_vocab_size": 1, "initializer_range": 0.02, "layer_norm_eps": 1e-5, "bos_token_id": 0,
        "pad_token_id": 1, "eos_token_id": 2,
    }
    assert {key: config.get(key) for key in expected} == expected


def test_no_number_is_stored_twice(exported: Path) -> None:
    with safe_open(exported / "model.safetensors", "pt") as file:
        names, metadata = set(file.keys()), file.metadata()
        count = sum(file.get_tensor(name).numel() for name in names)
    assert metadata == {"format": "pt"}
    assert not {"lm_head.decoder.weight", "lm_head.decoder.bias"} & names
    assert count == sum(parameter.numel() for parameter in wild_model(2).parameters()) + 32  # the token type's row


def test_the_manifest_names_the_checkpoint_and_every_file(exported: Path, run: Path) -> None:
    manifest = load_manifest(exported)
    assert (manifest.kind, manifest.facts["step"]) == ("model", 2)
    assert manifest.inputs["checkpoint"] == load_manifest(run / "checkpoints" / "step-00000002").fingerprint
    assert {record.path for record in manifest.files} == {"config.json", "model.safetensors", *FILES}
    assert all(record.damage(exported) == "" for record in manifest.files)


def test_another_export_needs_replace(run: Path, tmp_path: Path) -> None:
    own = tmp_path / "run"
    save_step(own, 1)
    out = export(own, tmp_path / "model", replace=False)
    before = (out / MANIFEST).read_bytes()
    assert export(own, out, replace=False) == out
    assert (out / MANIFEST).read_bytes() == before
    save_step(own, 2)
    with pytest.raises(ArtefactError, match="--replace"):
        export(own, out, replace=False)
    export(own, out, replace=True)
    assert load_manifest(out).facts["step"] == 2


def test_a_replacement_that_fails_leaves_the_model_that_was_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "run"
    save_step(own, 1)
    out = export(own, tmp_path / "model", replace=False)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    save_step(own, 2)

    def fill_up(*arguments: object, **options: object) -> None:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(RbtError, match=r"model: expected room for a model.*no space"):
        patch.setattr("rbt.trainer.export.save_file", fill_up)
        export(own, out, replace=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "run"]


def test_what_a_killed_export_left_is_swept_and_nothing_else(run: Path, tmp_path: Path) -> None:
    for name in (".tmp-77-model", ".tmp-77-my-model", ".tmp-x-model"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    export(run, tmp_path / "model", replace=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".tmp-77-my-model", ".tmp-x-model", "model"]


def test_a_folder_of_an_unfinished_stage_is_no_place_for_a_model(run: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus" / "work").mkdir(parents=True)
    with pytest.raises(ArtefactError, match="expected a new or empty folder"):
        export(run, tmp_path / "corpus", replace=True)


def test_folders_that_cannot_be_exported_or_read_are_named(run: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="expected a run with a checkpoint"):
        export(tmp_path, tmp_path / "model", replace=False)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="expected a new or empty folder"):
        export(run, tmp_path, replace=True)
    config = json.loads((exported / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(ArtefactError, match="expected a RoBERTa with model_type"):
        load_model(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtefactError, match=r"expected model\.safetensors"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ArtefactError, match=r"model\.safetensors: expected a safetensors file"):
        load_model(tmp_path)


def test_a_damaged_checkpoint_is_not_exported(tmp_path: Path) -> None:
    own = tmp_path / "run"
    save_step(own, 1)
    file = own / "checkpoints" / "step-00000001" / STATE
    file.write_text(file.read_text().replace('"step": 1', '"step": 7'))
    with pytest.raises(ArtefactError, match=STATE):
        export(own, tmp_path / "model", replace=False)


def test_masks_are_filled_with_the_likeliest_tokens(exported: Path, theirs: Any) -> None:
    ids = [0, 50, 260, 70, 260, 2]
    predictions = predict_masks(exported, ids, 4)
    logits = their_logits(theirs.float(), torch.tensor([ids]))
    assert len(predictions) == 2
    for position, filled in zip((2, 4), predictions, strict=True):
        best = logits[position].softmax(-1).topk(4)
        assert [token for token, _ in filled] == best.indices.tolist()
        assert [share for _, share in filled] == pytest.approx(best.values.tolist(), rel=1e-4)
    assert predict_masks(exported, [0, 50, 2], 4) == []


@pytest.mark.parametrize(("ids", "message"), [([], "1 to 512 tokens"), ([0] * 513, "1 to 512"), ([999], "below 261")])
def test_a_text_that_does_not_fit_is_an_error(exported: Path, ids: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict_masks(exported, ids, 1)
