"""Anchors tell a judge that drifts from a system that drifts, at the stated rate of false alarms."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.analysis.anchors import Judged, moved


def streams(
    rng: Random, days: int, change: int, strict: float = 0.0, fall: float = 0.0, anchors: int = 100
) -> tuple[dict[str, list[Judged]], list[Judged]]:
    """A judge that says yes to 95% of the good and 10% of the bad; it gets stricter, or the system worse, on a day."""
    chance = {str(i): 0.95 if rng.random() < 0.8 else 0.1 for i in range(anchors)}
    kept: dict[str, list[Judged]] = {name: [] for name in chance}
    live = []
    for day in range(days):
        later = day >= change
        for name, yes in chance.items():
            kept[name].append(Judged(float(rng.random() < yes and not (later and rng.random() < strict)), day))
        for _ in range(200):
            yes = 0.95 if rng.random() < 0.8 - (fall if later else 0) else 0.1
            live.append(Judged(float(rng.random() < yes and not (later and rng.random() < strict)), day))
    return kept, live


def test_unchanged_streams_are_quiet_at_the_stated_rate() -> None:
    rng = Random(1)
    alarms = sum(moved(*streams(rng, 14, 99, anchors=40)).cause != "quiet" for _ in range(60))
    assert alarms / 60 <= 0.05


@pytest.mark.parametrize(
    ("strict", "fall", "cause"), [(0.25, 0.0, "ruler moved"), (0.0, 0.2, "system moved"), (0.2, 0.4, "both")]
)
def test_what_moved_is_named(strict: float, fall: float, cause: str) -> None:
    rng = Random(2)
    named = [moved(*streams(rng, 16, 8, strict, fall)).cause for _ in range(6)]
    assert named.count(cause) >= 5
    wrong = {"ruler moved": "system moved", "system moved": "ruler moved", "both": "quiet"}[cause]
    assert wrong not in named


def test_a_late_change_is_not_hidden_by_a_long_quiet_time() -> None:
    rng = Random(3)
    early, late = (moved(*streams(rng, change + 6, change, strict=0.3)) for change in (8, 30))
    assert early.cause == late.cause == "ruler moved"


def test_a_judge_that_always_agrees_with_itself_is_no_proof_of_a_fixed_mean() -> None:
    anchors = {str(i): [Judged(1.0, day) for day in range(5)] + [Judged(1.0, 5)] for i in range(20)}
    anchors["0"][-1] = Judged(0.0, 5)
    assert moved(anchors, []).cause == "quiet"


def test_nothing_judged_is_quiet() -> None:
    found = moved({}, [])
    assert (found.cause, found.ruler_odds, found.system_odds) == ("quiet", 1.0, 1.0)
