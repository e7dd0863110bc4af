"""`rbt corpus ...`: build a corpus, get its raw files, look into it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbt.cli.options import FOLDER, RbtGroup, common, engine_options, say, work_options
from rbt.config import Recipe
from rbt.errors import ConfigError, RbtError

if TYPE_CHECKING:
    from rbt.manifest import Manifest


AGAINST = click.option(
    "--against", type=FOLDER, multiple=True, metavar="CORPUS",
    help="Drop duplicates of what another corpus holds too. Repeatable.",
)


@click.group(cls=RbtGroup)
def corpus() -> None:
    """Build a corpus and look into it."""


@corpus.command(epilog="Example: rbt corpus build --set clean.minimum_characters=500 --workers 8")
@click.option("--out", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@AGAINST
@work_options
@common
def build(
    out: Path, against: tuple[Path, ...], engine: str, address: str, workers: int, replace: bool, recipe: Recipe,
    quiet: bool,
) -> None:
    """Ingest, clean and deduplicate the recipe's sources into Arrow parts."""
    from rbt.corpus.build import build_corpus
    from rbt.corpus.summary import corpus_summary
    from rbt.engine import make_engine

    made_by = make_engine(engine, workers, address, out)
    manifest = build_corpus(recipe, out, made_by, replace=replace, against=against)
    say(quiet, *corpus_summary(out, manifest))


@corpus.command(epilog="Example: rbt corpus add --recipe more.toml --corpus corpus")
@click.option("--corpus", "folder", type=FOLDER, default="corpus", show_default=True, help="Folder of the corpus.")
@AGAINST
@engine_options
@common
def add(
    folder: Path, against: tuple[Path, ...], engine: str, address: str, workers: int, recipe: Recipe, quiet: bool
) -> None:
    """Append the recipe's sources to a finished corpus.

    They are deduplicated against themselves and the corpus, whose parts stay as they are; what is kept is what one
    build keeps that lists the old sources and then the new.
    """
    from rbt.corpus.build import add_generation
    from rbt.corpus.summary import corpus_summary
    from rbt.engine import make_engine

    out, manifest = add_generation(recipe, folder, make_engine(engine, workers, address, folder), against=against)
    say(quiet, *corpus_summary(out, manifest))


def print_document(row: dict[str, Any]) -> None:
    """A document with its fields above its text."""
    for key, value in row.items():
        if key != "text" and value not in ("", None):
            click.echo(f"{key + ':':<16}{value}")
    click.echo(f"\n{row['text']}\n")


@corpus.command(epilog='Example: rbt corpus urls "reddit/RS_*.zst" --until 2018-01-01 --out urls')
@click.argument("dumps", metavar="DUMP...", nargs=-1, required=True)
@click.option("--out", type=FOLDER, default="urls", show_default=True, help="Folder of the URL list.")
@click.option("--minimum-karma", default=3, show_default=True, help="Sum over all submissions of a URL.")
@click.option("--over-18", is_flag=True, help="Keep links of submissions marked over 18.")
@click.option("--since", default="", metavar="DATE", help="Submissions from this date on (UTC).")
@click.option("--until", default="", metavar="DATE", help="Submissions before this date; WebText's: 2018-01-01.")
@click.option("--blacklist", multiple=True, metavar="FILE", help="More domains or .extensions, one a line. Repeatable.")
@click.option("--maximum-errors", default=0.05, show_default=True, help="Share of a dump that may be unreadable.")
@work_options
@common
def urls(
    dumps: tuple[str, ...], out: Path, minimum_karma: int, over_18: bool, since: str, until: str,
    blacklist: tuple[str, ...], maximum_errors: float, engine: str, address: str, workers: int, replace: bool,
    recipe: Recipe, quiet: bool,
) -> None:
    """Make the URL list of WebText from Reddit submission dumps.

    DUMPs are files, globs or URLs: JSON lines, plain, .zst, .xz, .bz2 or .gz. A source of kind "openwebtext" with
    `urls = "OUT"` takes these URLs' pages out of WARC files.
    """
    from rbt.corpus.config import CorpusConfig
    from rbt.corpus.urls import UrlsConfig, build_urls
    from rbt.engine import make_engine

    keep_work = recipe.section("corpus", CorpusConfig).keep_work
    config = UrlsConfig(minimum_karma, over_18, since, until, blacklist, maximum_errors, keep_work)
    manifest = build_urls(dumps, out, config, make_engine(engine, workers, address, out), replace=replace)
    say(quiet, *urls_summary(out, manifest))


def urls_summary(out: Path, manifest: Manifest) -> list[str]:
    """The ledger of a URL list, as lines of a table."""
    lines = []
    for stage, _, row in manifest.ledger:
        dropped = sorted(row.dropped.items(), key=lambda item: -item[1].documents)
        lines.append(f"{stage:<10}{row.incoming.documents:>14,} submissions, {row.outgoing.documents:,} kept; dropped:")
        lines += [f"{amount.documents:>24,} {rule}" for rule, amount in dropped if amount.documents]
    total = f"{manifest.facts['urls']:,} URLs of {manifest.facts['submissions']:,} submissions"
    return [*lines, f"{out}: {total}; every line is accounted for in {out / 'ledger.json'}"]


@corpus.command(epilog="Example: rbt corpus fetch warc.paths.gz --prefix https://data.commoncrawl.org/ --out raw")
@click.argument("list_", metavar="LIST")
@click.option("--out", type=FOLDER, default="raw", show_default=True, help="Folder of the files.")
@click.option("--prefix", default="", metavar="URL", help="Of the lines that are paths.")
@click.option("--only", default="", metavar="PATTERN", help="Files of this name alone (* and ?).")
@click.option("--checksums", default="", metavar="FILE|URL", help="Checksums and names, as md5sum writes them.")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Connections at a time.")
@click.option("--attempts", type=click.IntRange(1), default=8, show_default=True, help="Of a file, without a byte.")
@click.option("--update", is_flag=True, help="Ask the server whether files that are here have changed.")
@common
def fetch(
    list_: str, out: Path, prefix: str, only: str, checksums: str, parallel: int, attempts: int, update: bool,
    recipe: Recipe, quiet: bool,
) -> None:
    """Download the files of a list; run again, it goes on where it stopped.

    LIST is a file or a URL, plain or gzip, of URLs (http, s3, ...) or paths, a line each, with an optional checksum
    (`URL sha256:...`), or what md5sum, sha1sum or sha256sum write.
    """
    from rbt.corpus.fetch import FetchConfig
    from rbt.corpus.fetch import fetch as fetch_all
    from rbt.corpus.fetch_list import read_items

    items = read_items(list_, prefix, only, checksums)
    report = fetch_all(items, out, FetchConfig(parallel, attempts, update))
    for name, reason in sorted(report.failed.items()):
        click.echo(f"{name}: {reason}", err=True)
    words = f"{len(report.fetched):,} fetched ({report.bytes / 1e6:,.2f} MB), {len(report.kept):,} were there"
    if report.failed:
        raise RbtError(
            f"expected all {len(items):,} files", path=out, found=f"{words}, {len(report.failed):,} failed",
            cure="run again, the same command takes up what was cut; names and checksums are the list's",
        )
    say(quiet, f"{out}: {words}")


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
        for generation, manifest in zip(opened.folders, opened.manifests, strict=True):
            say(False, *corpus_summary(generation, manifest))


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
    kept = row["kept_id"] + (f" in corpus {row['kept_in']}" if row["kept_in"] else "")
    if row["rule"].startswith("exact_duplicate"):
        return f"{row['rule']} of {kept}"
    if kept:
        return f"{row['rule']} of {kept} (Jaccard {row['jaccard']:.3f}, threshold {row['threshold']})"
    return f"{row['rule']}" + (f" ({row['value']}; asked for {row['threshold']})" if row["value"] else "")
