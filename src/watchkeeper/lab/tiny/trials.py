"""Trials of the tiny model for drills and benchmarks: held-out problems as cases of a suite that asks it over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from watchkeeper.engines.experiments.formats import TOLD, Form, answer_in, parameters_of
from watchkeeper.lab.suites import told, write_suite
from watchkeeper.lab.tiny.model import NAME
from watchkeeper.lab.tiny.tasks import Problem, distinct

__all__ = ["Form", "answer_of", "cases", "missing", "problems", "ran", "suite", "thinking"]

NEEDS = ("numpy", "llguidance")


def missing() -> str | None:
    """What stands in the way of a trial, in a sentence; None where nothing does."""
    absent = [name for name in NEEDS if find_spec(name) is None]
    return f"{' and '.join(absent)} missing: pip install 'watchkeeper[evals,guide]'" if absent else None


def problems(task: str, sizes: Sequence[int], count: int, seed: int) -> list[Problem]:
    """So many held-out problems of each size, all different."""
    rng = Random(seed)
    return [each for size in sizes for each in distinct(task, size, rng, count)]


def cases(asked: Iterable[Problem]) -> list[dict[str, Any]]:
    """Cases that expect the answer alone; their ids tell task, size and number."""
    return [
        {
            "id": f"{each.task}-{each.size}-{number}",
            "input": each.text,
            "expected": each.answer,
            "attributes": {"task": each.task, "size": each.size, "cell": f"{each.task} of size {each.size}"},
        }
        for number, each in enumerate(asked)
    ]


def thinking(asked: Iterable[Problem], form: Form = "free") -> list[dict[str, Any]]:
    """Cases that ask to think first and expect the whole text, the steps and the answer; or another form."""
    listed = list(asked)
    return [
        {
            **{name: value for name, value in case.items() if name != "input"},
            "messages": [{"role": "system", "content": TOLD[form]}, {"role": "user", "content": each.text}],
            "expected": each.written,
        }
        for case, each in zip(cases(listed), listed, strict=True)
    ]


def suite(
    folder: Path, base_url: str, name: str, asked: Sequence[dict[str, Any]], form: Form = "free", **parameters: Any
) -> str:
    """Write a suite that asks the tiny model; `parameters` go with each request. Returns its path."""
    given = {"temperature": 1, **parameters_of(form), **parameters}
    target = {"base_url": base_url, "model": NAME, "parameters": given}
    return str(write_suite(folder, base_url, asked, name=name, target=target, margin=0.1))


def ran(folder: Path, path: str, name: str) -> list[dict[str, Any]]:
    """Run a suite; the rows of its results."""
    out = folder / f"{name}.jsonl"
    told(folder, "eval", "run", path, "--out", str(out), "--no-cache", expect=(0, 1, 3))
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def answer_of(row: dict[str, Any], form: Form = "free") -> str | None:
    """The answer in a reply, None where it does not keep its form."""
    return answer_in(form, row["output"])
