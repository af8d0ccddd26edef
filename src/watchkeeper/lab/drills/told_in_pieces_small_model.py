"""S28, on a model that is real and very small: sums told whole, and told in turns.

The model is the lab's own; of sums told in turns its training text had few, and short ones. The figures are of this
model and of no other.
"""

from __future__ import annotations

from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told
from watchkeeper.lab.tiny.trials import missing, problems, suite, thinking

scenario = "S28"
promise = (
    "On a real small model tasks that are told in turns show their loss at the best and their spread apart, each with "
    "its interval."
)

TASKS, RUNS = 15, 6


def run(stage: Stage) -> Result:
    """Play sums with two and three changes whole and in turns, many times."""
    notes, why = Notes(), missing()
    if why is not None:
        raise RuntimeError(why)
    lab = stage.lab()
    asked = thinking(problems("sums", (2, 3), TASKS, 28))
    stage.say(f"{len(asked)} sums are played {RUNS} times whole and in turns")
    path = suite(stage.folder, lab.base_url, "turns", asked)
    found = told(stage.folder, "eval", "stress", path, "--runs", str(RUNS), "--no-cache", expect=(0, 1))
    whole, turns = found["whole"], found["sharded"]
    for name in ("average", "aptitude", "unreliability"):
        notes.measure(**{f"{name}_whole": round(whole[name]["value"], 4)})
        notes.measure(**{f"{name}_in_turns": round(turns[name]["value"], 4)})
    aptitude, spread = found["aptitude_change"], found["unreliability_change"]
    notes.measure(aptitude_change=round(aptitude["value"], 4), unreliability_change=round(spread["value"], 4))
    notes.check("every sum was played in both ways", found["failed"] == 0 == found["not_cut"])
    notes.check("told in turns they go worse on average", turns["average"]["high"] < whole["average"]["low"])
    notes.check(
        "aptitude and spread have intervals of their own", aptitude["low"] <= aptitude["value"] <= aptitude["high"]
    )
    notes.tell(
        f"in turns aptitude {aptitude['value']:+.2f} ({aptitude['low']:+.2f} to {aptitude['high']:+.2f}), "
        f"unreliability {spread['value']:+.2f} ({spread['low']:+.2f} to {spread['high']:+.2f})"
    )
    return notes.result()
