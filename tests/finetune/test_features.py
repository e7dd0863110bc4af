"""Examples as token sequences."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate, chain, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from rbt.finetune.config import FinetuneConfig
from rbt.finetune.data import encoder_of
from rbt.finetune.features import encode_texts, joined, make_features, shortened
from rbt.finetune.kind import Asked, Kind
from rbt.finetune.sentences import CLASS, SCORE, SCORE_RANGE
from rbt.tasks.examples import Sentences
from rbt.tasks.sets import TASKS, find_files, read_examples

TEXTS = [
    "", "oak", " oak", "the oak and the elm", "a\n\nb\t ", "</s><mask>", "caf\u00e9 \u65e5\u672c\u8a9e \U0001f333",
    "'s 've", " " * 40, "yew" * 50,
]


def slow_shortened(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """A token at a time from the longer one, from the first where they are as long."""
    first, second = list(first), list(second)
    while len(first) + len(second) > room:
        (first if len(first) >= len(second) else second).pop()
    return first, second


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 70))
def test_two_texts_are_cut_at_their_ends_the_longer_one_first(first: int, second: int, room: int) -> None:
    texts = np.arange(first), np.arange(second) + 100
    found = shortened(*texts, room)
    assert [text.tolist() for text in found] == [*map(list, slow_shortened(*map(list, texts), room))]


def test_nothing_is_left_where_there_is_no_room() -> None:
    assert [len(text) for text in shortened(np.arange(5), np.arange(3), -2)] == [0, 0]


def test_joined_texts_have_two_separators_between_them() -> None:
    one, two = np.array([7, 8]), np.array([9])
    assert np.concatenate(joined(one)).tolist() == [0, 7, 8, 2]
    assert np.concatenate(joined(one, two)).tolist() == [0, 7, 8, 2, 2, 9, 2]


@pytest.mark.parametrize("threads", [1, 2, 3, 10, 64])
def test_texts_are_encoded_alike_whatever_the_threads(start_model: Path, threads: int) -> None:
    found = encode_texts(start_model, TEXTS, threads)
    oracle = Tokenizer.from_file(str(start_model / "tokenizer.json"))
    oracle.encode_special_tokens = True
    for number, text in enumerate(TEXTS):
        ids, ends = found.ids(number), found.byte_ends(number)
        assert ids.dtype == np.int64
        assert ids.tolist() == oracle.encode(text, add_special_tokens=False).ids
        assert len(ends) == len(ids) and (np.diff(ends) > 0).all()
        assert (ends[-1] if len(ends) else 0) == len(text.encode())


def test_no_texts_are_no_error(start_model: Path) -> None:
    encode_texts(start_model, [], 4)


@given(st.lists(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3), min_size=1, max_size=4), max_size=6))
def test_features_hold_all_pieces_of_all_units_in_order(shape: list[list[list[int]]]) -> None:
    """`shape`: the number of tokens of each piece of each sequence of each unit."""
    number = iter(range(10_000))
    units = [
        [[np.array([next(number) for _ in range(size)], dtype=np.int64) for size in sequence] for sequence in unit]
        for unit in shape
    ]
    targets = np.arange(float(len(units)))
    features = make_features(units, targets, 3)
    assert features.num_units == len(units)
    assert features.unit_edges.tolist() == [0, *accumulate(map(len, units))]
    found = [features.ids[start:end].tolist() for start, end in pairwise(features.edges)]
    sequences = list(chain.from_iterable(units))
    assert found == [list(chain.from_iterable(piece.tolist() for piece in pieces)) for pieces in sequences]
    assert features.targets.tolist() == [[float(target)] for target in range(len(units))]
    lengths = [[sum(sequence) for sequence in unit] for unit in shape]
    assert features.unit_tokens.tolist() == [len(unit) * max(unit) for unit in lengths]


def test_spans_have_two_targets_and_no_units_keep_them() -> None:
    pieces = [[[np.arange(3)]]]
    assert make_features(pieces, np.array([[1.0, 2.0]]), 2).targets.shape == (1, 2)
    assert make_features([], np.empty((0, 2)), 2).targets.shape == (0, 2)
    assert make_features([], np.empty(0), 2).targets.shape == (0, 1)


def asked_of(name: str, max_tokens: int) -> Asked:
    return Asked(TASKS[name], FinetuneConfig(), max_tokens)


def decoded(folder: Path, ids: list[int]) -> list[str]:
    """The texts between the special tokens."""
    decoder = Tokenizer.from_file(str(folder / "tokenizer.json"))
    edges = [place for place, id in enumerate(ids) if id in (0, 2)]
    parts = [ids[start + 1:end] for start, end in pairwise(edges)]
    return [decoder.decode(part) for part in parts[::2]]  # between </s> and </s> there is nothing


@pytest.mark.parametrize(
    ("name", "folder", "kind"),
    [("sst2", "SST2_sentence", CLASS), ("rte", "RTE_resplit", CLASS), ("cola", "CoLA_2col", CLASS),
     ("stsb", "STS-B", SCORE)],
)
def test_features_of_real_dev_files_become_their_texts_again(
    data: Path, start_model: Path, name: str, folder: str, kind: Kind
) -> None:
    files = find_files(name, data / "tasks" / "glue" / folder, ("dev",))
    examples = [each for _, each in read_examples(files) if isinstance(each, Sentences)]
    features = kind.features(asked_of(name, 4096), examples, encoder_of(start_model))
    assert features.num_units == len(examples) > 100
    labels = list(TASKS[name].labels.values())
    for unit, each in enumerate(examples):
        ids = features.ids[features.edges[unit]:features.edges[unit + 1]].tolist()
        assert decoded(start_model, ids) == list(each.sentences)
        wanted = labels.index(each.label) if each.label is not None else (each.score or 0.0) / SCORE_RANGE
        assert features.targets[unit, 0] == wanted


def test_pairs_are_cut_to_the_limit_and_hidden_answers_have_no_target(start_model: Path) -> None:
    pair = Sentences("1", "test", ("oak elm " * 9, "fir"))
    for name, kind in (("rte", CLASS), ("stsb", SCORE)):
        features = kind.features(asked_of(name, 12), [pair], encoder_of(start_model))
        assert features.has_target.tolist() == [False]
        assert len(features.ids) == 12 and decoded(start_model, features.ids.tolist())[1] == "fir"
    scored = SCORE.features(asked_of("stsb", 12), [replace(pair, score=-SCORE_RANGE)], encoder_of(start_model))
    assert scored.has_target.tolist() == [True]  # a score may be any number
    single = CLASS.features(asked_of("sst2", 12), [Sentences("1", "test", pair.sentences[:1])], encoder_of(start_model))
    assert len(single.ids) == 12 and (single.ids[0], single.ids[-1]) == (0, 2)
