"""S10: the new version wins the benchmark, and a parser downstream breaks on a habit that nobody wrote down."""

from __future__ import annotations

import json
import subprocess
import sys
from random import Random
from typing import Any

from watchkeeper.lab.stage import Notes, Result, Stage

scenario = "S10"
promise = (
    "Of two versions with equal scores the planted habits (length, hedging, fences) rank first, the regex consumer "
    "that would break is named, and equal versions are quiet (replies written by the drill)."
)

ITEMS, EQUAL = 120, 20
_CONSUMERS = r"""
[[consumers]]
name = "ledger import"
regex = "^Total: \\d+$"
reads = ["format.fences"]

[[consumers]]
name = "ticket page"
regex = "Total"
"""
_WORDS = "the lamp order parcel was sent and will be with you in a week from now".split()  # noqa: SIM905


def run(stage: Stage) -> Result:
    """Write two versions, compare them, and compare equal ones many times."""
    notes, rng = Notes(), Random(10)
    consumers = stage.folder / "consumers.toml"
    consumers.write_text(_CONSUMERS)
    stage.say("comparing an old and a new version")
    a = _written(stage, "old", [_reply(rng, new=False) for _ in range(ITEMS)])
    b = _written(stage, "new", [_reply(rng, new=True) for _ in range(ITEMS)])
    found = _told("behaviour", a, b, "--consumers", str(consumers), "--sunset")
    scores = _told("compare", a, b, "--item", "id", "--score", "right")
    top = [each["feature"] for each in found["differences"][:10] if each["differs"]]
    notes.measure(eval_difference=scores["difference"], first=", ".join(top[:4]), replies_each=ITEMS)
    notes.check("the eval scores are equal", scores["difference"] == 0)
    for habit in ("length.words", "manner.hedges", "format.fences"):
        notes.check(f"{habit} is among the first ten", habit in top)
    verdicts = {each["consumer"]: each["verdict"] for each in found["consumers"]}
    notes.check("the consumer that would break is named", verdicts["ledger import"] == "breaks")
    notes.check("the other one is not", verdicts["ticket page"] != "breaks")
    notes.check("the plan to retire begins with opting in", found["sunset"]["stages"][0]["cohort"] == "whoever opts in")
    stage.say(f"comparing equal versions {EQUAL} times")
    alarms = 0
    for _ in range(EQUAL):
        sides = [_written(stage, name, [_reply(rng, new=False) for _ in range(40)]) for name in ("a", "b")]
        alarms += any(each["differs"] for each in _told("behaviour", *sides)["differences"])
    notes.measure(equal_pairs=EQUAL, equal_pairs_with_an_alarm=alarms)
    notes.tell(f"first: {', '.join(top[:4])}; {alarms} of {EQUAL} equal pairs alarmed")
    notes.check("equal versions alarm in about one of twenty at most", alarms <= 4)
    return notes.result()


def _reply(rng: Random, *, new: bool) -> str:
    said = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(5, 30) + 40 * new))
    total = f"Total: {rng.randint(1, 99)}"
    if not new:
        return f"{said}.\n{total}"
    return f"Perhaps {said}, and it might be so.\n```\n{total} (about)\n```"


def _written(stage: Stage, name: str, replies: list[str]) -> str:
    path = stage.folder / f"{name}.jsonl"
    rows = [{"id": n, "output": said, "right": int(n % 5 > 0), "user": f"u{n % 30}"} for n, said in enumerate(replies)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _told(*words: str) -> Any:
    command = [sys.executable, "-m", "watchkeeper", "eval", *words, "--json"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"eval {' '.join(words)}: {done.stderr.decode()[-500:]}")
    return json.loads(done.stdout)
