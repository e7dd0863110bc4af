"""A model that somebody published is trained on, from its folder to a folder that transformers reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rbt.formats.blocks import open_index
from rbt.formats.tokenizer import read_vocab
from rbt.trainer.batches import read_batch
from rbt.trainer.config import DataConfig
from rbt.trainer.masking import mask_block, masking_rule
from rbt.trainer.order import rows_at, step_positions

PROSE = "The keeper of the light wrote every evening what the sea had done, and what the birds and the ships had done."


def publish(folder: Path) -> Any:
    """A folder as people publish them: a model of transformers, which is returned, and its tokenizer."""
    from tokenizers import AddedToken, ByteLevelBPETokenizer
    from transformers import RobertaConfig, RobertaForMaskedLM, RobertaTokenizerFast

    trained = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator([PROSE] * 3, vocab_size=300, special_tokens=specials, show_progress=False)
    trained.save_model(str(folder))
    vocab = json.loads((folder / "vocab.json").read_text("utf-8"))
    tokens = [token for token in sorted(vocab, key=vocab.__getitem__) if token not in specials]
    ids = {token: number for number, token in enumerate([*specials, *tokens[::-1], "<mask>"])}  # in no order of rbt's
    lines = (folder / "merges.txt").read_text("utf-8").splitlines()[1:]
    merges = [(left, right) for left, _, right in (line.partition(" ") for line in lines)]
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    mask = AddedToken("<mask>", lstrip=True, normalized=False, special=True)
    RobertaTokenizerFast(vocab=ids, merges=merges, mask_token=mask).save_pretrained(folder)
    torch.manual_seed(0)
    model = RobertaForMaskedLM(RobertaConfig(
        vocab_size=len(ids), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=130, type_vocab_size=1, layer_norm_eps=1e-5,
    ))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)  # far from a fresh model, whose loss is log(vocabulary)
    model.save_pretrained(folder)
    return model.eval()


@pytest.fixture(scope="module")
def adapted(built: Any, new_project: Callable[[], Any]) -> tuple[Any, Any]:
    """(project in which a published model was adapted to the mini corpus, that model)."""
    project = new_project()
    (project.folder / "published").mkdir()
    theirs = publish(project.folder / "published")
    (project.folder / "corpus").symlink_to(built.folder / "corpus")
    project.must("bpe", "train", "--from", "published", small=False)
    for words in (("pack",), ("pretrain", "--init", "published"), ("export", "--checkpoint", "newest")):
        project.must(*words)
    return project, theirs


def first_loss(model: Any, packed: Path) -> float:
    """A published model's mean loss over the masked tokens of step 1, block by block."""
    index, data = open_index(packed / "full-sentences-64", "train"), DataConfig(global_batch=8)
    rule, total, count = masking_rule(data, read_vocab(packed)), 0.0, 0
    epochs, rows = rows_at(step_positions(0, data.global_batch), data.seed, index.num_rows)
    batch = read_batch(index, rows, epochs)
    for number, (start, end) in enumerate(zip(batch.block_edges, batch.block_edges[1:], strict=False)):
        ids = batch.ids[start:end]
        inputs, places = mask_block(ids, rule, int(batch.block_epochs[number]), int(batch.blocks[number]))
        labels = np.full_like(ids, -100)
        labels[places] = ids[places]
        with torch.no_grad():
            mean = model(torch.from_numpy(inputs)[None], labels=torch.from_numpy(labels)[None]).loss
        total, count = total + float(mean) * len(places), count + len(places)
    return total / count


def test_the_packed_text_has_the_published_ids(adapted: tuple[Any, Any]) -> None:
    from transformers import AutoTokenizer

    folder = adapted[0].folder
    tokenizer = AutoTokenizer.from_pretrained(folder / "published")
    assert read_vocab(folder / "packed") == tokenizer.get_vocab()
    part = open_index(folder / "packed" / "full-sentences-64", "train").parts[0].tokens
    for start, end in zip([0, *part.document_ends[:4]], part.document_ends[:5], strict=True):
        ids = part.tokens[start:end].tolist()
        text = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
        assert len(ids) < 0.9 * len(text)  # merges were used


def test_the_first_loss_is_that_of_the_published_model(adapted: tuple[Any, Any]) -> None:
    project, theirs = adapted
    lines = [json.loads(line) for line in (project.folder / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses[0] == pytest.approx(first_loss(theirs, project.folder / "packed"), rel=1e-5)
    assert abs(losses[0] - np.log(theirs.config.vocab_size)) > 0.2  # a fresh model's would be that
    assert np.mean(losses[-3:]) < losses[0]


def test_what_comes_out_is_read_by_transformers(adapted: tuple[Any, Any]) -> None:
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    project, theirs = adapted
    model, info = AutoModelForMaskedLM.from_pretrained(project.folder / "model", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert model.config.max_position_embeddings == theirs.config.max_position_embeddings == 130
    before = theirs.roberta.embeddings.word_embeddings.weight.detach()
    change = (model.roberta.embeddings.word_embeddings.weight.detach() - before).abs().max()
    assert 0 < float(change) < 0.1  # it went on from there
    first, second = (AutoTokenizer.from_pretrained(project.folder / name) for name in ("model", "published"))
    assert first(PROSE + " <mask>.")["input_ids"] == second(PROSE + " <mask>.")["input_ids"]


def test_the_other_commands_know_such_a_run(adapted: tuple[Any, Any]) -> None:
    project, _ = adapted
    for words in (
        ("verify", "."), ("trace", "--step", "1"), ("fill-mask", "The <mask>."),
        ("fill-mask", "The <mask>.", "--model", "published"), ("pretrain",), ("pretrain", "--init", "published"),
        ("export", "--checkpoint", "12"), ("bpe", "train", "--from", "model", "--out", "again"),
    ):
        project.must(*words, small=words[0] in ("pretrain", "trace"))
    assert read_vocab(project.folder / "again") == read_vocab(project.folder / "tokenizer")
