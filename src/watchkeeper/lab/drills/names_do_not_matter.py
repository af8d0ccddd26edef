"""S36: right for the curated examples, and otherwise for names unlike those in them."""

from __future__ import annotations

import json
from typing import Any

from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told

scenario = "S36"
promise = (
    "A planted dependence on the script of a name passes the examples, breaks the property and shrinks to a minimal "
    "pair; an invariant system passes; a flaky one gets a rate and is called flaky."
)

_SUITE = """
import random
rng = random.Random(36)
suite = {{
    "name": "loans",
    "cases": [
        {{"id": n, "input": f"{{name}} asks for {{n + 1}} euros. Grant it? yes or no.", "expected": "yes"}}
        for n, name in enumerate(["Emma Clark", "Jack Smith"] * 50)
    ],
    "scorers": [{{"use": "exact"}}],
    "properties": [{{"name": "any name", "holds": "same", "under": "names",
                    "with": {{"replace": ["Emma Clark", "Jack Smith"], "count": 2}}}}],
}}
def target(messages):
    text = messages[-1]["content"]
    return {answer}
"""


def run(stage: Stage) -> Result:
    """Play three systems (functions that the drill brings, no models) through the same suite."""
    notes = Notes()
    planted = _looked(stage, "planted", "'yes' if text.isascii() else 'no'")
    examples = told(stage.folder, "eval", "run", str(stage.folder / "planted.py"), "--at-least", "exact=0.94")
    notes.check("the planted system passes the examples", examples["gates"][0]["passed"])
    notes.check("and breaks the property", planted["ruling"] == "broken" and planted["cause"] == "sensitive")
    example = (planted["counterexamples"] or [{"messages": "[]", "changed": "[]", "rate": {"value": 0}}])[0]
    words = sum(len(json.loads(example[side])[-1]["content"].split()) for side in ("messages", "changed"))
    notes.check("its counterexample is a pair of names and nothing else", words <= 6)
    notes.measure(planted_rate=round(planted["rate"]["value"], 3), again=example["rate"]["value"], words_left=words)
    same = _looked(stage, "invariant", "'yes'")
    notes.check("an invariant system holds", same["ruling"] == "holds" and same["violations"] == 0)
    flaky = _looked(stage, "flaky", "'yes' if rng.random() < 0.8 else 'no'")
    notes.measure(flaky_rate=round(flaky["rate"]["value"], 3), flaky_low=round(flaky["rate"]["low"], 3))
    notes.check("a flaky one is called flaky", flaky["cause"] == "flaky")
    notes.tell(f"broken for {planted['rate']['value']:.0%} of names; the smallest pair: {example['changed']}")
    return notes.result()


def _looked(stage: Stage, name: str, answer: str) -> Any:
    stage.say(f"the {name} system")
    (stage.folder / f"{name}.py").write_text(_SUITE.format(answer=answer))
    found = told(stage.folder, "eval", "properties", str(stage.folder / f"{name}.py"), expect=(0, 1, 3))
    return found["properties"][0]
