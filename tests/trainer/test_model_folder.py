"""RoBERTa folders of any kind are read, and those that are none are named in one line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from rbt.errors import ArtefactError
from rbt.trainer.hugging_face import TOKEN_TYPES
from rbt.trainer.model_folder import load_model, read_model_folder

from .hugging_face_models import our_logits, random_blocks, their_logits, their_model

BLOCKS = random_blocks([12, 5])
WORDS = "roberta.embeddings.word_embeddings.weight"


@pytest.fixture(scope="module")
def theirs() -> Any:
    """A model of transformers."""
    return their_model()


@pytest.fixture
def folder(theirs: Any, tmp_path: Path) -> Path:
    """It, as transformers writes it."""
    theirs.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Rewrite the weights of a folder."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **settings: Any) -> None:
    """Rewrite config.json; a setting of None is taken out."""
    table = {**json.loads((folder / "config.json").read_text()), **settings}
    (folder / "config.json").write_text(json.dumps({key: value for key, value in table.items() if value is not None}))


def assert_reads_as(folder: Path, theirs: Any, tolerance: float = 1e-10) -> None:
    """The folder says what the model says, but for a share of the largest logit."""
    found, expected = our_logits(load_model(folder).double(), BLOCKS), their_logits(theirs.double(), BLOCKS)
    theirs.float()
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


def test_a_folder_that_transformers_wrote_is_read(folder: Path, theirs: Any) -> None:
    assert_reads_as(folder, theirs)
    found = read_model_folder(folder)
    assert (found.max_tokens, found.vocab_size, found.has_head) == (512, 261, True)
    assert (found.config.layers, found.config.heads, found.config.dropout) == (3, 4, 0.1)


def test_shards_are_read_as_one(folder: Path, theirs: Any, tmp_path: Path) -> None:
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="30KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert_reads_as(tmp_path / "shards", theirs)
    whole, shards = (read_model_folder(path).weights for path in (folder, tmp_path / "shards"))
    assert whole.startswith("blake2b:") and shards != whole


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_any_precision_become_float32(folder: Path, theirs: Any, dtype: torch.dtype) -> None:
    change_weights(folder, lambda tensors: tensors.update({name: part.to(dtype) for name, part in tensors.items()}))
    found = read_model_folder(folder).tensors
    assert {tensor.dtype for tensor in found.values()} == {torch.float32}
    expected = theirs.roberta.embeddings.word_embeddings.weight.detach().to(dtype).float()
    assert torch.equal(found["token_embedding.weight"], expected)
    assert torch.equal(load_model(folder).token_embedding.weight, expected)


def test_a_token_type_row_is_not_lost(folder: Path) -> None:
    from transformers import AutoModelForMaskedLM

    change_weights(folder, lambda tensors: tensors.update({TOKEN_TYPES: torch.linspace(-1, 1, 32)[None]}))
    theirs = AutoModelForMaskedLM.from_pretrained(folder).eval()
    assert_reads_as(folder, theirs, 1e-6)  # rounded when it is added to the positions


@pytest.mark.parametrize("name", ["RobertaModel", "RobertaForSequenceClassification"])
def test_an_encoder_without_a_head_is_read_and_predicts_nothing(tmp_path: Path, name: str) -> None:
    """RobertaModel's names lack `roberta.`, and it has a pooler."""
    theirs = their_model(name)
    theirs.save_pretrained(tmp_path)
    encoder = theirs if name == "RobertaModel" else theirs.roberta
    found = read_model_folder(tmp_path)
    assert not found.has_head
    assert not [name for name in found.tensors if name.startswith("head")]
    assert torch.equal(found.tensors["layers.2.expand.weight"], encoder.encoder.layer[2].intermediate.dense.weight)
    with pytest.raises(ArtefactError, match=r"expected the weights of a masked-language model; found no lm_head\.\*"):
        load_model(tmp_path)


def test_a_tied_copy_is_the_same_numbers_or_an_error(folder: Path, theirs: Any) -> None:
    change_weights(folder, lambda tensors: tensors.update({"lm_head.decoder.weight": tensors[WORDS].clone()}))
    assert_reads_as(folder, theirs)
    change_weights(folder, lambda tensors: tensors["lm_head.decoder.weight"].add_(1e-3))
    with pytest.raises(ArtefactError, match=r"expected lm_head\.decoder\.weight to be the same numbers as roberta"):
        load_model(folder)


def test_a_tied_copy_stands_for_what_it_repeats(folder: Path, theirs: Any) -> None:
    """Which of two names shared weights are stored under is the writer's choice."""
    def move(tensors: dict[str, Tensor]) -> None:
        tensors["lm_head.decoder.weight"] = tensors.pop(WORDS)
        tensors["lm_head.decoder.bias"] = tensors.pop("lm_head.bias")

    change_weights(folder, move)
    assert_reads_as(folder, theirs)


def spoil(name: str, value: float) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors[name].view(-1)[3:5].fill_(value)


def shorten(name: str) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({name: tensors[name][:-1].clone()})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shorten(WORDS), r"word_embeddings.weight of shape \(261, 32\), by config.json; found \(260, 32\)"),
        (shorten("lm_head.bias"), r"lm_head.bias of shape \(261,\), by config.json; found \(260,\)"),
        (shorten("roberta.encoder.layer.1.attention.self.key.weight"), r"key.weight of shape \(32, 32\)"),
        (lambda tensors: tensors.update({TOKEN_TYPES: torch.zeros(2, 32)}), r"of shape \(1, 32\).* found \(2, 32\)"),
        (lambda tensors: tensors.update({WORDS: tensors[WORDS].to(torch.int64)}), "torch.int64"),
        (spoil(WORDS, math.nan), r"finite numbers in roberta.*word_embeddings.weight; found 2 of 8,352 that are not"),
        (spoil("lm_head.dense.bias", -math.inf), "finite numbers in lm_head.dense.bias; found 2 of 32 that are not"),
        (lambda tensors: tensors.pop("lm_head.dense.bias"), "the weights of a RoBERTa; found no lm_head.dense.bias"),
        (lambda tensors: tensors.pop("roberta.encoder.layer.2.output.dense.bias"), "no roberta.encoder.layer.2.output"),
    ],
)
def test_weights_that_are_not_those_of_the_configuration_are_named(folder: Path, change: Any, message: str) -> None:
    change_weights(folder, change)
    with pytest.raises(ArtefactError, match=message) as error:
        load_model(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "bert"}, "expected a RoBERTa with model_type = 'roberta'; found 'bert'"),
        ({"layer_norm_eps": 1e-12}, "layer_norm_eps = 1e-05; found 1e-12"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type = 'absolute'; found 'relative_key'"),
        ({"is_decoder": True}, "is_decoder = False; found True"),
        ({"pad_token_id": 0}, "pad_token_id = 1; found 0"),
        ({"hidden_size": None}, "expected hidden_size, a whole number from 1; found None"),
        ({"hidden_size": "32"}, "expected hidden_size, a whole number from 1; found '32'"),
        ({"max_position_embeddings": 2}, "expected max_position_embeddings, a whole number from 3; found 2"),
        ({"num_attention_heads": 5}, "expected hidden_size, a multiple of 5 heads; found 32"),
        ({"hidden_dropout_prob": 1.5}, "expected hidden_dropout_prob, from 0 to below 1; found 1.5"),
    ],
)
def test_a_configuration_of_another_model_is_named(folder: Path, settings: dict[str, Any], message: str) -> None:
    change_config(folder, **settings)
    with pytest.raises(ArtefactError, match=rf"config\.json: .*{message}"):
        load_model(folder)


def test_what_transformers_leaves_out_of_the_configuration_has_its_meaning(folder: Path, theirs: Any) -> None:
    change_config(folder, position_embedding_type=None, is_decoder=None, pad_token_id=None)
    assert_reads_as(folder, theirs)


def only(folder: Path, name: str, content: bytes) -> None:
    """Put another file in the place of the weights."""
    (folder / "model.safetensors").unlink(missing_ok=True)
    (folder / name).write_bytes(content)


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", b"cut", r"model\.safetensors: expected a safetensors file"),
        ("pytorch_model.bin", b"", r"found pytorch_model\.bin alone, a pickle.*convert it .*save_pretrained"),
        ("other", b"", r"expected model\.safetensors; found none"),
        (INDEX, b"{}", r"index\.json: expected a weight_map of names and files"),
        (INDEX, b'{"weight_map": {"a": "lost.safetensors"}}', r"lost\.safetensors: expected the shards of"),
        (INDEX, b'{"weight_map": {"a": "../x.safetensors"}}', r"x\.safetensors: expected the shards of"),
        (INDEX, b'{"weight_map": {}}', r"expected weights; found none"),
        ("config.json", b"[1]", r"config\.json: expected the settings of a model; found a JSON list"),
    ],
)
def test_a_folder_without_its_files_says_which(folder: Path, name: str, content: bytes, message: str) -> None:
    save_file({"a": torch.zeros(1)}, folder.parent / "x.safetensors")
    only(folder, name, content)
    with pytest.raises(ArtefactError, match=message) as error:
        load_model(folder)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"nowhere: expected the folder of a model, with config\.json"):
        load_model(tmp_path / "nowhere")
