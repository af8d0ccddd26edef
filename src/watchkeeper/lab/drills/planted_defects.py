"""S09 and S28: an exact-match eval misses planted defects, and a system that is lost in turns is told apart."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from watchkeeper.lab.stage import Notes, Result, Stage

scenario = "S09"
promise = (
    "Exact match misses paraphrase brittleness and a property catches it; always failing earns nothing; "
    "a system that is lost in turns is less reliable and no less apt."
)
_SUITE = """
import random
rng = random.Random(9)
suite = {{
    "name": "desk",
    "cases": [
        {{"id": n, "input": f"I wait for parcel {{n}}. Please tell me when it arrives.", "expected": {expected!r}}}
        for n in range(30)
    ],
    "scorers": [{{"use": "exact"}}],
    "properties": {properties!r},
}}
def target(messages):
    turns = sum(m["role"] == "user" for m in messages)
    return {answer}
"""
_RIGHT = "on 2026-03-05"
_SAME = [{"name": "any wording", "holds": "same", "under": "paraphrase", "allowed": 0.2}]


def run(stage: Stage) -> Result:
    """Grade three suites against a function that the drill brings (no model), then cut its tasks into turns."""
    notes = Notes()
    alone = _told(stage, "mutants", _RIGHT, [], repr(_RIGHT))
    both = _told(stage, "mutants", _RIGHT, _SAME, repr(_RIGHT))
    never = _told(stage, "mutants", "nothing", [], repr(_RIGHT))
    notes.measure(
        exact_credit=alone["credit"]["value"], both_credit=both["credit"]["value"], gain=both["gain"]["value"]
    )
    notes.check("the property adds measurably", both["gain"]["low"] > 0 and both["caught"] > alone["caught"])
    notes.check("always failing earns nothing", never["credit"]["value"] == 0)
    lost = _told(stage, "stress", _RIGHT, [], f"{_RIGHT!r} if turns == 1 or rng.random() < 0.5 else '?'")
    notes.measure(unreliability_change=round(lost["unreliability_change"]["value"], 3))
    notes.check("turns make it less reliable", lost["unreliability_change"]["low"] > 0)
    notes.check("and no less apt", lost["aptitude_change"]["value"] > -0.1)
    return notes.result()


def _told(stage: Stage, act: str, expected: str, properties: Any, answer: str) -> Any:
    path = stage.folder / "desk.py"
    path.write_text(_SUITE.format(expected=expected, properties=properties, answer=answer))
    words = ["eval", act, str(path), "--data", str(stage.folder / "data"), "--json"]
    done = subprocess.run([sys.executable, "-m", "watchkeeper", *words], capture_output=True, check=False)
    if done.returncode not in (0, 1, 3):
        raise RuntimeError(f"eval {act}: {done.stderr.decode()[-500:]}")
    return json.loads(done.stdout)
