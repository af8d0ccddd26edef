"""Sets of sequence numbers: what goes in comes out, and a million of them are small."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.engines.recorder.seqs import Seqs, pack_runs, runs_of, unpack_runs

SOME = st.sets(st.integers(1, 5000), max_size=200)


@given(seqs=SOME)
def test_what_is_packed_is_unpacked_again(seqs: set[int]) -> None:
    assert list(Seqs(unpack_runs(pack_runs(runs_of(seqs))))) == sorted(seqs)


@given(one=SOME, other=SOME)
def test_it_is_a_set(one: set[int], other: set[int]) -> None:
    a, b = Seqs(runs_of(one)), Seqs(runs_of(other))
    assert set(a | b) == one | other
    assert set(a - b) == one - other
    assert len(a) == len(one)
    assert all((seq in a) == (seq in one) for seq in range(5001))


def test_a_million_frames_that_follow_on_one_another_take_a_few_bytes() -> None:
    assert len(pack_runs(runs_of(range(17, 1_000_017)))) == 4


def test_a_million_frames_with_gaps_take_two_bytes_each() -> None:
    assert len(pack_runs([(seq, 1) for seq in range(1, 2_000_000, 2)])) == 2_000_000


@pytest.mark.parametrize("damaged", [b"\x80", b"\x01", b"\x01\x00", b"\xff" * 12])
def test_bytes_that_are_no_runs_are_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError):
        list(unpack_runs(damaged))
