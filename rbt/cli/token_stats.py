"""`rbt bpe stats`: how the ids of a tokenizer are used."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from rbt.cli.options import FOLDER, common, engine_options, say
from rbt.config import Recipe
from rbt.errors import ConfigError

PNG = click.Path(path_type=Path, dir_okay=False)


@click.command(epilog="Example: rbt bpe stats --packed packed --plot tokens.png")
@click.option("--tokenizer", type=FOLDER, default="tokenizer", show_default=True, help="Folder of the tokenizer.")
@click.option("--corpus", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus to encode.")
@click.option("--packed", type=FOLDER, help="Folder of `rbt pack`, instead of both: its tokens are counted.")
@click.option("--plot", type=PNG, metavar="FILE.png", help="Draw it, too.")
@engine_options
@common
def stats(
    tokenizer: Path, corpus: Path, packed: Path | None, plot: Path | None, engine: str, address: str, workers: int,
    recipe: Recipe, quiet: bool,
) -> None:
    """Show bytes a token by source, the ids that are used most and never, and the longest tokens.

    A corpus is encoded to be counted; of a packed folder the tokens are read as they are, without words.
    """
    from rbt.engine import make_engine
    from rbt.packing.token_statistics import corpus_statistics, packed_statistics
    from rbt.packing.token_statistics_report import plot_tokens, report

    if plot is not None and plot.suffix.lower() != ".png":
        raise ConfigError("--plot: expected a file name that ends in .png", found=str(plot))
    if packed is not None:
        _refuse("tokenizer", "corpus", "engine", "address", "workers")
        folder, found = packed, packed_statistics(packed)
    else:
        folder = tokenizer
        found = corpus_statistics(corpus, tokenizer, make_engine(engine, workers, address, tokenizer))
    for line in [f"{folder}: {len(found.uses):,} ids", "", *report(found)]:
        click.echo(line)
    if plot is not None:
        plot_tokens(plot, str(folder.name), found)
        say(quiet, "", f"drawn: {plot}")


def _refuse(*names: str) -> None:
    """Raise ConfigError where an option is given that --packed has no use for."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise ConfigError(f"expected one of --packed and --{name}", found="both")
