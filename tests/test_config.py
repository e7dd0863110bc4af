"""The recipe: every key and type of every section is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from rbt.config import load_recipe, recipe_names, shipped_recipe
from rbt.corpus.config import SourceConfig
from rbt.errors import ConfigError


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("model.siz=tiny", "unknown key 'siz' in [model]"),
        ("models.size=tiny", "unknown section [models]"),
        ("model.size=giant", "expected one of 'tiny', 'small', 'base', 'large'; found 'giant'"),
        ("data.seed=one", "[data] seed: expected a whole number; found 'one'"),
        ("data.seed=true", "[data] seed: expected a whole number; found True"),
        ("clean.language=5", "[clean] language: expected text in quotes; found 5"),
        ("source.0.kind=wikipedia", "expected --set source.N.key=value with N below 0"),
        ("nonsense", "expected --set section.key=value"),
        ("run.a.b=1", "expected --set section.key=value"),
    ],
)
def test_v6_an_unknown_or_misplaced_key_is_an_error_that_names_it(setting: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("roberta" if "source" not in setting else None, [setting])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_override_the_recipe_and_whole_numbers_are_floats_where_floats_are_asked() -> None:
    recipe = load_recipe("demo", ["model.dropout=0", "source.0.maximum_errors=0.5", "data.micro_batch=auto"])
    assert recipe.sections["model"].dropout == 0.0
    assert isinstance(recipe.sections["model"].dropout, float)
    assert recipe.sources(SourceConfig)[0].maximum_errors == 0.5
    assert recipe.sections["data"].micro_batch == "auto"


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid_and_has_sources(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.sources(SourceConfig)
    assert "[schedule]" in shipped_recipe(name)


def test_paths_of_a_recipe_are_relative_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[[source]]\nkind = "table"\npaths = ["a.jsonl"]\n')
    assert load_recipe(str(tmp_path / "r.toml")).base == tmp_path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[corpus\n", "expected TOML"),
        ('[[source]]\nkind = "table"\n', "expected the key 'paths'"),
        ("[source]\n", "expected [[source]] tables"),
        ("corpus = 1\n", "expected a table [corpus]"),
    ],
)
def test_a_broken_recipe_is_one_line_that_names_the_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(str(path))
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_recipe_from_a_windows_editor_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b'\xef\xbb\xbf[corpus]\r\nname = "x"\r\n')
    assert load_recipe(str(path)).sections["corpus"].name == "x"


def test_a_recipe_that_is_not_utf8_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes(b"# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.toml: expected UTF-8"):
        load_recipe(str(path))


def test_a_recipe_that_is_nowhere_is_an_error_that_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match="demo, roberta"):
        load_recipe("no-such-recipe")
