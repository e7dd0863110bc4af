"""`rbt pack stats` counts what a reader of all blocks would."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rbt import cli
from rbt.errors import ArtefactError
from rbt.formats.block_documents import block_spans
from rbt.formats.blocks import Index, block_ids, open_index
from rbt.formats.tokens import SPLITS, open_tokens
from rbt.manifest import Manifest, load_manifest, write_manifest
from rbt.packing.statistics import SplitStatistics, count_blocks, largest, mean, median, split_statistics, total
from rbt.packing.statistics_report import binned, report

from .packed_folder import CUTTERS, MAX_TOKENS, words, write_folder

ALL = [*((format, "document") for format in CUTTERS), ("full-sentences", "sentence")]


def folder_of(tmp_path: Path, format: str, separator: str) -> Path:
    generator = np.random.default_rng(11)
    train, validation = [words(generator, 25), [], words(generator, 14)], [words(generator, 9)]
    packed = write_folder(
        tmp_path / "packed", train, validation, separator=separator, cutters={format: CUTTERS[format]}
    )
    return packed / f"{format}-{MAX_TOKENS}"


def statistics(folder: Path) -> list[SplitStatistics]:
    return [split_statistics(folder, split, open_tokens(folder.parent / "tokens")) for split in SPLITS]


def held(ends: list[int], spans: list[tuple[int, int]]) -> int:
    """Into how many of the stretches that end at `ends` some tokens of the spans fall, token by token."""
    tokens = {token for span in spans for token in range(*span)}
    return sum(bool(tokens & set(range(start, end))) for start, end in pairwise([0, *ends]))


def counted(index: Index, separator: str) -> list[Counter[int]]:
    """The five histograms, by reading every block."""
    found: list[Counter[int]] = [Counter() for _ in range(5)]
    for part in index.parts:
        for first, last in pairwise(part.rows.tolist()):
            lengths = [len(block_ids(part.tokens, block, separator)) for block in part.blocks[first:last]]
            found[0].update(lengths)
            for block in part.blocks[first:last]:
                spans = block_spans(block)
                found[1][held(part.tokens.document_ends.tolist(), spans)] += 1
                sentences = [held(part.tokens.sentence_ends.tolist(), [span]) for span in spans]
                found[2][sum(sentences)] += 1
            found[3][last - first] += 1
            found[4][sum(lengths)] += 1
    return found


@pytest.mark.parametrize(("format", "separator"), ALL)
def test_every_number_is_that_of_all_blocks_read_one_by_one(tmp_path: Path, format: str, separator: str) -> None:
    folder = folder_of(tmp_path, format, separator)
    for found in statistics(folder):
        index = open_index(folder, found.split)
        shown = found.histograms
        arrays = [shown.block_ids, shown.block_documents, shown.block_sentences, shown.row_blocks, shown.row_ids]
        for array, expected in zip(arrays, counted(index, separator), strict=True):
            assert {int(value): int(array[value]) for value in np.flatnonzero(array)} == expected
            values = sorted(expected.elements())
            assert (total(array), largest(array)) == (sum(values), values[-1])
            assert mean(array) == pytest.approx(sum(values) / len(values))
            assert median(array) == values[(len(values) - 1) // 2]
        assert (found.rows, found.blocks) == (index.num_rows, index.num_blocks)
        assert found.fill_rate == pytest.approx(sum(values) / (index.num_rows * MAX_TOKENS))
        pairs = [block for part in index.parts for block in part.blocks.tolist() if len(block) == 5]
        assert shown.following == sum(block[4] for block in pairs)
        assert found.is_pair == bool(pairs)


@given(st.data())
def test_documents_of_a_pair_are_counted_once_wherever_its_texts_overlap(data: st.DataObject) -> None:
    """Whole spans over several documents, which no packer makes, the empty ones among them."""
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=8).filter(any))
    ends = np.cumsum(lengths, dtype=np.int64)
    cuts = st.integers(0, int(ends[-1]) - 1)
    (a, a_last), (b, b_last) = (sorted(data.draw(st.tuples(cuts, cuts))) for _ in range(2))
    blocks = np.array([[a, a_last + 1, b, b_last + 1, 0]], dtype=np.int64)
    rows = np.array([0, 1], dtype=np.int64)
    counts, _ = count_blocks(blocks, rows, np.unique(ends[ends > 0]), ends, MAX_TOKENS, False)
    assert np.flatnonzero(counts[1]).tolist() == [held(ends.tolist(), [(a, a_last + 1), (b, b_last + 1)])]


def test_an_empty_split_has_no_rate_and_no_bars(tmp_path: Path) -> None:
    packed = write_folder(tmp_path / "packed", [words(np.random.default_rng(2), 9)])
    found = statistics(packed / f"full-sentences-{MAX_TOKENS}")
    assert (found[1].rows, found[1].fill_rate, found[1].blocks) == (0, 0.0, 0)
    lines = report(found)
    assert next(line for line in lines if line.startswith("bytes a token")).split()[-1] == "-"
    assert next(line for line in lines if line.startswith("fill rate")).split()[-1] == "0.00%"


def test_an_index_that_is_not_what_its_ledger_says_is_an_error(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "doc-sentences", "document")
    rows = np.load(folder / "train-00000.rows.npy")
    np.save(folder / "train-00000.rows.npy", np.delete(rows, 1))
    with pytest.raises(ArtefactError, match=r"expected \d+ rows in train; .*`rbt verify`"):
        statistics(folder)
    blocks = np.load(folder / "train-00000.blocks.npy")
    np.save(folder / "train-00000.rows.npy", np.append(rows[:-1], rows[-1] - 1))
    with pytest.raises(ArtefactError, match=r"expected row offsets ascending from 0 to \d+"):
        statistics(folder)
    np.save(folder / "train-00000.blocks.npy", blocks[:-1])  # which the shortened rows are right for
    with pytest.raises(ArtefactError, match=r"expected \d+ blocks in train"):
        statistics(folder)
    np.save(folder / "train-00000.blocks.npy", blocks)
    np.save(folder / "train-00000.rows.npy", np.concatenate([rows[:1], rows[1:-1] * 1000, rows[-1:]]))  # no such blocks
    with pytest.raises(ArtefactError, match="`rbt verify`"):
        statistics(folder)
    np.save(folder / "train-00000.rows.npy", rows)
    blocks[3] = [0, 1 << 40]
    np.save(folder / "train-00000.blocks.npy", blocks)
    with pytest.raises(ArtefactError, match="found 1 longer"):
        statistics(folder)


def test_the_table_has_what_packing_dropped_by_reason(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "segment-pair", "document")
    manifest = load_manifest(folder)
    manifest.ledger.row("blocks", "train").count("dropped_no_other_document", 1234)
    manifest.ledger.row("blocks", "train").count("tokens_repeated", 56)
    write_manifest(folder, Manifest(**vars(manifest)))
    lines = [line.split() for line in report(statistics(folder))]
    assert ["tokens", "dropped", "1,234", "0"] in lines
    assert ["no", "other", "document", "1,234", "0"] in lines
    assert ["tokens", "repeated", "56", "0"] in lines
    assert any(line[:4] == ["pairs", "that", "are", "next"] and line[4].endswith("%") for line in lines)


@given(st.integers(3, 700), st.integers(0, 9))
def test_bins_of_lengths_hold_every_block_once(max_tokens: int, seed: int) -> None:
    histogram = np.random.default_rng(seed).integers(0, 9, max_tokens + 2)
    width = -(-max_tokens // 16)
    bins = binned(histogram, width)
    assert len(bins) <= 16
    assert [int(count) for count in bins] == [
        sum(histogram[first : min(first + width, max_tokens + 1)].tolist()) for first in range(1, max_tokens + 1, width)
    ]


@pytest.mark.parametrize(("format", "separator"), ALL)
def test_the_command_prints_a_table_and_draws_a_picture(tmp_path: Path, format: str, separator: str) -> None:
    from matplotlib.image import imread

    folder = folder_of(tmp_path, format, separator)
    plot = tmp_path / "stats.png"
    result = CliRunner().invoke(cli.main, ["pack", "stats", "--out", str(folder.parent), "--plot", str(plot)])
    assert result.exit_code == 0, result.output
    lines, found = result.output.splitlines(), statistics(folder)
    assert [line.split()[-2:] for line in lines if line.startswith("blocks  ")] == [
        [f"{split.blocks:,}" for split in found]
    ]
    shares = [line.split()[3:5] for line in lines if line[2:].split(" to ")[0].isdigit()]
    for column in (0, 1):
        assert sum(float(cells[column].rstrip("%")) for cells in shares) == pytest.approx(100, abs=0.1)
    image = imread(plot)
    assert image.shape[:2] == (1125, 1650)
    assert len(np.unique(image.reshape(-1, image.shape[2]), axis=0)) > 20  # colors


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "full-sentences", "document")
    for arguments, message in (
        (["--out", str(tmp_path / "nowhere")], "nowhere: expected an index; found none (run `rbt pack`)"),
        (["--out", str(folder.parent), "--format", "doc-sentences"], "expected an index of format 'doc-sentences'"),
        (["--out", str(folder.parent), "--plot", "x.pdf"], "--plot: expected a file name that ends in .png"),
    ):
        result = CliRunner().invoke(cli.main, ["pack", "stats", *arguments])
        assert (result.exit_code, result.output.count("\n")) == (2, 1)
        assert message in result.output
