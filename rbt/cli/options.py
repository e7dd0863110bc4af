"""What the commands share: their common options, one-line errors, and how they report."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from click.exceptions import NoArgsIsHelpError

from rbt.config import DEFAULT_RECIPE, Recipe, load_recipe
from rbt.errors import RbtError

ENGINES = ("local", "ray")
FOLDER = click.Path(path_type=Path)
WIDTH = 110
CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}


class _Memory(click.ParamType):  # type: ignore[type-arg]  # click before 8.2 has no generic one
    """A size in bytes: 2GB, 500MB, or a number."""

    name = "size"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> int:
        """The bytes, or a usage error."""
        text = str(value).strip().upper().removesuffix("B")
        factor = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}.get(text[-1:], 1)
        number = text if factor == 1 else text[:-1]
        try:
            size = int(float(number) * factor)
        except (ValueError, OverflowError):
            size = 0
        if size <= 0:
            self.fail(f"expected a size such as 2GB or 500MB; found {value!r}", parameter, context)
        return size


MEMORY = _Memory()


class OneLineError(click.ClickException):
    """A user's error: one line, exit code 2."""

    exit_code = 2


class Interrupted(click.ClickException):
    """Ctrl-C: one line, and the exit code that shells give to an interrupt."""

    exit_code = 130


class RbtGroup(click.Group):
    """Lists commands in the order of the work, and turns errors that are not bugs into one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of definition."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except NoArgsIsHelpError:
            raise
        except click.UsageError as error:  # click would put the usage above it
            command = error.ctx.command_path if error.ctx else ctx.command_path
            raise OneLineError(f"{error.format_message()} (see `{command} --help`)") from error
        except RbtError as error:
            raise OneLineError(str(error)) from error
        except OSError as error:  # a full disk, a missing permission: the system's words name the file
            raise OneLineError(str(error)) from error
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; the same command, run again, keeps what is finished") from error


def _configure(quiet: bool) -> None:
    is_first_rank = os.environ.get("RANK", "0") == "0"
    if quiet or not is_first_rank:
        os.environ["RBT_PROGRESS"] = "0"
    level = logging.INFO if is_first_rank and not quiet else logging.ERROR if not is_first_rank else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)


def common(command: Callable[..., None]) -> Callable[..., None]:
    """Add --recipe, --set and --quiet; the command gets `recipe` (a checked Recipe) and `quiet`."""

    @click.option("--recipe", "recipe_name", metavar="FILE|NAME", help=f"Recipe [default: {DEFAULT_RECIPE} if there].")
    @click.option("--set", "settings", multiple=True, metavar="SECTION.KEY=VALUE", help="Override one key. Repeatable.")
    @click.option("--quiet", is_flag=True, help="No progress bars and no report; warnings and errors only.")
    @functools.wraps(command)
    def wrapped(recipe_name: str | None, settings: tuple[str, ...], quiet: bool, **options: Any) -> None:
        _configure(quiet)
        command(recipe=load_recipe(recipe_name, settings), quiet=quiet, **options)

    return wrapped


def alone(command: Callable[..., None]) -> Callable[..., None]:
    """Of a group that is a command too: run it where no subcommand follows, else refuse options in front of that.

    Goes above `common`, so that a subcommand reads the recipe that it is given itself.
    """

    @functools.wraps(command)
    def wrapped(**options: Any) -> None:
        context = click.get_current_context()
        if context.invoked_subcommand is None:
            return command(**options)
        for parameter in context.command.params:
            if context.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE:
                name = f"{context.command_path} {context.invoked_subcommand}"
                raise click.UsageError(f"{parameter.opts[0]}: options go behind the command, `{name} ...`", context)
        return None

    return wrapped


def work_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --engine, --address, --workers and --replace."""
    command = click.option("--replace", is_flag=True, help="Rebuild an output made from another recipe.")(command)
    return engine_options(command)


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --engine, --address and --workers."""
    command = click.option("--workers", default=0, help="Tasks at once; 0 = one a core.", show_default=True)(command)
    command = click.option(
        "--address", default="", metavar="HOST:PORT", help="With --engine ray: the cluster's head."
    )(command)
    return click.option(
        "--engine", type=click.Choice(ENGINES), default="local", show_default=True, help="Where tasks run."
    )(command)


def say(quiet: bool, *lines: str) -> None:
    """Report, on the first rank alone."""
    if not quiet and os.environ.get("RANK", "0") == "0":
        for line in lines:
            click.echo(line)


def override(recipe: Recipe, section: str, **values: Any) -> Recipe:
    """Put options that were given above the recipe's keys."""
    import dataclasses

    given = {key: value for key, value in values.items() if value is not None}
    changed = dataclasses.replace(recipe.sections[section], **given)
    return dataclasses.replace(recipe, sections={**recipe.sections, section: changed})
