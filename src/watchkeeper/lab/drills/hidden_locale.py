"""S03: the roll-up is green while French gets worse and Japanese was never measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

from watchkeeper.lab.stage import Notes, Result, Stage

scenario = "S03"
promise = (
    "Ten points lost in French, in a set that is 88% English, pass the roll-up and fail the locale; a locale with only "
    "translations is not measured."
)


def run(stage: Stage) -> Result:
    """Simulated scores, no model: the same luck on both sides, except for French."""
    notes = Notes()
    before, after = _scores(stage.folder / "before.jsonl", 0.88), _scores(stage.folder / "after.jsonl", 0.78)
    compared = ("--item", "item", "--score", "score", "--margin", "0.03")
    whole = _told("compare", str(before), str(after), *compared)
    found = {row["locale"]: row for row in _told("locales", str(after), "--against", str(before))["locales"]}
    notes.measure(roll_up=round(whole["difference"], 4), french=round(found["fr"]["difference"]["value"], 4))
    notes.check("the roll-up is within its margin", whole["low"] > -0.03)
    notes.check("French fails, English passes", (found["fr"]["ruling"], found["en"]["ruling"]) == ("failed", "passed"))
    notes.check("Japanese, translated only, is not measured", found["ja"]["ruling"] == "not measured")
    return notes.result()


def _scores(path: Path, french: float) -> Path:
    rng, lines = Random(3), []
    for n in range(2_500):
        locale = "fr" if n % 25 < 3 else "en"
        right = int(rng.random() < (french if locale == "fr" else 0.9))
        lines.append({"item": str(n), "locale": locale, "provenance": "native", "score": right})
    lines += [{"item": f"j{n}", "locale": "ja", "provenance": f"translated-from:{n}", "score": 1} for n in range(50)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def _told(*words: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "watchkeeper", "eval", *words, "--json"], capture_output=True, check=False
    )
    if done.returncode not in (0, 1, 3):
        raise RuntimeError(f"eval {words[0]}: {done.stderr.decode()[-500:]}")
    return json.loads(done.stdout)
