"""What can go wrong through no fault of rbt, as one tree.

    RbtError
    ├── ConfigError      a recipe or an option: unknown key, wrong type, bad value
    ├── InputError       raw data: missing, unreadable, past its error budget
    └── ArtefactError    something rbt wrote: incomplete, damaged, made from another recipe

The command line prints the message as one line and exits with 2.
"""

from __future__ import annotations

from pathlib import Path


class RbtError(Exception):
    """One clear line: where, what was expected, what was found, and the cure."""

    def __init__(
        self, expected: str, *, path: Path | str | None = None, found: str = "", cure: str = ""
    ) -> None:
        where = f"{path}: " if path is not None else ""
        what = f"{expected}; found {found}" if found else expected
        super().__init__(f"{where}{what}" + (f" ({cure})" if cure else ""))


class ConfigError(RbtError):
    """A recipe or an option that cannot be used."""


class InputError(RbtError):
    """Raw data that cannot be used."""


class ArtefactError(RbtError):
    """An artefact that is missing, damaged, or made from something else."""
