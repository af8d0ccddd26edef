"""A score is about what serves only while its compositions answer the live calls."""

from __future__ import annotations

import pytest

from watchkeeper.engines.experiments.freshness import Live, about_composition, freshness


def live(composition: str, calls: int, model: str = "m") -> Live:
    return Live(composition=composition, model=model, calls=calls)


@pytest.mark.parametrize(
    ("tested", "calls", "state", "share"),
    [
        ({"a": 10}, [live("a", 30)], "fresh", 1.0),
        ({"a": 10}, [live("a", 30), live("b", 20)], "stale", 0.5),
        ({"a": 10}, [live("a", 10), live("b", 1)], "stale", 0.0),
        ({"a": 10}, [live("a", 10)], "unknown", None),
        ({"a": 10}, [], "unknown", None),
        ({}, [live("a", 30)], "unknown", None),
        ({"a": 5, "b": 5}, [live("a", 6), live("b", 7)], "fresh", 1.0),
        ({"a": 10}, [live("a", 20), live("c", 99, "another")], "fresh", 1.0),
    ],
)
def test_a_run_is_fresh_stale_or_unknown(
    tested: dict[str, int], calls: list[Live], state: str, share: float | None
) -> None:
    found = freshness(tested, calls, ["m"])
    assert (found.state, found.share) == (state, share)
    assert found.sentence.endswith((".", "/v1"))


def test_what_was_not_tested_is_named_with_its_calls() -> None:
    found = freshness({"a": 10}, [live("a", 12), live("b", 3)], ["m"])
    assert found.other == (live("b", 3),) and found.calls == 5


@pytest.mark.parametrize(
    ("tested", "named", "state", "share"),
    [
        ({"abcd1234ff": 10}, "abcd1234ff", "fresh", 1.0),
        ({"abcd1234ff": 10}, "abcd1234", "fresh", 1.0),
        ({"abcd1234ff": 10}, "abcd1235", "stale", 0.0),
        ({"abcd1234ff": 9, "0000000000": 1}, "abcd1234", "stale", 0.9),
        ({}, "abcd1234", "unknown", None),
    ],
)
def test_a_run_is_about_a_named_composition_or_not(
    tested: dict[str, int], named: str, state: str, share: float | None
) -> None:
    found = about_composition(tested, named)
    assert (found.state, found.share) == (state, share) and found.sentence.endswith((".", "/v1"))


def test_calls_of_an_agent_are_not_taken_for_the_run_s_own() -> None:
    assert freshness({"a": 40}, [live("a", 1)], ["m"]).state == "unknown"
    assert freshness({"a": 40}, [live("a", 1)], ["m"], own_among=False).state == "fresh"
