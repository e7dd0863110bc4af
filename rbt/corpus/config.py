"""Configuration of the corpus: sections [corpus], [[source]], [clean], [deduplicate] of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

SourceKind = Literal["wikipedia", "bookcorpus", "ccnews", "openwebtext", "stories", "table"]


ORIGINS = {  # where each kind's raw files come from, for `rbt init`
    "wikipedia": "dumps.wikimedia.org: <wiki>-<date>-pages-articles-multistream.xml.bz2",
    "bookcorpus": "one UTF-8 .txt a book",
    "ccnews": "Common Crawl, crawl-data/CC-NEWS/YYYY/MM/CC-NEWS-*.warc.gz",
    "openwebtext": "openwebtext.tar.xz of the OpenWebText corpus, or its urlsf_subset*.tar",
    "stories": "CC-Stories text files (.txt, .txt.gz), one sentence a line",
    "table": "jsonl, csv or parquet, with a `columns` map",
}


@dataclass(frozen=True)
class CorpusConfig:
    """[corpus]."""

    name: str = "corpus"
    seed: int = 0  # of the MinHash permutations
    part_bytes: int = 256_000_000  # text bytes of a part
    keep_work: bool = True  # keep ingested parts, so that changed thresholds do not extract again


@dataclass(frozen=True)
class SourceConfig:
    """One [[source]]: raw files of one kind. Keys that belong to some kinds only are listed in OPTION_KINDS."""

    kind: SourceKind
    paths: tuple[str, ...]  # files, globs or fsspec URLs, relative to the recipe
    name: str = ""  # the `source` column and the prefix of ids; default: the kind
    maximum_duplicates: float = 0.5  # share of its documents that deduplication may take before the build stops
    maximum_errors: float = 0.05  # share of its records that may be quarantined before the build stops
    disambiguation: bool = False  # wikipedia: keep disambiguation pages
    sentence_lines: Literal["auto", "yes", "no"] = "auto"  # bookcorpus: one sentence a line or row, books not marked
    split_books: bool = False  # bookcorpus: guess where books begin in such files, by their copyright pages
    since: str = "2016-09-01"  # ccnews: first crawl date (WARC-Date), ISO 8601; "" = no bound
    until: str = "2019-03-01"  # ccnews: crawl dates before this; "" = no bound
    extractor: Literal["fast", "trafilatura"] = "fast"  # HTML pages
    page_bytes: int = 10_000_000  # larger HTML pages are quarantined
    page_seconds: float = 30.0  # pages that take longer to extract are quarantined
    urls: str = ""  # openwebtext: list of `rbt corpus urls`; then `paths` are WARC files, and these pages are taken
    questions: tuple[str, ...] = ()  # stories: files of PDP-60 and WSC-273; then `paths` are WARC or WET files to score
    top_fraction: float = 0.001  # stories: share of the scored documents that is kept
    detokenize: bool = True  # stories: undo the Penn Treebank tokenization of the published files
    columns: dict[str, str] = field(default_factory=dict)  # table: our column -> theirs (id, text, title, url, date)

    @property
    def label(self) -> str:
        """The source's name in the corpus."""
        return self.name or self.kind


OPTION_KINDS: dict[str, tuple[SourceKind, ...]] = {  # the kinds that know an option; elsewhere it is an error
    "disambiguation": ("wikipedia",),
    "sentence_lines": ("bookcorpus",),
    "split_books": ("bookcorpus",),
    "since": ("ccnews",),
    "until": ("ccnews",),
    "extractor": ("wikipedia", "ccnews", "openwebtext", "stories"),
    "page_bytes": ("wikipedia", "ccnews", "openwebtext", "stories"),
    "page_seconds": ("wikipedia", "ccnews", "openwebtext", "stories"),
    "urls": ("openwebtext",),
    "questions": ("stories",),
    "top_fraction": ("stories",),
    "detokenize": ("stories",),
    "columns": ("table", "bookcorpus", "openwebtext", "stories"),
}


@dataclass(frozen=True)
class CleanConfig:
    """[clean]. Lengths are in characters of cleaned text."""

    language: str = "en"  # ISO 639-1; "" keeps every language
    minimum_language_score: float = 0.65
    minimum_characters: int = 200


@dataclass(frozen=True)
class DeduplicateConfig:
    """[deduplicate]. Bands and rows: see docs/architecture.md; recall is 1 - (1 - s^rows)^bands at similarity s."""

    exact: bool = True
    near: bool = True
    threshold: float = 0.8  # exact Jaccard of the sets of word n-grams
    ngram: int = 5  # words
    bands: int = 20
    rows: int = 6
    group_limit: int = 50  # a band group's members meet at most its first so many by priority
