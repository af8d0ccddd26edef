"""A locale is judged by its own native items: a hidden loss fails, equal sides pass, translations measure nothing."""

from __future__ import annotations

from random import Random

from watchkeeper.analysis.locales import Observation, refusal_parity, rule_locales


def side(rng: Random, french: float, size: int = 2_500) -> list[Observation]:
    """88% English, the rest French; item by item the same luck on every side that is made of one seed."""
    rows = []
    for number in range(size):
        locale = "fr" if number % 25 < 3 else "en"
        right = rng.random() < (0.9 if locale == "en" else french)
        rows.append(Observation(item=str(number), locale=locale, score=float(right), native=True))
    return rows


def test_ten_points_lost_in_french_fail_the_slice_while_the_roll_up_passes() -> None:
    from watchkeeper.analysis.paired import compare

    before, after = side(Random(4), 0.88), side(Random(4), 0.78)
    found = {each.locale: each.ruling for each in rule_locales(after, before)}
    assert found == {"en": "passed", "fr": "failed"}
    score = {row.item: row.score or 0.0 for row in before}, {row.item: row.score or 0.0 for row in after}
    whole = compare(*score, margin=0.03)
    assert whole.difference.low > -0.03


def test_equal_sides_fail_in_at_most_five_in_a_hundred() -> None:
    rng = Random(5)
    failed = 0
    for _ in range(200):
        before, after = (
            [
                Observation(item=str(n), locale="abcd"[n % 4], score=float(rng.random() < 0.8), native=True)
                for n in range(200)
            ]
            for _ in range(2)
        )
        failed += any(each.ruling == "failed" for each in rule_locales(after, before))
    assert failed / 200 <= 0.05


def repeated(rng: Random, right: list[float], locale: str = "fr", repeats: int = 3) -> list[Observation]:
    """Items with a chance of their own, each asked several times."""
    return [
        Observation(item=str(n), locale=locale, score=float(rng.random() < chance), native=True)
        for n, chance in enumerate(right)
        for _ in range(repeats)
    ]


def test_repeats_are_no_items_and_equal_sides_with_repeats_fail_seldom() -> None:
    rng, failed, covered = Random(6), 0, 0
    for _ in range(200):
        chances = [min(1.0, max(0.0, rng.gauss(0.8, 0.3))) for _ in range(60)]
        (found,) = rule_locales(repeated(rng, chances), repeated(rng, chances))
        failed += found.ruling == "failed"
        covered += found.mean.low <= 0.755 <= found.mean.high  # the mean of that distribution, cut off at 0 and 1
        assert (found.native, found.answers, found.mean.n) == (60, 180, 60)
    assert failed / 200 <= 0.05
    assert covered / 200 >= 0.95 - 3 * (0.95 * 0.05 / 200) ** 0.5


def test_an_item_of_two_provenances_counts_as_the_lesser_one() -> None:
    rows = [Observation(item="a", locale="ja", score=1.0, native=native) for native in (True, False, None)]
    (found,) = rule_locales(rows, least=1)
    assert (found.ruling, found.native, found.translated, found.unknown) == ("not measured", 0, 1, 0)


def test_native_items_on_one_side_alone_are_counted() -> None:
    now = [Observation(item=str(n), locale="de", score=1.0, native=True) for n in range(5, 45)]
    then = [Observation(item=str(n), locale="de", score=1.0, native=True) for n in range(40)]
    other = [Observation(item=str(n), locale="en", score=0.0, native=True) for n in range(40)]
    (found,) = rule_locales(now, then + other)
    assert (found.unpaired, found.ruling) == (10, "passed")
    assert found.difference is not None and found.difference.n == 35


def test_equal_refusals_are_called_unequal_in_at_most_five_in_a_hundred() -> None:
    rng, called = Random(7), {1: 0, 3: 0}
    for repeats in called:
        for _ in range(200):
            rows = [
                Observation(item=f"{locale}{n}", locale=locale, refused=rng.random() < 0.2, prompt=str(n))
                for locale in ("en", "de", "fr")
                for n in range(60)
                for _ in range(repeats)
            ]
            called[repeats] += any(each.unequal for each in refusal_parity(rows, "en"))
    assert max(called.values()) / 200 <= 0.05


def test_a_locale_with_only_translations_is_not_measured_however_good() -> None:
    rows = [Observation(item=str(n), locale="ja", score=1.0, native=False) for n in range(500)]
    (found,) = rule_locales(rows, floor=0.5)
    assert (found.ruling, found.native, found.translated) == ("not measured", 0, 500)


def test_one_native_item_fewer_than_the_least_is_not_measured() -> None:
    rows = [Observation(item=str(n), locale="ja", score=1.0, native=True) for n in range(30)]
    assert rule_locales(rows, floor=0.5)[0].ruling == "passed"
    assert rule_locales(rows[:29], floor=0.5)[0].ruling == "not measured"


def test_unequal_refusals_on_the_same_prompts_are_told_and_equal_ones_are_not() -> None:
    rows = [
        Observation(item=f"{locale}{n}", locale=locale, refused=n % 10 == 0 or (locale == "fr" and n % 5 == 0), prompt=str(n))  # noqa: E501
        for locale in ("en", "fr", "de") for n in range(200)
    ]  # fmt: skip
    found = {each.locale: each.unequal for each in refusal_parity(rows, "en")}
    assert found == {"de": False, "fr": True}
