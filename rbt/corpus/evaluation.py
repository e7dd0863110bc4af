"""Evaluation examples to the n-grams that are looked for, and back: how much of each example a corpus holds.

    task files ──read──> texts ──words──> n-grams ──unique──> NgramSet, and where each example has which n-gram
    documents by n-gram ──> share of each example's words in colliding n-grams ──> contamination.json

A text of an example that has at least `ngram` words is looked for by all its n-grams; one of `minimum_words` or more
as a whole; a shorter one is not looked for, since such a run of words is found anywhere. An example none of whose
texts is looked for is counted as too short. Texts are compared as a cleaned corpus has them: in NFC, and with the `n't`
that some sets split off put back.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from rbt.corpus.config import DecontaminateConfig
from rbt.corpus.dedup.arrays import Int64, open_array
from rbt.corpus.dedup.shingles import table_fingerprint
from rbt.corpus.ngram_matches import LONGEST, NgramSet, hash_pieces, ngram_set
from rbt.engine import Engine
from rbt.errors import ConfigError, InputError
from rbt.formats.arrays import Array, write_array
from rbt.formats.parts import open_file, write_table
from rbt.kernels import kernel
from rbt.stage import Task, TaskOutput, run_tasks
from rbt.storage import new_hash
from rbt.tasks.examples import Example
from rbt.tasks.files import TaskFile, read_all, read_member
from rbt.tasks.sets import GLUE_SET, TASKS, find_files, read_examples

STAGE, VERSION = "evaluation", 1
TABLES = ("keys", "lengths", "tasks", "bitmap", "prefixes", "masks", "pieces", "occurrences")
EXAMPLES = "examples.arrow"
EXAMPLE_SCHEMA = pa.schema([("task", pa.string()), ("split", pa.string()), ("id", pa.string())])
BATCH = 4096  # examples
ORDER = tuple(TASKS)  # bit t of a mask of tasks is ORDER[t]
SPLIT_NOT = re.compile(r"(?<=\w) +(?=n['\u2019]t\b)", re.IGNORECASE)  # "do n't"; 's is a word either way


@dataclass(frozen=True)
class Evaluation:
    """What is looked for. Arrays are memory maps; numbers of n-grams are places in `ngrams.keys`."""

    folder: Path
    ngrams: NgramSet
    tasks: Array  # uint32 (n-grams,): bit t is set where ORDER[t] has the n-gram
    pieces: Int64  # (3, texts): example, words, n-grams; n-grams 0 where the text is not looked for
    occurrences: Int64  # the n-grams of all texts in order, by number
    hashes: tuple[str, ...]  # of the files, for the fingerprints of those who use them

    def place(self) -> dict[str, Any]:
        """Where a task finds it: for `open_evaluation`."""
        return {"evaluation": str(self.folder), "minimum": self.ngrams.minimum}


def check_config(config: DecontaminateConfig) -> None:
    """Raise ConfigError for values that cannot work together."""
    if not 1 <= config.minimum_words <= config.ngram <= LONGEST:
        raise ConfigError(
            f"[decontaminate]: expected 1 <= minimum_words <= ngram <= {LONGEST}",
            found=f"minimum_words = {config.minimum_words}, ngram = {config.ngram}",
        )
    for name in ("window_characters", "minimum_piece_characters", "maximum_pieces", "maximum_documents"):
        if getattr(config, name) < 0:
            raise ConfigError(f"[decontaminate] {name}: expected 0 or more", found=str(getattr(config, name)))


def find_evaluation_files(config: DecontaminateConfig, base: Path) -> list[TaskFile]:
    """The files of all sets of the configuration, each once, in the order of TASKS. Raises ConfigError, InputError."""
    check_config(config)
    if config.tasks and not config.splits:
        raise ConfigError("[decontaminate] splits: expected at least one", found="none")
    for name in config.tasks:
        if name not in (GLUE_SET, *TASKS):
            raise ConfigError(
                "[decontaminate] tasks: expected names of sets", found=repr(name),
                cure=f"one of {', '.join((GLUE_SET, *TASKS))}",
            )
    found = {file for name, path in config.tasks.items() for file in find_files(name, base / path, config.splits)}
    return sorted(found, key=lambda file: (ORDER.index(file.task), file.split, file.path.as_posix()))


def hash_evaluation_files(files: Sequence[TaskFile]) -> list[dict[str, Any]]:
    """Task, split, number of files and content hash of each split: the identity of what is looked for."""
    found = []
    for (task, split), group in groupby(read_all(files), key=lambda read: (read[0].task, read[0].split)):
        digest, count = new_hash("xxh3"), 0
        for file, data in group:
            digest.update(f"{file.member.rpartition('/')[2]}\0{len(data)}\0".encode("utf-8", "surrogateescape"))
            digest.update(data)
            digest.update(read_member(file.location, file.held_out) if file.held_out else b"")
            count += 1
        found.append({"task": task, "split": split, "files": count, "hash": f"xxh3:{digest.hexdigest()}"})
    return found


def index_evaluation(
    files: Sequence[TaskFile], identity: Sequence[dict[str, Any]], config: DecontaminateConfig, folder: Path,
    engine: Engine,
) -> Evaluation:
    """Read the examples and write the tables into `folder`, or find them there."""
    shape = {"ngram": config.ngram, "minimum_words": config.minimum_words, "words": table_fingerprint()}
    context = {"files": [_file_table(file) for file in files], **shape}
    task = Task("ngrams", {"identity": list(identity)}, context=context)
    [receipt] = run_tasks(STAGE, VERSION, shape, [task], _index, folder, engine)
    place = {"evaluation": str(folder), "minimum": config.minimum_words}
    return open_evaluation(place, tuple(record.hash for record in receipt.files))


def open_evaluation(place: Mapping[str, Any], hashes: tuple[str, ...] = ()) -> Evaluation:
    """Memory-map the tables at an `Evaluation.place`."""
    folder = Path(place["evaluation"])
    arrays = {name: open_array(folder / f"{name}.npy") for name in TABLES}
    ngrams = NgramSet(
        place["minimum"], **{name: arrays[name] for name in ("keys", "lengths", "bitmap", "prefixes", "masks")}
    )
    return Evaluation(folder, ngrams, arrays["tasks"], arrays["pieces"], arrays["occurrences"], hashes)


def _file_table(file: TaskFile) -> list[str]:
    return [file.task, file.split, str(file.location), file.member, file.held_out]


def _index(task: Task, folder: Path) -> TaskOutput:
    """The task: read all examples, write the tables."""
    files = [
        TaskFile(name, split, Path(location), member, held_out)
        for name, split, location, member, held_out in task.context["files"]
    ]
    batches: list[tuple[Array, ...]] = []
    examples = ((file.task, example) for file, example in read_examples(files))
    write_table(
        folder / EXAMPLES, _example_lines(examples, task.context["ngram"], task.context["minimum_words"], batches),
        EXAMPLE_SCHEMA,
    )
    if not batches:
        raise InputError("expected examples in the evaluation files", path=files[0].path, found="none")
    pieces, keys, prefixes, lengths, bits = (np.concatenate(arrays, axis=-1) for arrays in zip(*batches, strict=True))
    ngrams = ngram_set(keys, lengths, prefixes, task.context["minimum_words"])
    occurrences = np.searchsorted(ngrams.keys, keys).astype(np.int64)
    tasks = np.zeros(len(ngrams.keys), np.uint32)
    np.bitwise_or.at(tasks, occurrences, bits)
    arrays = {
        **{name: getattr(ngrams, name) for name in ("keys", "lengths", "bitmap", "prefixes", "masks")},
        "tasks": tasks, "pieces": pieces, "occurrences": occurrences,
    }
    for name in TABLES:
        write_array(folder / f"{name}.npy", arrays[name])
    return TaskOutput([EXAMPLES, *(f"{name}.npy" for name in TABLES)])


def _example_lines(
    examples: Iterable[tuple[str, Example]], ngram: int, minimum: int, batches: list[tuple[Array, ...]]
) -> Iterator[pa.RecordBatch]:
    """One line an example; the n-grams of each batch are appended to `batches`."""
    stream, first = iter(examples), 0
    while batch := list(islice(stream, BATCH)):
        texts = [
            (first + place, 1 << ORDER.index(task), SPLIT_NOT.sub("", unicodedata.normalize("NFC", text)))
            for place, (task, example) in enumerate(batch) for text in example.texts
        ]
        facts, keys, prefixes, lengths = hash_pieces(pa.array([text for *_, text in texts]), ngram, minimum)
        numbers, bits = (np.array([text[column] for text in texts], np.int64) for column in (0, 1))
        spread = np.repeat(bits.astype(np.uint32), facts[1])
        batches.append((np.stack([numbers, *facts]), keys, prefixes, lengths, spread))
        rows = [{"task": task, "split": example.split, "id": example.id} for task, example in batch]
        yield pa.RecordBatch.from_pylist(rows, schema=EXAMPLE_SCHEMA)
        first += len(batch)


@kernel
def _covered_words(words: Int64, ngrams: Int64, occurrences: Int64, collides: Any) -> Int64:
    """How many words of each text lie in an n-gram that collides: int64 (texts,)."""
    covered = np.zeros(len(words), np.int64)
    place = 0
    for text in range(len(words)):
        length = words[text] - ngrams[text] + 1  # of an n-gram, where there is one
        edge = 0  # words before it are counted
        for first in range(ngrams[text]):
            if collides[occurrences[place]]:
                covered[text] += first + length - max(edge, first)
                edge = first + length
            place += 1
    return covered


def example_scores(evaluation: Evaluation, collides: Array) -> tuple[Array, Array]:
    """(share of words in colliding n-grams float64, whether anything was looked for bool) of each example."""
    examples, words, ngrams = evaluation.pieces
    size = int(examples[-1]) + 1
    covered = _covered_words(words, ngrams, evaluation.occurrences, collides)
    totals = np.bincount(examples, words, size)
    scores = np.bincount(examples, covered, size) / np.maximum(totals, 1)
    return scores, np.bincount(examples, ngrams, size) > 0


def read_example_lines(evaluation: Evaluation) -> pa.Table:
    """The lines (task, split, id) of all examples."""
    return open_file(evaluation.folder / EXAMPLES, EXAMPLE_SCHEMA).read_all()
