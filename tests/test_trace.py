"""What a step reads and which steps read a document are the same fact, seen from two sides."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rbt import cli
from rbt.errors import ArtefactError, ConfigError
from rbt.formats.blocks import open_index
from rbt.trace import RUN_CONFIG, Traced, trace_document, trace_recipe, trace_run, trace_step
from rbt.trainer.batches import Grid
from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
from rbt.trainer.masking import validation_seed
from rbt.trainer.order import rows_at
from rbt.trainer.run_folder import CONFIG, describe, to_toml

from .packing.packed_folder import CUTTERS, MAX_TOKENS, Document, words, write_folder

Read = tuple[int, int, int, int, int, int]  # step, epoch, position, row, block, tokens of a document


@pytest.fixture(scope="module")
def parts() -> list[list[Document]]:
    """Documents of three parts to train on, the second one empty, and of one that is held out."""
    generator = np.random.default_rng(7)
    return [words(generator, 15), [], words(generator, 11), words(generator, 6)]


@pytest.fixture(scope="module")
def packed(parts: list[list[Document]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed folder of them."""
    return write_folder(tmp_path_factory.mktemp("trace") / "packed", parts[:3], parts[3:])


def traced(packed: Path, format: str, seed: int = 1, batch: int = 4, steps: int = 20) -> Traced:
    """A run over an index of the folder."""
    folder = packed / f"{format}-{MAX_TOKENS}"
    return trace_recipe(
        folder, DataConfig(seed=seed, global_batch=batch), ScheduleConfig(max_steps=steps), RunConfig()
    )


def forward(run: Traced) -> dict[str, list[Read]]:
    """What the steps read of each document, all steps in order."""
    found: dict[str, list[Read]] = {}
    for step in range(1, run.order.max_steps + 1):
        for read in trace_step(run, step):
            for id, tokens in read.documents.items():
                line = (step, read.epoch, read.position, read.row, read.block, tokens)
                found.setdefault(id, []).append(line)
    return found


def backward(run: Traced, id: str) -> list[Read]:
    """What is read of a document, by its own trace."""
    document = trace_document(run, id)
    return [
        (
            run.order.step_of(position), run.order.epoch_of(position), position, int(document.rows[place]),
            int(document.blocks[place]), int(document.block_tokens[place]),
        )
        for position, place in zip(document.positions.tolist(), document.read_blocks.tolist(), strict=True)
    ]


@pytest.mark.parametrize("format", CUTTERS)
@settings(max_examples=8, phases=[Phase.generate])  # shrinking would take minutes
@given(seed=st.integers(0, 2**63), batch=st.integers(1, 40), share=st.floats(2, 3))
def test_the_steps_of_each_document_are_those_that_read_it(
    packed: Path, parts: list[list[Document]], format: str, seed: int, batch: int, share: float
) -> None:
    """Over two to three epochs, whose ends lie inside steps."""
    rows = open_index(packed / f"{format}-{MAX_TOKENS}", "train").num_rows
    run = traced(packed, format, seed, batch, max(1, round(share * rows / batch)))
    found = forward(run)
    for id, _ in (document for part in parts[:3] for document in part):
        assert backward(run, id) == found.pop(id, [])
    assert found == {}


@pytest.mark.parametrize("format", CUTTERS)
def test_where_a_document_is_is_what_its_blocks_hold(packed: Path, parts: list[list[Document]], format: str) -> None:
    run = traced(packed, format)
    index = run.index
    for number, part in enumerate(parts[:3]):
        start = 0
        for id, texts in part:
            end = start + sum(len(text.encode()) for text in texts)
            expected = {}
            for local, block in enumerate(index.parts[number].blocks.tolist()):
                spans = [block[:2], block[2:4]] if len(block) == 5 else [block]
                if held := sum(len(set(range(*span)) & set(range(start, end))) for span in spans):
                    expected[int(index.first_block[number]) + local] = held
            document = trace_document(run, id)
            assert dict(zip(document.blocks.tolist(), document.block_tokens.tolist(), strict=True)) == expected
            for block, row in zip(document.blocks.tolist(), document.rows.tolist(), strict=True):
                assert block in [held_block for held_block, _ in index.read_row(row)]
            start = end


@pytest.mark.parametrize(("step", "batch", "ranks"), [(1, 6, 1), (2, 6, 3), (9, 12, 2)])
def test_a_step_is_what_the_trainer_reads_in_it(packed: Path, step: int, batch: int, ranks: int) -> None:
    """The trainer counts batches from 0, metrics.jsonl and the trace count steps from 1."""
    run = traced(packed, "doc-sentences", seed=5, batch=batch)
    grids = [Grid(rank, ranks, 2) for rank in range(ranks)]
    micro_batches = [part for grid in grids for part in grid.step_rows(step - 1, 5, batch, run.index.num_rows)]
    expected = [
        (int(epoch), int(row), block)
        for epochs, rows in micro_batches for epoch, row in zip(epochs, rows, strict=True)
        for block, _ in run.index.read_row(int(row))
    ]
    assert [(read.epoch, read.row, read.block) for read in trace_step(run, step)] == expected


def test_reads_are_the_same_however_many_epochs_are_computed_together(
    packed: Path, parts: list[list[Document]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = traced(packed, "full-sentences", batch=12, steps=30)
    id = max(parts[0], key=lambda document: len(document[1]))[0]
    expected = backward(run, id)
    monkeypatch.setattr("rbt.trace.READS_AT_ONCE", 1)
    monkeypatch.setattr("rbt.formats.block_documents.SCANNED_BLOCKS", 3)
    assert backward(run, id) == expected
    assert len({read[1] for read in expected}) > 2
    assert trace_document(run, id).num_steps(run.order) == len({read[0] for read in expected}) < len(expected)


def test_a_held_out_document_is_read_by_no_step_but_by_validations(packed: Path, parts: list[list[Document]]) -> None:
    run = traced(packed, "full-sentences")
    index = open_index(run.folder, "validation")
    for count in (1, 3, 1000):
        few = changed(run, order=changed(run.order, validation_rows=count))
        seen = min(count, index.num_rows)
        _, rows = rows_at(np.arange(seen), validation_seed(run.order.seed), index.num_rows)  # as Training.validate does
        for id, texts in parts[3]:
            document = trace_document(few, id)
            assert (document.split, len(document.positions)) == ("validation", 0)
            assert (len(document.blocks) > 0) == bool(texts)
            assert document.is_validated == bool(set(document.rows.tolist()) & set(rows.tolist()))


def write_run(packed: Path, out: Path, data: DataConfig, format: str = "full-sentences") -> Path:
    """A run's config.toml, as the trainer writes it."""
    folder = packed / f"{format}-{MAX_TOKENS}"
    index, steps = open_index(folder, "train"), ScheduleConfig(max_steps=20)
    tables = describe(packed, folder, index, None, ModelConfig(), data, steps, RunConfig())
    out.mkdir()
    (out / CONFIG).write_text(to_toml(tables), "utf-8")
    return out


def test_a_run_is_traced_by_its_own_configuration(packed: Path, tmp_path: Path) -> None:
    assert RUN_CONFIG == CONFIG
    run = write_run(packed, tmp_path / "run", DataConfig(seed=9, global_batch=3), "doc-sentences")
    found = trace_run(run, packed)
    assert asdict(found.order) == asdict(traced(packed, "doc-sentences", seed=9, batch=3).order)
    assert found.folder == packed / f"doc-sentences-{MAX_TOKENS}"
    text = (run / CONFIG).read_text("utf-8")
    (run / CONFIG).write_text(text.replace("seed = 9\n", ""), "utf-8")  # of an rbt that had no such key
    assert trace_run(run, packed).order.seed == DataConfig().seed


def test_a_run_over_another_index_is_refused(packed: Path, parts: list[list[Document]], tmp_path: Path) -> None:
    run = write_run(packed, tmp_path / "run", DataConfig())
    other = write_folder(tmp_path / "other", parts[:1], separator="sentence")
    with pytest.raises(ArtefactError, match=r"the index that .*run was trained on, with fingerprint .*--packed"):
        trace_run(run, other)
    text = (run / CONFIG).read_text("utf-8")
    for broken, message in (
        ("[packed\n", "expected the configuration of a run"),
        (text.partition("[packed]")[0], r"no \[packed\]"),
        (text.replace("global_batch", "batch"), "unknown key 'batch'"),
    ):
        (run / CONFIG).write_text(broken, "utf-8")
        with pytest.raises((ArtefactError, ConfigError), match=message):
            trace_run(run, packed)
    with pytest.raises(ArtefactError, match="run `rbt pretrain`"):
        trace_run(tmp_path / "nowhere", packed)


def rbt(packed: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["trace", "--packed", str(packed), *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--step", "21", "--set", "schedule.max_steps=20"], "expected a step of the run, from 1 to 20; found 21"),
        (["--step", "0"], "0 is not in the range"),
        ([], "expected either --step N or --document ID; found none"),
        (["--step", "1", "--document", "a:1"], "found both"),
        (["--document", "a:nothing"], "found 'a:nothing' (`rbt corpus why a:nothing` says"),
        (["--step", "1", "--run", "nowhere"], "run `rbt pretrain`"),
        (["--step", "1", "--run", "nowhere", "--seed", "4"], "--seed: expected none beside --run"),
        (["--step", "1", "--format", "sentence-pair"], "expected an index of format 'sentence-pair'"),
        (["--step", "1", "--global-batch", "0"], "0 is not in the range"),
    ],
)
def test_a_mistake_is_one_line(packed: Path, arguments: list[str], message: str) -> None:
    result = rbt(packed, *arguments)
    assert result.exit_code == 2
    assert result.output.count("\n") == 1
    assert message in result.output


def of_json(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.output)
    return found


RECIPE = ("--set", "data.seed=3", "--set", "data.global_batch=5", "--set", "schedule.max_steps=30")


def test_json_says_the_same_in_both_directions(packed: Path, parts: list[list[Document]]) -> None:
    steps = [of_json(rbt(packed, "--step", str(step), "--json", *RECIPE)) for step in range(1, 31)]
    assert [step["step"] for step in steps] == list(range(1, 31))
    id = max(parts[2], key=lambda document: len(document[1]))[0]
    document = of_json(rbt(packed, "--document", id, "--json", "--seed", "3", "--global-batch", "5", *RECIPE[4:]))
    expected = [
        {"step": step["step"], **{key: block[key] for key in ("position", "epoch", "row", "block")}}
        for step in steps for block in step["blocks"] if id in [held["id"] for held in block["documents"]]
    ]
    assert document["reads"] == expected
    for step in steps:
        assert sum(held["share"] for held in step["documents"]) == pytest.approx(1)
        assert sum(held["tokens"] for held in step["documents"]) == step["tokens"]
        assert {block["position"] for block in step["blocks"]} == set(range(step["step"] * 5 - 5, step["step"] * 5))


def table(lines: Sequence[str], head: str) -> list[list[str]]:
    """Cells of the table below a head, up to an empty line."""
    start = next(number for number, line in enumerate(lines) if line.split()[:1] == [head]) + 1
    rows = [line.split() for line in lines[start:]]
    return rows[: rows.index([])] if [] in rows else rows


def test_tables_say_what_json_says_and_are_cut_where_asked(packed: Path, parts: list[list[Document]]) -> None:
    whole, step = (of_json(rbt(packed, "--step", "2", "--json", *RECIPE)), rbt(packed, "--step", "2", *RECIPE))
    lines = step.output.splitlines()
    assert [row[0] for row in table(lines, "document")] == [held["id"] for held in whole["documents"]]
    blocks = [[str(block[key]) for key in ("position", "epoch", "row", "block")] for block in whole["blocks"]]
    assert [row[:4] for row in table(lines, "position")] == blocks
    cut = rbt(packed, "--step", "2", "--limit", "2", *RECIPE).output.splitlines()
    assert table(cut, "position")[:2] == table(lines, "position")[:2]
    assert cut[-1] == f"... and {len(blocks) - 2} more blocks (--limit 0 shows all)"
    id = max(parts[0], key=lambda document: len(document[1]))[0]
    reads = of_json(rbt(packed, "--document", id, "--json", *RECIPE))["reads"]
    shown = table(rbt(packed, "--document", id, "--limit", "0", *RECIPE).output.splitlines(), "step")
    head = rbt(packed, "--document", id, *RECIPE).output.partition(" reads in ")
    assert head[0].split()[-1] == str(len(reads))
    assert head[2].split()[0] == str(len({read["step"] for read in reads})) 
    assert [[int(cell) for cell in row[:5]] for row in shown] == [list(read.values()) for read in
        [{key: read[key] for key in ("step", "epoch", "position", "row", "block")} for read in reads]]


def test_documents_that_no_step_reads_say_why(packed: Path, parts: list[list[Document]]) -> None:
    held_out = next(id for id, texts in parts[3] if texts)
    assert "held out: in the validation split; no step trains on it" in rbt(packed, "--document", held_out).output
    empty = next(id for id, texts in parts[0] if not texts)
    assert "it has no token, so no step reads it" in rbt(packed, "--document", empty).output


def test_an_index_without_rows_has_no_order(tmp_path: Path) -> None:
    empty = write_folder(tmp_path / "packed", [[]])
    with pytest.raises(ArtefactError, match="expected rows to train on"):
        traced(empty, "full-sentences")


def test_a_part_with_ids_of_another_is_an_error(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "packed")
    ids = tmp_path / "packed" / "tokens"
    shutil.copyfile(ids / "train-00001.documents.arrow", ids / "train-00000.documents.arrow")  # which is empty
    run = traced(tmp_path / "packed", "full-sentences", batch=100)
    with pytest.raises(ArtefactError, match=r"train-00000.documents.arrow: expected the ids of \d+ documents or more"):
        trace_step(run, 1)


def test_a_step_with_a_block_of_no_tokens_is_an_error(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "packed")
    path = tmp_path / "packed" / f"full-sentences-{MAX_TOKENS}" / "train-00000.blocks.npy"
    for wrong in ([5, 5], [0, 1 << 40], [-1, 4]):
        blocks = np.load(path)
        blocks[2] = wrong
        np.save(path, blocks)
        run = traced(tmp_path / "packed", "full-sentences", batch=100)
        with pytest.raises(ArtefactError, match=r"blocks.npy: expected block 2 of the part inside its .*`rbt verify`"):
            trace_step(run, 1)


def test_tracing_imports_no_torch() -> None:
    program = "import sys; sys.modules['torch'] = None; import rbt.trace, rbt.cli.trace"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
