"""Exported folders are read by transformers, and say the same."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from rbt.errors import ArtefactError, ConfigError, InputError, RbtError
from rbt.formats.checkpoint import STATE
from rbt.formats.tokenizer import FILES
from rbt.manifest import load_manifest
from rbt.trainer.export import export
from rbt.trainer.fill_mask import predict_masks
from rbt.trainer.model_folder import load_model

from .hugging_face_models import TIME, VOCABULARY, our_logits, random_blocks, save_step, their_logits, wild_model


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


def test_v45_an_export_says_the_same_in_both_libraries(exported: Path, theirs: Any) -> None:
    blocks = random_blocks([40, 7, 23])
    expected = their_logits(theirs, blocks)
    assert float(expected.abs().max()) > 1  # else the tolerance would say nothing
    torch.testing.assert_close(our_logits(load_model(exported), blocks), expected, rtol=1e-5, atol=1e-5)


def test_v45_what_is_exported_is_the_newest_checkpoint(exported: Path) -> None:
    for ours, expected in zip(load_model(exported).parameters(), wild_model(2).parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)


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


@pytest.mark.parametrize("change", ["other", "absent"])
def test_a_run_whose_tokenizer_is_no_longer_its_own_is_not_exported(tmp_path: Path, change: str) -> None:
    save_step(tmp_path / "run", 1)
    merges = tmp_path / "run" / "merges.txt"
    merges.write_text(merges.read_text() + "a b\n") if change == "other" else merges.unlink()
    message = {
        "other": "expected the tokenizer's files of fingerprint [0-9a-f]{32}, with which this run began; found",
        "absent": "expected the tokenizer's merges.txt; found none",
    }[change]
    with pytest.raises(ArtefactError, match=message):
        export(tmp_path / "run", tmp_path / "model", replace=False)
    assert not (tmp_path / "model").exists()


def test_a_folder_of_an_unfinished_stage_is_no_place_for_a_model(run: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus" / "work").mkdir(parents=True)
    with pytest.raises(ArtefactError, match="expected a new or empty folder"):
        export(run, tmp_path / "corpus", replace=True)


def test_folders_that_cannot_be_exported_are_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="expected a run with a checkpoint"):
        export(tmp_path, tmp_path / "model", replace=False)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ArtefactError, match="expected a new or empty folder"):
        export(run, tmp_path, replace=True)


@pytest.mark.parametrize(("which", "step"), [("newest", 3), ("best", 1), ("2", 2), ("0002", 2)])
def test_any_checkpoint_is_exported_by_name(tmp_path: Path, which: str, step: int) -> None:
    for number, loss in ((1, 2.5), (2, 2.5), (3, 2.75)):
        save_step(tmp_path / "run", number, loss)
    out = export(tmp_path / "run", tmp_path / "model", replace=False, which=which)
    assert load_manifest(out).facts["step"] == step
    found = load_model(out).token_embedding.weight
    torch.testing.assert_close(found, wild_model(step).token_embedding.weight, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("which", "kind", "message"),
    [
        ("7", ArtefactError, "run: expected a checkpoint of step 7; found those of 1, 2$"),
        ("best", ArtefactError, "expected a checkpoint of a step that was validated; found none"),
        ("last", ConfigError, "newest, best or a number of steps; found 'last'"),
        ("-1", ConfigError, "newest, best or a number of steps; found '-1'"),
    ],
)
def test_a_checkpoint_that_is_not_there_is_an_error(
    run: Path, tmp_path: Path, which: str, kind: type[RbtError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        export(run, tmp_path / "model", replace=False, which=which)


def test_the_next_sentence_head_is_left_out(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    save_step(tmp_path / "run", 1, next_sentence=True)
    out = export(tmp_path / "run", tmp_path / "model", replace=False)
    model, info = AutoModelForMaskedLM.from_pretrained(out, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    blocks = random_blocks([40, 7])
    expected = our_logits(wild_model(1, next_sentence=True), blocks)
    torch.testing.assert_close(their_logits(model.eval(), blocks), expected, rtol=1e-4, atol=1e-4)


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
    logits = their_logits(theirs, [ids])
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


@pytest.mark.parametrize(("change", "message"), [
    ({"vocab_size": 264}, "expected a model of 261 ids, as its tokenizer has; found 264 .*resize_token_embeddings.261"),
    ({}, "expected a tokenizer with <mask>; found none"),
])
def test_masks_of_another_tokenizer_are_not_filled(
    exported: Path, tmp_path: Path, change: dict[str, int], message: str
) -> None:
    """A padded embedding, whose last id is no mask, or a tokenizer that knows none."""
    from transformers import AutoModelForMaskedLM

    folder = shutil.copytree(exported, tmp_path / "model")
    if change:
        model = AutoModelForMaskedLM.from_pretrained(exported)
        model.resize_token_embeddings(change["vocab_size"])
        model.save_pretrained(folder)
    else:
        path = folder / "tokenizer.json"
        path.write_text(path.read_text().replace("<mask>", "<fill>"))
    with pytest.raises(RbtError, match=message):
        predict_masks(folder, [0, 50, 260, 2], 1)
