"""`rbt pack --explain` and `rbt pack stats`: what is in the blocks of an index."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from rbt.cli.options import FOLDER, WIDTH, common, say
from rbt.config import Recipe
from rbt.errors import ConfigError

SPLITS = ("train", "validation")  # = rbt.formats.tokens.SPLITS
# = rbt.packing.packers.PACKERS, which is not imported for --help
FORMATS = ("full-sentences", "doc-sentences", "segment-pair", "sentence-pair")


class IndexFormat(click.Choice):  # type: ignore[type-arg]  # click before 8.2 has no generic one
    """A format, or the folder's name of an index, which begins with its format."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        """The value, or a usage error that names the formats."""
        if any(str(value).startswith(f"{choice}-") for choice in self.choices):
            return value
        return super().convert(value, parameter, context)


def explaining(command: Callable[..., None]) -> Callable[..., None]:
    """Of `rbt pack` with --explain and --split: print a block where one is asked for, else pack in a format."""

    @functools.wraps(command)
    def wrapped(out: Path, format_name: str | None, explain: int | None, split: str | None, **options: Any) -> None:
        if explain is not None:
            print_block(out, format_name or "", split or SPLITS[0], explain)
            return
        if split is not None:
            raise ConfigError("--split: expected --explain N beside it", found="none")
        if format_name not in (None, *FORMATS):
            raise ConfigError(f"--format: expected one of {', '.join(FORMATS)}", found=str(format_name))
        command(out=out, format_name=format_name, **options)

    return wrapped


def print_block(packed: Path, format_name: str, split: str, number: int) -> None:
    """Print one block of an index."""
    from rbt.formats.blocks import choose_index
    from rbt.packing.explain import explain_block

    width = shutil.get_terminal_size((WIDTH, 24)).columns
    for line in explain_block(choose_index(packed, format_name), split, number, width):
        click.echo(line)


@click.command(epilog="Example: rbt pack stats --format full-sentences --plot stats.png")
@click.option("--out", "packed", type=FOLDER, default="packed", show_default=True, help="Folder of tokens and indices.")
@click.option(
    "--format", "format_name", type=IndexFormat(FORMATS), help="Or an index's folder [default: the only index]."
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png", help="Draw it, too.")
@common
def stats(packed: Path, format_name: str | None, plot: Path | None, recipe: Recipe, quiet: bool) -> None:
    """Show how blocks fill rows, how long they are, and what they hold."""
    from rbt.formats.blocks import TOKENS_FOLDER, choose_index
    from rbt.formats.tokens import SPLITS, open_tokens
    from rbt.packing.statistics import split_statistics
    from rbt.packing.statistics_report import plot_statistics, report

    if plot is not None and plot.suffix.lower() != ".png":
        raise ConfigError("--plot: expected a file name that ends in .png", found=str(plot))
    folder = choose_index(packed, format_name or "")
    store = open_tokens(packed / TOKENS_FOLDER)
    found = [split_statistics(folder, split, store) for split in SPLITS]
    for line in [f"{folder}: rows of at most {found[0].max_tokens} ids", "", *report(found)]:
        click.echo(line)
    if plot is not None:
        plot_statistics(plot, folder.name, found)
        say(quiet, "", f"drawn: {plot}")
