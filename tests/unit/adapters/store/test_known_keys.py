"""The filter of keys: never a wrong no, seldom a wrong perhaps, whatever the number of keys."""

from __future__ import annotations

from itertools import pairwise

import pytest

from watchkeeper.adapters.store.known_keys import KnownKeys


def keys(low: int, high: int) -> list[tuple[str, str]]:
    return [(f"{n:032x}", f"{n * 7919:016x}") for n in range(low, high)]


@pytest.mark.parametrize("count", [1, 1000, (1 << 16) + 1, 200_000])
def test_every_key_that_was_added_is_perhaps_known(count: int) -> None:
    known = KnownKeys()
    known.sift(keys(0, count))
    assert known.sift(keys(0, count)) == keys(0, count)


def test_a_new_key_seldom_looks_known() -> None:
    known = KnownKeys()
    known.sift(keys(0, 150_000))
    assert len(known.sift(keys(150_000, 250_000))) < 100


def test_only_new_keys_are_added() -> None:
    known = KnownKeys()
    for low, high in pairwise((0, 500, 900, 900)):
        known.sift(keys(0, high))
        known.sift(keys(low, high))
    assert known.count == 900


def names(first: int, count: int) -> list[str]:
    return [f"key {number}" for number in range(first, first + count)]


def test_old_chunks_are_forgotten_whole_and_the_open_one_stays() -> None:
    known = KnownKeys()
    while known.count < 1 << 16:
        known.sift(names(known.count * 10, min(1000, (1 << 16) - known.count)))
    known.note(100)
    fresh = names(10**9, 10)
    known.sift(fresh)
    known.note(200)
    assert known.forget(200) is None, "nothing is older than the first chunk's latest key may be"
    assert known.forget(201) == 200
    assert known.count == 10
    assert known.forget(10_000) is None, "the chunk that is being filled stays"
    assert known.sift(fresh) == fresh
    assert known.sift(names(0, 5)) == [], "what was forgotten looks new"


def test_a_note_is_about_all_keys_since_the_last_one() -> None:
    known = KnownKeys()
    known.sift(names(0, 60_000))
    known.note(50)
    known.sift(names(10**9, 10_000))
    known.note(70)
    assert known.forget(60) is None, "its last keys came with the later note"
    assert known.forget(71) == 70
