"""The command line: parse, call, report. Everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoArgsIsHelpError

from rbt import __version__
from rbt.config import DEFAULT_RECIPE, Recipe, load_recipe, recipe_names, shipped_recipe
from rbt.errors import ConfigError, RbtError

if TYPE_CHECKING:
    from rbt.manifest import Manifest

FORMATS = ("full-sentences", "doc-sentences")  # = rbt.packing.packers.PACKERS, which is not imported for --help
ENGINES = ("local", "ray")
FOLDER = click.Path(path_type=Path)
WIDTH = 110
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}


class OneLineError(click.ClickException):
    """A user's error: one line, exit code 2."""

    exit_code = 2


class Interrupted(click.ClickException):
    """Ctrl-C: one line, and the exit code that shells give to an interrupt."""

    exit_code = 130


class RbtGroup(click.Group):
    """Lists commands in the order of the work, and turns errors that are not bugs into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of definition."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except NoArgsIsHelpError:
            raise
        except click.UsageError as error:  # click would put the usage above it
            command = error.ctx.command_path if error.ctx else ctx.command_path
            raise OneLineError(f"{error.format_message()} (see `{command} --help`)") from error
        except RbtError as error:
            raise OneLineError(str(error)) from error
        except OSError as error:  # a full disk, a missing permission: the system's words name the file
            raise OneLineError(str(error)) from error
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; the same command, run again, keeps what is finished") from error


def _configure(quiet: bool) -> None:
    is_first_rank = os.environ.get("RANK", "0") == "0"
    if quiet or not is_first_rank:
        os.environ["RBT_PROGRESS"] = "0"
    level = logging.INFO if is_first_rank and not quiet else logging.ERROR if not is_first_rank else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Add --recipe, --set and --quiet; the command gets `recipe` (a checked Recipe) and `quiet`."""

    @click.option("--recipe", "recipe_name", metavar="FILE|NAME", help=f"Recipe [default: {DEFAULT_RECIPE} if there].")
    @click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one key. Repeatable.")
    @click.option("--quiet", is_flag=True, help="No progress bars and no report; warnings and errors only.")
    @functools.wraps(command)
    def wrapped(recipe_name: str | None, settings: tuple[str, ...], quiet: bool, **options: Any) -> None:
        _configure(quiet)
        command(recipe=load_recipe(recipe_name, settings), quiet=quiet, **options)

    return wrapped


def work_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --engine, --workers and --replace."""
    command = click.option("--replace", is_flag=True, help="Rebuild an output made from another recipe.")(command)
    command = click.option("--workers", default=0, help="Processes; 0 = one a core.", show_default=True)(command)
    return click.option(
        "--engine", type=click.Choice(ENGINES), default="local", show_default=True, help="Where tasks run."
    )(command)


def say(quiet: bool, *lines: str) -> None:
    """Report, on the first rank alone."""
    if not quiet and os.environ.get("RANK", "0") == "0":
        for line in lines:
            click.echo(line)


def override(recipe: Recipe, section: str, **values: Any) -> Recipe:
    """Put options that were given above the recipe's keys."""
    import dataclasses

    given = {key: value for key, value in values.items() if value is not None}
    changed = dataclasses.replace(recipe.sections[section], **given)
    return dataclasses.replace(recipe, sections={**recipe.sections, section: changed})


@click.group(cls=RbtGroup, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="rbt")
def main() -> None:
    """From raw dumps to a RoBERTa.

    \b
    rbt init            write rbt.toml, see which raw files go where
    rbt corpus build    raw files -> clean, deduplicated Arrow parts
    rbt bpe train       corpus    -> byte-level BPE tokenizer
    rbt pack            both      -> tokens, blocks and rows
    rbt pretrain        packed    -> checkpoints
    rbt export          run       -> a Hugging Face folder
    """


@main.command(epilog="Example: rbt init german --recipe roberta-16gb")
@click.argument("directory", type=FOLDER, default=".")
@common
def init(directory: Path, recipe: Recipe, quiet: bool) -> None:
    """Write DIRECTORY/rbt.toml from a shipped recipe (--recipe, default roberta).

    Says which raw files to put where.
    """
    from rbt.corpus.config import ORIGINS, SourceConfig

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
    for source in load_recipe(str(path)).sources(SourceConfig):
        say(quiet, f"  {source.label:<12} {directory / source.paths[0]}", f"               {ORIGINS[source.kind]}")
    say(quiet, "", f"then: cd {directory} && rbt corpus build")


@main.group(cls=RbtGroup)
def corpus() -> None:
    """Build a corpus and look into it."""


@corpus.command(epilog="Example: rbt corpus build --set clean.minimum_characters=500 --workers 8")
@click.option("--out", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@work_options
@common
def build(out: Path, engine: str, workers: int, replace: bool, recipe: Recipe, quiet: bool) -> None:
    """Ingest, clean and deduplicate the recipe's sources into Arrow parts."""
    from rbt.corpus.build import build_corpus
    from rbt.corpus.summary import corpus_summary
    from rbt.engine import make_engine

    manifest = build_corpus(recipe, out, make_engine(engine, workers), replace=replace)
    say(quiet, *corpus_summary(out, manifest))


def print_document(row: dict[str, Any]) -> None:
    """A document with its fields above its text."""
    for key, value in row.items():
        if key != "text" and value not in ("", None):
            click.echo(f"{key + ':':<16}{value}")
    click.echo(f"\n{row['text']}\n")


@corpus.command(epilog="Example: rbt corpus show --random 3")
@click.option("--corpus", "folder", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@click.option("--id", "document_id", help="Show the document with this id.")
@click.option("--random", "number", type=click.IntRange(1), help="Show N documents at random.")
@click.option("--seed", default=0, show_default=True, help="Of the random choice.")
@common
def show(
    folder: Path, document_id: str | None, number: int | None, seed: int, recipe: Recipe, quiet: bool
) -> None:
    """Show documents of a corpus, or what is in it."""
    from rbt.corpus.summary import corpus_summary
    from rbt.formats.parts import find_document, open_corpus, random_documents

    opened = open_corpus(folder)
    if document_id is not None:
        row = find_document(opened, document_id)
        if row is None:
            cure = f"`rbt corpus why {document_id}` says whether it was dropped"
            raise ConfigError("expected the id of a document", path=folder, found=document_id, cure=cure)
        print_document(row)
    elif number is not None:
        for row in random_documents(opened, number, seed):
            print_document(row)
    else:
        for manifest in opened.manifests:
            say(False, *corpus_summary(folder, manifest))


@corpus.command(epilog="Example: rbt corpus why wikipedia:12")
@click.argument("document_id", metavar="ID")
@click.option("--corpus", "folder", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@common
def why(document_id: str, folder: Path, recipe: Recipe, quiet: bool) -> None:
    """Say whether a document was kept, or dropped by which rule."""
    from rbt.formats.parts import find_document, open_corpus
    from rbt.formats.removals import find_removals

    opened = open_corpus(folder)
    row = find_document(opened, document_id)
    removed = [found for path in opened.removals() for found in find_removals(path, document_id)]
    if row is not None:
        click.echo(f"{document_id}: kept ({row['source']}, {row['origin']}, {row['locator']})")
    for found in removed:
        click.echo(f"{document_id}: dropped by {found['stage']}: {removal_in_words(found)}")
    if row is None and not removed:
        cure = f"redirects and the like are counted in {folder / 'ledger.json'}, unreadable ones in quarantine.arrow"
        raise ConfigError("expected the id of a document", path=folder, found=document_id, cure=cure)


def removal_in_words(row: dict[str, Any]) -> str:
    """A row of removed.arrow as a phrase."""
    if row["kept_id"]:
        return f"{row['rule']} of {row['kept_id']} (Jaccard {row['jaccard']:.3f}, threshold {row['threshold']})"
    return f"{row['rule']}" + (f" ({row['value']}; asked for {row['threshold']})" if row["value"] else "")


@main.group(cls=RbtGroup)
def bpe() -> None:
    """Train a tokenizer."""


@bpe.command("train", epilog="Example: rbt bpe train --vocab-size 32000")
@click.option("--corpus", "folder", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@click.option("--out", type=FOLDER, default="tokenizer", show_default=True, help="Folder of the tokenizer.")
@click.option("--vocab-size", type=int, help="Ids in all [default: the recipe's, 50265].")
@click.option("--replace", is_flag=True, help="Rebuild an output made from another recipe.")
@common
def bpe_train(folder: Path, out: Path, vocab_size: int | None, replace: bool, recipe: Recipe, quiet: bool) -> None:
    """Train a byte-level BPE in the RoBERTa layout on a corpus."""
    from rbt.packing.bpe import train_bpe
    from rbt.packing.config import BpeConfig

    recipe = override(recipe, "bpe", vocab_size=vocab_size)
    manifest = train_bpe(folder, out, recipe.section("bpe", BpeConfig), replace=replace)
    facts = manifest.facts
    say(quiet, f"{out}: {facts['vocab_size']:,} ids, {facts['merges']:,} merges learned from {facts['bytes']:,} bytes")


@main.command(epilog="Example: rbt pack --format doc-sentences --max-tokens 512")
@click.option("--corpus", "folder", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@click.option("--tokenizer", type=FOLDER, default="tokenizer", show_default=True, help="Folder of the tokenizer.")
@click.option("--out", type=FOLDER, default="packed", show_default=True, help="Folder of tokens and indices.")
@click.option("--format", "format_name", type=click.Choice(FORMATS), help="[default: the recipe's, full-sentences]")
@click.option("--max-tokens", type=int, help="Tokens of a row, specials included [default: the recipe's, 512].")
@work_options
@common
def pack(
    folder: Path, tokenizer: Path, out: Path, format_name: str | None, max_tokens: int | None, engine: str,
    workers: int, replace: bool, recipe: Recipe, quiet: bool,
) -> None:
    """Encode a corpus once, then lay an index of blocks and rows over the tokens."""
    from rbt.engine import make_engine
    from rbt.packing.config import PackConfig
    from rbt.packing.pack import pack as pack_corpus

    config = override(recipe, "pack", format=format_name, max_tokens=max_tokens).section("pack", PackConfig)
    manifest = pack_corpus(folder, tokenizer, out, config, make_engine(engine, workers), replace=replace)
    say(quiet, *pack_summary(out, manifest))


def pack_summary(out: Path, manifest: Manifest) -> list[str]:
    """The index in a line a split."""
    lines = [f"{'split':<12}{'tokens':>14}{'blocks':>12}{'rows':>12}{'fill':>8}"]
    for split, facts in manifest.facts["splits"].items():
        lines.append(
            f"{split:<12}{facts['tokens']:>14,}{facts['blocks']:>12,}{facts['rows']:>12,}{facts['fill_rate']:>8.1%}"
        )
    return [*lines, f"{out}: {manifest.facts['format']}, rows of at most {manifest.facts['max_tokens']} tokens"]


@main.command(epilog="Example: torchrun --nproc-per-node 8 -m rbt pretrain --set run.stop_after=1000")
@click.option("--packed", type=FOLDER, default="packed", show_default=True, help="Folder of tokens and indices.")
@click.option("--format", "format_name", help="Index to train on: a format or a folder's name [default: the recipe's].")
@click.option("--out", type=FOLDER, default="run", show_default=True, help="Folder of the run.")
@common
def pretrain(packed: Path, format_name: str | None, out: Path, recipe: Recipe, quiet: bool) -> None:
    """Pretrain a RoBERTa on a packed corpus; continues a run that was stopped."""
    from rbt.trainer.config import DataConfig, ModelConfig, RunConfig, ScheduleConfig
    from rbt.trainer.pretrain import pretrain as train

    train(
        packed, format_name or recipe.sections["pack"].format, out,
        recipe.section("model", ModelConfig), recipe.section("data", DataConfig),
        recipe.section("schedule", ScheduleConfig), recipe.section("run", RunConfig),
    )
    say(quiet, *run_summary(out))


def run_summary(out: Path) -> list[str]:
    """The last training and validation lines of a run's metrics."""
    import json

    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text("utf-8").splitlines()]
    trained = [line for line in lines if "loss" in line]
    validated = [line for line in lines if "validation_loss" in line]
    words = [f"step {trained[-1]['step']:,}: loss {trained[-1]['loss']:.3f}"] if trained else []
    if validated:
        last = validated[-1]
        words.append(f"validation loss {last['validation_loss']:.3f}, perplexity {last['validation_perplexity']:.2f}")
    return [f"{out}: {'; '.join(words)} (masked tokens only, base e)"]


@main.command(epilog="Example: rbt export --run run --out model")
@click.option("--run", "run_folder", type=FOLDER, default="run", show_default=True, help="Folder of the run.")
@click.option("--out", type=FOLDER, default="model", show_default=True, help="Folder of the model.")
@click.option("--replace", is_flag=True, help="Replace a model exported from another checkpoint.")
@common
def export(run_folder: Path, out: Path, replace: bool, recipe: Recipe, quiet: bool) -> None:
    """Write the newest checkpoint as a folder that Hugging Face transformers reads."""
    from rbt.trainer.export import export as export_model

    export_model(run_folder, out, replace=replace)
    say(quiet, f"{out}: AutoModelForMaskedLM.from_pretrained({str(out)!r}) and AutoTokenizer read it")


@main.command("fill-mask", epilog='Example: rbt fill-mask "The capital of France is <mask>."')
@click.argument("text")
@click.option("--model", "folder", type=FOLDER, default="model", show_default=True, help="Folder of the model.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="Fillings to show.")
@common
def fill_mask(text: str, folder: Path, top: int, recipe: Recipe, quiet: bool) -> None:
    """Let an exported model fill each <mask> of TEXT."""
    from rbt.packing.encode import encode_with_specials, token_text
    from rbt.trainer.fill_mask import predict_masks

    ids = encode_with_specials(folder, text)
    predictions = predict_masks(folder, ids, top)
    if not predictions:
        raise ConfigError("expected <mask> in the text", found=repr(text), cure='"The capital of France is <mask>."')
    for number, fillings in enumerate(predictions):
        for token, probability in fillings:
            click.echo(f"mask {number + 1}  {probability:7.2%}  {token_text(folder, token)!r}")


@main.command(epilog="Example: rbt verify corpus")
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
