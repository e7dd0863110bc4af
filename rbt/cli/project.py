"""`rbt init` and `rbt verify`."""

from __future__ import annotations

from pathlib import Path

import click

from rbt.cli.options import FOLDER, common, say
from rbt.config import DEFAULT_RECIPE, Recipe, load_recipe, recipe_names, shipped_recipe
from rbt.errors import ConfigError, RbtError


@click.command(epilog="Example: rbt init german --recipe roberta-16gb")
@click.argument("directory", type=FOLDER, default=".")
@common
def init(directory: Path, recipe: Recipe, quiet: bool) -> None:
    """Write DIRECTORY/rbt.toml from a shipped recipe (--recipe, default roberta).

    Says which raw files to put where.
    """
    from rbt.corpus.config import ORIGINS, TASK_ORIGINS, DecontaminateConfig, SourceConfig

    name = recipe.origin.removeprefix("recipe ") if recipe.origin.startswith("recipe ") else "roberta"
    path = directory / DEFAULT_RECIPE
    if recipe.settings:
        raise ConfigError("expected no --set", found=recipe.settings[0], cure=f"edit {path} after `rbt init`")
    if path.exists():
        raise ConfigError("expected no recipe yet", path=path, found="one", cure="edit it, or delete it first")
    directory.mkdir(parents=True, exist_ok=True)
    path.write_text(shipped_recipe(name), encoding="utf-8")
    say(quiet, f"wrote {path} (recipe {name}; others: {', '.join(n for n in recipe_names() if n != name)})", "")
    say(quiet, "put the raw files here, or change `paths`:")
    written = load_recipe(str(path))
    for source in written.sources(SourceConfig):
        say(quiet, f"  {source.label:<12} {directory / source.paths[0]}", f"               {ORIGINS[source.kind]}")
    if tasks := written.section("decontaminate", DecontaminateConfig).tasks:
        say(quiet, "and the evaluation sets, whose text is cut out of the corpus:")
        for task, place in tasks.items():
            say(quiet, f"  {task:<12} {directory / place}", f"               {TASK_ORIGINS.get(task, '')}".rstrip())
    say(quiet, "", f"then: cd {directory} && rbt corpus build")


@click.command(epilog="Example: rbt verify corpus")
@click.argument("directory", type=FOLDER)
@common
def verify(directory: Path, recipe: Recipe, quiet: bool) -> None:
    """Read any artefact back: every hash, the ledger, and what its format promises."""
    from rbt.formats.verify import verify as verify_all

    broken = 0
    for verdict in list(verify_all(directory)):  # all first, so that no line falls into the bar
        head = f"{verdict.folder}: {verdict.kind}, {verdict.files} files, {verdict.bytes:,} bytes"
        if verdict.problems:
            broken += len(verdict.problems)
            for problem in verdict.problems:
                click.echo(f"{head}: {problem}", err=True)
        else:
            say(quiet, f"{head}: sound")
    if broken:
        raise RbtError("expected sound artefacts", path=directory, found=f"{broken} problem(s)", cure="rebuild them")
