"""Probes weighed against their beginnings: quiet for ninety days, and quick to find a swapped model."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.analysis.canary import weigh
from watchkeeper.records.score import Score


def answer(rng: Random, probe: str, place: int, label: str, length: float) -> Score:
    """The answer at a place in a probe's stream; three belong to a round."""
    return Score(
        score_id=f"{rng.random()}",
        subject_kind="probe",
        subject_id=probe,
        name="probe",
        at_ns=place,
        event_ns=place,
        label=label,
        value=length,
        attributes={"form": "text/stop", "round": place // 3},
    )


def test_no_answers_are_no_evidence() -> None:
    assert weigh({}, 100).value == 1


def test_only_answers_after_the_baseline_are_bet_on() -> None:
    rng = Random(1)
    stream = [answer(rng, "p", place, "yes" if place < 50 else "no", 3) for place in range(60)]
    assert weigh({"p": stream}, 60).rounds == ()
    assert weigh({"p": stream}, 48).value > 10


def streams(rng: Random, days: int, swap: int | None, changed: int) -> dict[str, list[Score]]:
    """Ten probes of three answers a day after 100; from day `swap` on some of them answer otherwise in 70%."""
    made: dict[str, list[Score]] = {}
    for number in range(10):
        labels, weights = (("yes", "no", "maybe"), ((8, 1, 1), (20, 1, 0), (5, 4, 1))[number % 3])
        stream = []
        for place in range(100 + 3 * days):
            day = (place - 100) // 3
            label = rng.choices(labels, weights)[0]
            if swap is not None and place >= 100 and day >= swap and number < changed and rng.random() < 0.7:
                label = "other"
            length = len(label) + (rng.gauss(0, 3) if number % 4 == 0 else 0)
            stream.append(answer(rng, f"p{number}", place, label, length))
        made[f"p{number}"] = stream
    return made


@pytest.mark.slow
def test_ninety_quiet_days_raise_an_alarm_no_more_often_than_stated() -> None:
    """At alpha 1% the share of 60 unchanged streams that ever alarm; more than 3 has a probability below 0.4%."""
    rng = Random(21)
    alarms = sum(weigh(streams(rng, 90, None, 0), 100).value >= 100 for _ in range(60))
    assert alarms <= 3


@pytest.mark.slow
def test_a_swapped_model_is_found_within_three_days() -> None:
    rng, late = Random(22), 0
    for _ in range(30):
        rounds = weigh(streams(rng, 20, 10, 5), 100).rounds
        first = next((n for n, value in enumerate(rounds) if value >= 100), None)
        # The baseline of 100 ends within a round of three, so rounds and days are one apart at most.
        assert first is None or first >= 10
        late += first is None or first > 13
    assert late <= 1
