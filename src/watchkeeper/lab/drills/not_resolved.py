"""S38: 82% to 85% on a hundred items ships, and production is flat; the change was noise."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from random import Random
from typing import Any

from watchkeeper.analysis.sequential import start
from watchkeeper.lab.stage import Notes, Result, Stage

scenario = "S38"
promise = (
    "82 against 85 of a hundred items is not resolved; equal sides are called different in at most 5%, looked at once "
    "or after every pair; three points are found about 80% of the time at the planned number of items."
)

ITEMS = 870
DISCORDANCE, GAIN = 0.10, 0.03
TABLES = 150
PEEKED = 150
PAIRS = 600


def run(stage: Stage) -> Result:
    """Show the hundred items, plan, then hold the rates against simulated tables of scores."""
    notes = Notes()
    _hundred_items(stage, notes)
    _plans(stage, notes)
    rng = Random(38)
    stage.say(f"{TABLES} pairs of equal sides, and {TABLES} with a gain of three points, {ITEMS} items each")
    equal = _verdicts(stage, rng, 0.0)
    better = equal.count("better") / TABLES
    claimed = better + equal.count("worse") / TABLES
    notes.measure(equal_tables=TABLES, equal_called_better=round(better, 4), equal_called_either=round(claimed, 4))
    notes.check("equal sides are called better or worse in at most 5%", claimed <= _most(0.05, TABLES))
    found = _verdicts(stage, rng, GAIN).count("better") / TABLES
    notes.measure(gain_found=round(found, 3), planned_power=0.8)
    notes.check("three points are found about four times in five at the planned number", 0.68 <= found <= 0.9)
    stage.say(f"{PEEKED} runs of equal sides, looked at after every pair")
    peeked = sum(_peeked_at(rng) for _ in range(PEEKED)) / PEEKED
    notes.measure(peeked_runs=PEEKED, looks_per_run=PAIRS, peeking_called_either=round(peeked, 4))
    notes.check("looking after every pair errs in at most 5%", peeked <= _most(0.05, PEEKED))
    return notes.result()


def _hundred_items(stage: Stage, notes: Notes) -> None:
    """82 and 85 right of the same hundred, ten of them otherwise than before or so."""
    stage.say("82 against 85 right, of the same hundred items")
    path = stage.folder / "hundred.csv"
    rows = [("a", i, int(i < 82)) for i in range(100)] + [("b", i, int(4 <= i < 89)) for i in range(100)]
    path.write_text("version,item,right\n" + "".join(f"{v},{i},{r}\n" for v, i, r in rows))
    found = _told("eval", "compare", str(path), "--item", "item", "--score", "right", "--by", "version",
                  "--a", "a", "--b", "b")  # fmt: skip
    seen = found["minimum_detectable_effect"]
    notes.measure(hundred_difference=round(found["difference"], 4), hundred_would_show=round(seen, 3))
    notes.tell(f"100 items, +3 points: {found['verdict']}; the smallest difference they could have shown is {seen:.3f}")
    notes.check("the hundred items are not resolved", found["verdict"] == "not resolved")
    notes.check("the smallest difference to be seen stands beside, and is larger", seen > GAIN)


def _plans(stage: Stage, notes: Notes) -> None:
    stage.say("how many items three points take")
    asked = {
        "independent": ("--kind", "independent", "--baseline", "0.82"),
        "paired": ("--kind", "paired", "--discordance", str(DISCORDANCE)),
    }
    plans = {name: _told("eval", "power", "--effect", str(GAIN), *words)["n"] for name, words in asked.items()}
    notes.measure(planned_independent=plans["independent"], planned_paired=plans["paired"])
    notes.check("82 against 85 takes 2,402 items a side", plans["independent"] == 2402)
    notes.check("the same items on both sides take 870 at 10% discordance", plans["paired"] == ITEMS)


def _verdicts(stage: Stage, rng: Random, gain: float) -> list[str]:
    """Many tables in one file, a slice each; each slice's own verdict, before any adjustment."""
    path = stage.folder / "tables.jsonl"
    with path.open("w") as file:
        for table in range(TABLES):
            for item, (a, b) in enumerate(_pairs(rng, gain, ITEMS)):
                for version, right in (("a", a), ("b", b)):
                    row = {"table": table, "version": version, "item": item, "right": right}
                    file.write(json.dumps(row) + "\n")
    found = _told("eval", "compare", str(path), "--item", "item", "--score", "right", "--by", "version",
                  "--a", "a", "--b", "b", "--slice", "table")  # fmt: skip
    return [_alone(each) for each in found]


def _alone(each: dict[str, Any]) -> str:
    """What a slice would be called if it were the only one: its p-value and interval decide."""
    if each["p_value"] < 0.05 and each["low"] > 0:
        return "better"
    return "worse" if each["p_value"] < 0.05 and each["high"] < 0 else "not resolved"


def _peeked_at(rng: Random) -> bool:
    """Whether equal sides were ever called better or worse while they were looked at after every pair."""
    watch = start()
    for a, b in _pairs(rng, 0.0, PAIRS):
        watch = watch.update(b - a)
        if a != b and watch.verdict in ("better", "worse"):
            return True
    return False


def _pairs(rng: Random, gain: float, items: int) -> Iterator[tuple[int, int]]:
    """Outcomes of two sides on the same items: some end differently, and b wins more of those by the gain."""
    for _ in range(items):
        drawn = rng.random()
        if drawn < (DISCORDANCE - gain) / 2:
            yield 1, 0
        elif drawn < DISCORDANCE:
            yield 0, 1
        else:
            yield (1, 1) if rng.random() < 0.83 else (0, 0)


def _most(rate: float, times: int) -> float:
    """The largest share that a true rate gives in so many repeats, but for bad luck of one in a thousand."""
    return rate + 3 * float((rate * (1 - rate) / times) ** 0.5)


def _told(*words: str) -> Any:
    """What a command says, as JSON; exit code 1 is a verdict."""
    done = subprocess.run([sys.executable, "-m", "watchkeeper", *words, "--json"], capture_output=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"watchkeeper {' '.join(words)}: {done.stderr.decode()[-500:]}")
    return json.loads(done.stdout)
