"""The ledger: what went in, what came out, and what happened to the rest, by stage, source and rule.

A row balances when, in documents, in = out + dropped, and in bytes, in = out + dropped + shrunk.
`other` counts what has no such balance (raw files, quarantined records, tokens, blocks).
All counts are Python integers, so they do not overflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from rbt.errors import ArtefactError


@dataclass
class Amount:
    """A number of documents and their UTF-8 bytes."""

    documents: int = 0
    bytes: int = 0

    def add(self, documents: int, size: int) -> None:
        """Count some more."""
        self.documents += documents
        self.bytes += size

    def table(self) -> dict[str, int]:
        """As JSON."""
        return {"documents": self.documents, "bytes": self.bytes}


@dataclass
class Row:
    """One stage of one source."""

    incoming: Amount = field(default_factory=Amount)
    outgoing: Amount = field(default_factory=Amount)
    dropped: dict[str, Amount] = field(default_factory=dict)
    shrunk: dict[str, int] = field(default_factory=dict)
    other: dict[str, int] = field(default_factory=dict)

    def take(self, size: int, documents: int = 1) -> None:
        """Something comes in."""
        self.incoming.add(documents, size)

    def keep(self, size: int, documents: int = 1) -> None:
        """Something goes out."""
        self.outgoing.add(documents, size)

    def drop(self, rule: str, size: int, documents: int = 1) -> None:
        """A document is dropped by a rule."""
        self.dropped.setdefault(rule, Amount()).add(documents, size)

    def shrink(self, rule: str, size: int) -> None:
        """A document loses `size` bytes to a rule (negative where the rule adds bytes, as NFC may)."""
        self.shrunk[rule] = self.shrunk.get(rule, 0) + size

    def count(self, name: str, number: int = 1) -> None:
        """Count something that has no balance."""
        self.other[name] = self.other.get(name, 0) + number

    def merge(self, row: Row) -> None:
        """Add another row's counts."""
        self.take(row.incoming.bytes, row.incoming.documents)
        self.keep(row.outgoing.bytes, row.outgoing.documents)
        for rule, amount in row.dropped.items():
            self.drop(rule, amount.bytes, amount.documents)
        for rule, size in row.shrunk.items():
            self.shrink(rule, size)
        for name, number in row.other.items():
            self.count(name, number)

    def imbalance(self) -> tuple[int, int]:
        """(documents, bytes) that are unaccounted for; (0, 0) when the row balances."""
        documents = self.incoming.documents - self.outgoing.documents
        size = self.incoming.bytes - self.outgoing.bytes - sum(self.shrunk.values())
        for amount in self.dropped.values():
            documents -= amount.documents
            size -= amount.bytes
        return documents, size

    def table(self) -> dict[str, Any]:
        """As JSON, rules in alphabetical order."""
        return {
            "in": self.incoming.table(),
            "out": self.outgoing.table(),
            "dropped": {rule: self.dropped[rule].table() for rule in sorted(self.dropped)},
            "shrunk": dict(sorted(self.shrunk.items())),
            "other": dict(sorted(self.other.items())),
        }

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Row:
        """Read back what `table` wrote."""
        return cls(
            Amount(**table["in"]), Amount(**table["out"]),
            {rule: Amount(**amount) for rule, amount in table["dropped"].items()},
            dict(table["shrunk"]), dict(table["other"]),
        )


class Ledger:
    """Rows by (stage, source), in the order in which they were first written."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Row] = {}

    def row(self, stage: str, source: str) -> Row:
        """The row of a stage and source, made when new."""
        return self._rows.setdefault((stage, source), Row())

    def __iter__(self) -> Iterator[tuple[str, str, Row]]:
        return ((stage, source, row) for (stage, source), row in self._rows.items())

    def merge(self, ledger: Ledger) -> None:
        """Add another ledger's rows."""
        for stage, source, row in ledger:
            self.row(stage, source).merge(row)

    def chain(self, stages: Iterable[str]) -> None:
        """Check that every row balances and that each stage takes in what the one before put out."""
        for stage, source, row in self:
            if row.imbalance() != (0, 0):
                documents, size = row.imbalance()
                raise ArtefactError(
                    f"ledger of stage {stage!r}, source {source!r}: expected in = out + dropped + shrunk",
                    found=f"{documents} documents and {size} bytes unaccounted for",
                )
        for before, after in pairwise(stages):
            self._check_link(before, after)

    def _check_link(self, before: str, after: str) -> None:
        sources = {source for stage, source in self._rows if stage in (before, after)}
        for source in sorted(sources):
            out, into = self.row(before, source).outgoing, self.row(after, source).incoming
            if out != into:
                raise ArtefactError(
                    f"ledger of source {source!r}: expected {after!r} to take in what {before!r} put out",
                    found=f"{into.table()} instead of {out.table()}",
                )

    def table(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [{"stage": stage, "source": source, **row.table()} for stage, source, row in self]

    @classmethod
    def from_table(cls, table: Iterable[Mapping[str, Any]]) -> Ledger:
        """Read back what `table` wrote."""
        ledger = cls()
        for row in table:
            ledger.row(row["stage"], row["source"]).merge(Row.from_table(row))
        return ledger
