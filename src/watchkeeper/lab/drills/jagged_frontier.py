"""S25: it does the hard task, so surely it does the easy one next door; it does not."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random
from typing import Any

from watchkeeper.lab.stage import Notes, Result, Stage

scenario = "S25"
promise = (
    "A map shows an easy cell that fails beside a hard one that passes; gating on it cuts errors at a stated coverage, "
    "and a lost cell is listed though the average gained (answers drawn at planted rates)."
)

ITEMS = 120
_OLD = {("dates", "easy"): 0.35, ("dates", "hard"): 0.95, ("sums", "easy"): 0.94, ("sums", "hard"): 0.8}
_NEW = {("dates", "easy"): 0.9, ("dates", "hard"): 0.95, ("sums", "easy"): 0.6, ("sums", "hard"): 0.9}
_CELLS = ("--by", "family", "--by", "difficulty", "--score", "right", "--item", "id")


def run(stage: Stage) -> Result:
    """Draw the map, gate on it with other answers, lay traffic over it, and compare two versions."""
    notes, rng = Notes(), Random(25)
    old, held, new = (_answers(stage, rng, name, rates)
                      for name, rates in (("old", _OLD), ("held", _OLD), ("new", _NEW)))  # fmt: skip
    live = stage.folder / "live.jsonl"
    calls = [("dates", "easy")] * 20 + [("poems", "easy")] * 30 + [("sums", "easy")] * 50
    live.write_text("".join(json.dumps({"family": f, "difficulty": d}) + "\n" for f, d in calls))
    stage.say("drawing the map")
    drawn = _told(old, *_CELLS, "--bar", "0.75", "--order", "difficulty=easy,hard",
                  "--held", held, "--traffic", str(live))  # fmt: skip
    pairs = [each for each in drawn["inversions"] if each["separated"]]
    gate, traffic = drawn["gate"], drawn["traffic"]
    notes.measure(
        errors_before=round(gate["errors_before"]["value"], 4),
        errors_after=round(gate["errors_after"]["value"], 4),
        coverage=round(gate["coverage"]["value"], 4),
        traffic_unmeasured=traffic["unmeasured"]["value"],
        traffic_failing=traffic["failing"]["value"],
    )
    planted = [["dates", "easy"], ["dates", "hard"]]
    notes.check("the planted pair is shown", [[p["easy"], p["hard"]] for p in pairs] == [planted])
    notes.check("its intervals lie apart", pairs[0]["easy_rate"]["high"] < pairs[0]["hard_rate"]["low"])
    notes.check("gating cuts errors", gate["errors_after"]["high"] < gate["errors_before"]["low"])
    notes.check("its coverage is stated, and a cost", 0 < gate["coverage"]["value"] < 1)
    notes.check("unmeasured traffic is told", traffic["unmeasured"]["value"] == 0.3)
    stage.say("comparing two versions")
    changed = _told("diff", old, new, *_CELLS)
    lost = [each["cell"] for each in changed["cells"] if each["verdict"] == "lost"]
    notes.measure(average_change=round(changed["average"], 4), lost=", ".join("/".join(cell) for cell in lost))
    notes.check("the lost cell is listed first", lost == [["sums", "easy"]] and changed["cells"][0]["cell"] == lost[0])
    notes.check("though the average gained", changed["average"] > 0)
    before, after = gate["errors_before"]["value"], gate["errors_after"]["value"]
    notes.tell(f"errors {before:.0%} become {after:.0%} at {gate['coverage']['value']:.0%} coverage")
    return notes.result()


def _answers(stage: Stage, rng: Random, name: str, rates: dict[tuple[str, str], float]) -> str:
    path = stage.folder / f"{name}.jsonl"
    with path.open("w") as file:
        for (family, difficulty), rate in rates.items():
            for number in range(ITEMS):
                row = {"family": family, "difficulty": difficulty, "id": f"{family}-{difficulty}-{number}"}
                file.write(json.dumps({**row, "right": int(rng.random() < rate)}) + "\n")
    return str(path)


def _told(*words: str) -> Any:
    command = [sys.executable, "-m", "watchkeeper", "eval", "map", *words, "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"eval map {' '.join(words)}: {done.stderr.decode()[-500:]}")
    return json.loads(done.stdout)
