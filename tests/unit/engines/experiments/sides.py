"""Answers of a simulated model with habits, without a call: what it says to a case, how long, how dear, how often."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random

from watchkeeper.engines.experiments.arms import Answers
from watchkeeper.engines.experiments.results import Result
from watchkeeper.records.score import Score

Say = Callable[[int, Random], dict[str, object]]
"""What a model answers to a case: fields of a result, with `right` for its score."""


def side(name: str, say: Say, *, cases: int = 120, runs: int = 3, seed: int = 0) -> Answers:
    """One side: every case answered `runs` times."""
    rng = Random(seed)
    results = []
    for case in range(cases):
        for repeat in range(runs):
            said = dict(say(case, rng))
            right = said.pop("right", None)
            scores = () if right is None else (_score(f"c{case}", float(bool(right))),)
            results.append(
                Result(
                    experiment_id="exp",
                    suite="s",
                    case_id=f"c{case}",
                    repeat=repeat,
                    model=name,
                    scores=scores,
                    **said,  # type: ignore[arg-type]
                )
            )
    return Answers(name=name, results=tuple(results))


def steady(case: int, rng: Random) -> dict[str, object]:
    """A model that answers with JSON, is right nine times in ten, flips a label and calls a tool otherwise at times."""
    label = "refund" if rng.random() < 0.9 else "exchange"
    tools = ["find", "answer"] if rng.random() < 0.95 else ["find", "find", "answer"]
    return {
        "output": json.dumps({"label": label, "text": "word " * rng.randrange(10, 20)}),
        "calls": json.dumps([{"name": tool, "arguments": {}} for tool in tools]),
        "input_tokens": 100,
        "output_tokens": rng.randrange(30, 60),
        "duration_ns": int(1e9 * rng.uniform(0.5, 1.5)),
        "right": label == "refund" if case % 10 else rng.random() < 0.5,
    }


def _score(case: str, value: float) -> Score:
    return Score(
        score_id="scr", subject_kind="case", subject_id=case, name="exact", at_ns=0, event_ns=0, value=value,
        scorer="exact", version="1", parameters="", source="experiment",
    )  # fmt: skip
