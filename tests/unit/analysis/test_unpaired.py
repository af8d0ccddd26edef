"""Two independent samples are compared as statistics libraries do it, and equal ones are seldom called different."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.analysis.paired import verdict_of
from watchkeeper.analysis.quantiles import t_two_sided
from watchkeeper.analysis.unpaired import Sample, unpaired_evidence

WIDE = (0.95, 0.9)


def test_welch_as_scipy_says_it() -> None:
    found = unpaired_evidence(Sample([1.2, 3.4, 2.2, 5.9, 4.1, 2.8]), Sample([4.4, 6.1, 5.0, 7.7, 3.9, 6.6, 8.1]), WIDE)
    assert found.p_value == pytest.approx(0.012548147376620775)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.7104592264967493, 4.699064583027059))
    assert found.method == "Welch t test, Welch interval"


def test_outcomes_as_scipy_and_statsmodels_say_it() -> None:
    few = unpaired_evidence(Sample([1.0] * 7 + [0.0] * 13), Sample([1.0] * 15 + [0.0] * 5), WIDE)
    assert few.p_value == pytest.approx(0.02484172037782329)
    assert (few.difference.low, few.difference.high) == pytest.approx((0.09180795106768114, 0.6181247115489323))
    many = unpaired_evidence(Sample([1.0] * 180 + [0.0] * 120), Sample([1.0] * 210 + [0.0] * 90), WIDE)
    assert many.p_value == pytest.approx(0.01023571239127076)
    assert many.method == "pooled z test, Newcombe score interval"


def test_the_tails_of_student_as_scipy_says_them() -> None:
    assert t_two_sided(2.3, 7.5) == pytest.approx(0.052572896104369084)
    assert t_two_sided(-0.4, 1) == pytest.approx(0.7577621168183132)


def test_a_side_with_one_score_or_one_cluster_says_nothing() -> None:
    one = unpaired_evidence(Sample([0.4]), Sample([1.5, 2.5]), WIDE)
    clustered = unpaired_evidence(Sample([0.4, 1.7], ["x", "x"]), Sample([1.5, 2.5], ["y", "z"]), WIDE)
    for found in (one, clustered):
        assert (found.p_value, found.mde) == (1, None)
        assert found.difference.low < -1e9


def test_an_empty_side_is_refused() -> None:
    with pytest.raises(ValueError, match="Each side"):
        unpaired_evidence(Sample([]), Sample([1.0]), WIDE)


def test_clusters_make_the_interval_wider() -> None:
    rng = Random(5)
    values = [base + rng.gauss(0, 0.1) for base in [rng.random() for _ in range(20)] for _ in range(5)]
    of = [i // 5 for i in range(100)]
    alone = unpaired_evidence(Sample(values), Sample(values[::-1]), WIDE).difference
    together = unpaired_evidence(Sample(values, of), Sample(values[::-1], of), WIDE).difference
    assert together.high - together.low > 1.5 * (alone.high - alone.low)


@pytest.mark.parametrize(("n_a", "n_b"), [(20, 20), (100, 60)])
@pytest.mark.parametrize("kind", ["outcomes", "grades", "skewed"])
def test_equal_samples_are_called_different_at_most_at_the_stated_rate(n_a: int, n_b: int, kind: str) -> None:
    rng, wrong, trials = Random(n_a), 0, 300

    def draw(n: int) -> Sample:
        if kind == "skewed":
            return Sample([rng.lognormvariate(0, 1) for _ in range(n)])
        values = (0.0, 1.0) if kind == "outcomes" else (0.0, 0.5, 1.0, 1.0, 1.0, 1.0)
        return Sample(rng.choices(values, k=n))

    for _ in range(trials):
        verdict, _ = verdict_of(unpaired_evidence(draw(n_a), draw(n_b), WIDE), 0.05, None, False)
        wrong += verdict in ("better", "worse")
    assert wrong / trials < 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5
