"""`rbt corpus duplicates` and `rbt corpus curve`, and the audit that a build makes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

PROSE = "The ferry left the quay at seven, and nobody on the upper deck spoke until the island was behind us. "


def deduplicate_counts(folder: Path) -> dict[str, int]:
    rows = json.loads((folder / "ledger.json").read_text())
    (row,) = (row for row in rows if (row["stage"], row["source"]) == ("deduplicate", ""))
    return dict(row["other"])


def test_a_build_looks_at_its_removals_again_and_says_so(new_project: Callable[[], Any]) -> None:
    project = new_project()
    output = project.must("corpus", "build", "--workers", "1")
    assert "deduplication: 7 of 7 removals looked at again: 7 right" in output
    counts = deduplicate_counts(project.folder / "corpus")
    assert {name: number for name, number in counts.items() if name.startswith("precision")} == {
        "precision_sampled": 7, "precision_confirmed": 7, "precision_lower_ppm": 1_000_000,
        "precision_upper_ppm": 1_000_000,
    }
    manifest = json.loads((project.folder / "corpus" / "manifest.json").read_text())
    assert "audit.arrow" in {record["path"] for record in manifest["files"]}
    shutil.rmtree(project.folder / "corpus" / "work")
    assert project.must("verify", "corpus").endswith(": sound\n")
    assert "7 of 7 pairs" in project.must("corpus", "duplicates")  # though the work folder is gone


def test_a_sample_of_the_removals_gives_an_interval(
    new_project: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rbt.corpus.audit.SAMPLE", 4)
    output = new_project().must("corpus", "build", "--workers", "1")
    assert "deduplication: 4 of 7 removals looked at again: 4 right (precision at least .3976, 95 % interval)" in output


def test_planted_pairs_are_shown_with_their_differing_words(built: Any) -> None:
    output = built.must("corpus", "duplicates", "--source", "wikipedia", small=False)
    assert output.startswith("1 of 1 pairs like that, among 7 in audit.arrow\n\n--- 1 of 1: near_duplicate, ")
    assert "Jaccard 0.8932, source wikipedia\n" in output
    assert "left, removed: wikipedia:235, 2,259 characters\nright, kept: wikipedia:19, 2,250 characters\n" in output
    assert "[-shiny,-]" in output
    assert "{+glossy,+}" in output
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= 110


def test_pairs_are_chosen_by_rule_similarity_number_and_seed(built: Any) -> None:
    def shown(*words: str) -> list[str]:
        lines = built.must("corpus", "duplicates", *words, small=False).splitlines()
        return [line.split(": ")[1].split(", ")[0] for line in lines if line.startswith("left, removed")]

    assert len(shown()) == 7
    assert len(shown("--rule", "exact_duplicate")) == 4
    assert len(shown("--rule", "near_duplicate")) == 3
    assert len(shown("--maximum-jaccard", "0.93")) == 2
    assert len(shown("--minimum-jaccard", "0.9", "--maximum-jaccard", "0.99")) == 2
    assert shown("--sample", "3") == shown("--sample", "3")
    assert len({tuple(shown("--sample", "3", "--seed", str(seed))) for seed in range(5)}) > 1


def test_on_a_terminal_words_are_in_color_unless_no_color_is_set(built: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from rbt.cli.duplicates import terminal_marks
    from rbt.corpus.side_by_side import PLAIN

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    marks = terminal_marks()
    assert (marks.left("x"), marks.right("x"), marks.width) == ("\x1b[31mx\x1b[0m", "\x1b[32mx\x1b[0m", 0)
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal_marks() is PLAIN
    monkeypatch.setenv("COLUMNS", "64")
    output = built.must("corpus", "duplicates", "--rule", "near_duplicate", small=False)
    rows = [line for line in output.splitlines() if " | " in line]
    assert {line.index(" | ") for line in rows} == {30}
    assert max(map(len, rows)) <= 64


def test_a_mistake_is_one_clear_line(built: Any) -> None:
    for words, expected in (
        (("duplicates", "--source", "nothing"), "none among 7 (sources: bookcorpus, ccnews, letters,"),
        (("duplicates", "--corpus", "nowhere"), "nowhere: expected a finished corpus"),
        (("duplicates", "--minimum-jaccard", "2"), "2"),
        (("curve", "--threshold", "0"), "[deduplicate] threshold: expected above 0"),
        (("curve", "--plot", "curve.svg"), "expected a file name that ends in .png; found curve.svg"),
        (("curve", "--set", "deduplicate.rows=0"), "[deduplicate] rows: expected 1 or more"),
    ):
        result = built.run("corpus", *words, small=False)
        assert result.exit_code == 2
        assert result.output.count("\n") == 1
        assert expected in result.output


def test_a_corpus_without_an_audit_says_how_to_get_one(built: Any, new_project: Callable[[], Any]) -> None:
    project = new_project()
    shutil.copytree(built.folder / "corpus", project.folder / "corpus")
    (project.folder / "corpus" / "audit.arrow").unlink()
    result = project.run("corpus", "duplicates", small=False)
    assert result.exit_code == 2
    assert "corpus: expected audit.arrow; found none" in result.output
    assert "audit.arrow: missing" in project.run("verify", "corpus", small=False).output


def test_v8_a_removal_that_is_not_right_stops_the_build(
    new_project: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if verification had a defect: one document is said to go for one that it does not resemble."""
    from rbt.corpus import build
    from rbt.formats import removals
    from rbt.formats.parts import open_table, write_table

    def tampered(passed: Any, inputs: Any, known: Any, selection: Any, work: Path, ledger: Any) -> None:
        write_removed(passed, inputs, known, selection, work, ledger)
        rows = open_table(work / removals.NAME, removals.SCHEMA).to_pylist()
        for row in rows:
            if row["id"] == "wikipedia:235":
                row["kept_id"] = "wikipedia:12"
        table = pa.Table.from_pylist(rows, schema=removals.SCHEMA)
        write_table(work / removals.NAME, table.to_batches(), removals.SCHEMA)

    write_removed = build.write_removed
    monkeypatch.setattr(build, "write_removed", tampered)
    project = new_project()
    result = project.run("corpus", "build", "--workers", "1")
    assert result.exit_code == 2
    assert "expected wikipedia:235 to resemble wikipedia:12, for which it was removed" in result.output
    assert not (project.folder / "corpus" / "manifest.json").exists()
    assert not list((project.folder / "corpus").glob("part-*.arrow"))
    monkeypatch.undo()
    assert "7 right" in project.must("corpus", "build", "--workers", "1")


def test_pairs_can_be_seen_when_a_source_is_past_its_budget(new_project: Callable[[], Any]) -> None:
    project = new_project()
    (project.folder / "input").mkdir()
    lines = [json.dumps({"id": str(number), "text": PROSE * 3}) for number in range(9)]
    (project.folder / "input" / "same.jsonl").write_text("\n".join(lines))
    (project.folder / "rbt.toml").write_text('[[source]]\nkind = "table"\npaths = ["input/*"]\n')
    result = project.run("corpus", "build", "--workers", "1", small=False)
    assert result.exit_code == 2
    command = "rbt corpus duplicates --corpus corpus/work --source table"
    assert f"`{command}`" in result.output
    shown = project.must(*command.split()[1:], small=False)
    assert shown.startswith("8 of 8 pairs like that")
    assert "right, kept: table:0" in shown


def test_generations_and_other_corpora_are_looked_up_too(new_project: Callable[[], Any]) -> None:
    project = new_project()
    (project.folder / "input").mkdir()
    beginnings = ["At the fair a man sold clocks that ran backward.", "Rain fell on the orchard for nine days."]
    texts = [f"{beginning} {PROSE * 2}{beginning[::-1]}" for beginning in beginnings]
    for name, chosen in (("a", texts[:1]), ("b", [texts[1], texts[0]]), ("c", [texts[1].upper(), texts[0] + " More."])):
        lines = [json.dumps({"id": str(number), "text": text}) for number, text in enumerate(chosen)]
        (project.folder / "input" / f"{name}.jsonl").write_text("\n".join(lines))
        source = f'[[source]]\nkind = "table"\nname = "{name}"\npaths = ["input/{name}.jsonl"]\n'
        columns = 'columns = { id = "id", text = "text" }\nmaximum_duplicates = 1.0\n[clean]\nlanguage = ""\n'
        (project.folder / f"{name}.toml").write_text(source + columns)

    def run(*words: str) -> str:
        return str(project.must("corpus", *words, "--workers", "1", small=False))

    run("build", "--recipe", "a.toml", "--out", "reference")
    output = run("build", "--recipe", "b.toml", "--out", "corpus", "--against", "reference")
    assert "1 of 1 removals looked at again: 1 right" in output
    assert "1 of 1 removals looked at again: 1 right" in run("add", "--recipe", "c.toml", "--corpus", "corpus")
    shown = project.must("corpus", "duplicates", "--recipe", "b.toml", small=False)
    assert shown.startswith("2 of 2 pairs like that, among 2")
    assert "left, removed: b:1, " in shown
    assert "right, kept in corpus corpus: a:0, " in shown
    assert "left, removed: c:0, " in shown
    assert "right, kept: b:0, " in shown
    assert "sound" in project.must("verify", "corpus", "--recipe", "b.toml", small=False)


def test_the_curve_is_that_of_the_recipe_unless_options_say_otherwise(built: Any) -> None:
    output = built.must("corpus", "curve", small=False)
    assert output.startswith("20 bands of 6 rows: 120 permutations, 160 bytes of band keys a document\n")
    assert "0.80           0.9977   0.0023  <- threshold" in output
    options = ("--set", "deduplicate.bands=14", "--rows", "8", "--threshold", "0.7")
    output = built.must("corpus", "curve", *options, small=False)
    assert output.startswith("14 bands of 8 rows")
    assert "0.70           0.5645   0.4355  <- threshold" in output


def test_a_plot_is_drawn_where_it_is_asked_for_alone(new_project: Callable[[], Any]) -> None:
    project = new_project()
    before = sorted(project.folder.iterdir())
    project.must("corpus", "curve", small=False)
    assert sorted(project.folder.iterdir()) == before
    assert "drawn: curve.png" in project.must("corpus", "curve", "--plot", "curve.png", small=False)
    assert (project.folder / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_the_rules_to_choose_from_are_those_of_the_audit() -> None:
    from rbt.cli.duplicates import RULES
    from rbt.corpus.dedup.collect import DUPLICATE_ID
    from rbt.corpus.dedup.collect import RULES as REMOVAL_RULES
    from rbt.formats import audit

    assert audit.RULES == RULES
    assert {DUPLICATE_ID, *RULES} == set(REMOVAL_RULES)
