"""Shifts between samples are found, and equal samples are called different at the stated rate."""

from random import Random

import pytest

from watchkeeper.analysis.two_samples import by_cluster, effect_interval, shift, smallest_effect


def test_equal_samples_err_at_the_stated_rate() -> None:
    rng = Random(10)
    alarms = 0
    for _ in range(1000):
        a, b = ([float(int(rng.expovariate(0.3))) for _ in range(30)] for _ in range(2))
        found = shift(a, b)
        alarms += found is not None and found.p_value < 0.05
    assert 0.025 <= alarms / 1000 <= 0.075


def test_a_shift_is_found_with_its_size() -> None:
    found = shift([float(x) for x in range(40)], [float(x + 20) for x in range(40)])
    assert found is not None
    assert found.p_value < 1e-4
    assert found.effect == pytest.approx(0.75, abs=0.01)


def test_outcomes_are_held_by_fishers_test() -> None:
    found = shift([0.0] * 20, [1.0] * 20)
    assert found is not None
    assert (found.method, found.effect) == ("Fisher's exact", 1.0)


def test_few_values_claim_nothing() -> None:
    found = shift([1.0, 2.0], [30.0, 40.0])
    assert found is not None
    assert found.p_value == 1


def test_a_cluster_is_one_value() -> None:
    assert by_cluster([1.0, 3.0, 9.0], ["a", "a", "b"]) == [2.0, 9.0]


def test_an_empty_side_is_not_compared() -> None:
    assert shift([], [1.0]) is None


@pytest.mark.parametrize(("moved", "n"), [(0, 12), (4, 40), (8, 30)])
def test_the_interval_of_the_effect_holds_it_about_as_often_as_stated(moved: int, n: int) -> None:
    rng, held, runs = Random(11), 0, 500

    def drawn(count: int, by: int) -> list[float]:
        return [float(int(rng.expovariate(0.1)) + by) for _ in range(count)]

    true = effect_interval(drawn(20_000, 0), drawn(20_000, moved)).value
    for _ in range(runs):
        found = effect_interval(drawn(n, 0), drawn(n, moved))
        held += found.low <= true <= found.high
    assert 0.92 <= held / runs <= 0.98


@pytest.mark.parametrize(
    ("a", "b", "method"),
    [
        ([0.0] * 9, [1.0] * 9, "Newcombe score"),
        ([1.0, 2.0] * 9, [3.0, 4.0] * 9, "Wilson, sides apart"),
        ([float(n) for n in range(20)], [float(n + 5) for n in range(20)], "Feng and Cliff"),
        ([1.0, 2.0], [3.0] * 20, "fewer than 8 a side"),
        ([5.0] * 10, [5.0] * 10, "Feng and Cliff"),
    ],
)
def test_every_effect_has_an_interval_around_it(a: list[float], b: list[float], method: str) -> None:
    found, back = effect_interval(a, b), effect_interval(b, a)
    assert found.method == method and found.n == min(len(a), len(b))
    assert -1 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high
    assert (back.value, back.low, back.high) == pytest.approx((-found.value, -found.high, -found.low))


def test_the_smallest_effect_shrinks_with_the_sample_and_is_found_about_four_times_in_five() -> None:
    assert smallest_effect(7, 100) == 1.0
    assert smallest_effect(400, 400) < smallest_effect(40, 40) < 0.4
    rng, found, runs = Random(13), 0, 300
    shifted = 0.6745 * 2**0.5  # of normal values: a delta of 0.3651
    for _ in range(runs):
        each = shift([rng.gauss(0, 1) for _ in range(40)], [rng.gauss(shifted * 0.7, 1) for _ in range(40)])
        found += each is not None and each.p_value < 0.05
    assert 0.75 <= found / runs <= 0.88
