"""Write docs/cli.md from the help texts (`make docs`); a test compares the two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from rbt.cli import main
from rbt.cli.options import CONTEXT, WIDTH

PATH = Path(__file__).resolve().parent / "cli.md"
HEAD = "# Command line\n\nGenerated from the help texts by `make docs`.\n"


def commands(command: click.Command, name: str, parent: click.Context | None) -> Iterator[str]:
    """A section a command, groups before what is in them."""
    names = CONTEXT["help_option_names"]
    context = click.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, help_option_names=names)
    help_text = command.get_help(context)
    yield f"\n## {context.command_path}\n\n```\n{help_text}\n```\n"
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            yield from commands(found, child, context)


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(commands(main, "rbt", None))


if __name__ == "__main__":
    PATH.write_text(reference(), encoding="utf-8")
