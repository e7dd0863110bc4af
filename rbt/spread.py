"""A number over seeds: its median, and the interval from the smallest to the largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """A number over seeds."""

    median: float
    low: float
    high: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value a seed."""
        return cls(median(values), min(values), max(values), len(values))

    def show(self, format: str) -> str:
        """As `median [low, high]`; of one seed the value alone."""
        if self.seeds == 1:
            return f"{self.median:{format}}"
        return f"{self.median:{format}} [{self.low:{format}}, {self.high:{format}}]"

    def table(self) -> dict[str, float]:
        """As a JSON object."""
        return {"median": self.median, "low": self.low, "high": self.high, "seeds": self.seeds}


def coverage(seeds: int) -> float:
    """The chance that the median of all seeds is between the smallest and the largest of so many; any distribution.

    All of them are on one side of it with probability 2^-n, each side.
    """
    return 1.0 - 2.0 ** (1 - seeds)
