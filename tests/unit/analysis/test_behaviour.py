"""Habits that changed rank first, equal versions are quiet, and the consumer that would break is named."""

from random import Random

from watchkeeper.analysis.behaviour import Told, behaviour
from watchkeeper.analysis.consumers import Consumer
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
