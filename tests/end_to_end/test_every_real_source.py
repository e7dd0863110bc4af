"""`rbt corpus build` on every real raw file there is: it finishes, and each source's ledger balances to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbt.corpus.build import LEDGER_STAGES
from rbt.formats import quarantine, removals
from rbt.formats.parts import open_corpus, open_file, read_batches
from rbt.ledger import Ledger
from rbt.manifest import load_manifest

STAGES = [stage for stage in LEDGER_STAGES if stage not in ("decontaminate", "paragraphs")]  # which are off
SOURCES = [  # (kind, name, paths below the data folder, further keys)
    ("wikipedia", "enwiki", ["wikipedia/derived/*"], ""),
    ("wikipedia", "ltgwiki", ["wikipedia/dumpster-dive/*.bz2"], ""),
    ("wikipedia", "tinywiki", ["wikipedia/dumpster-dive/*.xml"], "maximum_duplicates = 1.0"),  # repeated page ids
    ("wikipedia", "mrwiki", ["wikipedia/truncated_multilang/*"], ""),
    ("bookcorpus", "novels", ["books/100_english_novels/*.txt"], ""),
    ("bookcorpus", "novels-tei", ["books/ELTeC-eng_tei/*.xml"], "maximum_duplicates = 1.0"),
    ("bookcorpus", "epub", ["books/epub/*.epub", "hostile/epubcheck/*.epub"],
     "maximum_duplicates = 1.0\nmaximum_errors = 1.0"),
    ("bookcorpus", "gutenberg", ["books/hf_pg19_dummy.zip"], ""),
    ("ccnews", "news", ["warc/derived/*.warc.gz"], 'since = ""\nuntil = ""'),
    ("ccnews", "crawl", ["warc/dolma/*", "warc/warcio/*"],
     'since = ""\nuntil = ""\nmaximum_duplicates = 1.0\nmaximum_errors = 1.0'),
    ("table", "dolma", ["openwebtext/dolma_cc_head/**/*.jsonl.gz"], 'columns = { id = "id", text = "text" }'),
    ("stories", "questions", ["stories/commonsense/*.txt"], "maximum_duplicates = 1.0"),
    ("bookcorpus", "bbc", ["general/bbc/*/*.txt"], "maximum_duplicates = 0.9\nmaximum_errors = 1.0"),
    ("bookcorpus", "naughty", ["hostile/naughty/*.txt"], "maximum_errors = 1.0"),
]


def recipe(data: Path) -> str:
    """A recipe of all sources. Every language is kept, so that nothing hides behind the language rule."""
    lines = ['[corpus]\npart_bytes = 8_000_000\n[clean]\nlanguage = ""\nminimum_characters = 1\n']
    for kind, name, paths, keys in SOURCES:
        listed = ", ".join(f'"{data}/{path}"' for path in paths)
        lines.append(f'[[source]]\nkind = "{kind}"\nname = "{name}"\npaths = [{listed}]\n{keys}\n')
    return "".join(lines)


@pytest.fixture(scope="module")
def corpus(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus of all sources."""
    from click.testing import CliRunner

    from rbt.cli import main

    folder = tmp_path_factory.mktemp("everything")
    (folder / "rbt.toml").write_text(recipe(data), encoding="utf-8")
    words = ["corpus", "build", "--recipe", str(folder / "rbt.toml"), "--out", str(folder / "corpus")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    for _, name, _, _ in SOURCES:
        assert f"\n{name:<14}" in result.output
    return folder / "corpus"


@pytest.mark.slow
def test_every_source_balances_per_stage_in_documents_and_bytes(corpus: Path) -> None:
    """In = out + dropped by rule + shrunk by rule, and each stage takes what the one before gave."""
    ledger = load_manifest(corpus).ledger
    for _, name, _, _ in SOURCES:
        before = None
        for stage in STAGES:
            row = ledger.row(stage, name)
            assert row.imbalance() == (0, 0), (stage, name)
            assert before is None or row.incoming == before, (stage, name)
            before = row.outgoing
        assert before is not None


@pytest.mark.slow
def test_every_raw_byte_was_read(corpus: Path, data: Path) -> None:
    """The ledger's raw bytes are the sizes of the files, for each source."""
    ledger = load_manifest(corpus).ledger
    for _, name, patterns, _ in SOURCES:
        files = {path for pattern in patterns for path in data.glob(pattern) if path.is_file()}
        assert ledger.row("read", name).other["raw_bytes"] == sum(path.stat().st_size for path in files), name
        assert ledger.row("read", name).other["files"] == len(files), name


@pytest.mark.slow
def test_every_drop_and_every_damage_is_listed(corpus: Path) -> None:
    """`removed.arrow` has a row for each dropped document, `quarantine.arrow` one for each unreadable place."""
    ledger: Ledger = load_manifest(corpus).ledger
    removed = open_file(corpus / removals.NAME, removals.SCHEMA).read_all().column("source").to_pylist()
    damaged = open_file(corpus / quarantine.NAME, quarantine.SCHEMA).read_all().column("source").to_pylist()
    for _, name, _, _ in SOURCES:
        rows = (ledger.row(stage, name) for stage in ("filter", "deduplicate"))
        dropped = sum(amount.documents for row in rows for amount in row.dropped.values())
        assert removed.count(name) == dropped, name
        assert damaged.count(name) == ledger.row("read", name).other["quarantined"], name


@pytest.mark.slow
def test_the_real_corpus_verifies_and_has_unique_ids(corpus: Path) -> None:
    """`rbt verify` agrees, and no id occurs twice."""
    from click.testing import CliRunner

    from rbt.cli import main

    assert CliRunner().invoke(main, ["verify", str(corpus)]).exit_code == 0
    batches = [batch for part in open_corpus(corpus).parts() for batch in read_batches(part.path)]
    ids = [id for batch in batches for id in batch.column("id").to_pylist()]
    assert len(ids) == len(set(ids)) > 2000
