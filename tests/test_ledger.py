"""The ledger balances, or says where it does not."""

from __future__ import annotations

import pytest

from rbt.errors import ArtefactError
from rbt.ledger import Ledger, Row


def filled() -> Ledger:
    ledger = Ledger()
    row = ledger.row("clean", "books")
    row.take(100)
    row.take(50)
    row.shrink("whitespace", 10)
    row.shrink("nfc", -2)
    row.keep(92)
    row.drop("too_short", 50)
    after = ledger.row("filter", "books")
    after.take(92)
    after.keep(92)
    return ledger


def test_a_balanced_chain_passes() -> None:
    filled().chain(["clean", "filter"])


def test_a_document_that_vanishes_is_named_by_stage_and_source() -> None:
    ledger = filled()
    ledger.row("clean", "books").take(7)
    with pytest.raises(ArtefactError, match=r"'clean', source 'books'.*1 documents and 7 bytes unaccounted for"):
        ledger.chain(["clean", "filter"])


def test_a_gap_between_two_stages_is_an_error_even_where_both_balance() -> None:
    ledger = filled()
    ledger.row("filter", "books").take(1)
    ledger.row("filter", "books").keep(1)
    with pytest.raises(ArtefactError, match="expected 'filter' to take in what 'clean' put out"):
        ledger.chain(["clean", "filter"])


def test_a_source_that_a_stage_forgot_is_a_gap() -> None:
    ledger = filled()
    lost = ledger.row("clean", "news")
    lost.take(5)
    lost.keep(5)
    with pytest.raises(ArtefactError, match="source 'news'"):
        ledger.chain(["clean", "filter"])


def test_json_and_back_is_the_same_ledger() -> None:
    ledger = filled()
    ledger.row("filter", "books").count("quarantined", 3)
    assert Ledger.from_table(ledger.table()).table() == ledger.table()


def test_merging_adds_every_count() -> None:
    twice = filled()
    twice.merge(filled())
    assert twice.row("clean", "books").table()["dropped"] == {"too_short": {"documents": 2, "bytes": 100}}
    assert twice.row("clean", "books").shrunk == {"whitespace": 20, "nfc": -4}


def test_counts_do_not_overflow_64_bits() -> None:
    row = Row()
    for _ in range(4):
        row.take(2**62)
    assert row.incoming.bytes == 2**64
