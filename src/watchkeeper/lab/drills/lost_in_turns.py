"""S28: each turn passes and the session fails; what is told in pieces ends otherwise than what is told whole.

The three models are scripts of the lab provider whose habits are known. The figures tell how well the stress eval finds
them, and nothing about any model.
"""

from __future__ import annotations

from typing import Any

from watchkeeper.lab.script import Chance, Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told, write_suite

scenario = "S28"
promise = (
    "Told in turns, a system that is as apt and far less reliable is told apart from one that is less apt, each with "
    "its intervals, and one that is the same in turns is quiet."
)

TASKS = 40
RUNS = 10
PLAYS = 3
"""Each play of two equal ones claims something in at most 5% of cases; further ones tell an error from chance."""
ENDS = r"The trip of parcel (?P<parcel>\d+) takes"


def run(stage: Stage) -> Result:
    """Play the same tasks, whole and in turns, against three models."""
    notes = Notes()
    lab = stage.lab(*_rules())
    cases = [{"id": f"parcel-{n}", "input": _task(n), "expected": f"parcel {n}: day 9"} for n in range(TASKS)]
    suite = str(write_suite(stage.folder, lab.base_url, cases))
    asked = ("eval", "stress", suite, "--runs", str(RUNS), "--concurrency", "32")
    found: dict[str, Any] = {}
    for name, model in (("lost", "lab-small"), ("weak", "lab-large"), ("same", "lab-same")):
        stage.say(f"{TASKS} tasks, whole and in turns, {RUNS} times each: {name}")
        found[name] = told(stage.folder, *asked, "--model", model, expect=(0, 1))
        for what in ("aptitude", "unreliability"):
            change = found[name][f"{what}_change"]
            notes.measure(**{f"{name}_{what}": change["value"]})
            notes.measure(**{f"{name}_{what}_low": change["low"], f"{name}_{what}_high": change["high"]})
    lost, weak, same = found["lost"], found["weak"], found["same"]
    plays = 1
    while same["ruling"] != "not shown" and plays < PLAYS:
        plays += 1
        stage.say("something was claimed of the one that is the same: it is played again, on other draws")
        same = told(stage.folder, *asked, "--model", "lab-same", "--no-cache", expect=(0, 1))
    notes.measure(same_plays=plays)
    notes.check("the lost one is less reliable in turns", lost["ruling"] == "less reliable")
    notes.check("and no less apt by three tenths or more", lost["aptitude_change"]["low"] > -0.3)
    notes.check("the weak one is less apt in turns and not less reliable", weak["ruling"] == "less apt")
    average = lost["sharded"]["average"]["value"], weak["sharded"]["average"]["value"]
    notes.check("their averages alone would not tell them apart", abs(average[0] - average[1]) <= 0.15)
    notes.measure(lost_average=average[0], weak_average=average[1])
    notes.check(f"one that is the same in turns is quiet in one of {PLAYS} plays", same["ruling"] == "not shown")
    notes.check("every run was asked and scored", all(each["played"] == 2 * TASKS * RUNS for each in found.values()))
    notes.tell(
        f"in turns unreliability rises by {lost['unreliability_change']['value']:.2f} for one, aptitude falls by "
        f"{-weak['aptitude_change']['value']:.2f} for the other"
    )
    return notes.result()


def _task(n: int) -> str:
    return f"When does it arrive? It left on day {n % 5 + 1}. The trip of parcel {n} takes some days."


def _rules() -> tuple[Rule, ...]:
    """All know the whole task; in turns one is right by chance, one never for every other parcel, one is the same."""
    right, wrong = "parcel $parcel: day 9", "parcel $parcel: day 1"
    whole, last = rf"^When .* {ENDS}", rf"^{ENDS}"
    odd = r"^The trip of parcel (?P<parcel>\d*[13579]) takes"
    return (
        Rule(name="early", when=When(last=r"^(When does it arrive\?|It left on day \d\.)$"), answer="Tell me more."),
        Rule(name="whole, same", when=When(model="lab-same", last=whole), chances=_often(80, right, wrong)),
        Rule(name="turns, same", when=When(model="lab-same", last=last), chances=_often(80, right, wrong)),
        Rule(name="whole", when=When(last=whole), answer=right),
        Rule(name="turns, lost", when=When(model="lab-small", last=last), chances=_often(50, right, wrong)),
        Rule(name="turns, weak", when=When(model="lab-large", last=odd), answer=wrong),
        Rule(name="turns", when=When(last=last), answer=right),
    )


def _often(share: float, right: str, wrong: str) -> tuple[Chance, ...]:
    return (Chance(weight=share, answer=right), Chance(weight=100 - share, answer=wrong))
