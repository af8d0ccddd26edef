"""Rates of violation on equal sides: nothing is called sensitive or broken more often than it should be."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.engines.experiments.properties import _Trial, summary
from watchkeeper.engines.experiments.property_spec import Property
from watchkeeper.records.case import Case

SAME = Property(name="p", holds="same", under="perturb", allowed=0.1)


def tried(rng: Random, rate: float, excess: float = 0.0, cases: int = 60, children: int = 3) -> list[_Trial]:
    """Trials of a flaky system: answers to repeated questions differ at `rate`, to changed ones `excess` more often."""
    made = []
    for number in range(cases):
        base = Case(case_id=str(number), dataset="d", messages="[]")
        for _ in range(children):
            why = "differs" if rng.random() < rate + excess else None
            made.append(_Trial(base=base, made=base, why=why, noisy=rng.random() < rate))
    return made


def test_a_flaky_system_is_called_sensitive_in_at_most_five_in_a_hundred() -> None:
    rng = Random(1)
    called = sum(summary(SAME, tried(rng, 0.2), None).cause == "sensitive" for _ in range(400))
    assert called / 400 <= 0.025 + 3 * (0.025 * 0.975 / 400) ** 0.5


def test_a_rate_at_the_allowed_one_is_called_broken_in_at_most_five_in_a_hundred() -> None:
    rng = Random(2)
    called = sum(summary(SAME, tried(rng, 0.1), None).ruling == "broken" for _ in range(400))
    assert called / 400 <= 0.05


def test_a_sensitive_system_is_found() -> None:
    rng = Random(3)
    found = [summary(SAME, tried(rng, 0.1, 0.2), None) for _ in range(50)]
    assert sum(each.cause == "sensitive" and each.ruling == "broken" for each in found) >= 45


def test_where_most_inputs_failed_there_is_no_ruling() -> None:
    base = Case(case_id="c", dataset="d", messages="[]")
    trials = [_Trial(base=base, made=None, error="refused") for _ in range(10)]
    found = summary(SAME, trials, None)
    assert (found.ruling, found.errors, found.inputs) == ("not resolved", 10, 0)


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ({"holds": "same"}, "compares two questions"),
        ({"holds": "flips", "under": "perturb"}, "needs `labels`"),
        ({"holds": "at_most"}, "needs `chars` or `words`"),
        ({"holds": "scored"}, "needs `scorer`"),
        ({"holds": "at_most", "words": 1, "read": "("}, "not a regular expression"),
    ],
)
def test_a_property_that_cannot_be_meant_is_refused(wanted: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Property(name="p", **wanted)  # type: ignore[arg-type]
