"""Habits that changed rank first, equal versions are quiet, and the consumer that would break is named."""

from random import Random

from watchkeeper.analysis.behaviour import Told, behaviour
from watchkeeper.analysis.consumers import Consumer, Step
from watchkeeper.analysis.shape_features import Reply

WORDS = "lamp blue order parcel return week price shop box colour".split()  # noqa: SIM905


def replies(rng: Random, n: int, *, fenced: float = 0.1, hedged: float = 0.2, long: int = 12) -> list[Told]:
    found = []
    for _ in range(n):
        said = " ".join(rng.choice(WORDS) for _ in range(rng.randint(6, 6 + long))) + f". Total: {rng.randint(1, 90)}"
        said = f"Perhaps the {said}" if rng.random() < hedged else f"The {said}"
        found.append(Told(reply=Reply(text=f"```\n{said}\n```" if rng.random() < fenced else said)))
    return found


def test_length_hedges_and_fences_rank_first() -> None:
    rng = Random(10)
    found = behaviour(replies(rng, 80), replies(rng, 80, fenced=0.8, hedged=0.8, long=60))
    top = {each.feature.partition(".")[0] + "." + each.feature.partition(".")[2] for each in found.differences[:9]}
    assert {"format.fences", "manner.hedges", "length.characters"} <= top
    assert all(each.differs for each in found.differences[:6])


def test_equal_versions_are_called_different_in_at_most_five_percent() -> None:
    rng, alarms = Random(11), 0
    for _ in range(150):
        alarms += behaviour(replies(rng, 40), replies(rng, 40)).differences[0].differs
    assert alarms / 150 <= 0.05 + 3 * (0.05 * 0.95 / 150) ** 0.5


def test_the_consumer_that_would_break_is_named() -> None:
    rng = Random(12)
    consumers = (
        Consumer(name="total", regex=r"Total: \d+$", reads=("format.fences",)),
        Consumer(name="line", regex=r"^(The|Perhaps)"),
    )
    found = behaviour(replies(rng, 60), [
        Told(reply=Reply(text=each.reply.text.replace("Total: ", "Total is "))) for each in replies(rng, 60)
    ], consumers)  # fmt: skip
    assert [(each.consumer, each.verdict) for each in found.consumers] == [
        ("total", "breaks"),
        ("line", "not resolved"),
    ]


def test_what_a_consumer_reads_ranks_higher() -> None:
    rng = Random(13)
    a, b = replies(rng, 80), replies(rng, 80, fenced=0.5, hedged=0.8)
    found = behaviour(a, b, (Consumer(name="page", regex="x", reads=("format.fences",), weight=5),))
    assert found.differences[0].feature == "format.fences"
    assert found.differences[0].readers == ("page",)


def test_of_the_intervals_of_what_is_told_few_miss_as_they_are_as_wide_as_the_selection_asks() -> None:
    rng = Random(14)
    found = behaviour(replies(rng, 80), replies(rng, 80, fenced=0.8, hedged=0.8, long=60))
    told = [each for each in found.differences if each.differs]
    others = [each for each in found.differences if not each.differs]
    assert {each.interval.confidence for each in told} == {1 - 0.05 * len(told) / len(found.differences)}
    assert {each.interval.confidence for each in others} == {0.95}
    assert all(each.interval.low <= each.shift.effect <= each.interval.high for each in found.differences)


def test_fewer_than_eight_units_resolve_nothing() -> None:
    rng = Random(15)
    a = [Told(reply=each.reply, cluster=str(n % 7)) for n, each in enumerate(replies(rng, 70, fenced=0.0))]
    b = [Told(reply=each.reply, cluster=str(n % 7)) for n, each in enumerate(replies(rng, 70, fenced=1.0))]
    found = behaviour(a, b)
    assert (found.units_a, found.units_b, found.resolved, found.smallest) == (7, 7, False, 1.0)
    assert not any(each.differs for each in found.differences)
    assert behaviour([], b).resolved is False


def test_a_step_that_fails_on_fences_is_a_reader_of_fences() -> None:
    rng = Random(16)

    def followed(side: list[Told]) -> list[Told]:
        steps = [(Step(name="ledger", failed=each.reply.text.startswith("```")),) for each in side]
        return [Told(reply=each.reply, steps=step) for each, step in zip(side, steps, strict=True)]

    found = behaviour(followed(replies(rng, 60, fenced=0.1)), followed(replies(rng, 60, fenced=0.8)))
    fences = next(each for each in found.differences if each.feature == "format.fences")
    assert fences.differs and fences.readers == ("ledger",)
    assert found.consumers[0].verdict == "breaks"
