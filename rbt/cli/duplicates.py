"""`rbt corpus duplicates` and `rbt corpus curve`: what deduplication removed, and what its settings find."""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbt.cli.options import FOLDER, WIDTH, common, override, say
from rbt.config import Recipe
from rbt.errors import ArtefactError, ConfigError

if TYPE_CHECKING:
    from rbt.corpus.side_by_side import Marks

RULES = (  # = rbt.formats.audit.RULES, which is not imported for --help
    "exact_duplicate", "near_duplicate", "exact_duplicate_elsewhere", "near_duplicate_elsewhere",
)
SHARE = click.FloatRange(0, 1)


@click.command(epilog="Example: rbt corpus duplicates --sample 5 --rule near_duplicate --maximum-jaccard 0.85")
@click.option("--corpus", "folder", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@click.option("--sample", type=click.IntRange(1), default=20, show_default=True, help="Show N pairs at random.")
@click.option("--source", default="", metavar="NAME", help="Of this source alone.")
@click.option("--rule", type=click.Choice(RULES), help="Removed by this rule alone.")
@click.option("--minimum-jaccard", type=SHARE, default=0.0, help="Of at least this Jaccard similarity.")
@click.option("--maximum-jaccard", type=SHARE, default=1.0, help="Of at most this Jaccard similarity.")
@click.option("--lines", type=click.IntRange(1), default=24, show_default=True, help="Most lines a pair.")
@click.option("--seed", default=0, show_default=True, help="Of the random choice.")
@common
def duplicates(
    folder: Path, sample: int, source: str, rule: str | None, minimum_jaccard: float, maximum_jaccard: float,
    lines: int, seed: int, recipe: Recipe, quiet: bool,
) -> None:
    """Show removed duplicates beside what was kept for them.

    Pairs are drawn from the sample that the build looked at again (audit.arrow). Words of one text alone are marked:
    [-removed-] and {+kept+}, in colors on a terminal (unless NO_COLOR is set).
    """
    from rbt.formats.audit import list_pairs, read_pairs
    from rbt.rng import rng

    paths = audit_files(folder)
    pairs = list_pairs(paths)
    fitting = [
        pair["place"] for pair in pairs
        if source in ("", pair["source"]) and rule in (None, pair["rule"])
        and minimum_jaccard <= pair["jaccard"] <= maximum_jaccard
    ]
    if not fitting:
        sources = ", ".join(sorted({pair["source"] for pair in pairs})) or "none"
        cure = "the sample is drawn from all sources together; removed.arrow names every removal"
        raise ConfigError(
            "expected pairs like that", path=folder, found=f"none among {len(pairs):,} (sources: {sources})", cure=cure
        )
    chosen = rng(seed, "duplicates").choice(len(fitting), size=min(sample, len(fitting)), replace=False)
    say(quiet, f"{len(chosen):,} of {len(fitting):,} pairs like that, among {len(pairs):,} in audit.arrow", "")
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    for number, pair in enumerate(read_pairs(paths, [fitting[place] for place in sorted(chosen)]), 1):
        print_pair(pair, f"{number} of {len(chosen)}", width, lines)


def audit_files(folder: Path) -> list[Path]:
    """The audits of a corpus; of a work folder (a build that stopped) the one in it. Raises ArtefactError."""
    from rbt.formats.audit import NAME, audits
    from rbt.formats.parts import open_corpus
    from rbt.manifest import is_artefact

    if not is_artefact(folder) and (folder / NAME).is_file():
        return [folder / NAME]
    found = [path for path in audits(open_corpus(folder)) if path.is_file()]
    if not found:
        raise ArtefactError(
            f"expected {NAME}", path=folder, found="none: an older rbt built it", cure="rbt corpus build --replace"
        )
    return found


def print_pair(pair: dict[str, Any], number: str, width: int, lines: int) -> None:
    """A pair with its facts above it, and below it what is not shown."""
    from rbt.corpus.side_by_side import side_by_side
    from rbt.formats.audit import CHARACTERS

    where = f" in corpus {pair['kept_in']}" if pair["kept_in"] else ""
    click.echo(f"--- {number}: {pair['rule']}, Jaccard {pair['jaccard']:.4f}, source {pair['source']}")
    click.echo(f"left, removed: {pair['id']}, {pair['characters']:,} characters")
    click.echo(f"right, kept{where}: {pair['kept_id']}, {pair['kept_characters']:,} characters")
    for line in side_by_side(pair["text"], pair["kept_text"], width=width, lines=lines, marks=terminal_marks()):
        click.echo(line)
    if max(pair["characters"], pair["kept_characters"]) > CHARACTERS:
        click.echo(f"... audit.arrow has the first {CHARACTERS:,} characters of each ...")
    click.echo()


def terminal_marks() -> Marks:
    """Colors on a terminal, else signs."""
    from rbt.corpus.side_by_side import PLAIN, Marks

    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return PLAIN
    return Marks(partial(click.style, fg="red"), partial(click.style, fg="green"), 0)


@click.command(epilog="Example: rbt corpus curve --bands 14 --rows 8 --plot curve.png")
@click.option("--bands", type=click.IntRange(1), help="Bands [default: the recipe's].")
@click.option("--rows", type=click.IntRange(1), help="Rows of a band [default: the recipe's].")
@click.option("--threshold", type=SHARE, help="Jaccard similarity of duplicates [default: the recipe's].")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.png", help="Draw it, too.")
@common
def curve(
    bands: int | None, rows: int | None, threshold: float | None, plot: Path | None, recipe: Recipe, quiet: bool
) -> None:
    """Show which pairs [deduplicate] finds, by their similarity.

    Prints the probability that a pair becomes a candidate, what a document costs, and the cheapest bands and rows for
    the threshold.
    """
    from rbt.corpus.config import DeduplicateConfig
    from rbt.corpus.dedup.curve import Banding, curve_table, plot_curve
    from rbt.corpus.dedup.pipeline import check_config

    recipe = override(recipe, "deduplicate", bands=bands, rows=rows, threshold=threshold)
    config = recipe.section("deduplicate", DeduplicateConfig)
    check_config(config)
    banding = Banding(config.bands, config.rows)
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise ConfigError("--plot: expected a file name that ends in .png", found=str(plot))
        plot_curve(plot, banding, config.threshold)
    say(quiet, *curve_table(banding, config.threshold), *([f"drawn: {plot}"] if plot else []))
