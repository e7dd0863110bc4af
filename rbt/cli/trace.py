"""`rbt trace`: what a step of training reads, and which steps read a document."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rbt.cli.options import FOLDER, common, override
from rbt.cli.views import FORMATS, IndexFormat
from rbt.config import Recipe
from rbt.errors import ConfigError

if TYPE_CHECKING:
    from rbt.trace import BlockRead, DocumentTrace, Traced

Item = TypeVar("Item")


@click.command(epilog="Example: rbt trace --run run --step 1000")
@click.option("--step", type=click.IntRange(1), metavar="N", help="Show what step N reads; the first step is 1.")
@click.option("--document", "document_id", metavar="ID", help="Show which steps read this document.")
@click.option("--run", type=FOLDER, metavar="RUN", help="Take order and index from a run's config.toml.")
@click.option("--packed", type=FOLDER, default="packed", show_default=True, help="Folder of tokens and indices.")
@click.option(
    "--format", "format_name", type=IndexFormat(FORMATS), help="Or an index's folder [default: the recipe's]."
)
@click.option("--seed", type=int, help="Of the order [default: the recipe's].")
@click.option("--global-batch", type=click.IntRange(1), help="Rows a step [default: the recipe's].")
@click.option("--limit", type=click.IntRange(0), default=20, show_default=True, help="Lines of a table; 0 = all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with everything.")
@common
def trace(
    step: int | None, document_id: str | None, run: Path | None, packed: Path, format_name: str | None,
    seed: int | None, global_batch: int | None, limit: int, as_json: bool, recipe: Recipe, quiet: bool,
) -> None:
    """Show which documents a step of training reads, or which steps read a document.

    Both follow from the packed folder, the seed, the rows a step and the number of steps, which are those of RUN, else
    of the recipe's [data] and [schedule]. Steps are numbered as in metrics.jsonl: from 1.
    """
    from rbt.trace import trace_document, trace_step

    if (step is None) == (document_id is None):
        raise ConfigError("expected either --step N or --document ID", found="none" if step is None else "both")
    given = {"--format": format_name, "--seed": seed, "--global-batch": global_batch}
    traced = open_traced(run, packed, given, recipe)
    if document_id is not None:
        document = trace_document(traced, document_id)
        table, lines = document_table(traced, document), document_lines(traced, document, limit)
    else:
        assert step is not None
        reads = trace_step(traced, step)
        table, lines = step_table(traced, step, reads), step_lines(traced, step, reads, limit)
    click.echo(json.dumps(table, ensure_ascii=False) if as_json else "\n".join(lines))


def open_traced(run: Path | None, packed: Path, given: Mapping[str, Any], recipe: Recipe) -> Traced:
    """The index and the order that are asked for. Raises ConfigError where RUN says what is given as well."""
    from rbt.formats.blocks import choose_index
    from rbt.trace import trace_recipe, trace_run
    from rbt.trainer.config import DataConfig, RunConfig, ScheduleConfig

    if run is not None:
        for name, value in given.items():
            if value is not None:
                raise ConfigError(f"{name}: expected none beside --run, which says it", found=str(value))
        return trace_run(run, packed)
    recipe = override(recipe, "data", seed=given["--seed"], global_batch=given["--global-batch"])
    return trace_recipe(
        choose_index(packed, given["--format"] or recipe.sections["pack"].format), recipe.section("data", DataConfig),
        recipe.section("schedule", ScheduleConfig), recipe.section("run", RunConfig),
    )


def order_table(traced: Traced) -> dict[str, Any]:
    """What the order depends on."""
    order = traced.order
    return {
        "index": traced.folder.name, "fingerprint": traced.index.manifest.fingerprint, "rows_in_index": order.num_rows,
        "seed": order.seed, "global_batch": order.global_batch, "max_steps": order.max_steps,
    }


def order_words(traced: Traced) -> str:
    """The same in a line."""
    order = traced.order
    return (
        f"{traced.folder.name} ({order.num_rows:,} rows), seed {order.seed}, {order.global_batch:,} rows a step, "
        f"{order.max_steps:,} steps ({order.end / order.num_rows:,.2f} epochs)"
    )


def step_documents(reads: Sequence[BlockRead]) -> dict[str, tuple[int, int]]:
    """(tokens, blocks) of each document of a step, the largest first."""
    found: dict[str, tuple[int, int]] = {}
    for read in reads:
        for id, tokens in read.documents.items():
            before = found.get(id, (0, 0))
            found[id] = (before[0] + tokens, before[1] + 1)
    return dict(sorted(found.items(), key=lambda item: (-item[1][0], item[0])))


def step_table(traced: Traced, step: int, reads: Sequence[BlockRead]) -> dict[str, Any]:
    """A step as JSON."""
    documents = step_documents(reads)
    total = sum(tokens for tokens, _ in documents.values())
    return {
        "step": step, **order_table(traced), "tokens": total,
        "documents": [
            {"id": id, "tokens": tokens, "share": tokens / total, "blocks": blocks}
            for id, (tokens, blocks) in documents.items()
        ],
        "blocks": [
            {
                "position": read.position, "epoch": read.epoch, "row": read.row, "block": read.block,
                "documents": [{"id": id, "tokens": tokens} for id, tokens in read.documents.items()],
            }
            for read in reads
        ],
    }


def step_lines(traced: Traced, step: int, reads: Sequence[BlockRead], limit: int) -> list[str]:
    """A step as tables: its documents, and what it reads in order."""
    documents = step_documents(reads)
    total = sum(tokens for tokens, _ in documents.values())
    first, last = reads[0], reads[-1]
    epochs = f"epoch {first.epoch}" if first.epoch == last.epoch else f"epochs {first.epoch} to {last.epoch}"
    names = max(len("document"), *(len(id) for id in list(documents)[: limit or None]))

    def document_line(item: tuple[str, tuple[int, int]]) -> str:
        id, (tokens, blocks) = item
        return f"{id:<{names}}{tokens:>10,}{tokens / total:>9.2%}{blocks:>8,}"

    return [
        f"step {step:,} of {order_words(traced)}",
        f"{last.position - first.position + 1:,} rows of {epochs}, {len(reads):,} blocks, {total:,} tokens of "
        f"{len(documents):,} documents (special tokens not counted)",
        "", f"{'document':<{names}}{'tokens':>10}{'share':>9}{'blocks':>8}",
        *limited(list(documents.items()), document_line, limit, "documents"),
        "", f"{'position':>12}{'epoch':>7}{'row':>12}{'block':>12}  documents and their tokens",
        *limited(reads, _read_line, limit, "blocks"),
    ]


def _read_line(read: BlockRead) -> str:
    documents = ", ".join(f"{id} {tokens:,}" for id, tokens in read.documents.items())
    return f"{read.position:>12}{read.epoch:>7}{read.row:>12}{read.block:>12}  {documents}"


def limited(items: Sequence[Item], line: Callable[[Item], str], limit: int, of: str) -> list[str]:
    """A line each of at most `limit` items (0: of all), and one that says how many more there are."""
    shown = items[: limit or None]
    left = len(items) - len(shown)
    return [*map(line, shown), *([f"... and {left:,} more {of} (--limit 0 shows all)"] if left else [])]


def document_table(traced: Traced, document: DocumentTrace) -> dict[str, Any]:
    """A document as JSON."""
    columns = zip(document.blocks.tolist(), document.rows.tolist(), document.block_tokens.tolist(), strict=True)
    reads = zip(document.positions.tolist(), document.read_blocks.tolist(), strict=True)
    order = traced.order
    return {
        "document": document.id, "split": document.split, "part": document.stem, "tokens": document.tokens,
        **order_table(traced), "is_validated": document.is_validated,
        "blocks": [{"block": block, "row": row, "tokens": tokens} for block, row, tokens in columns],
        "reads": [
            {
                "step": order.step_of(position), "position": position, "epoch": order.epoch_of(position),
                "row": int(document.rows[place]), "block": int(document.blocks[place]),
            }
            for position, place in reads
        ],
    }


def document_lines(traced: Traced, document: DocumentTrace, limit: int) -> list[str]:
    """A document as tables: its blocks, and the steps that read them."""
    count = len(document.blocks)
    head = f"{document.id}: {document.tokens:,} tokens in {count:,} block{'s' * (count != 1)} of "
    lines = [f"{head}{traced.folder.name}, part {document.stem}"]
    if not count:
        why = "no token" if document.tokens == 0 else "no text that this format has a place for"
        return [*lines, f"it has {why}, so no step reads it"]

    def block_line(place: int) -> str:
        tokens = int(document.block_tokens[place])
        share = tokens / document.tokens
        return f"{document.blocks[place]:>12}{document.rows[place]:>12}{tokens:>9,}{share:>9.2%}"

    lines += ["", f"{'block':>12}{'row':>12}{'tokens':>9}{'share':>9}"]
    lines += [*limited(range(count), block_line, limit, "blocks"), ""]
    return [*lines, *(_held_out(document) if document.split != "train" else _document_reads(traced, document, limit))]


def _held_out(document: DocumentTrace) -> list[str]:
    validated = "every validation reads some of it" if document.is_validated else "and no validation gets that far"
    return [f"held out: in the {document.split} split; no step trains on it, {validated}"]


def _document_reads(traced: Traced, document: DocumentTrace, limit: int) -> list[str]:
    order, positions = traced.order, document.positions  # ascending

    def line(read: int) -> str:
        position, place = int(positions[read]), document.read_blocks[read]
        return (
            f"{order.step_of(position):>12}{order.epoch_of(position):>7}{position:>14}{document.rows[place]:>12}"
            f"{document.blocks[place]:>12}{document.block_tokens[place]:>9,}"
        )

    head = f"{'step':>12}{'epoch':>7}{'position':>14}{'row':>12}{'block':>12}{'tokens':>9}"
    return [
        f"{len(positions):,} reads in {document.num_steps(order):,} steps by {order_words(traced)}",
        *([head] if len(positions) else []),
        *limited(range(len(positions)), line, limit, "reads"),
    ]
