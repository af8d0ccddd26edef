"""The made-up tasks: right by construction, and a tenth of them held out."""

from __future__ import annotations

import re
from random import Random

import pytest

from watchkeeper.lab.tiny.tasks import FIELDS, LEAST, MOST, TASKS, distinct, drawn, held_out


def test_a_sum_by_one_is_in_no_training_text() -> None:
    rng = Random(2)
    assert {
        abs(int(step[1]))
        for _ in range(50)
        for step in re.findall(r"(Gets|Loses) (\d+)", drawn("ones", 2, rng, held=True).text)
    } == {1}
    changes = re.findall(r"(?:Gets|Loses) (\d+)", " ".join(drawn("sums", 4, rng, held=False).text for _ in range(500)))
    assert set(map(int, changes)) == set(range(2, 21))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_the_steps_of_a_sum_add_up_to_its_answer(size: int) -> None:
    rng = Random(size)
    for _ in range(100):
        problem = drawn("sums", size, rng, held=False)
        steps = problem.steps.split(", ")
        assert len(steps) == size
        for step in steps:
            left, right = step.split("=")
            assert sum(map(int, re.findall(r"[+-]?\d+", left))) == int(right)
            assert LEAST <= int(right) <= MOST
        assert steps[-1].endswith(f"={problem.answer}")


@pytest.mark.parametrize("size", [2, 3, 4])
def test_the_answer_of_a_record_stands_after_its_field(size: int) -> None:
    rng = Random(size)
    for _ in range(100):
        problem = drawn("records", size, rng, held=False)
        field = problem.steps.split()[0]
        assert field in FIELDS
        assert f"{field} {problem.answer}" in re.split(r"[;.] ?", problem.text.replace("; ", ";"))


def test_a_word_is_spelled_from_its_end() -> None:
    problem = drawn("backwards", 5, Random(1), held=False)
    assert f"Spell {problem.answer[::-1]} backwards." == problem.text


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("held", [True, False])
def test_what_is_held_out_never_comes_where_it_is_not_asked_for(task: str, held: bool) -> None:
    rng = Random(3)
    assert {held_out(drawn(task, 3, rng, held).text) for _ in range(200)} == {held}


def test_problems_are_distinct_and_where_there_are_too_few_that_is_said() -> None:
    found = distinct("backwards", 2, Random(1), 20)
    assert len({each.text for each in found}) == 20
    with pytest.raises(ValueError, match="held-out problems"):
        distinct("backwards", 2, Random(1), 500)
