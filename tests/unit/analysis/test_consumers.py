"""Equal versions break a consumer in at most one of twenty comparisons."""

from random import Random

from watchkeeper.analysis.consumers import Consumer, breaks

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
