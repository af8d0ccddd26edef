"""S49, on a model that is real and very small: what JSON costs it, task by task, and what the masks took from it.

The model is the lab's own, trained on made-up text of a few kinds; its answers and its errors are its own. The figures
hold for it and for no other model.
"""

from __future__ import annotations

from typing import Any

from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told
from watchkeeper.lab.tiny.trials import cases, missing, problems, ran, suite, thinking

scenario = "S49"
promise = (
    "On a real small model under real masks each task has the sign of its cost with an interval and its own "
    "recommendation, the probability that the masks took is told beside it, and the same format twice is no difference."
)

EACH = 30
SUMS, RECORDS = (1, 2, 3, 4), (2, 3, 4)


def run(stage: Stage) -> Result:
    """Ask held-out problems of two tasks in every form, and one form twice."""
    notes, why = Notes(), missing()
    if why is not None:
        raise RuntimeError(why)
    lab = stage.lab()
    asked = problems("sums", SUMS, EACH, 49) + problems("records", RECORDS, EACH + 10, 49)
    path = suite(stage.folder, lab.base_url, "forms", cases(asked), seed=49)
    stage.say(f"{len(asked)} held-out problems of two tasks are asked in each of five forms")
    found = told(
        stage.folder, "eval", "formats", path, "--task", "task", "--masked", "--concurrency", "10", expect=(0, 3)
    )
    rows = {(row["task"], row["form"]): row for row in found["rows"]}
    advice = {each["task"]: each["form"] for each in found["advice"]}
    for task in ("sums", "records"):
        _told(notes, task, rows[task, "strict"])
    notes.check("every form of every task has its interval", all(_bounded(row) for row in found["rows"]))
    notes.check("in sums the two forms without steps are found worse", _verdicts(rows, "sums") == {"worse"})
    notes.check("in records none of the two is", "worse" not in _verdicts(rows, "records"))
    notes.check("each task has its own recommendation", advice["sums"] != advice["records"])
    masked = {key: row["masked"] for key, row in rows.items() if key[1] != "free"}
    notes.check("what the masks took is stated for every form that has one", all(masked.values()))
    apart = masked["sums", "strict"]["low"] > masked["records", "strict"]["high"]
    notes.check("it is more where the format costs more", apart)
    notes.check("free text has no mask", rows["sums", "free"]["masked"] is None)
    notes.check("every masked output keeps its form", all(row["valid"]["value"] == 1 for row in found["rows"][1:5]))
    _twice(stage, notes, lab.base_url)
    return notes.result()


def _told(notes: Notes, task: str, row: dict[str, Any]) -> None:
    effect, mass = row["effect"], row["masked"]
    notes.measure(**{f"{task}_{name}": round(effect[name], 4) for name in ("value", "low", "high")})
    notes.measure(**{f"{task}_masked": round(mass["value"], 4)})
    notes.tell(f"a strict schema changes {task} by {effect['value']:+.0%}, its masks took {mass['value']:.0%}")


def _bounded(row: dict[str, Any]) -> bool:
    effect = row["effect"]
    return row["form"] == "free" or bool(effect["low"] <= effect["value"] <= effect["high"])


def _verdicts(rows: dict[tuple[str, str], dict[str, Any]], task: str) -> set[str]:
    return {rows[task, form]["verdict"] for form in ("json", "strict")}


def _twice(stage: Stage, notes: Notes, base_url: str) -> None:
    """A/A: the same problems in free text with another seed."""
    stage.say("the same form twice")
    asked = thinking(problems("sums", SUMS, EACH, 50))
    for name, seed in (("first", 1), ("second", 2)):
        ran(stage.folder, suite(stage.folder, base_url, "twice", asked, seed=seed), name)
    words = [str(stage.folder / f"{name}.jsonl") for name in ("first", "second")]
    (score,) = told(stage.folder, "eval", "compare", *words, expect=(0, 1, 3))["scores"]
    compared = score["comparison"]
    notes.measure(twice=compared["difference"]["value"], twice_p=compared["p_value"])
    notes.check("both times every problem was answered", compared["n"] == len(asked))
    notes.check("the same form twice is no difference", compared["verdict"] not in ("better", "worse"))
