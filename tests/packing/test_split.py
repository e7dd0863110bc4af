"""The validation split is a pure function of ids."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rbt.packing.split import always_held_out, held_out
from rbt.rng import hash_text

IDS = [f"wikipedia:{number}" for number in range(4000)]


def test_about_the_fraction_is_held_out_and_by_hash_alone() -> None:
    chosen = held_out(IDS, 0.1, ())
    assert 0.08 < chosen.mean() < 0.12
    assert chosen.tolist() == [hash_text(id) < 0.1 * 2**64 for id in IDS]


def test_a_small_corpus_of_ten_holds_out_two() -> None:
    always = always_held_out(IDS[:10], 0.001)
    assert len(always) == 2
    assert max(map(hash_text, always)) < min(hash_text(id) for id in IDS[:10] if id not in always)
    assert held_out(IDS[:10], 1e-12, always).sum() == 2


def test_fewer_than_ten_documents_or_no_fraction_hold_out_none() -> None:
    assert always_held_out(IDS[:9], 0.001) == ()
    assert always_held_out(IDS, 0) == ()
    assert not held_out(IDS, 0, ()).any()


@given(size=st.integers(10, 200), fraction=st.sampled_from([0.001, 0.05, 0.5]))
def test_appending_documents_moves_none(size: int, fraction: float) -> None:
    before = held_out(IDS[:size], fraction, always_held_out(IDS[:size], fraction))
    after = held_out(IDS[:400], fraction, always_held_out(IDS[:400], fraction))
    assert before.tolist() == after[:size].tolist()
