"""Growth: a corpus that was added to holds what one build of everything holds; another corpus's documents stay out."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rbt.config import Recipe, load_recipe
from rbt.corpus.build import add_generation, build_corpus
from rbt.corpus.dedup import groups
from rbt.engine import LocalEngine
from rbt.errors import ArtefactError, ConfigError, RbtError
from rbt.formats import document, removals
from rbt.formats.corpus_check import check_corpus
from rbt.formats.parts import Corpus, open_corpus, open_table
from rbt.formats.verify import verify

ONE = LocalEngine(1)
Rows = Sequence[tuple[str, str]]  # (id, text)
SECTIONS = """
[corpus]
part_bytes = 300
[clean]
language = ""
minimum_characters = 1
[deduplicate]
threshold = 0.6
ngram = 2
bands = 30
rows = 2
group_limit = 3
"""


def recipe(folder: Path, *names: str, settings: Sequence[str] = ()) -> Recipe:
    """A recipe of the named tables."""
    sources = "".join(
        f'[[source]]\nkind = "table"\nname = "{name}"\npaths = ["{name}.jsonl"]\n'
        'columns = { id = "id", text = "text" }\nmaximum_duplicates = 1.0\nmaximum_errors = 1.0\n'
        for name in names
    )
    path = folder / f"{'-'.join(names)}.toml"
    path.write_text(SECTIONS + sources)
    return load_recipe(str(path), settings)


def write_table(folder: Path, name: str, rows: Rows) -> None:
    folder.mkdir(exist_ok=True)
    lines = [json.dumps({"id": id, "text": text}) for id, text in rows]
    (folder / f"{name}.jsonl").write_text("\n".join(lines))


def random_rows(generator: random.Random, earlier: list[str]) -> Rows:
    """Short texts: new ones, copies in other clothes, and edits of earlier ones; some ids come again."""
    rows = []
    for _ in range(25):
        words = generator.choices([f"w{number}" for number in range(40)], k=generator.randrange(3, 14))
        if earlier and generator.random() < 0.7:
            words = generator.choice(earlier).lower().replace(",", "").split()
            for _ in range(generator.randrange(3)):
                words[generator.randrange(len(words))] = generator.choice("xyz")
        text = generator.choice([" ", ", "]).join(words)
        rows.append((str(generator.randrange(60)), text.upper() if generator.random() < 0.2 else text))
        earlier.append(text)
    return rows


def kept(corpus: Corpus) -> list[tuple[str, str]]:
    tables = [open_table(part.path, document.SCHEMA) for part in corpus.parts()]
    return [(row["id"], row["text"]) for table in tables for row in table.to_pylist()]


def removed(corpus: Corpus) -> list[dict[str, Any]]:
    return [row for path in corpus.removals() for row in open_table(path, removals.SCHEMA).to_pylist()]


def not_compared(corpus: Corpus) -> int:
    """Pairs beyond the limit of their groups, over all generations."""
    rows = (manifest.ledger.row("deduplicate", "") for manifest in corpus.manifests)
    return sum(row.other["pairs_not_compared"] for row in rows)


@pytest.mark.parametrize("seed", range(6))
def test_a_corpus_that_grew_twice_keeps_what_one_build_keeps(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator, earlier, few = random.Random(seed), list[str](), ["deduplicate.group_limit=1"]
    if seed % 2:  # ranges that split down to one key
        monkeypatch.setattr(groups, "PIECE_ROWS", 3)
    for name in "abc":
        write_table(tmp_path, name, random_rows(generator, earlier))
    build_corpus(recipe(tmp_path, "a", "b", "c", settings=few), tmp_path / "whole", ONE)
    build_corpus(recipe(tmp_path, "a", settings=few), tmp_path / "grown", ONE)
    before = {path: path.read_bytes() for path in sorted((tmp_path / "grown").glob("*")) if path.is_file()}
    for name in "bc":
        add_generation(recipe(tmp_path, name, settings=few), tmp_path / "grown", ONE)
    assert {path: path.read_bytes() for path in before} == before
    whole, grown = open_corpus(tmp_path / "whole"), open_corpus(tmp_path / "grown")
    assert kept(grown) == kept(whole)
    assert len(grown.folders) == 3
    rules = [[(row["id"], row["rule"]) for row in removed(corpus)] for corpus in (grown, whole)]
    assert rules[0] == rules[1]
    assert not_compared(grown) == not_compared(whole) > 0
    assert all(not verdict.problems for verdict in verify(tmp_path / "grown"))
    manifest = grown.manifests[-1]
    assert manifest.facts["numbers"] == whole.manifests[0].facts["numbers"]


def test_every_removal_of_a_generation_names_a_document_of_the_corpus(tmp_path: Path) -> None:
    generator, earlier = random.Random(1), list[str]()
    for name in "ab":
        write_table(tmp_path, name, random_rows(generator, earlier))
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    out, _ = add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE)
    corpus = open_corpus(tmp_path / "corpus")
    ids = {id for id, _ in kept(corpus)}
    named = [row["kept_id"] for row in open_table(out / removals.NAME, removals.SCHEMA).to_pylist() if row["kept_id"]]
    assert any(id.startswith("a:") for id in named)
    assert set(named) <= ids
    assert check_corpus(out) == []
    (out / removals.NAME).write_bytes((tmp_path / "corpus" / removals.NAME).read_bytes())
    assert check_corpus(tmp_path / "corpus") == []


def test_adding_the_same_again_changes_nothing_and_a_killed_one_goes_on(tmp_path: Path) -> None:
    generator, earlier = random.Random(2), list[str]()
    for name in "ab":
        write_table(tmp_path, name, random_rows(generator, earlier))
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    out, first = add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    again, second = add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE)
    assert (again, second.table()) == (out, first.table())
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == stamps
    part = (out / "part-00000.arrow").read_bytes()
    (out / "part-00000.arrow").unlink()
    with pytest.raises(ArtefactError, match=r"part-00000\.arrow missing or cut"):
        add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE)
    (out / "part-00000.arrow").write_bytes(part)
    (out / "manifest.json").unlink()  # as a kill before the end leaves it: no generation yet
    assert len(open_corpus(tmp_path / "corpus").folders) == 1
    again, second = add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE)
    assert (again, second.table()) == (out, first.table())


def test_v13_what_another_corpus_holds_is_dropped_and_names_it(tmp_path: Path) -> None:
    texts = {
        "north": "up there they tell of a harbor and its ships and the sea", "west": "where the sun goes down",
        "south": "down here nobody has seen water for as long as the eldest can say",
    }
    write_table(tmp_path, "a", [("1", texts["north"]), ("2", "a text that nobody else has at all")])
    near = texts["north"].replace("ships", "boats")
    rows = [("1", texts["north"].upper()), ("7", texts["south"]), ("8", near), ("9", texts["south"])]
    write_table(tmp_path, "b", rows)
    build_corpus(recipe(tmp_path, "a"), tmp_path / "reference", ONE)
    other = recipe(tmp_path, "b")
    build_corpus(other, tmp_path / "corpus", ONE, against=[tmp_path / "reference"])
    corpus = open_corpus(tmp_path / "corpus")
    assert kept(corpus) == [("b:7", texts["south"])]
    found = {row["id"]: (row["rule"], row["kept_id"], row["kept_in"]) for row in removed(corpus)}
    assert found == {
        "b:1": ("exact_duplicate_elsewhere", "a:1", "corpus"),
        "b:8": ("near_duplicate_elsewhere", "a:1", "corpus"),
        "b:9": ("exact_duplicate", "b:7", ""),
    }
    assert check_corpus(tmp_path / "corpus") == []
    with pytest.raises(ArtefactError, match="against"):
        build_corpus(other, tmp_path / "corpus", ONE)
    write_table(tmp_path, "c", [("1", near), ("2", texts["west"])])
    add_generation(recipe(tmp_path, "c"), tmp_path / "corpus", ONE)  # not against the reference: `near` is new here
    assert [id for id, _ in kept(open_corpus(tmp_path / "corpus"))] == ["b:7", "c:1", "c:2"]


def test_an_id_is_taken_even_by_a_document_that_another_corpus_made_go(tmp_path: Path) -> None:
    write_table(tmp_path, "a", [("1", "the same text in both of them")])
    write_table(tmp_path, "b", [("1", "the same text in both of them"), ("2", "a text of its own here")])
    build_corpus(recipe(tmp_path, "a"), tmp_path / "reference", ONE)
    build_corpus(recipe(tmp_path, "b"), tmp_path / "corpus", ONE, against=[tmp_path / "reference"])
    write_table(tmp_path, "b", [("1", "something else came with that id")])
    out, manifest = add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE)
    assert manifest.facts["documents"] == 0
    assert [row["rule"] for row in open_table(out / removals.NAME, removals.SCHEMA).to_pylist()] == ["duplicate_id"]


def test_other_rules_than_the_corpus_was_made_with_are_an_error_that_names_the_key(tmp_path: Path) -> None:
    write_table(tmp_path, "a", [("1", "some text")])
    write_table(tmp_path, "b", [("1", "other text")])
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    base = recipe(tmp_path, "b").origin
    for setting, message in (
        ("deduplicate.threshold=0.9", r"deduplicate\.threshold = 0\.6.*--set deduplicate\.threshold=0\.6"),
        ("deduplicate.exact=false", r"--set deduplicate\.exact=true"),
        ("corpus.seed=4", r"corpus\.seed = 4.*--set corpus\.seed=0"),
    ):
        with pytest.raises(RbtError, match=message):
            add_generation(load_recipe(base, [setting]), tmp_path / "corpus", ONE)
    with pytest.raises(RbtError, match=r"expected signatures made with deduplicate\.bands = 9"):
        build_corpus(
            load_recipe(base, ["deduplicate.bands=9"]), tmp_path / "other", ONE, against=[tmp_path / "corpus"]
        )


def test_a_corpus_that_grew_is_not_replaced(tmp_path: Path) -> None:
    for name in "abc":
        write_table(tmp_path, name, [("1", f"text of {name}")])
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    out, _ = add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE)
    before = kept(open_corpus(tmp_path / "corpus"))
    with pytest.raises(ArtefactError, match="generation-0001"):
        build_corpus(recipe(tmp_path, "c"), tmp_path / "corpus", ONE, replace=True)
    assert kept(open_corpus(tmp_path / "corpus")) == before
    shutil.rmtree(out)
    build_corpus(recipe(tmp_path, "c"), tmp_path / "corpus", ONE, replace=True)
    assert kept(open_corpus(tmp_path / "corpus")) == [("c:1", "text of c")]


def test_signatures_of_another_version_of_the_hashes_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        write_table(tmp_path, name, [("1", f"text of {name}")])
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    monkeypatch.setattr("rbt.corpus.dedup.sign.VERSION", 99)
    with pytest.raises(ArtefactError, match="another version of rbt"):
        add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE)


def test_a_corpus_is_no_other_corpus_to_itself(tmp_path: Path) -> None:
    write_table(tmp_path, "a", [("1", "some text")])
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    for run in (build_corpus, add_generation):
        with pytest.raises(ConfigError, match="another corpus"):
            run(recipe(tmp_path, "a"), tmp_path / "corpus", ONE, against=[tmp_path / "b" / ".." / "corpus"])


def test_a_generation_of_another_corpus_and_a_folder_without_one_are_errors(tmp_path: Path) -> None:
    for name in "ab":
        write_table(tmp_path, name, [("1", f"text of {name}"), ("2", "more")])
    with pytest.raises(ArtefactError, match="no such folder"):
        add_generation(recipe(tmp_path, "b"), tmp_path / "missing", ONE)
    assert not (tmp_path / "missing").exists()
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    out, _ = add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE)
    with pytest.raises(ArtefactError, match="name the folder above it"):
        open_corpus(out)
    out.rename(out.with_name("generation-0002"))
    with pytest.raises(ArtefactError, match="expected generation 1"):
        open_corpus(tmp_path / "corpus")


def test_what_an_older_document_was_removed_for_is_still_kept_where_another_corpus_has_its_text(tmp_path: Path) -> None:
    kept_text, removed_text = "one two three four five six seven", "one two three four five six eight"
    write_table(tmp_path, "a", [("1", kept_text), ("2", removed_text)])
    write_table(tmp_path, "o", [("1", kept_text)])
    write_table(tmp_path, "b", [("1", removed_text), ("2", "words that nobody has written before")])
    build_corpus(recipe(tmp_path, "o"), tmp_path / "reference", ONE)
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    out, _ = add_generation(recipe(tmp_path, "b"), tmp_path / "corpus", ONE, against=[tmp_path / "reference"])
    found = [(row["id"], row["kept_id"]) for row in removed(open_corpus(tmp_path / "corpus"))]
    assert found == [("a:2", "a:1"), ("b:1", "a:1")]
    assert check_corpus(out) == []


def test_another_corpus_without_a_name_is_still_another_one(tmp_path: Path) -> None:
    write_table(tmp_path, "a", [("1", "the same words in both of them"), ("2", "an id that both of them have")])
    base = recipe(tmp_path, "a").origin
    build_corpus(load_recipe(base, ['corpus.name=""']), tmp_path / "reference", ONE)
    write_table(tmp_path, "a", [("1", "the same words in both of them"), ("2", "something quite different by now")])
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE, against=[tmp_path / "reference"])
    corpus = open_corpus(tmp_path / "corpus")
    assert [id for id, _ in kept(corpus)] == ["a:2"]
    assert [row["rule"] for row in removed(corpus)] == ["exact_duplicate_elsewhere"]
    assert check_corpus(tmp_path / "corpus") == []


@pytest.mark.parametrize(("made", "asked", "cure"), [("false", "true", "false"), ("true", "false", "true")])
def test_signatures_without_bands_are_an_error_whose_cure_is_one(
    tmp_path: Path, made: str, asked: str, cure: str
) -> None:
    write_table(tmp_path, "a", [("1", "some text")])
    write_table(tmp_path, "b", [("1", "other text")])
    build_corpus(recipe(tmp_path, "a", settings=[f"deduplicate.near={made}"]), tmp_path / "reference", ONE)
    other = recipe(tmp_path, "b", settings=[f"deduplicate.near={asked}"])
    with pytest.raises(ArtefactError, match=rf"--set deduplicate\.near={cure}"):
        build_corpus(other, tmp_path / "corpus", ONE, against=[tmp_path / "reference"])
    cured = recipe(tmp_path, "b", settings=[f"deduplicate.near={cure}"])
    build_corpus(cured, tmp_path / "corpus", ONE, against=[tmp_path / "reference"])


def test_work_that_a_kill_left_in_a_finished_generation_goes_when_it_is_added_again(tmp_path: Path) -> None:
    for name in "ab":
        write_table(tmp_path, name, [("1", f"text of {name}")])
    build_corpus(recipe(tmp_path, "a"), tmp_path / "corpus", ONE)
    added = recipe(tmp_path, "b", settings=["corpus.keep_work=false"])
    out, _ = add_generation(added, tmp_path / "corpus", ONE)
    (out / "work" / "sign").mkdir()
    assert add_generation(added, tmp_path / "corpus", ONE)[0] == out
    assert not (out / "work" / "sign").exists()


def test_what_is_stored_means_the_same_whether_or_not_there_was_another_corpus(tmp_path: Path) -> None:
    boilerplate = "this line stands below every text"
    for name, count in (("o", 9), ("a", 3), ("b", 3)):  # more in the other corpus than here: numbers that count it show
        own = [f"{name}{number} " * 30 for number in range(count)]
        texts = [f"{text}\n\n{boilerplate}" if name != "o" else text for text in own]
        write_table(tmp_path, name, [(f"{number}", text) for number, text in enumerate(texts)])
    settings = ["deduplicate.paragraphs=true", "deduplicate.paragraph_words=3"]
    build_corpus(recipe(tmp_path, "o", settings=settings), tmp_path / "other", ONE)
    stored = []
    for name, against in (("alone", []), ("beside", [tmp_path / "other"])):
        build_corpus(recipe(tmp_path, "a", settings=settings), tmp_path / name, ONE, against=against)
        out, _ = add_generation(recipe(tmp_path, "b", settings=settings), tmp_path / name, ONE, against=against)
        folders = [tmp_path / name / "signatures", out / "signatures"]
        stored.append([(path.name, path.read_bytes()) for folder in folders for path in sorted(folder.iterdir())])
        texts = [text for _, text in kept(open_corpus(tmp_path / name))]
        assert [boilerplate in text for text in texts] == [True, *[False] * 5]
    assert stored[0] == stored[1]
    assert any(name.startswith("paragraphs-") for name, _ in stored[0])
