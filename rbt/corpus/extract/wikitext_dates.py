"""Dates as templates give them, in the form that English Wikipedia shows.

Each function takes a template's positional and named parameters, already plain text, and returns what it stands for.
What depends on the day of reading (a living person's age) is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)
_NUMBER = re.compile(r"\d{1,4}$")


def _numbers(positional: Sequence[str]) -> list[int]:
    """The leading parameters that are numbers."""
    found: list[int] = []
    for value in positional:
        if not (value.isascii() and _NUMBER.match(value)):
            break
        found.append(int(value))
    return found


def format_date(numbers: Sequence[int], day_first: bool) -> str:
    """Year, month, day -> May 17, 1990 or 17 May 1990; less where less is given."""
    if not numbers:
        return ""
    year = str(numbers[0])
    if len(numbers) == 1 or not 1 <= numbers[1] <= 12:
        return year
    month = MONTHS[numbers[1] - 1]
    if len(numbers) == 2 or not 1 <= numbers[2] <= 31:
        return f"{month} {year}"
    return f"{numbers[2]} {month} {year}" if day_first else f"{month} {numbers[2]}, {year}"


def _day_first(named: Mapping[str, str], default: bool = False) -> bool:
    if named.get("mf"):
        return False
    return default if not named.get("df") else named["df"].lower() not in ("no", "n", "us", "mdy")


def date(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{birth date|1990|5|17}} -> May 17, 1990; a date in words comes back as it is."""
    numbers = _numbers(positional[:3])
    return format_date(numbers, _day_first(named)) or "".join(positional[:1])


def death_date_and_age(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{death date and age|2000|5|1|1950|6|2}} -> May 1, 2000 (aged 49)."""
    numbers = _numbers(positional)
    if len(numbers) < 6:
        return date(positional, named)
    death, birth = tuple(numbers[:3]), tuple(numbers[3:6])
    age = death[0] - birth[0] - (death[1:] < birth[1:])
    return f"{format_date(death, _day_first(named))} (aged {age})"


def as_of(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{as of|2009|12|31}} -> As of 31 December 2009."""
    if named.get("alt"):
        return named["alt"]
    when = format_date(_numbers(positional[:3]), _day_first(named, default=True)) or "".join(positional[:1])
    word = "Since" if named.get("since") else "As of"
    return f"{word.lower() if named.get('lc') else word} {when}" if when else ""


def circa(positional: Sequence[str], named: Mapping[str, str]) -> str:
    """{{circa|1900|1910}} -> c. 1900 – c. 1910."""
    return " – ".join(f"c. {part}" for part in positional[:2] if part) or "c."


def before(word: str, positional: Sequence[str]) -> str:
    """A word and the years behind it: fl. 1900–1910."""
    years = "–".join(part for part in positional[:2] if part)
    return f"{word} {years}" if years else ""
