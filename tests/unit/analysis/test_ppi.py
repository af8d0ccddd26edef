"""A judge corrected by few labels is right as often as it says, however wrong the judge is."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from watchkeeper.analysis.ppi import Row, corrected_mean


def sample(rng: np.random.Generator, labels: int, rate: float, right_good: float, right_bad: float) -> list[Row]:
    truth = rng.random(600) < rate
    said = np.where(truth, rng.random(600) < right_good, rng.random(600) > right_bad)
    return [Row(float(f), float(y) if i < labels else None) for i, (f, y) in enumerate(zip(said, truth, strict=True))]


@pytest.mark.parametrize(
    ("labels", "rate", "good", "bad"),
    [(10, 0.4, 0.9, 0.7), (30, 0.4, 0.9, 0.7), (30, 0.9, 0.9, 0.7), (30, 0.5, 0.99, 0.99), (100, 0.05, 0.9, 0.7)],
)
def test_the_truth_is_covered_at_nominal(labels: int, rate: float, good: float, bad: float) -> None:
    rng, held, judge_alone = np.random.default_rng(labels), 0, 0
    for _ in range(300):
        found = corrected_mean(sample(rng, labels, rate, good, bad), bounds=(0, 1))
        held += found.estimate.low <= rate <= found.estimate.high
        judge_alone += found.judge_alone.low <= rate <= found.judge_alone.high
    assert held / 300 > 0.95 - 3 * (0.05 * 0.95 / 300) ** 0.5
    # A judge that errs to both sides alike at a rate of one half has no bias.
    assert judge_alone / 300 < (1 if rate == 0.5 else 0.05)


def test_a_good_judge_is_worth_labels_and_a_coin_is_not() -> None:
    rng = np.random.default_rng(3)
    good = corrected_mean(sample(rng, 100, 0.5, 0.95, 0.95))
    coin = corrected_mean(sample(rng, 100, 0.5, 0.5, 0.5))
    assert good.worth_labels is not None
    assert coin.worth_labels is not None
    assert good.worth_labels > 180
    assert 85 < coin.worth_labels < 115
    assert good.weight > 0.6 > 0.3 > coin.weight


def test_its_bias_is_told_with_an_interval() -> None:
    found = corrected_mean(sample(np.random.default_rng(4), 200, 0.3, 1.0, 0.7))
    assert found.judge_bias.low < 0.21 < found.judge_bias.high
    assert found.judge_bias.low > 0
    assert found.estimate.value == pytest.approx(0.3, abs=0.08)


def test_clusters_of_labels_are_covered_at_nominal() -> None:
    rng, held = np.random.default_rng(5), 0
    for _ in range(200):
        centre = rng.normal(0, 0.7, 60)
        rows = [
            Row(float(y + 0.5 + 0.2 * centre[g] + 0.5 * rng.normal()), float(y) if g < 15 else None, g)
            for g in range(60)
            for y in centre[g] + rng.normal(size=4)
        ]
        estimate = corrected_mean(rows).estimate
        held += estimate.low <= 0 <= estimate.high
    assert held / 200 > 0.95 - 3 * (0.05 * 0.95 / 200) ** 0.5


def test_strata_that_were_labelled_unequally_are_weighted_by_their_rows() -> None:
    rng = np.random.default_rng(6)
    rows = [
        Row(float(y), float(y) if i < labels else None, stratum=name)
        for name, n, labels, rate in (("often", 900, 20, 0.9), ("rare", 100, 80, 0.1))
        for i, y in enumerate(rng.random(n) < rate)
    ]
    found = corrected_mean(rows)
    assert found.estimate.low < 0.82 < found.estimate.high
    assert "stratified" in found.estimate.method
    assert found.labels_alone.value < 0.5


def test_too_few_labels_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 labelled rows, and there are 2"):
        corrected_mean([Row(1.0, 1.0), Row(0.0, 0.0), Row(1.0)])
    with pytest.raises(ValueError, match="in the stratum 'b'"):
        corrected_mean([Row(1.0, 1.0, None, "a")] * 5 + [Row(1.0, None, None, "b")] * 5)
    with pytest.raises(ValueError, match="at least 3 clusters"):
        corrected_mean([Row(i % 2, i % 2, "one") for i in range(9)])


def test_labels_that_are_all_alike_are_said_to_be() -> None:
    found = corrected_mean([Row(1.0, 1.0)] * 20 + [Row(1.0)] * 80, bounds=(0, 1))
    assert found.estimate.high == 1
    assert found.estimate.low < 0.95
    assert "All labels are alike" in found.notes[0]


@pytest.mark.parametrize("labels", [10, 20, 50])
def test_a_difference_is_covered_although_few_labels_met_a_change(labels: int) -> None:
    """Both versions right on 60%, one item in ten changed; without the rows that are added it is 62% at ten labels."""
    rng, covered, trials = Random(labels), 0, 300
    for _ in range(trials):
        rows = []
        for index in range(300):
            old = rng.random() < 0.6
            new = not old if rng.random() < 0.1 else old
            said = [truth if rng.random() < 0.9 else not truth for truth in (old, new)]
            label = float(new) - float(old) if index < labels else None
            rows.append(Row(judge=float(said[1]) - float(said[0]), label=label))
        found = corrected_mean(rows, bounds=(-1.0, 1.0)).estimate
        covered += found.low <= -0.02 <= found.high
    assert covered / trials > 0.95 - 3 * (0.95 * 0.05 / trials) ** 0.5
