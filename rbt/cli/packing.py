"""`rbt pack`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rbt.cli.options import FOLDER, RbtGroup, alone, common, override, say, work_options
from rbt.cli.views import FORMATS, SPLITS, IndexFormat, explaining
from rbt.config import Recipe

if TYPE_CHECKING:
    from rbt.manifest import Manifest


@click.group(
    cls=RbtGroup, invoke_without_command=True, subcommand_metavar="[COMMAND]",
    epilog="Example: rbt pack --format doc-sentences --max-tokens 512",
)
@click.option("--corpus", "folder", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@click.option("--tokenizer", type=FOLDER, default="tokenizer", show_default=True, help="Folder of the tokenizer.")
@click.option("--out", type=FOLDER, default="packed", show_default=True, help="Folder of tokens and indices.")
@click.option("--format", "format_name", type=IndexFormat(FORMATS), help="[default: the recipe's, full-sentences]")
@click.option("--max-tokens", type=int, help="Tokens of a row, specials included [default: the recipe's, 512].")
@click.option("--seed", type=int, help="Of segment-pair and sentence-pair [default: the recipe's, 1].")
@work_options
@click.option("--explain", type=click.IntRange(0), metavar="N", help="Print block N of a finished index, and no more.")
@click.option("--split", type=click.Choice(SPLITS), help="With --explain: where block N is [default: train].")
@alone
@common
@explaining
def pack(
    folder: Path, tokenizer: Path, out: Path, format_name: str | None, max_tokens: int | None, seed: int | None,
    engine: str, address: str, workers: int, replace: bool, recipe: Recipe, quiet: bool,
) -> None:
    """Encode a corpus once, then lay an index of blocks and rows over the tokens.

    --explain needs --out alone. Of several indices, --format says which: a format, or the name of an index's folder.
    """
    from rbt.engine import make_engine
    from rbt.packing.config import PackConfig
    from rbt.packing.pack import pack as pack_corpus

    recipe = override(recipe, "pack", format=format_name, max_tokens=max_tokens, seed=seed)
    config = recipe.section("pack", PackConfig)
    manifest = pack_corpus(folder, tokenizer, out, config, make_engine(engine, workers, address, out), replace=replace)
    say(quiet, *pack_summary(out, manifest))


def pack_summary(out: Path, manifest: Manifest) -> list[str]:
    """The index in a line a split."""
    lines = [f"{'split':<12}{'tokens':>14}{'blocks':>12}{'rows':>12}{'fill':>8}"]
    for split, facts in manifest.facts["splits"].items():
        lines.append(
            f"{split:<12}{facts['tokens']:>14,}{facts['blocks']:>12,}{facts['rows']:>12,}{facts['fill_rate']:>8.1%}"
        )
        if facts.get("next"):
            lines.append(
                f"{'':<12}{facts['next'] / facts['blocks']:.1%} of the pairs are next; the others repeat "
                f"{facts['tokens_repeated']:,} tokens; {facts['tokens_dropped']:,} dropped"
            )
    return [*lines, f"{out}: {manifest.facts['format']}, rows of at most {manifest.facts['max_tokens']} tokens"]
