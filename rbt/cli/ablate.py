"""`rbt ablate`: the paper's tables 1 to 3, run."""

from __future__ import annotations

from pathlib import Path

import click

from rbt.cli.options import FOLDER, common, engine_options, say
from rbt.config import Recipe
from rbt.errors import ConfigError

TABLES = ("table-1", "table-2", "table-3")  # = rbt.ablation.tables.ablation_names()
SIZES = ("paper", "mini")


def description() -> list[str]:
    """Each table with the rows and sizes that it has."""
    from rbt.ablation.tables import load_ablation, make_plans

    lines = []
    for name in TABLES:
        ablation = load_ablation(name)
        lines.append(f"{name}: {ablation.title}")
        for size in ablation.sizes:
            plans = make_plans(ablation, size)
            model, rows = plans[0].model.size, plans[0].pack.max_tokens
            lines.append(f"  {size}: {model}, rows of {rows} tokens")
            for plan in plans:
                data, schedule = plan.data, plan.schedule
                static = f", {data.static_masks} static masks" if data.static_masks else ""
                lines.append(
                    f"    {plan.row.name:<15} {plan.pack.format}: {schedule.max_steps:,} steps of "
                    f"{data.global_batch:,} rows, peak {schedule.peak_learning_rate:g}, warm-up "
                    f"{schedule.warmup_steps:,}{static}"
                )
    return lines


@click.command(epilog="Example: rbt ablate table-2 --size mini --corpus corpus --tokenizer tokenizer --out ablation")
@click.argument("table", type=click.Choice(TABLES), required=False)
@click.option("--list", "is_list", is_flag=True, help="Show every row of every table, and no more.")
@click.option("--size", type=click.Choice(SIZES), default="mini", show_default=True, help="A run: days, or minutes.")
@click.option("--corpus", "folder", type=FOLDER, help="Folder of the corpus, with --tokenizer; else PACKED has it all.")
@click.option("--tokenizer", type=FOLDER, help="Folder of the tokenizer.")
@click.option("--packed", type=FOLDER, metavar="PACKED", help="Folder of tokens and indices [default: OUT/packed].")
@click.option("--out", type=FOLDER, default="ablation", show_default=True, help="Folder of runs and the table.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Runs of each row.")
@engine_options
@common
def ablate(
    table: str | None, is_list: bool, size: str, folder: Path | None, tokenizer: Path | None, packed: Path | None,
    out: Path, seeds: int, engine: str, address: str, workers: int, recipe: Recipe, quiet: bool,
) -> None:
    """Run a table of the paper, and write it beside the paper's figures.

    Packs the formats that TABLE needs over one token store, pretrains every row with every seed, and writes
    OUT/TABLE.md and .json after each run. Started again, it goes on where it was. --set reaches all rows; of a
    recipe, [run] is used. table-3 multiplies data.global_batch by each row's factor, and divides schedule.max_steps.
    """
    from rbt.ablation.run import ablate as run_ablation
    from rbt.ablation.run import make_packer
    from rbt.ablation.tables import load_ablation
    from rbt.engine import make_engine
    from rbt.trainer.config import RunConfig

    if is_list:
        say(quiet, *description())
        return
    if table is None:
        raise ConfigError(f"expected a table, one of {', '.join(TABLES)}", found="none")
    if (folder is None) != (tokenizer is None):
        raise ConfigError("expected --corpus and --tokenizer together", found="one of them")
    ablation = load_ablation(table)
    packed = packed or out / "packed"
    packer = None
    if folder is not None and tokenizer is not None:
        packer = make_packer(folder, tokenizer, packed, make_engine(engine, workers, address, packed))
    run = recipe.section("run", RunConfig)
    is_whole = run_ablation(ablation, size, recipe.settings, run, seeds, packed, out, packer)
    page = out / f"{table}.md"
    if page.is_file():
        say(quiet, page.read_text("utf-8"))
    say(quiet, f"{page}: {'finished' if is_whole else 'not all of it yet: the same command goes on'}")
