"""Configuration of the corpus: sections [corpus], [[source]], [clean], [quality], [decontaminate], [deduplicate]."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

SourceKind = Literal["wikipedia", "bookcorpus", "ccnews", "openwebtext", "stories", "table"]


ORIGINS = {  # where each kind's raw files come from, for `rbt init`; docs/sources.md says more
    "wikipedia": "dumps.wikimedia.org: <wiki>-<date>-pages-articles-multistream.xml.bz2; CirrusSearch, Enterprise HTML",
    "bookcorpus": "a book a file: .txt, .epub, TEI .xml, tars and zips of them; books_large_p*.txt; the Hub's parquet",
    "ccnews": "Common Crawl, crawl-data/CC-NEWS/YYYY/MM/CC-NEWS-*.warc.gz (`rbt corpus fetch`); WET files",
    "openwebtext": "openwebtext.tar.xz or urlsf_subset*.tar; the Hub's parquet; WARC files with `urls`",
    "stories": "CC-Stories text files (.txt, .txt.gz); the Hub's parquet; WARC or WET files with `questions`",
    "table": "jsonl, csv, tsv or parquet, with a `columns` map",
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
    """Raw files of one kind. A key whose meaning names kinds belongs to these only, elsewhere it is an error."""

    kind: SourceKind
    paths: tuple[str, ...]  # files, globs or fsspec URLs, relative to the recipe; "@LIST": a file of such lines
    name: str = ""  # the `source` column and the prefix of ids; default: the kind
    maximum_duplicates: float = 0.5  # share of its documents that deduplication may take before the build stops
    maximum_errors: float = 0.05  # share of its records that may be quarantined before the build stops
    disambiguation: bool = False  # wikipedia: keep disambiguation pages
    sentence_lines: Literal["auto", "yes", "no"] = "auto"  # bookcorpus: one sentence a line or row, books not marked
    split_books: bool = False  # bookcorpus: guess where books begin in such files, by their copyright pages
    since: str = "2016-09-01"  # ccnews: first crawl date (WARC-Date), ISO 8601; "" = no bound
    until: str = "2019-03-01"  # ccnews: crawl dates before this; "" = no bound
    extractor: Literal["fast", "trafilatura"] = "fast"  # ccnews, openwebtext, stories: of HTML pages
    page_bytes: int = 10_000_000  # the same, and wikipedia: larger HTML pages are quarantined
    page_seconds: float = 30.0  # ccnews, openwebtext, stories: pages that take longer to extract are quarantined
    urls: str = ""  # openwebtext: folder of `rbt corpus urls`; then `paths` are WARC files, and these pages are taken
    questions: tuple[str, ...] = ()  # stories: files of PDP-60 and WSC-273; then `paths` are WARC or WET files to score
    top_fraction: float = 0.001  # stories: share of the scored documents that is kept
    detokenize: bool = True  # stories, bookcorpus sentence lines: undo the published files' Penn Treebank tokens
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
    "extractor": ("ccnews", "openwebtext", "stories"),
    "page_bytes": ("wikipedia", "ccnews", "openwebtext", "stories"),
    "page_seconds": ("ccnews", "openwebtext", "stories"),
    "urls": ("openwebtext",),
    "questions": ("stories",),
    "top_fraction": ("stories",),
    "detokenize": ("stories", "bookcorpus"),
    "columns": ("table", "bookcorpus", "openwebtext", "stories"),
}


@dataclass(frozen=True)
class CleanConfig:
    """[clean]. Lengths are in characters of cleaned text."""

    language: str = "en"  # ISO 639-1; "" keeps every language
    minimum_language_score: float = 0.65
    minimum_characters: int = 200
    mojibake: bool = False  # repair text that was decoded with the wrong encoding (ftfy); ingests anew


@dataclass(frozen=True)
class QualityConfig:
    """[quality]: documents beyond a bound of a rule set that is on are dropped. Defaults are the published ones.

    Gopher: Rae et al. 2021, section A.1.1 and table A1. C4: Raffel et al. 2020, section 2.2. What each statistic
    counts is said in rbt/corpus/quality.py. Shares and ratios are 0 to 1.
    """

    rules: tuple[Literal["gopher", "c4"], ...] = ()
    gopher_minimum_words: int = 50
    gopher_maximum_words: int = 100_000  # many novels are longer
    gopher_minimum_mean_word_length: float = 3.0  # characters
    gopher_maximum_mean_word_length: float = 10.0
    gopher_maximum_hash_ratio: float = 0.1  # number signs a word
    gopher_maximum_ellipsis_ratio: float = 0.1  # ellipses a word
    gopher_maximum_bullet_lines: float = 0.9  # share of lines that start with a bullet
    gopher_maximum_ellipsis_lines: float = 0.3  # share of lines that end with an ellipsis
    gopher_minimum_alphabetic_words: float = 0.8  # share of words that hold a letter
    gopher_minimum_stop_words: int = 2  # different ones of: the, be, to, of, and, that, have, with (0: any language)
    gopher_maximum_duplicate_lines: float = 0.3  # share of lines that occurred before in the document
    gopher_maximum_duplicate_line_characters: float = 0.2  # their share of characters
    gopher_maximum_duplicate_paragraphs: float = 0.3
    gopher_maximum_duplicate_paragraph_characters: float = 0.2
    gopher_maximum_top_2gram: float = 0.2  # share of characters in the most frequent word 2-gram
    gopher_maximum_top_3gram: float = 0.18
    gopher_maximum_top_4gram: float = 0.16
    gopher_maximum_duplicate_5gram: float = 0.15  # share of characters in word 5-grams that occurred before
    gopher_maximum_duplicate_6gram: float = 0.14
    gopher_maximum_duplicate_7gram: float = 0.13
    gopher_maximum_duplicate_8gram: float = 0.12
    gopher_maximum_duplicate_9gram: float = 0.11
    gopher_maximum_duplicate_10gram: float = 0.1
    c4_minimum_sentences: int = 5  # in lines that end in punctuation, of 3 words or more, without "javascript"
    c4_minimum_line_characters: float = 0.0  # share of characters in such lines; C4 cuts the others out, rbt does not
    c4_maximum_curly_brackets: int = 0
    c4_maximum_lorem_ipsum: int = 0


TASK_ORIGINS: dict[str, str] = {  # where evaluation sets come from, for `rbt init`; GLUE has the others
    "glue": "gluebenchmark.com/tasks: the zips CoLA.zip, SST-2.zip ... as they are, or unpacked",
    "squad": "rajpurkar.github.io/SQuAD-explorer: dev-v1.1.json, dev-v2.0.json",
    "race": "www.cs.cmu.edu/~glai1/data/race: RACE.tar.gz, unpacked",
}


@dataclass(frozen=True)
class DecontaminateConfig:
    """[decontaminate]: text of evaluation sets is cut out by the rule of GPT-3 (Brown et al. 2020, appendix C)."""

    tasks: dict[str, str] = field(default_factory=dict)  # glue or a task -> its folder, zip or file; none: off
    splits: tuple[Literal["train", "dev", "test"], ...] = ("dev", "test")
    mode: Literal["cut", "drop"] = "cut"  # cut matches out, or drop every document that has one
    ngram: int = 13  # words of a match
    minimum_words: int = 8  # texts of an example that are shorter than `ngram` match as a whole, down to this length
    window_characters: int = 200  # cut out on each side of a match
    minimum_piece_characters: int = 200  # shorter pieces between cuts are cut out too
    maximum_pieces: int = 10  # a document that is cut into more is dropped
    maximum_documents: int = 10  # n-grams that more documents of the corpus have are common phrases, and ignored


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
    paragraphs: bool = False  # cut paragraphs that an earlier document has, before documents are compared
    paragraph_words: int = 8  # shorter paragraphs are never cut
