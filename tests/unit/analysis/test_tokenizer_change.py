"""Probes: what tells a tokenizer from a frame, and a change from glitches."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.analysis.tokenizer_change import Probe, compare


def probes(*pairs: tuple[int, int]) -> list[Probe]:
    return [Probe(name=str(number), before=before, after=after) for number, (before, after) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("pairs", "kind"),
    [
        ([(10, 10), (20, 20), (30, 30)], "same"),
        ([(10, 12), (20, 25), (30, 37)], "tokenizer"),
        ([(10, 12), (20, 22), (30, 32)], "frame"),
        ([(10, 12), (20, 25)], "undecided"),
        ([(10, 10)], "same"),
        ([(10, 14), *[(20, 20)] * 30], "same"),
        ([*[(20, 27)] * 30, (10, 99)], "frame"),
    ],
)
def test_kinds(pairs: list[tuple[int, int]], kind: str) -> None:
    assert compare(probes(*pairs)).kind == kind


def test_the_ratio_says_what_the_same_text_costs_now() -> None:
    change = compare(probes((100, 120), (200, 242), (300, 357), (400, 484)))
    assert change.ratio.low < 1.2 < change.ratio.high and change.changed == 4
    assert change.most[0].before in (200, 400)
    frame = compare(probes((100, 107), (200, 207), (300, 307)))
    assert frame.frame_tokens == 7


@pytest.mark.slow
def test_glitches_raise_no_alarm_more_often_than_is_said() -> None:
    chance = Random(5)
    alarms = 0
    for _ in range(5_000):
        made = [(size, size + (chance.random() < 0.02)) for size in (chance.randint(10, 900) for _ in range(20))]
        alarms += compare(probes(*made)).kind not in ("same", "undecided")
    assert alarms <= 5


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one probe"):
        compare([])
