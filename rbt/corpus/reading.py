"""What a source reports beside its documents: records that are none, and what could not be read.

A source is a function `(location, config, reading) -> Iterator[Document]`. For every record it meets it calls
`record` with the bytes of its payload, and then does exactly one of: yield a Document with the same `payload_bytes`,
`skip` the record by a rule, or `quarantine` it. So records = documents + skipped + quarantined, in number and bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rbt import engine
from rbt.formats.quarantine import QuarantineRows
from rbt.ledger import Row


@dataclass(frozen=True)
class Span:
    """A part of a raw file that is one task: bytes `start` to `stop` (for parquet, what its row groups cover).

    `facts`: what the rest of the file says and this part needs (JSON values).
    """

    start: int
    stop: int
    facts: dict[str, Any] = field(default_factory=dict)


class Reading:
    """The reader's account of one raw file, or of a span of one.

    `row` is the ledger's row of stage "read" without what was yielded; `has_documents` is set to False by a source
    whose rows are not whole documents; `counts` goes to the ledger as it is (name -> number); `quarantined` has a row
    for each unreadable place.
    """

    def __init__(
        self, source: str, origin: str, span: Span | None = None, quarantined: QuarantineRows | None = None
    ) -> None:
        self.source, self.origin, self.span = source, origin, span
        self.row = Row()
        self.has_documents = True
        self.counts: dict[str, int] = {}
        self.quarantined: list[dict[str, Any]] | QuarantineRows = [] if quarantined is None else quarantined
        self.raw_hash = ""  # "xxh3:hex" of the whole raw file, once it is read
        self.raw_bytes = 0  # its size

    def record(self, size: int) -> None:
        """A record was met, with a payload of `size` bytes."""
        self.row.take(size)

    def skip(self, rule: str, size: int) -> None:
        """The record is no document of this source (a redirect, a request, another date)."""
        self.row.drop(rule, size)

    def quarantine(self, reason: str, *, size: int = 0, offset: int = -1, locator: str = "", detail: str = "") -> None:
        """The record, already counted by `record`, could not be read. `reason` is one of a few fixed words."""
        self.row.drop(f"quarantined_{reason}", size)
        self.damage(reason, offset=offset, locator=locator, detail=detail)

    def damage(self, reason: str, *, offset: int = -1, locator: str = "", detail: str = "") -> None:
        """A place in a record could not be read, and the rest of the record is kept: listed, no record is counted."""
        self.quarantined.append(
            {
                "source": self.source, "origin": self.origin, "offset": offset, "locator": locator,
                "reason": reason, "detail": detail[:500],
            }
        )

    def lost(self, reason: str, *, offset: int = -1, locator: str = "", detail: str = "") -> None:
        """Something of unknown size is unreadable (the tail of a cut file): counted as one record of no bytes."""
        self.record(0)
        self.quarantine(reason, offset=offset, locator=locator, detail=detail)

    def advance(self, raw_bytes: int) -> None:
        """Raw bytes consumed since the last call, for the progress bar."""
        engine.advance(raw_bytes)
