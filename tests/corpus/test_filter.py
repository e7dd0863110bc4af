"""The filter and the quality rules: what is dropped, in which words, and what a changed threshold does not do again."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from rbt.config import load_recipe
from rbt.corpus.build import build_corpus
from rbt.corpus.config import CleanConfig, QualityConfig
from rbt.corpus.filter import filter_part, filter_parts
from rbt.corpus.quality import COLUMNS
from rbt.corpus.score import bounds, read_scores, score_parts
from rbt.engine import LocalEngine
from rbt.errors import ConfigError
from rbt.formats import removals
from rbt.formats.document import SCHEMA
from rbt.formats.parts import open_table, read_batches, write_table
from rbt.manifest import FileRecord
from rbt.stage import Receipt, Task

PROSE = (
    "The ferry was late again, and the people on the quay had begun to talk to each other. A boy with a red cap asked "
    "whether it would ever come. His mother said that it always had. Somebody laughed at that, but not unkindly. By "
    "nine the lights of the boat could be seen behind the breakwater, and everyone picked up what they had put down."
)
BOTH = QualityConfig(rules=("gopher", "c4"))


def document(id: str, text: str, language: str = "en", score: float = 0.99) -> dict[str, Any]:
    """A row of an ingested part."""
    return {**dict.fromkeys(SCHEMA.names, ""), "id": id, "text": text, "language": language, "language_score": score}


def ingested(work: Path, batches: list[list[dict[str, Any]]], name: str = "00-00000") -> Receipt:
    """An ingested part of these batches, as the ingest stage leaves it."""
    path = work / "ingest" / f"{name}.arrow"
    write_table(path, [pa.RecordBatch.from_pylist(rows, schema=SCHEMA) for rows in batches], SCHEMA)
    rows = [row for batch in batches for row in batch]
    result = {"documents": len(rows), "bytes": sum(len(row["text"].encode()) for row in rows)}
    record = FileRecord(path.name, path.stat().st_size, f"hash of {len(rows)}")
    return Receipt(name, "", (record,), None, result)  # type: ignore[arg-type]


def run(work: Path, part: Receipt, clean: CleanConfig, quality: QualityConfig) -> tuple[list[int], list[Any]]:
    """(rows kept, removals) of one part."""
    engine = LocalEngine(1)
    scored = score_parts([part], work / "ingest", work / "score", engine) if quality.rules else []
    [receipt] = filter_parts([part], scored, ["news"], work, clean, quality, engine)
    rows = np.load(work / "filter" / receipt.files[0].path)
    sizes = np.load(work / "filter" / receipt.files[1].path)
    removed = open_table(work / "filter" / receipt.files[2].path, removals.SCHEMA).to_pylist()
    row = receipt.ledger.row("filter", "news")
    assert row.imbalance() == (0, 0)
    assert (row.outgoing.documents, row.outgoing.bytes) == (len(rows), sizes.sum())
    assert receipt.result["documents"] == len(rows)
    return rows.tolist(), removed


def reasons(removed: list[Any]) -> list[tuple[str, str, str, str]]:
    """Id, rule, value and threshold of removals."""
    return [(row["id"], row["rule"], row["value"], row["threshold"]) for row in removed]


def test_the_rules_of_clean_are_told_apart_over_all_batches(tmp_path: Path) -> None:
    """Rows are counted over the part; a score of .65, which is no float32, passes the threshold of .65."""
    part = ingested(tmp_path, [
        [document("a", PROSE), document("b", ""), document("c", "short")],
        [document("d", PROSE, "de", 0.8), document("e", PROSE, score=0.65), document("f", PROSE, score=0.6499)],
    ])  # fmt: skip
    rows, removed = run(tmp_path, part, CleanConfig(), QualityConfig())
    assert rows == [0, 4]
    assert reasons(removed) == [
        ("b", "empty", "0", "1"), ("c", "too_short", "5", "200"), ("d", "language", "de 0.8", "en 0.65"),
        ("f", "language", "en 0.6499", "en 0.65"),
    ]  # fmt: skip
    assert [row["bytes"] for row in removed] == [0, 5, len(PROSE), len(PROSE)]


def test_length_is_in_characters_and_bytes_are_bytes(tmp_path: Path) -> None:
    """Two hundred letters of two bytes each are long enough."""
    part = ingested(tmp_path, [[document("a", "é" * 200), document("b", "é" * 199)]])
    rows, removed = run(tmp_path, part, CleanConfig(), QualityConfig())
    assert rows == [0]
    assert removed[0]["bytes"] == 398


REPEATED = "\n".join(["The same line is here and that is to be seen."] * 8 + [PROSE])


@pytest.mark.parametrize(
    ("text", "rule", "value", "threshold"),
    [
        ("The end of the road. " * 3 + "That is it.", "gopher_words", "18", ">= 50"),
        ("of " * 30 + "a b c d e f g h i j " * 3, "gopher_mean_word_length", "1.5", ">= 3"),
        (PROSE.replace(" ", " #"), "gopher_hash_ratio", "0.984848", "<= 0.1"),
        (PROSE.replace(" t", "... t"), "gopher_ellipsis_ratio", "0.166667", "<= 0.1"),
        ("\n".join(f"- {line}" for line in PROSE.split(". ")), "gopher_bullet_lines", "1", "<= 0.9"),
        (PROSE.replace(". ", "...\n").replace("quay", "quay..."), "gopher_ellipsis_lines", "0.8", "<= 0.3"),
        (PROSE + " 1848" * 20, "gopher_alphabetic_words", "0.767442", ">= 0.8"),
        ("Kein Wort hier ist eines von denen, die gesucht sind. " * 6, "gopher_stop_words", "0", ">= 2"),
        (REPEATED, "gopher_duplicate_lines", "0.777778", "<= 0.3"),
        (PROSE.replace(". ", ", "), "c4_sentences", "1", ">= 5"),
        (PROSE.replace("cap", "{cap}"), "c4_curly_brackets", "2", "<= 0"),
        (PROSE + " Lorem ipsum dolor.", "c4_lorem_ipsum", "1", "<= 0"),
    ],
)
def test_documents_are_dropped_by_quality_rules(
    tmp_path: Path, text: str, rule: str, value: str, threshold: str
) -> None:
    """The first statistic out of bounds names the rule; prose passes; without the rule set all pass."""
    part = ingested(tmp_path, [[document("good", PROSE), document("bad", text)]])
    clean = CleanConfig(minimum_characters=1)
    rows, removed = run(tmp_path, part, clean, BOTH)
    assert rows == [0]
    found = removed[0]
    assert (found["rule"], found["value"], found["threshold"]) == (rule, value, threshold)
    assert run(tmp_path, part, clean, QualityConfig())[0] == [0, 1]
    other = QualityConfig(rules=("c4",) if rule.startswith("gopher") else ("gopher",))
    assert rule not in [row["rule"] for row in run(tmp_path, part, clean, other)[1]]


def test_every_threshold_is_a_bound_and_every_statistic_has_one() -> None:
    """No key of [quality] is without effect, and none is spelled unlike the statistic it bounds."""
    keys = [field.name for field in dataclasses.fields(QualityConfig) if field.name != "rules"]
    assert len(bounds(BOTH)) == len(keys)
    assert {bound.rule for bound in bounds(BOTH)} == set(COLUMNS)
    assert bounds(QualityConfig()) == []
    assert {bound.rule.partition("_")[0] for bound in bounds(QualityConfig(rules=("c4",)))} == {"c4"}


def test_the_defaults_are_the_published_ones() -> None:
    """Table A1 of Rae et al. 2021."""
    limits = {(bound.rule.removeprefix("gopher_"), bound.is_maximum): bound.limit for bound in bounds(BOTH)}
    assert [limits[f"top_{n}gram", True] for n in (2, 3, 4)] == [0.20, 0.18, 0.16]
    assert [limits[f"duplicate_{n}gram", True] for n in range(5, 11)] == [0.15, 0.14, 0.13, 0.12, 0.11, 0.10]
    assert [limits["words", False], limits["words", True]] == [50, 100_000]
    assert [limits["mean_word_length", False], limits["mean_word_length", True]] == [3, 10]


def test_an_unknown_rule_set_is_an_error_that_names_the_known() -> None:
    """A recipe cannot ask for what is not there."""
    with pytest.raises(ConfigError, match=r"rules.*gopher.*c4"):
        load_recipe("demo", ['quality.rules=["fineweb"]'])


def test_a_value_on_a_threshold_passes(tmp_path: Path) -> None:
    """Bounds are inclusive: three in ten is no more than .3."""
    lines = ["one of the lines that is to be here", "two", "three", "four and more", "five", "six", "seven"]
    text = "\n".join([*lines, "two", "three", "five"])
    config = QualityConfig(
        rules=("gopher",), gopher_minimum_words=17, gopher_maximum_top_2gram=1, gopher_maximum_top_3gram=1,
        gopher_maximum_top_4gram=1,
    )
    part = ingested(tmp_path, [[document("a", text)]])
    assert run(tmp_path, part, CleanConfig(minimum_characters=1), config)[0] == [0]
    stricter = dataclasses.replace(config, gopher_maximum_duplicate_lines=0.29)
    _, removed = run(tmp_path, part, CleanConfig(minimum_characters=1), stricter)
    assert reasons(removed) == [("a", "gopher_duplicate_lines", "0.3", "<= 0.29")]


def test_removals_are_written_as_they_come(tmp_path: Path) -> None:
    """A part that is dropped almost whole leaves one batch of removals for each of its batches."""
    batches = [[document(f"{number}-{row}", "x") for row in range(50)] for number in range(6)]
    batches[3] = [document("kept", PROSE)]
    part = ingested(tmp_path, batches)
    rows, removed = run(tmp_path, part, CleanConfig(), QualityConfig())
    assert rows == [150]
    assert len(removed) == 250
    sizes = [batch.num_rows for batch in read_batches(tmp_path / "filter/00-00000.removed.arrow", removals.SCHEMA)]
    assert sizes == [50] * 5


def test_an_empty_part_is_filtered(tmp_path: Path) -> None:
    """A raw file without documents leaves a part without batches."""
    part = ingested(tmp_path, [])
    assert run(tmp_path, part, CleanConfig(), BOTH) == ([], [])


def test_scores_of_another_part_are_refused(tmp_path: Path) -> None:
    """Statistics that do not fit the part are an error, not a shifted column."""
    part = ingested(tmp_path, [[document("a", PROSE)], [document("b", PROSE)]])
    other = ingested(tmp_path, [[document("a", PROSE)]], "00-00001")
    score_parts([other], tmp_path / "ingest", tmp_path / "score", LocalEngine(1))
    payload = {"source": "news", "clean": {}, "scores": "", "quality": {"rules": ["c4"]}}
    paths = {"part": tmp_path / "ingest" / part.files[0].path, "scores": tmp_path / "score/00-00001.scores.arrow"}
    with pytest.raises(ValueError, match="shorter"):
        filter_part(Task("x", payload, context={name: str(path) for name, path in paths.items()}), tmp_path)


def stored(work: Path, stage: str) -> dict[str, tuple[int, object]]:
    """Time stamp of every file of a stage, and the seconds of its receipts."""
    found: dict[str, tuple[int, object]] = {}
    for path in sorted((work / stage).rglob("*")):
        if path.is_file():
            seconds = json.loads(path.read_text())["seconds"] if path.suffix == ".json" else 0
            found[path.name] = path.stat().st_mtime_ns, seconds
    return found


def write_recipe(folder: Path) -> str:
    """A table of three documents: good prose, repeated lines, and prose with a doubtful language."""
    rows = [PROSE, REPEATED, "Das ist the house of meinem Vater, and es ist to be here. " * 5]
    lines = [json.dumps({"id": str(number), "text": text}) + "\n" for number, text in enumerate(rows)]
    (folder / "rows.jsonl").write_text("".join(lines))
    recipe = folder / "rbt.toml"
    recipe.write_text('[[source]]\nkind = "table"\nname = "t"\npaths = ["rows.jsonl"]\n[deduplicate]\nnear = false\n')
    return str(recipe)


def test_a_changed_threshold_neither_ingests_nor_scores_again(tmp_path: Path) -> None:
    """Language and quality thresholds move; the files and receipts of ingest and score are not touched."""
    recipe, out = write_recipe(tmp_path), tmp_path / "corpus"

    def build(*settings: str) -> set[str]:
        build_corpus(load_recipe(recipe, settings), out, LocalEngine(1), replace=True)
        return {row["id"] for row in open_table(out / "part-00000.arrow", SCHEMA).to_pylist()}

    def untouched() -> tuple[object, object]:
        return stored(out / "work", "ingest"), stored(out / "work", "score")

    assert build("clean.minimum_language_score=0.99") == {"t:0", "t:1"}
    assert not (out / "work/score").exists()
    first = stored(out / "work", "ingest")
    assert build('quality.rules=["gopher"]', "clean.minimum_language_score=0.99") == {"t:0"}
    before = untouched()
    assert before[0] == first
    assert len(stored(out / "work", "score")) == 2
    assert build('clean.language=""') == {"t:0", "t:1", "t:2"}
    assert build('quality.rules=["gopher", "c4"]', "quality.gopher_maximum_duplicate_lines=0.9") == {"t:0"}
    lines = [f"quality.gopher_maximum_duplicate_{name}=0.9" for name in ("lines", "line_characters")]
    grams = [f"quality.gopher_maximum_{'top' if n < 5 else 'duplicate'}_{n}gram=0.9" for n in range(2, 11)]
    assert build('quality.rules=["c4", "gopher"]', *lines, *grams) == {"t:0", "t:1", "t:2"}
    assert untouched() == before


def test_quality_thresholds_belong_to_the_corpus_only_while_their_rules_are_on(tmp_path: Path) -> None:
    """A bound of a rule set that is off does not ask for another corpus."""
    recipe, out = write_recipe(tmp_path), tmp_path / "corpus"
    first = build_corpus(load_recipe(recipe, []), out, LocalEngine(1))
    same = build_corpus(load_recipe(recipe, ["quality.gopher_minimum_words=9"]), out, LocalEngine(1))
    assert same.fingerprint == first.fingerprint
    other = load_recipe(recipe, ['quality.rules=["gopher"]'])
    assert build_corpus(other, out, LocalEngine(1), replace=True).fingerprint != first.fingerprint


def test_scores_are_rows_of_the_part(tmp_path: Path) -> None:
    """One row a document, batch by batch, counts as integers."""
    part = ingested(tmp_path, [[document("a", PROSE), document("b", "")], [document("c", "x y")]])
    score_parts([part], tmp_path / "ingest", tmp_path / "score", LocalEngine(1))
    scores = list(read_scores(tmp_path / "score/00-00000.scores.arrow"))
    assert [batch.column("gopher_words").to_pylist() for batch in scores] == [[len(PROSE.split()), 0], [2]]
    assert scores[0].schema.field("gopher_words").type == pa.int64()
