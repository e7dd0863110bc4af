"""`rbt trace`: which documents a step of training reads, and which steps read a document.

    step ──order──> positions, epochs, rows ──index──> blocks ──document_ends──> documents and tokens of each
    document ──document_ends──> tokens ──index──> blocks, rows ──order, inverted──> positions ──> steps, epochs

Both are computed from the order function and the packed folder alone; nothing was recorded while training. Steps are
numbered as in metrics.jsonl: the first one is 1, and step s reads the positions [(s - 1) x G, s x G). Needs no torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rbt.config import to_dataclass
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.block_documents import (
    block_documents,
    blocks_with,
    document_ids,
    document_span,
    find_document,
    read_block,
)
from rbt.formats.blocks import TOKENS_FOLDER, Index, Int64, open_index
from rbt.formats.tokens import SPLITS, open_tokens
from rbt.trainer.config import DataConfig, RunConfig, ScheduleConfig
from rbt.trainer.masking import validation_seed
from rbt.trainer.order import locate, rows_at, step_positions

RUN_CONFIG = "config.toml"  # = rbt.trainer.run_folder.CONFIG, whose module needs torch
READS_AT_ONCE = 1 << 20  # whose positions are computed together
TRAIN, VALIDATION = SPLITS


@dataclass(frozen=True)
class RunOrder:
    """The order in which a run reads rows: `num_rows` are the index's, `max_steps` the schedule's."""

    seed: int
    global_batch: int
    max_steps: int
    validation_rows: int
    num_rows: int

    @property
    def end(self) -> int:
        """Rows that the whole run reads."""
        return self.max_steps * self.global_batch

    def step_of(self, position: int) -> int:
        """The step that reads a position, counted from 1."""
        return position // self.global_batch + 1

    def epoch_of(self, position: int) -> int:
        """The epoch of a position, counted from 0."""
        return position // self.num_rows

    def step_reads(self, step: int) -> tuple[Int64, Int64, Int64]:
        """(positions, epochs, rows) of a step, counted from 1; int64 (global_batch,) each."""
        positions = step_positions(step - 1, self.global_batch)
        return positions, *rows_at(positions, self.seed, self.num_rows)

    def reads_of(self, rows: Int64) -> Iterator[tuple[Int64, Int64]]:
        """When the whole run reads some rows: (positions, numbers of the rows among those given), some epochs at a
        time, by position and then by number.
        """
        epochs = -(-self.end // self.num_rows)
        chunk = max(1, READS_AT_ONCE // max(1, len(rows)))
        for first in range(0, epochs if len(rows) else 0, chunk):
            some = np.arange(first, min(first + chunk, epochs), dtype=np.int64)[:, None]
            positions = some * self.num_rows + locate(rows[None, :], self.seed, some, self.num_rows)
            flat = positions.ravel()
            order = np.argsort(flat, kind="stable")
            order = order[flat[order] < self.end]
            yield flat[order], order % len(rows)

    def is_validated(self, rows: Int64, validation_rows: int) -> Any:
        """Which rows of the validation split, of so many, every validation reads: bool of their shape."""
        return locate(rows, validation_seed(self.seed), 0, validation_rows) < self.validation_rows


@dataclass(frozen=True)
class Traced:
    """An index and the order of a run over its train split."""

    folder: Path
    index: Index
    order: RunOrder

    @property
    def tokens(self) -> Path:
        """Folder of the token store."""
        return self.folder.parent / TOKENS_FOLDER


def trace_recipe(folder: Path, data: DataConfig, schedule: ScheduleConfig, run: RunConfig) -> Traced:
    """The run that a recipe would start on the index in `folder`. Raises ArtefactError, ConfigError."""
    index = open_index(folder, TRAIN)
    if not index.num_rows:
        raise ArtefactError("expected rows to train on", path=folder, found="none", cure="pack a larger corpus")
    if data.global_batch < 1:
        raise ConfigError("[data] global_batch: expected at least 1", found=str(data.global_batch))
    order = RunOrder(data.seed, data.global_batch, schedule.max_steps, run.validation_rows, index.num_rows)
    return Traced(folder, index, order)


def trace_run(run: Path, packed: Path) -> Traced:
    """The run in `run`, which read an index of `packed`. Raises ArtefactError where that holds another one."""
    path = run / RUN_CONFIG
    tables = _read_tables(path)
    identity = tables["packed"]
    sections = [
        to_dataclass(kind, tables.get(name, {}), name)
        for name, kind in (("data", DataConfig), ("schedule", ScheduleConfig), ("run", RunConfig))
    ]
    data, schedule, own = sections
    assert isinstance(data, DataConfig) and isinstance(schedule, ScheduleConfig) and isinstance(own, RunConfig)
    traced = trace_recipe(packed / identity["index"], data, schedule, own)
    found = {"fingerprint": traced.index.manifest.fingerprint, "rows": traced.index.num_rows}
    for name, value in found.items():
        if identity[name] != value:
            raise ArtefactError(
                f"expected the index that {run} was trained on, with {name} {identity[name]}", path=traced.folder,
                found=str(value), cure="name the folder that it was trained on: --packed PACKED",
            )
    return traced


def _read_tables(path: Path) -> dict[str, Any]:
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ArtefactError(
            "expected the configuration of a run", path=path, found="none", cure="run `rbt pretrain`"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(
            "expected the configuration of a run", path=path, found=str(error), cure="it is as damaged as the run"
        ) from error
    packed = tables.get("packed")
    if not isinstance(packed, dict) or not {"index", "fingerprint", "rows"} <= packed.keys():
        raise ArtefactError("expected the configuration of a run", path=path, found="no [packed] with its index")
    return tables


@dataclass(frozen=True)
class BlockRead:
    """A block when it is read, and the tokens of each document in it, by id."""

    position: int
    epoch: int
    row: int
    block: int
    documents: Mapping[str, int]


def trace_step(traced: Traced, step: int) -> list[BlockRead]:
    """What a step, counted from 1, reads, in its order. Raises ConfigError for a step that the run does not have."""
    if not 1 <= step <= traced.order.max_steps:
        raise ConfigError(
            f"--step: expected a step of the run, from 1 to {traced.order.max_steps:,}", found=f"{step:,}",
            cure="schedule.max_steps says how many there are",
        )
    positions, epochs, rows = traced.order.step_reads(step)
    places = np.searchsorted(traced.index.first_row, rows, side="right") - 1
    reads: list[BlockRead] = []
    for place in np.unique(places).tolist():
        here = np.flatnonzero(places == place)
        reads += _part_reads(traced, place, positions[here], epochs[here], rows[here])
    return sorted(reads, key=lambda read: (read.position, read.block))


def _part_reads(traced: Traced, place: int, positions: Int64, epochs: Int64, rows: Int64) -> Iterator[BlockRead]:
    """What rows of one part hold; its ids are looked up together."""
    found = []
    for position, epoch, row in zip(positions.tolist(), epochs.tolist(), rows.tolist(), strict=True):
        part, first, last, number = traced.index.locate(row)
        for local in range(first, last):
            documents = block_documents(part.tokens, read_block(traced.folder, part, local))
            found.append((position, epoch, row, number + local - first, documents))
    numbers = np.array(sorted({number for *_, documents in found for number in documents}), dtype=np.int64)
    stem = traced.index.parts[place].tokens.stem
    ids = dict(zip(numbers.tolist(), document_ids(traced.tokens, stem, numbers), strict=True))
    for position, epoch, row, block, documents in found:
        named = {ids[number]: tokens for number, tokens in documents.items()}
        yield BlockRead(position, epoch, row, block, named)


@dataclass(frozen=True)
class DocumentTrace:
    """Where a document is, and when it is read."""

    id: str
    split: str
    stem: str
    tokens: int
    blocks: Int64  # (blocks,): numbers over all parts of the split
    rows: Int64  # (blocks,): row of each block
    block_tokens: Int64  # (blocks,): tokens of the document in each
    positions: Int64  # (reads,): ascending; none where it is held out
    read_blocks: Int64  # (reads,): which of `blocks` is read there
    is_validated: bool  # it is held out, and every validation reads some of it

    def num_steps(self, order: RunOrder) -> int:
        """Steps that read it, each counted once."""
        steps = self.positions // order.global_batch  # ascending
        return int(np.count_nonzero(np.diff(steps, prepend=-1)))


def trace_document(traced: Traced, id: str) -> DocumentTrace:
    """Where a document is and when the whole run reads it. Raises ConfigError for an id that is not in the store."""
    store = open_tokens(traced.tokens)
    place = find_document(store, id)
    if place is None:
        raise ConfigError(
            "--document: expected the id of a packed document", path=traced.tokens, found=repr(id),
            cure=f"`rbt corpus why {id}` says whether it is in the corpus, or was removed and why",
        )
    index = traced.index if place.split == TRAIN else open_index(traced.folder, place.split)
    stems = [part.tokens.stem for part in index.parts]
    number = stems.index(place.stem)
    part = index.parts[number]
    start, end = document_span(part.tokens, place.number)
    blocks, tokens = blocks_with(part.blocks, start, end)
    rows = np.searchsorted(part.rows, blocks, side="right") - 1 + int(index.first_row[number])
    positions = read_blocks = np.empty(0, dtype=np.int64)
    if place.split == TRAIN and len(rows):
        positions, read_blocks = (np.concatenate(arrays) for arrays in zip(*traced.order.reads_of(rows), strict=True))
    is_validated = place.split == VALIDATION and len(rows) > 0 and traced.order.is_validated(rows, index.num_rows).any()
    return DocumentTrace(
        id, place.split, place.stem, end - start, blocks + int(index.first_block[number]), rows, tokens, positions,
        read_blocks, bool(is_validated),
    )
