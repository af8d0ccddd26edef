"""The two-by-two counts what accuracy does not show, and is quiet where cohorts are alike."""

from random import Random

from watchkeeper.analysis.answers_and_reasons import Judged, tables


def test_each_cell_is_counted_and_the_unknown_is_apart() -> None:
    answers = [Judged(True, True), Judged(True, False), Judged(False, True), Judged(False, False), Judged(True, None)]
    (found,) = tables(answers)
    assert (found.right_supported, found.right_unsupported, found.wrong_supported, found.wrong_unsupported) == (1,) * 4
    assert (found.unjudged, found.overclaim.value, found.accuracy.value) == (1, 0.25, 0.6)


def test_the_interval_covers_the_planted_rate() -> None:
    rng = Random(41)
    covered = 0
    for _ in range(400):
        (found,) = tables([Judged(rng.random() < 0.8, rng.random() < 0.75) for _ in range(200)])
        covered += not found.overclaim.excludes(0.8 * 0.25)
    assert 0.92 <= covered / 400 <= 0.98


def test_equal_cohorts_are_told_apart_in_at_most_five_percent() -> None:
    rng = Random(7)
    alarms = 0
    for _ in range(200):
        found = tables([Judged(rng.random() < 0.8, rng.random() < 0.8, rng.choice("abc")) for _ in range(200)])
        alarms += any(each.apart is not None and each.apart < 0.05 for each in found)
    assert alarms / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_a_cohort_with_more_of_them_is_found() -> None:
    rng = Random(3)
    answers = [Judged(True, rng.random() < (0.6 if cohort == "new" else 0.95), cohort)
               for _ in range(150) for cohort in ("new", "expert")]  # fmt: skip
    assert all((each.apart or 1) < 0.01 for each in tables(answers)[1:])


def test_clustered_answers_have_a_wider_interval() -> None:
    rng = Random(5)
    clusters = [(f"c{n}", rng.random() < 0.5) for n in range(40)]
    answers = [Judged(True, held, "all", name) for name, held in clusters for _ in range(10)]
    (robust,), (naive,) = tables(answers), tables([each._replace(cluster=None) for each in answers])
    assert robust.overclaim.high - robust.overclaim.low > 2 * (naive.overclaim.high - naive.overclaim.low)
