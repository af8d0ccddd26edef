"""Estimates of tokens: what they rest on, how they are learnt, and how wrong they are said to be."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.tokens import (
    PRIOR,
    Sample,
    content_of,
    errors_by_slice,
    features_of,
    learn,
    script_of,
    slice_of,
    upper_quantile,
)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("The delivery has not arrived.", "latin"),
        ("Доставка ещё не пришла.", "cyrillic"),
        ("火曜日に届く予定の荷物がまだです。", "japanese"),
        ("包裹到现在还没有收到。", "chinese"),
        ("배송이 아직 도착하지 않았습니다.", "korean"),
        ("لم يصل الطرد بعد.", "arabic"),
        ("12:30 :-)", "none"),
        ("", "none"),
    ],
)
def test_a_writing_system_is_told_by_its_letters(text: str, script: str) -> None:
    assert script_of(text) == script


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ('{"a": [1, 2]}', "json"),
        ('{"a": 1, "b": 2, "c": 3, "d": 4, "cut', "json"),
        ("[sic] he said", "prose"),
        ("def f(x):\n    return x + 1\n\nfor y in z:\n    f(y)", "code"),
        ("Dear all,\nthe meeting is moved.\nSee you there.", "prose"),
        ("", "prose"),
    ],
)
def test_content_is_told_by_its_look(text: str, content: str) -> None:
    assert content_of(text) == content


@given(st.lists(st.text(max_size=200), max_size=5))
def test_every_character_is_counted_once(texts: list[str]) -> None:
    found = features_of(texts)
    assert found["overhead"] == 1 and found["message"] == len(texts)
    assert sum(found.values()) == 1 + len(texts) + sum(map(len, texts))
    assert PRIOR.estimate(found) >= 1
    assert " " in slice_of("".join(texts))


def sample(chance: Random, rates: dict[str, float], noise: float) -> Sample:
    counts = {"latin": chance.randint(0, 4_000), "han": chance.randint(0, 800), "space": chance.randint(0, 700)}
    features = {"overhead": 1.0, "message": 1.0, **counts}
    billed = sum(rates[name] * count for name, count in features.items()) * (1 + chance.gauss(0, noise))
    return Sample(features=features, slice="made up", billed=max(1, round(billed)))


def test_rates_are_learnt_from_bills() -> None:
    rates = {"latin": 0.35, "han": 2.4, "space": 0.1, "overhead": 10.0, "message": 5.0}
    chance = Random(3)
    weights = learn([sample(chance, rates, 0.02) for _ in range(600)])
    assert weights.by_class["latin"] == pytest.approx(0.35, rel=0.05)
    assert weights.by_class["han"] == pytest.approx(2.4, rel=0.05)
    assert weights.by_class["thai"] == PRIOR.by_class["thai"], "what was never seen stays as it was assumed"
    (error, whole) = errors_by_slice([sample(chance, rates, 0.02) for _ in range(600)], weights)
    assert error.ratio.low < 1 < error.ratio.high or abs(error.ratio.value - 1) < 0.005
    assert whole.slice == "all" and 1.03 < whole.margin.value <= whole.margin.high < 1.09


def test_without_calls_nothing_is_learnt_and_nothing_said() -> None:
    assert learn([]).by_class == PRIOR.by_class
    assert errors_by_slice([], PRIOR) == ()


@pytest.mark.parametrize(("n", "known"), [(1, False), (298, False), (299, True), (1_000, True)])
def test_the_99th_percentile_has_a_bound_from_299_values_on(n: int, known: bool) -> None:
    bound = upper_quantile([float(each) for each in range(n)], 0.99)
    assert (bound.high < math.inf) == known
    assert bound.value <= bound.high


@pytest.mark.slow
def test_the_bound_covers_the_percentile_as_often_as_it_says() -> None:
    chance = Random(11)
    truth, repeats = math.exp(2.3263478740408408), 2_000
    covered = sum(
        upper_quantile([chance.lognormvariate(0, 1) for _ in range(400)], 0.99).high >= truth for _ in range(repeats)
    )
    assert covered / repeats >= 0.94


def test_a_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        upper_quantile([], 0.99)
