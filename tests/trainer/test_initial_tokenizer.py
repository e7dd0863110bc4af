"""A model goes with a packed folder whose tokenizer is its own, id by id and merge by merge."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbt.errors import ArtefactError, InputError
from rbt.formats.tokenizer import build_vocab, write_tokenizer
from rbt.trainer.initial import check_tokenizer

MERGES = [("a", "b"), ("ab", "c"), ("c", "d")]


def tokenizer_folder(folder: Path, merges: list[tuple[str, str]], swapped: tuple[str, ...] = ()) -> Path:
    """Write a tokenizer; `swapped`: two tokens that have each other's ids."""
    vocab = build_vocab(merges)
    if swapped:
        vocab[swapped[0]], vocab[swapped[1]] = vocab[swapped[1]], vocab[swapped[0]]
    folder.mkdir()
    write_tokenizer(folder, merges, vocab)
    return folder


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return tokenizer_folder(tmp_path / "packed", MERGES)


def test_the_same_tokenizer_is_accepted_in_both_forms(packed: Path, tmp_path: Path) -> None:
    model = tokenizer_folder(tmp_path / "model", MERGES)
    check_tokenizer(model, packed)
    (model / "tokenizer.json").unlink()
    check_tokenizer(model, packed)
    (model / "merges.txt").write_text("#version: 0.2\na b\nc d\nab c\n")
    with pytest.raises(ArtefactError, match="expected merge 1"):
        check_tokenizer(model, packed)


@pytest.mark.parametrize(
    ("merges", "swapped", "message"),
    [
        (MERGES, ("ab", "abc"), "in which id 260 is 'ab'; found 'abc'"),
        ([("a", "b"), ("ab", "x"), ("c", "d")], (), "in which id 261 is 'abc'; found 'abx'"),
        ([("a", "b"), ("c", "d"), ("ab", "c")], ("abc", "cd"), "expected merge 1 of .* 'ab c'; found 'c d'"),
        (MERGES[:2], (), "in which id 262 is 'cd'; found '<mask>'"),
        ([*MERGES, ("b", "c")], (), "in which id 263 is '<mask>'; found 'bc'"),
    ],
)
def test_a_model_of_other_ids_or_merges_is_refused_by_the_first_that_differs(
    packed: Path, tmp_path: Path, merges: list[tuple[str, str]], swapped: tuple[str, ...], message: str
) -> None:
    model = tokenizer_folder(tmp_path / "model", merges, swapped)
    with pytest.raises(ArtefactError, match=message) as error:
        check_tokenizer(model, packed)
    assert "rbt bpe train --from MODEL" in str(error.value) and "\n" not in str(error.value)


def test_a_model_with_one_merge_less_for_the_same_tokens_is_refused(tmp_path: Path) -> None:
    merges = [*MERGES, ("b", "c"), ("a", "bc")]  # two ways to "abc"
    packed = tokenizer_folder(tmp_path / "packed", merges)
    model = tokenizer_folder(tmp_path / "model", merges[:-1])
    with pytest.raises(ArtefactError, match="expected 5 merges, as the packed folder's tokenizer has; found 4"):
        check_tokenizer(model, packed)


def test_a_model_without_a_tokenizer_is_refused(packed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected the tokenizer of a model: tokenizer\.json, or vocab\.json and"):
        check_tokenizer(tmp_path, packed)
