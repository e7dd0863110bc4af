"""`rbt runs`: what runs were, beside each other."""

from __future__ import annotations

from pathlib import Path

import click

from rbt.cli.options import FOLDER, RbtGroup, common, say
from rbt.config import Recipe
from rbt.errors import ConfigError

X_AXES = ("step", "epoch", "row")  # = rbt.runs_report.X_AXES, which is not imported for --help


@click.group(cls=RbtGroup)
def runs() -> None:
    """Look at runs of `rbt pretrain`."""


@runs.command(epilog="Example: rbt runs compare run other --plot curves.png")
@click.argument("folders", type=FOLDER, nargs=-1, required=True, metavar="RUN...")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png", help="Draw them, too.")
@click.option(
    "--x", type=click.Choice(X_AXES), default="step", show_default=True,
    help="What the curves are drawn by: epochs and rows bring runs of different batches together.",
)
@common
def compare(folders: tuple[Path, ...], plot: Path | None, x: str, recipe: Recipe, quiet: bool) -> None:
    """Show runs beside each other: losses, speed, and the keys in which their recipes differ.

    Speed is the median of what was logged. Loss is that of the last logged step, in nats a masked token; perplexity
    (ppl) is e to the loss, over masked tokens alone. --plot draws the curves side by side.
    """
    from rbt.runs import read_runs
    from rbt.runs_report import plot_runs, table

    if plot is not None and plot.suffix.lower() != ".png":
        raise ConfigError("--plot: expected a file name that ends in .png", found=str(plot))
    found = read_runs(folders)
    for line in table(found):
        click.echo(line)
    if plot is not None:
        plot_runs(plot, found, x)
        say(quiet, "", f"drawn: {plot}")
