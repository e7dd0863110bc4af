"""`rbt bpe ...`: a tokenizer from a corpus, from counted words, from a model, or from GPT-2's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from rbt.cli.options import FOLDER, MEMORY, RbtGroup, common, override, say, work_options
from rbt.config import Recipe
from rbt.errors import ConfigError

if TYPE_CHECKING:
    from rbt.manifest import Manifest

TEXT_OPTIONS = ("folder", "engine", "address", "workers")  # of `rbt bpe train` on a corpus
MEMORY_HELP = "Of a worker that counts; beyond it, counts go to disk."


@click.group(cls=RbtGroup)
def bpe() -> None:
    """Train a tokenizer, count words for it, look at its tokens."""


@bpe.command("train", epilog="Example: rbt bpe train --vocab-size 32000")
@click.option("--corpus", "folder", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@click.option("--counts", type=FOLDER, multiple=True, help="Folder of `rbt bpe count`, instead of text. Repeatable.")
@click.option("--from", "model", type=FOLDER, metavar="MODEL", help="Take that of a Hugging Face or exported model.")
@click.option("--gpt2", type=FOLDER, metavar="FOLDER", help="Import GPT-2's encoder.json and vocab.bpe instead.")
@click.option("--dictionary", type=FOLDER, metavar="FILE", help="With --gpt2: fairseq's [default: FOLDER/dict.txt].")
@click.option("--out", type=FOLDER, default="tokenizer", show_default=True, help="Folder of the tokenizer.")
@click.option("--vocab-size", type=int, help="Ids in all [default: the recipe's, 50265].")
@click.option("--minimum-frequency", type=int, help="Of a pair that is merged [default: the recipe's, 0].")
@click.option("--maximum-token-bytes", type=int, help="Of a token; 0 = no limit [default: the recipe's, 0].")
@click.option("--memory", type=MEMORY, default="1GB", show_default=True, help=MEMORY_HELP)
@work_options
@common
def train(
    folder: Path, counts: tuple[Path, ...], model: Path | None, gpt2: Path | None, dictionary: Path | None, out: Path,
    vocab_size: int | None, minimum_frequency: int | None, maximum_token_bytes: int | None, memory: int, engine: str,
    address: str, workers: int, replace: bool, recipe: Recipe, quiet: bool,
) -> None:
    """Train a byte-level BPE in the RoBERTa layout on a corpus, or on the words of several.

    \b
    rbt bpe train                                  count the corpus, learn merges
    rbt bpe train --counts old --counts new        learn merges from words that were counted before
    rbt bpe train --from roberta-base              the tokenizer of a model, with its ids, to train it on
    rbt bpe train --gpt2 gpt2                      the tokenizer of the released RoBERTa, from GPT-2's files
    """
    from rbt.engine import make_engine
    from rbt.packing.bpe import train_bpe, train_on_counts
    from rbt.packing.config import BpeConfig

    if dictionary is not None and gpt2 is None:
        raise ConfigError("--dictionary: expected --gpt2 FOLDER beside it", found="none")
    if counts:
        _refuse_given(TEXT_OPTIONS, "--counts")
    if model is not None or gpt2 is not None:
        if counts or (model is not None and gpt2 is not None):
            raise ConfigError("expected one of --from, --gpt2 and --counts", found="more")
        if vocab_size or minimum_frequency or maximum_token_bytes:
            raise ConfigError("expected no option that shapes merges", found="one; those of an import are as they are")
        _refuse_given((*TEXT_OPTIONS, "memory"), "--gpt2" if model is None else "--from")
        say(quiet, *_summary(out, _import(model, gpt2, dictionary, out, replace)))
        return
    recipe = override(
        recipe, "bpe", vocab_size=vocab_size, minimum_frequency=minimum_frequency,
        maximum_token_bytes=maximum_token_bytes,
    )
    config = recipe.section("bpe", BpeConfig)
    if counts:
        manifest = train_on_counts(counts, out, config, memory_bytes=memory, replace=replace)
    else:
        workers_of = make_engine(engine, workers, address, out)
        manifest = train_bpe(folder, out, config, workers_of, memory_bytes=memory, replace=replace)
    say(quiet, *_summary(out, manifest))


def _import(model: Path | None, gpt2: Path | None, dictionary: Path | None, out: Path, replace: bool) -> Manifest:
    if model is not None:
        from rbt.packing.hugging_face import import_hugging_face

        return import_hugging_face(model, out, replace=replace)
    from rbt.packing.gpt2 import import_gpt2

    assert gpt2 is not None
    return import_gpt2(gpt2, out, dictionary, replace=replace)


def _refuse_given(names: Sequence[str], beside: str) -> None:
    """Raise ConfigError where an option is given that means nothing `beside` another."""
    context = click.get_current_context()
    for parameter in context.command.params:
        is_given = context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
        if is_given and parameter.name in names:
            raise ConfigError(f"{beside}: expected no {parameter.opts[0]} beside it, which is for text")


def _summary(out: Path, manifest: Manifest) -> list[str]:
    facts = manifest.facts
    learned = ""
    if "distinct_words" in facts:
        learned = f" learned from {facts['bytes']:,} bytes, {facts['distinct_words']:,} different words"
    return [f"{out}: {facts['vocab_size']:,} ids, {facts['merges']:,} merges{learned}"]


@bpe.command("count", epilog="Example: rbt bpe count --corpus new --out new-counts")
@click.option("--corpus", "folder", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@click.option("--out", type=FOLDER, default="counts", show_default=True, help="Folder of the word counts.")
@click.option("--memory", type=MEMORY, default="1GB", show_default=True, help=MEMORY_HELP)
@work_options
@common
def count(
    folder: Path, out: Path, memory: int, engine: str, address: str, workers: int, replace: bool, recipe: Recipe,
    quiet: bool,
) -> None:
    """Count the words of a corpus, so that a tokenizer can be trained without its text.

    Of a corpus that grew, --replace counts the new parts and keeps what it has of the old ones.
    """
    from rbt.engine import make_engine
    from rbt.packing.count import STAGE, count_corpus

    workers_of = make_engine(engine, workers, address, out)
    manifest = count_corpus(folder, out, workers_of, memory_bytes=memory, replace=replace)
    amount = manifest.ledger.row(STAGE, "all").outgoing
    words = sum(fact["words"] for fact in manifest.facts["parts"])
    parts = len(manifest.facts["parts"])
    say(quiet, f"{out}: {words:,} words of {amount.documents:,} documents ({amount.bytes:,} bytes), {parts} files")
