"""Word counts against collections.Counter over the words of Hugging Face tokenizers, whatever memory there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from rbt.engine import LocalEngine
from rbt.errors import ArtefactError
from rbt.formats import word_counts as word_format
from rbt.formats.parts import read_batches
from rbt.formats.verify import verify
from rbt.formats.word_counts import SCHEMA, counts_name, open_counts, word_batch, word_buffers, write_counts
from rbt.manifest import record_files, write_manifest
from rbt.packing import count, word_counts, word_runs
from rbt.packing.count import check_distinct_parts, count_corpus
from rbt.packing.word_counts import WordCounter
from rbt.packing.word_runs import RUN, as_batch, merge_runs
from rbt.packing.word_table import INLINE_BYTES, _is_stored, store_long
from rbt.stage import Task, TaskOutput

from .conftest import prose, snapshot, write_corpus

ONE = LocalEngine(1)
BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False)
LONG = ["x" * size for size in (14, 15, 16, 17, 40, 300)]
PIECES = [*"abé1 \n", "'s", "the", "\x00", "\x00\x00", "日本", *LONG]
Documents = list[tuple[str, str]]
texts_of_pieces = st.lists(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), max_size=8)


def slow_counts(texts: Iterable[str]) -> dict[bytes, int]:
    """Word -> count, by word."""
    words = Counter(
        text[start:end].encode() for text in texts for _, (start, end) in BYTE_LEVEL.pre_tokenize_str(text)
    )
    return dict(sorted(words.items()))


def rows(batches: Iterable[pa.RecordBatch]) -> list[tuple[bytes, int]]:
    return [(row["word"], row["count"]) for batch in batches for row in batch.to_pylist()]


def counted(folder: Path, number: int = 0) -> list[tuple[bytes, int]]:
    return rows(read_batches(folder / counts_name(number), SCHEMA))


@contextmanager
def little_room() -> Iterator[None]:
    """Tables of a few words, files of small batches, and two runs merged at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_counts, "SMALLEST_SLOTS", 16)
        patch.setattr(word_counts, "SMALLEST_ARENA", 64)
        patch.setattr(word_runs, "FEWEST_RUNS", 2)
        patch.setattr(word_format, "BATCH_ROWS", 3)
        patch.setattr(word_format, "BATCH_BYTES", 40)
        yield


def take_all(counter: WordCounter, texts: pa.Array) -> list[list[tuple[bytes, int]]]:
    """The rows of every time that the counter was full, and of the end."""
    taken = []
    place = counter.count(texts)
    while place is not None:
        taken.append(rows([as_batch(counter.take())]))
        place = counter.count(texts, place)
    return [*taken, rows([as_batch(counter.take())])] if len(counter) else taken


def sums(taken: list[list[tuple[bytes, int]]]) -> dict[bytes, int]:
    found: Counter[bytes] = Counter()
    for some in taken:
        assert [word for word, _ in some] == sorted({word for word, _ in some})
        found.update(dict(some))
    return dict(sorted(found.items()))


@given(texts=texts_of_pieces, memory=st.sampled_from([0, 3000, 20_000, 1 << 30]), is_large=st.booleans())
def test_words_are_counted_as_by_a_counter_for_any_memory(texts: list[str], memory: int, is_large: bool) -> None:
    array = pa.array(["before", *texts, "after"], pa.large_string() if is_large else pa.string()).slice(1, len(texts))
    with little_room():
        assert sums(take_all(WordCounter(memory), array)) == slow_counts(texts)


def test_a_counter_grows_up_to_its_memory_and_then_asks_to_be_emptied() -> None:
    texts = pa.array([f"w{number}x " * 2 for number in range(9000)] + ["y" * 200 + str(number) for number in range(99)])
    with little_room():
        assert len(take_all(WordCounter(1 << 30), texts)) == 1
        taken = take_all(WordCounter(200_000), texts)
    assert 3 < len(taken) < 100
    assert sums(taken) == slow_counts(texts.to_pylist())


def test_words_near_the_length_of_a_key_are_kept_apart() -> None:
    """Words of zero bytes, prefixes of each other, and equal but for one byte, at the end of a buffer too."""
    words = [letter * size for letter in "\x00a" for size in range(1, INLINE_BYTES + 4)]
    words += ["a" * place + "b" + "a" * (16 - place) for place in range(17)]
    for word in words:
        assert sums(take_all(WordCounter(0), pa.array([word]))) == slow_counts([word])
    assert sums(take_all(WordCounter(1 << 20), pa.array(words * 3))) == slow_counts(words * 3)


def test_long_words_are_compared_byte_by_byte() -> None:
    """Whatever their hashes say: equal words alone are equal."""
    slots, arena = np.zeros((4, 3), dtype=np.uint64), np.zeros(100, dtype=np.uint8)
    words = [b"x" * 20, b"x" * 19, b"x" * 21, b"x" * 19 + b"y", b"y" + b"x" * 19]
    data = [np.frombuffer(word, dtype=np.uint8) for word in words]
    store_long(data[0], 0, 20, arena, 5, slots, 1)
    assert [_is_stored(word, 0, len(word), arena, 5) for word in data] == [True, False, False, False, False]


def test_a_word_longer_than_the_memory_is_counted_whole() -> None:
    texts = ["z" * 1_000_000 + " a", " a", "z" * 1_000_000, "z" * 999_999]
    with little_room():
        found = sums(take_all(WordCounter(1000), pa.array(texts)))
    assert found == {b" a": 2, b"z" * 999_999: 1, b"z" * 1_000_000: 2}


@settings(max_examples=15)
@given(texts=st.lists(texts_of_pieces, min_size=1, max_size=9))
def test_merged_runs_are_the_sums_of_their_counts(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]]
) -> None:
    folder = tmp_path_factory.mktemp("runs")
    paths = [folder / f"{number}{RUN}" for number in range(len(texts))]
    with little_room():
        for path, some in zip(paths, texts, strict=True):
            counter, words = WordCounter(1 << 20), slow_counts(some)
            counter.count(pa.array(some, pa.string()))
            assert write_counts(path, [as_batch(counter.take())]) == (len(words), sum(words.values()))
        merged = rows(merge_runs(paths, 0, folder / "all"))
    assert merged == list(slow_counts(text for some in texts for text in some).items())
    assert sorted(folder.iterdir()) == sorted(paths), "files of the passes between are gone, the runs are not"


def test_files_of_passes_are_gone_when_merging_is_given_up(tmp_path: Path) -> None:
    with little_room():
        paths = [tmp_path / f"{number}{RUN}" for number in range(5)]
        for path in paths:
            write_counts(path, [pa.RecordBatch.from_pydict({"word": [b"a", b"b"], "count": [1, 2]}, schema=SCHEMA)])
        merging = merge_runs(paths, 0, tmp_path / "all")
        next(merging)
        assert len(list(tmp_path.iterdir())) > len(paths)
        del merging
    assert sorted(tmp_path.iterdir()) == paths


def test_counts_above_32_bits_are_added(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}{RUN}" for number in range(3)]
    for path in paths:
        write_counts(path, [pa.RecordBatch.from_pydict({"word": [b"the"], "count": [3_000_000_000]}, schema=SCHEMA)])
    assert rows(merge_runs(paths, 0, tmp_path / "all")) == [(b"the", 9_000_000_000)]


def test_rows_and_buffers_are_two_views_of_the_same_words() -> None:
    words, counts = [b"", b"a", b"\x00b", b"word"], [4, 3, 2, 1]
    batch = pa.RecordBatch.from_pydict({"word": words, "count": counts}, schema=SCHEMA)
    for start in range(len(words)):
        part = batch.slice(start, 2)
        assert word_batch(*word_buffers(part)).to_pylist() == part.to_pylist()
    data, ends, numbers = word_buffers(batch.slice(2))
    assert (bytes(data), ends.tolist(), numbers.tolist()) == (b"\x00bword", [2, 6], [2, 1])


def corpus_of(folder: Path, parts: Sequence[Sequence[str]]) -> Path:
    documents = [[(f"a:{n}.{i}", text) for i, text in enumerate(part)] for n, part in enumerate(parts)]
    return write_corpus(folder, documents, inputs=folder.name)


@pytest.mark.parametrize("memory", [0, 50_000, 1 << 30])
def test_a_corpus_is_counted_part_by_part_in_any_memory(tmp_path: Path, memory: int) -> None:
    parts = [[prose(number) for number in range(9)], ["", *LONG, "z" * 100_000], [""], [], [prose(7)]]
    with little_room():
        manifest = count_corpus(
            corpus_of(tmp_path / "corpus", parts), tmp_path / "counts", ONE, replace=False, memory_bytes=memory
        )
    for number, texts in enumerate(parts):
        words = slow_counts(texts)
        assert counted(tmp_path / "counts", number) == list(words.items())
        fact = manifest.facts["parts"][number]
        assert (fact["words"], fact["distinct_words"]) == (sum(words.values()), len(words))
        assert (fact["documents"], fact["bytes"]) == (len(texts), sum(len(text.encode()) for text in texts))
    assert [verdict.problems for verdict in verify(tmp_path / "counts")] == [()]
    assert not list(tmp_path.rglob(f"*{RUN}"))


def test_memory_changes_nothing_in_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = corpus_of(tmp_path / "corpus", [[prose(number) for number in range(5)], [prose(7)]])
    count_corpus(corpus, tmp_path / "much", ONE, replace=False)
    monkeypatch.setattr(word_counts, "SMALLEST_SLOTS", 32)
    monkeypatch.setattr(word_runs, "FEWEST_RUNS", 2)
    count_corpus(corpus, tmp_path / "little", ONE, replace=False, memory_bytes=0)
    assert snapshot(tmp_path / "little") == snapshot(tmp_path / "much")


@pytest.fixture
def parts_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the parts that were counted."""
    numbers, count_part = list[int](), count.count_part

    def noted(task: Task, folder: Path) -> TaskOutput:
        numbers.append(task.payload["number"])
        return count_part(task, folder)

    monkeypatch.setattr(count, "count_part", noted)
    return numbers


def test_counting_again_is_skipped(corpus: Path, tmp_path: Path, parts_read: list[int]) -> None:
    first = count_corpus(corpus, tmp_path / "counts", ONE, replace=False)
    assert count_corpus(corpus, tmp_path / "counts", ONE, replace=False).table() == first.table()
    assert parts_read == [0, 1, 2]


def test_a_run_that_was_stopped_counts_only_what_is_missing(
    corpus: Path, tmp_path: Path, parts_read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, stale = tmp_path / "counts", tmp_path / "counts" / f"part-00002.words.00004{RUN}"

    def stop(*_: object) -> None:
        raise ArtefactError("stopped", path=out, found="the end")

    with monkeypatch.context() as patch:
        patch.setattr(count, "write_manifest", stop)
        with pytest.raises(ArtefactError, match="stopped"):
            count_corpus(corpus, out, ONE, replace=False)
    (out / counts_name(2)).unlink()
    stale.write_bytes(b"half a run")
    count_corpus(corpus, out, ONE, replace=False)
    assert parts_read == [0, 1, 2, 2]
    assert not stale.exists()
    count_corpus(corpus, tmp_path / "whole", ONE, replace=False)
    assert snapshot(out) == snapshot(tmp_path / "whole")


def test_a_grown_corpus_has_its_new_parts_read_and_no_other(tmp_path: Path, parts_read: list[int]) -> None:
    parts = [[prose(1), prose(2)], [prose(3)], [prose(4)]]
    count_corpus(corpus_of(tmp_path / "old", parts[:2]), tmp_path / "counts", ONE, replace=False)
    grown = corpus_of(tmp_path / "grown", parts)
    with pytest.raises(ArtefactError, match="--replace"):
        count_corpus(grown, tmp_path / "counts", ONE, replace=False)
    count_corpus(grown, tmp_path / "counts", ONE, replace=True)
    assert parts_read == [0, 1, 2]
    count_corpus(grown, tmp_path / "anew", ONE, replace=False)
    assert snapshot(tmp_path / "counts") == snapshot(tmp_path / "anew")


def test_a_corpus_that_shrank_leaves_no_old_counts(tmp_path: Path) -> None:
    parts = [[prose(1)], [prose(2)], [prose(3)]]
    count_corpus(corpus_of(tmp_path / "old", parts), tmp_path / "counts", ONE, replace=False)
    small = corpus_of(tmp_path / "small", parts[:1])
    count_corpus(small, tmp_path / "counts", ONE, replace=True)
    count_corpus(small, tmp_path / "anew", ONE, replace=False)
    assert snapshot(tmp_path / "counts") == snapshot(tmp_path / "anew")


def test_a_part_that_is_not_what_its_manifest_says_is_an_error(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path / "corpus", [["one", "two"]])
    text = (corpus / "manifest.json").read_text("utf-8")
    (corpus / "manifest.json").write_text(text.replace('"documents": 2', '"documents": 3'), "utf-8")
    with pytest.raises(ArtefactError, match="expected 3 documents"):
        count_corpus(corpus, tmp_path / "counts", ONE, replace=False)


def test_the_same_part_in_two_counts_is_refused(tmp_path: Path) -> None:
    folders = []
    for name, parts in (("first", [["a"], ["b"]]), ("second", [["a"], ["c"]]), ("third", [["d"]])):
        count_corpus(corpus_of(tmp_path / name, parts), tmp_path / f"{name}-counts", ONE, replace=False)
        folders.append(tmp_path / f"{name}-counts")
    manifests = [open_counts(folder) for folder in folders]
    check_distinct_parts([manifests[0], manifests[2]], [folders[0], folders[2]])
    with pytest.raises(ArtefactError, match=r"different corpus parts.*part-00000.*first-counts has too.*leave one"):
        check_distinct_parts(manifests, folders)


def test_a_changed_file_is_found(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "counts"
    count_corpus(corpus, out, ONE, replace=False)
    words = dict(counted(out, 1))
    words[b" the"] = words.get(b" the", 0) + 1
    write_rows(out / counts_name(1), sorted(words.items()))
    (verdict,) = verify(out)
    assert len(verdict.problems) == 1 and counts_name(1) in verdict.problems[0]


def write_rows(path: Path, pairs: Sequence[tuple[bytes, int]]) -> None:
    words, counts = [list(column) for column in zip(*pairs, strict=True)]
    write_counts(path, [pa.RecordBatch.from_pydict({"word": words, "count": counts}, schema=SCHEMA)])


DAMAGES = {
    "a count": ([(b"a", 2), (b"b", 3)], "expected 4 words; found 5"),
    "a word": ([(b"a", 2), (b"bb", 2)], "expected 4 bytes; found 6"),
    "a row": ([(b"a", 4)], "expected 2 distinct_words; found 1"),
    "the order": ([(b"b", 2), (b"a", 2)], "expected words ascending"),
    "a word twice": ([(b"a", 2), (b"a", 2)], "expected words ascending"),
    "nothing counted": ([(b"a", 4), (b"b", 0)], "expected counts above 0"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_counts_that_are_wrong_though_their_hashes_are_right_are_found(tmp_path: Path, damage: str) -> None:
    pairs, problem = DAMAGES[damage]
    out = tmp_path / "counts"
    manifest = count_corpus(corpus_of(tmp_path / "corpus", [["a", "b", "a", "b"]]), out, ONE, replace=False)
    write_rows(out / counts_name(0), pairs)
    write_manifest(out, replace(manifest, files=record_files(out, [counts_name(0)])))
    (verdict,) = verify(out)
    assert len(verdict.problems) == 1 and problem in verdict.problems[0]


def test_a_file_is_cut_into_batches_that_are_small_to_read(tmp_path: Path) -> None:
    words = sorted(f"{number:07d}".encode() * (1 + number % 9) for number in range(70_000))
    counts = np.ones(len(words), dtype=np.int64)
    columns = [pa.array(words, pa.large_binary()), pa.array(counts)]
    write_counts(tmp_path / "counts", [pa.RecordBatch.from_arrays(columns, schema=SCHEMA)])
    batches = list(read_batches(tmp_path / "counts", SCHEMA))
    assert rows(batches) == [(word, 1) for word in words]
    assert max(len(batch) for batch in batches) <= word_format.BATCH_ROWS
    assert max(sum(map(len, batch.column("word").to_pylist())) for batch in batches) <= word_format.BATCH_BYTES + 100
