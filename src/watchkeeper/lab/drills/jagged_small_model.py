"""S25, on a model that is real and very small: it adds and takes away numbers up to twenty, and cannot add one.

The model is the lab's own; changes by one are in none of its training text. Nobody scripted what it answers. The map is
of this model and of no other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told
from watchkeeper.lab.tiny.tasks import Problem
from watchkeeper.lab.tiny.trials import Form, answer_of, missing, problems, ran, suite, thinking

scenario = "S25"
promise = (
    "On a real small model the map shows a true pair of an easy cell that fails beside a hard one that passes, "
    "answering by the map cuts errors on other problems at a stated coverage, and what is lost without steps is listed."
)

EACH = 60
CELLS = {
    ("sums", "easy"): ("ones", 1),
    ("sums", "hard"): ("sums", 2),
    ("records", "easy"): ("records", 2),
    ("records", "hard"): ("records", 4),
    ("backwards", "easy"): ("backwards", 3),
    ("backwards", "hard"): ("backwards", 6),
}


def run(stage: Stage) -> Result:
    """Map the model on held-out problems, and gate it on others."""
    notes, why = Notes(), missing()
    if why is not None:
        raise RuntimeError(why)
    lab = stage.lab()
    stage.say(f"{len(CELLS)} cells of {EACH} held-out problems are asked, as many others, and the first without steps")
    ways: tuple[tuple[str, int, Form], ...] = (("map", 25, "free"), ("others", 26, "free"), ("short", 25, "strict"))
    drawn = [_answers(stage, lab.base_url, *way) for way in ways]
    words = ["--by", "task", "--by", "difficulty", "--score", "right", "--item", "id", "--bar", "0.75"]
    order = ["--order", "difficulty=easy,hard"]
    found = told(stage.folder, "eval", "map", "draw", drawn[0], *words, *order, "--held", drawn[1], expect=(0, 1))
    for cell in found["cells"]:
        notes.measure(**{"_".join(cell["cell"]): round(cell["rate"]["value"], 4)})
    pairs = {(*each["easy"], *each["hard"]): each for each in found["inversions"] if each["separated"]}
    pair = pairs.get(("sums", "easy", "sums", "hard"))
    gate = found["gate"]
    before, after, coverage = (gate[name]["value"] for name in ("errors_before", "errors_after", "coverage"))
    notes.measure(errors_before=round(before, 4), errors_after=round(after, 4), coverage=round(coverage, 4))
    apart = pair is not None and pair["easy_rate"]["high"] < pair["hard_rate"]["low"]
    notes.check("sums by one fail beside harder ones that pass, and their intervals lie apart", apart)
    states = {tuple(each["cell"]): each["state"] for each in found["cells"]}
    ends = [states["sums", difficulty] for difficulty in ("easy", "hard")]
    notes.check("the easy cell fails and the hard one passes", ends == ["failing", "passing"])
    notes.check("answering by the map cuts errors on other problems", gate["errors_after"]["high"] < before)
    notes.check("at a stated cost in coverage", 0 < coverage < 1)
    changed = told(stage.folder, "eval", "map", "diff", drawn[0], drawn[2], *words[:-2], expect=(0, 1))
    lost = [each["cell"] for each in changed["cells"] if each["verdict"] == "lost"]
    notes.measure(lost_without_steps=", ".join("/".join(cell) for cell in lost))
    notes.check("without steps the hard sums are lost, and listed first", lost[:1] == [["sums", "hard"]])
    notes.tell(f"errors {before:.1%} become {after:.1%} at {coverage:.0%} coverage")
    return notes.result()


def _answers(stage: Stage, base_url: str, name: str, seed: int, form: Form) -> str:
    asked: dict[str, tuple[str, str, Problem]] = {}
    for (task, difficulty), (asks, size) in CELLS.items():
        for number, each in enumerate(problems(asks, (size,), EACH, seed)):
            asked[f"{task}-{difficulty}-{number}"] = task, difficulty, each
    listed = thinking((problem for _, _, problem in asked.values()), form)
    cases = [{**case, "id": key} for key, case in zip(asked, listed, strict=True)]
    rows = ran(stage.folder, suite(stage.folder, base_url, name, cases, form, seed=seed), name)
    return _judged(stage.folder / f"{name}-cells.jsonl", rows, asked, form)


def _judged(path: Path, rows: list[dict[str, Any]], asked: dict[str, tuple[str, str, Problem]], form: Form) -> str:
    """One line for each answer with its cell and whether the answer, without its steps, is right."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            key = row["case_id"].rpartition("/")[2]
            task, difficulty, problem = asked[key]
            right = int(answer_of(row, form) == problem.answer)
            file.write(json.dumps({"id": key, "task": task, "difficulty": difficulty, "right": right}) + "\n")
    return str(path)
