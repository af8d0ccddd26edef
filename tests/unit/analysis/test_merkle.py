"""Merkle trees: every leaf's path leads to the root, and no other leaf's does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.merkle import path_to, root_from, root_of


def leaves(count: int) -> list[bytes]:
    return [n.to_bytes(4, "big") for n in range(count)]


@given(count=st.integers(1, 130), data=st.data())
def test_every_leaf_is_proved_at_its_place_and_nowhere_else(count: int, data: st.DataObject) -> None:
    each = leaves(count)
    index, other = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, count - 1))
    path, root = path_to(each, index), root_of(each)
    assert root_from(each[index], index, count, path) == root
    if other != index:
        assert root_from(each[other], index, count, path) != root
        assert root_from(each[index], other, count, path) != root


@given(count=st.integers(2, 60), data=st.data())
def test_a_changed_leaf_changes_the_root(count: int, data: st.DataObject) -> None:
    each = leaves(count)
    changed = list(each)
    changed[data.draw(st.integers(0, count - 1))] = b"other"
    assert root_of(changed) != root_of(each)


def test_a_path_is_as_long_as_the_tree_is_high() -> None:
    assert len(path_to(leaves(100_000), 4711)) == 17


def test_one_leaf_is_its_own_tree_and_an_empty_tree_has_none() -> None:
    assert root_from(b"x", 0, 1, ()) == root_of([b"x"])
    assert root_of([]) != root_of([b""])
    with pytest.raises(IndexError):
        path_to([], 0)


def test_a_path_that_is_too_long_or_too_short_leads_nowhere() -> None:
    each = leaves(5)
    path = path_to(each, 1)
    assert root_from(each[1], 1, 5, path[:-1]) is None
    assert root_from(each[1], 1, 5, (*path, path[0])) is None
    assert root_from(each[1], 7, 5, path) is None
