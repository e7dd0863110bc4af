"""Progress bars with a rate and an ETA; silent when the output is not a terminal, or with --quiet."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast


class Bar(Protocol):
    """What a stage does with its bar."""

    def update(self, n: int = 1) -> object:
        """Advance by n units."""

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        """Show a few words behind the rate."""


class _Silent:
    def update(self, n: int = 1) -> object:
        return None

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        return None


def is_shown() -> bool:
    """Bars are shown on a terminal, or where RBT_PROGRESS=1 asks for them, unless RBT_PROGRESS=0."""
    setting = os.environ.get("RBT_PROGRESS", "")
    return setting != "0" and (setting == "1" or sys.stderr.isatty())


@contextmanager
def progress(
    description: str, total: float | None, unit: str, initial: float = 0, *, shown: bool = True
) -> Iterator[Bar]:
    """A bar on standard error, unless `shown` is off. tqdm is optional, since the trainer runs on images without it."""
    if not (shown and is_shown()):
        yield _Silent()
        return
    try:
        from tqdm import tqdm
    except ImportError:
        yield _Silent()
        return
    scale = unit == "B"
    options: dict[str, Any] = {"unit_divisor": 1000, "dynamic_ncols": True, "mininterval": 0.2}
    with tqdm(
        total=total, desc=f"{description:<22}", unit=unit if scale else f" {unit}", unit_scale=scale,
        initial=initial, **options,
    ) as bar:
        yield cast(Bar, bar)
