"""Sketches: what counts as nearly the same arguments, and that they say nothing of what was asked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.sketch import HASHES, masked, near, sketch

TIMES = ("2026-11-28T09:00:01Z", "2026-11-28 09:00:02.123", "09:00:03", "1764320000", "1764320000123")


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"q": "the refund policy for late orders"}, {"q": "late orders: the policy for a refund"}),
        ({"at": TIMES[0], "q": "open"}, {"at": "2025-01-01T00:00:00+02:00", "q": "open"}),
        ({"id": "3f2b8c1e-0000-4000-8000-00000000000a"}, {"id": "11111111-2222-4333-8444-555555555555"}),
        ({"trace": "0af7651916cd43dd8448eb211c80319c"}, {"trace": "b7ad6b7169203331aaaaaaaaaaaaaaaa"}),
        ({"b": 1, "a": [1, {"c": "x"}]}, {"a": [1, {"c": "x"}], "b": 1}),
        ("", ""),
        (None, None),
    ],
)
def test_these_are_nearly_the_same(a: Any, b: Any) -> None:
    assert near(sketch(a), sketch(b))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ({"page": 1}, {"page": 2}),
        ({"id": "order 1041 of the shop in town"}, {"id": "order 1042 of the shop in town"}),
        ({"city": "Paris"}, {"city": "Rome"}),
        ({"q": "the refund policy for late orders"}, {"q": "how many people work in the warehouse"}),
        ({"a": "x"}, {"b": "x"}),
        ({"a": ["x"]}, {"a": ["x", "x"]}),
        ({"on": True}, {"on": False}),
        ([], {}),
    ],
)
def test_these_are_not(a: Any, b: Any) -> None:
    assert not near(sketch(a), sketch(b))


@pytest.mark.parametrize("text", TIMES)
def test_a_time_is_masked(text: str) -> None:
    assert masked(f"pending at {text} still") == "pending at <time> still"


def test_an_amount_is_not_taken_for_a_time() -> None:
    assert masked("pay 1500 of 20261128 units, 12.50") == "pay 1500 of 20261128 units, 12.50"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda leaf: st.lists(leaf, max_size=4), max_leaves=30
    )
)
def test_a_sketch_is_near_to_itself_and_bounded(value: Any) -> None:
    mark = sketch(value)
    assert near(mark, mark) and len(mark) < 14 * (2 * HASHES + 20)


def test_beyond_the_leaves_that_are_sketched_one_all_must_be_equal() -> None:
    many = {f"k{n:02}": f"the same long text number of words {chr(97 + n)}" for n in range(20)}
    assert not near(sketch(many), sketch({**many, "k19": "another thing altogether is asked here"}))


def test_the_estimate_of_resemblance_is_as_good_as_stated() -> None:
    """Pairs of 20 words that share 14 resemble each other at 14/26 = 0.54; of those that share 6, at 0.18, few pass."""
    alphabet = [a + b + "word" for a in "bcdfghklmnprstvw" for b in "aeiouxyz"]
    passed = {14: 0, 6: 0, 18: 0}
    for shared in passed:
        for trial in range(200):
            words = [alphabet[(trial * 7 + place * 3) % len(alphabet)] for place in range(34)]
            left, right = words[:20], words[20 - shared : 40 - shared]
            passed[shared] += near(sketch(" ".join(left)), sketch(" ".join(right)))
    assert passed[18] > 195 and passed[6] < 5 and 60 < passed[14] < 190
