"""Habits that changed rank first, equal versions are quiet, and the consumer that would break is named."""

import json
from pathlib import Path
from random import Random

import pytest

from watchkeeper.analysis.shape_features import Reply
from watchkeeper.engines.experiments.behaviours import Told, behaviour, read_replies
from watchkeeper.engines.experiments.consumers import Consumer, ConsumerError, read_consumers
from watchkeeper.engines.experiments.rows import TableError
from watchkeeper.engines.experiments.sunset import sunset

WORDS = "lamp blue order parcel return week price shop box colour".split()  # noqa: SIM905
DAY = 86_400 * 10**9


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


def test_recorded_traffic_and_runs_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    span = {"span": {"start_ns": 5, "end_ns": 9, "identity": {"user": "mia", "session": "s"}},
            "messages": {"output": [{"role": "assistant", "content": "hello"}]}}  # fmt: skip
    path.write_text(json.dumps(span) + "\n" + json.dumps({"output": "a", "case_id": "c", "calls": "[]"}) + "\n")
    first, second = read_replies(path)
    assert (first.reply.text, first.user, first.cluster, first.at_ns) == ("hello", "mia", "s", 5)
    assert (second.cluster, second.reply.tools) == ("c", ())


def test_a_file_without_replies_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"x": 1}\n')
    with pytest.raises(TableError, match="no reply"):
        read_replies(path)


@pytest.mark.parametrize("text", ['[[consumers]]\nname = "a"', '[[consumers]]\nname = "a"\nregex = "("', "x = ["])
def test_consumers_that_cannot_be_used_are_errors(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    with pytest.raises(ConsumerError):
        read_consumers(path)


def test_json_paths_reach_into_lists() -> None:
    assert Consumer(name="a", json_path="x.0.y").reads_reply('{"x": [{"y": 1}]}')
    assert not Consumer(name="a", json_path="x.1.y").reads_reply('{"x": [{"y": 1}]}')


def test_a_sunset_goes_from_opt_in_to_the_deepest_users() -> None:
    used = [Told(reply=Reply(text="a"), user=f"u{n}", at_ns=k * DAY) for n in range(40) for k in range(1 + n)]
    plan = sunset([*used, Told(reply=Reply(text="a"))])
    assert plan.stages[0].cohort == "whoever opts in"
    assert plan.stages[-1].cohort == "deep"
    assert plan.unnamed_replies == 1
    assert sum(each.users for each in plan.cohorts) == 40
    assert not any(each.can_tell for each in plan.stages)  # 40 users are too few to see the drop, and it says so
    with pytest.raises(ValueError, match="drop"):
        sunset(used, 0.1, 0.5)
