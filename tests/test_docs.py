"""The docs say what is so."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from types import ModuleType

import click
import pytest

from rbt import cli

ROOT = Path(__file__).resolve().parent.parent


def load(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def all_commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found = [(path, command)]
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            found += all_commands(child, (*path, name))
    return found


COMMANDS = dict(all_commands(cli.main))


def test_the_command_page_is_what_the_help_says() -> None:
    page = load(ROOT / "docs" / "generate_cli.py")
    assert page.PATH.read_text("utf-8") == page.reference(), "run `make docs`"


def test_the_recipe_page_is_what_the_dataclasses_say() -> None:
    page = load(ROOT / "docs" / "generate_recipe.py")
    assert page.PATH.read_text("utf-8") == page.reference(), "run `make docs`"


def does_something(command: click.Command) -> bool:
    """It is no mere group of commands."""
    return not isinstance(command, click.Group) or command.invoke_without_command


@pytest.mark.parametrize("path", [path for path, command in COMMANDS.items() if does_something(command)])
def test_every_command_has_help_an_example_and_the_common_options(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    assert "Example: " in (command.epilog or "")
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--recipe", "--set", "--quiet"} <= options
    assert all(isinstance(p, click.Argument) or getattr(p, "help", None) for p in command.params)


def rbt_lines(text: str) -> list[list[str]]:
    """Command lines of rbt in fenced blocks, without comments, as words after `rbt`."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", "").splitlines() if "rbt" in line]
    words = [shlex.split(line, comments=True) for line in lines]
    found = [line[line.index("rbt") + 1 :] for line in words if "rbt" in line]
    return [line for line in found if line]


PAGES = [
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "examples" / "README.md"]
    if path.name != "cli.md"  # it shows the help, which has no whole commands
]


def test_the_pages_for_users_have_commands() -> None:
    assert all(len(rbt_lines((ROOT / page).read_text("utf-8"))) >= 5 for page in ("README.md", "docs/reproduce.md"))


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_the_docs_parses(page: str) -> None:
    lines = rbt_lines((ROOT / page).read_text("utf-8"))
    for words in lines:
        path: tuple[str, ...] = ()
        while words and (*path, words[0]) in COMMANDS:
            path = (*path, words.pop(0))
        assert path, f"no command in {words}"
        COMMANDS[path].make_context("rbt", list(words), resilient_parsing=False)


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [ROOT / name for name in (*PAGES, "docs/cli.md")]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_choices_of_the_command_line_are_those_of_the_package() -> None:
    from rbt.cli.packing import FORMATS
    from rbt.cli.views import SPLITS
    from rbt.formats import blocks, tokens
    from rbt.packing.packers import PACKERS

    assert set(FORMATS) == set(PACKERS) == set(blocks.FORMATS)
    assert SPLITS == tokens.SPLITS


def test_the_listed_checks_are_those_that_tests_carry() -> None:
    listed = re.findall(r"^\| V(\d+) \|", (ROOT / "docs" / "reproduce.md").read_text("utf-8"), re.M)
    texts = [path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py")]
    carried = {number for text in texts for number in re.findall(r"def test_v(\d+)_", text)}
    assert sorted(map(int, listed)) == sorted(map(int, carried))
