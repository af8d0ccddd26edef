"""What a judge favours is told from what is right, and one text that always wins is seen."""

from __future__ import annotations

from random import Random

import pytest

from watchkeeper.analysis.favouring import Pick, family, favour, repeated


def picks(rng: Random, n: int, pull: float) -> list[Pick]:
    """A judge that is right 80% of the time, and takes the longer answer regardless with the chance `pull`."""
    found = []
    for _ in range(n):
        label, longer = rng.choice("12"), rng.choice("12")
        winner = longer if rng.random() < pull else label if rng.random() < 0.8 else "12".replace(label, "")
        found.append(Pick(winner, label, longer))
    return found


def test_a_pull_to_the_longer_is_found() -> None:
    found = favour(picks(Random(1), 400, 0.3))
    assert found is not None
    assert found.excess is not None
    assert found.p_value is not None
    assert found.excess.low > 0
    assert found.p_value < 0.01


def test_a_fair_judge_is_called_biased_at_the_stated_rate() -> None:
    rng, alarms = Random(2), 0
    for _ in range(400):
        found = favour(picks(rng, 100, 0.0))
        alarms += found is not None and found.p_value is not None and found.p_value < 0.01
    assert alarms / 400 <= 0.01 + 3 * (0.01 * 0.99 / 400) ** 0.5


def test_without_labels_only_the_share_is_known() -> None:
    found = favour([Pick("1", None, "1")] * 8 + [Pick("2", None, "1")] * 2)
    assert found is not None
    assert (found.picked.value, found.excess, found.p_value) == (0.8, None, None)
    assert favour([]) is None


def test_one_text_that_wins_against_anything_is_seen() -> None:
    answers = [("I am the constant answer.", 1.0)] * 30 + [(f"answer number {i} of many", 0.5) for i in range(70)]
    found = repeated(answers)
    assert found is not None
    assert (found.answers, found.share, found.wins.value, found.by) == (30, 0.3, 1.0, "text")


@pytest.mark.parametrize(
    "answers",
    [
        [("yes", 1.0)] * 80 + [("no", 0.0)] * 20,
        [(f"answer number {i} of many", 1.0) for i in range(100)],
        [("the same text but seldom", 1.0)] * 4 + [(f"answer number {i} of many", 1.0) for i in range(96)],
        [("the same text but few", 1.0)] * 9,
    ],
)
def test_answers_that_differ_or_are_short_are_no_exploit(answers: list[tuple[str, float]]) -> None:
    assert repeated(answers) is None


def test_one_length_stands_for_one_text_where_nearly_all_have_it() -> None:
    rng = Random(3)
    lengths = [(str(rng.randint(200, 1_800)), rng.random()) for _ in range(300)]
    assert repeated(lengths, lengths=True) is None
    assert repeated([("872", 0.8)] * 300, lengths=True) is not None
    assert repeated([("1", 0.8)] * 300, lengths=True) is None


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("gpt-4o-2024-05-13", "openai"),
        ("ChatGPT", "openai"),
        ("anthropic/claude-3-opus", "anthropic"),
        ("Meta-Llama-3-70B", "meta"),
        ("o3-mini", "openai"),
        ("NullModel", None),
        ("yield-curve", None),
        ("", None),
        (None, None),
    ],
)
def test_a_family_is_known_by_its_name(name: str | None, of: str | None) -> None:
    assert family(name) == of
