"""S49: every answer is JSON now and parses, and the answers got worse; the evals measured whether they parse.

The model is a script of the lab provider that reasons worse when it may not, and extracts as well in every form. The
figures tell how well the harness finds that, and nothing about any model.
"""

from __future__ import annotations

from typing import Any

from watchkeeper.lab.script import Chance, Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told, write_suite

scenario = "S49"
promise = (
    "The cost of a format is found in the task that has it and not in the one that has none, each with its interval; "
    "each task has its own recommendation, and too few cases have none."
)

CASES = 160
KEYED, REASONED, SECOND = "with one key", "with two keys", "Put the answer of this text"
WORD = r"word (?P<word>\w+)"


def run(stage: Stage) -> Result:
    """Ask two tasks in every form, and again with few cases."""
    notes = Notes()
    lab = stage.lab(*_rules())
    cases = [_case(n, task) for task in ("reasoning", "extraction") for n in range(CASES)]
    suite = str(write_suite(stage.folder, lab.base_url, cases, margin=0.1))
    stage.say(f"{2 * CASES} cases of two tasks are asked three times in each of five forms")
    found = told(stage.folder, "eval", "formats", suite, "--task", "task", "--repeats", "3", "--concurrency", "40")
    rows = {(row["task"], row["form"]): row for row in found["rows"]}
    advice = {each["task"]: each["form"] for each in found["advice"]}
    strict, same = rows["reasoning", "strict"]["effect"], rows["extraction", "strict"]["effect"]
    notes.measure(reasoning_strict=strict["value"], reasoning_low=strict["low"], reasoning_high=strict["high"])
    notes.measure(extraction_strict=same["value"], extraction_low=same["low"], extraction_high=same["high"])
    notes.tell(f"a strict schema costs {-strict['value']:.0%} in reasoning and {-same['value']:.0%} in extraction")
    worse = {form for (task, form), row in rows.items() if task == "reasoning" and row["verdict"] == "worse"}
    claimed = [
        form for (task, form), row in rows.items() if task == "extraction" and row["verdict"] in ("better", "worse")
    ]
    notes.check("in reasoning the two forms without reasons are found worse", worse == {"json", "strict"})
    notes.check("the interval holds the scripted 25 points", strict["low"] <= -0.25 <= strict["high"])
    notes.check("in extraction no form is called better or worse", not claimed)
    notes.check(
        "in reasoning a form with reasons is recommended", advice["reasoning"] in ("two pass", "reasoning first")
    )
    notes.check("in extraction a form without reasons is", advice["extraction"] in ("json", "strict"))
    notes.check("an output that breaks its form is counted", rows["extraction", "json"]["valid"]["value"] < 1)
    stage.say("the same with ten cases")
    few = str(write_suite(stage.folder, lab.base_url, cases[:10], name="few", margin=0.1))
    unsure = told(stage.folder, "eval", "formats", few, expect=(3,))
    notes.check("ten cases are not resolved", [each["form"] for each in unsure["advice"]] == [None])
    return notes.result()


def _case(n: int, task: str) -> dict[str, Any]:
    return {
        "id": f"{task}-{n}",
        "input": f"[{task}] word w{n}",
        "expected": f"w{n}",
        "attributes": {"task": task},
    }


def _rules() -> tuple[Rule, ...]:
    """Right in 92% of reasoning with reasons and 67% without, in 96% of extraction; 2% of JSON is fenced."""
    free, keyed = "Because of this.\nAnswer: {}", '{{"answer": "{}"}}'
    reasoned = '{{"reasoning": "Because of this.", "answer": "{}"}}'
    return (
        Rule(name="second", when=When(system=SECOND, last=r"Answer: (?P<word>\w+)"), answer='{"answer": "$word"}'),
        _rule("reasoning", KEYED, keyed, 67, 33),
        _rule("reasoning", REASONED, reasoned, 92, 8),
        _rule("reasoning", None, free, 92, 8),
        _rule("extraction", KEYED, keyed, 96, 2, Chance(weight=2, answer='```json\n{"answer": "$word"}\n```')),
        _rule("extraction", REASONED, reasoned, 96, 4),
        _rule("extraction", None, free, 96, 4),
    )


def _rule(task: str, told_as: str | None, form: str, right: float, wrong: float, *more: Chance) -> Rule:
    return Rule(
        name=f"{task} {told_as}",
        when=When(system=told_as, last=rf"\[{task}\] {WORD}"),
        chances=(
            Chance(weight=right, answer=form.format("$word")),
            Chance(weight=wrong, answer=form.format("no")),
            *more,
        ),
    )
