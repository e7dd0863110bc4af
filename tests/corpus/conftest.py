"""Reading one raw file in a test."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rbt.corpus.config import SourceConfig
from rbt.corpus.reading import Reading
from rbt.corpus.sources import read_documents
from rbt.formats.document import Document


@dataclass
class Outcome:
    """What reading a raw file gave."""

    documents: list[Document]
    reading: Reading

    @property
    def texts(self) -> list[str]:
        """The texts in order."""
        return [document.text for document in self.documents]

    @property
    def reasons(self) -> list[str]:
        """The reasons of the quarantined places in order."""
        return [row["reason"] for row in self.reading.quarantined]

    @property
    def dropped(self) -> dict[str, int]:
        """Records that are no document, by rule."""
        return {rule: amount.documents for rule, amount in self.reading.row.dropped.items()}


ReadSource = Callable[..., Outcome]


@pytest.fixture
def read_source() -> ReadSource:
    """Read a whole file as a kind of source; the account is checked to balance, always."""

    def read(path: Path, kind: str, **options: Any) -> Outcome:
        reading = Reading(options.get("name") or kind, path.name)
        config = SourceConfig(kind, (str(path),), **options)  # type: ignore[arg-type]
        documents = list(read_documents(str(path), config, reading))
        for document in documents:
            reading.row.keep(document.payload_bytes)
        assert reading.row.imbalance() == (0, 0)
        assert reading.raw_bytes == path.stat().st_size
        return Outcome(documents, reading)

    return read
