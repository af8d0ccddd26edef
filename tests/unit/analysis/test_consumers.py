"""Equal versions break a consumer in at most one of twenty comparisons."""

from random import Random
from typing import Any

import pytest

from watchkeeper.analysis.consumers import Consumer, Step, breaks, seen_breaks

CONSUMERS = tuple(Consumer(name=str(n), regex=f"{n}") for n in range(6))


def test_equal_versions_break_nothing_at_the_stated_rate() -> None:
    rng, alarms = Random(10), 0
    for _ in range(200):
        a, b = (["".join(str(n) for n in range(6) if rng.random() < 0.7) for _ in range(40)] for _ in range(2))
        alarms += any(each.verdict != "not resolved" for each in breaks(CONSUMERS, a, b))
    assert alarms / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


def test_json_in_a_fence_is_not_read() -> None:
    consumer = Consumer(name="a", json=True)
    assert consumer.reads_reply("[1]")
    assert not consumer.reads_reply("```json\n[1]\n```")
    assert "format.json" in consumer.hangs_on()


def test_json_paths_reach_into_lists() -> None:
    assert Consumer(name="a", json_path="x.0.y").reads_reply('{"x": [{"y": 1}]}')
    assert not Consumer(name="a", json_path="x.1.y").reads_reply('{"x": [{"y": 1}]}')


def test_replies_of_one_cluster_count_once() -> None:
    consumer = (Consumer(name="a", regex="x"),)
    texts = (["x"] * 60, ["y"] * 60)
    clusters: tuple[list[int], list[int]] = ([n // 20 for n in range(60)], [n // 20 for n in range(60)])
    assert breaks(consumer, *texts)[0].verdict == "breaks"
    (found,) = breaks(consumer, *texts, clusters)
    assert found.verdict == "not resolved" and found.difference.value == -1


def test_a_step_that_fails_more_after_b_breaks_and_one_of_one_side_alone_is_not_judged() -> None:
    def steps(failed: bool) -> tuple[Step, ...]:
        return (Step(name="ledger", failed=failed), Step(name="page", failed=False))

    a, b = [steps(False)] * 20, [steps(n % 4 > 0) for n in range(20)]
    b[0] = (*b[0], Step(name="new", failed=True))
    found = seen_breaks(a, b, (range(20), range(20)), {"ledger": ("format.fences",)})
    assert [(each.consumer, each.verdict, each.hangs_on, each.seen) for each in found] == [
        ("ledger", "breaks", ("format.fences",), True),
        ("page", "not resolved", (), True),
    ]
    assert (found[0].read_a, found[0].n_a, found[0].read_b, found[0].n_b) == (20, 20, 5, 20)


def test_equal_failures_break_no_step_at_the_stated_rate() -> None:
    rng, alarms, runs = Random(11), 0, 200
    for _ in range(runs):
        a, b = ([(Step(name="ledger", failed=rng.random() < 0.3),) for _ in range(30)] for _ in range(2))
        alarms += any(e.verdict != "not resolved" for e in seen_breaks(a, b, (range(30), range(30)), {}))
    assert alarms / runs <= 0.05 + 3 * (0.05 * 0.95 / runs) ** 0.5


@pytest.mark.parametrize("fields", [{}, {"json": True, "regex": "x"}, {"regex": "("}])
def test_a_consumer_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="consumer 'a'"):
        Consumer(name="a", **fields)
