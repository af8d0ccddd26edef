"""S16: a system prompt has grown to thirty clauses, and nobody dares to delete one; most of them do nothing.

The model is the lab provider: a script with one per cent of noise that depends on four of the clauses, so that what
each clause does is known. Figures tell how well the profiler finds it, and nothing about any model.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from watchkeeper.lab.script import Chance, Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told, write_suite

scenario = "S16"
promise = (
    "Of 30 clauses, 12 dead, 2 contradictory and 3 load-bearing, the load-bearing and the harmful are found and no "
    "dead one is called either; the trimmed prompt is non-inferior, and a load-bearing clause cannot be deleted."
)

CASES = 300
KINDS = ("order", "euro", "date", "long")
LOADED = {
    "order": "Always state the order number in the reply.",
    "euro": "Convert every amount to euros before deciding.",
    "date": "Count the thirty days from the delivery date.",
}
BRIEF, LONG = "Answer in at most 40 words.", "Answer in at least 90 words."
DEAD = tuple(f"Keep the tone of season {n} in mind while thinking about shelf number {n + 40}." for n in range(12))
TOPICS = ("lamp", "bulb", "cable", "socket", "shade", "stand", "switch", "dimmer", "sensor", "timer", "hook", "rail")
REST = tuple(f"Questions about a {topic} belong to the {topic} table of the catalogue." for topic in TOPICS)
WORD = r"word (?P<word>\w+)"


def run(stage: Stage) -> Result:
    """Profile the prompt, trim it, and try to delete what carries it."""
    notes = Notes()
    lab = stage.lab(*_rules())
    clauses = ["You are the returns desk of a lamp shop.", *_shuffled()]
    (stage.folder / "prompt.txt").write_text("\n".join(f"- {clause}" for clause in clauses), encoding="utf-8")
    cases = [{"id": f"case-{n}", "input": f"[{_kind(n)}] word w{n}", "expected": f"w{n}"} for n in range(CASES)]
    suite = str(write_suite(stage.folder, lab.base_url, cases, margin=0.05))
    asked = (suite, "--prompt", "prompt.txt", "--concurrency", "32")
    stage.say(f"{len(clauses)} clauses are left out, in groups and alone, and {CASES} cases are asked each time")
    found = told(stage.folder, "eval", "prompt", "profile", *asked)
    roles = {clause["text"].removeprefix("- "): clause["role"] for clause in found["clauses"]}
    ids = {clause["text"].removeprefix("- "): clause["clause_id"] for clause in found["clauses"]}
    loaded = [roles[text] == "load-bearing" for text in LOADED.values()]
    wrong = [text for text in DEAD if roles[text] in ("load-bearing", "harmful")]
    neutral = sum(roles[text] == "neutral" for text in DEAD)
    clashes = [set(find["clauses"]) for find in found["finds"] if find["kind"] == "contradiction"]
    notes.measure(clauses=len(roles), arms=found["arms"], load_bearing_found=sum(loaded), dead_called_neutral=neutral)
    notes.tell(
        f"{sum(loaded)} of 3 load-bearing clauses found, {neutral} of 12 dead ones neutral, {found['arms']} arms"
    )
    notes.check("there are 30 clauses", len(roles) == 30)
    notes.check("every load-bearing clause is found", all(loaded))
    notes.check("the clause that spoils answers is found harmful", roles[LONG] == "harmful")
    notes.check("no dead clause is called load-bearing or harmful", not wrong)
    notes.check("the two that contradict each other are named, and no others", clashes == [{ids[BRIEF], ids[LONG]}])
    notes.check("the unchanged prompt, asked again, is not called different", _quiet(found["control"]))
    _deletions(stage, notes, asked, ids)
    return notes.result()


def _deletions(stage: Stage, notes: Notes, asked: tuple[str, ...], ids: dict[str, str]) -> None:
    stage.say("what was found neutral or harmful is deleted, and the other half of the cases must confirm it")
    short = told(stage.folder, "eval", "prompt", "trim", *asked, "--out", "short.txt")
    text = (stage.folder / "short.txt").read_text(encoding="utf-8")
    notes.measure(tokens_before=round(short["tokens_before"]), tokens_after=round(short["tokens_after"]))
    notes.tell(f"trimmed from about {short['tokens_before']:.0f} to {short['tokens_after']:.0f} tokens, non-inferior")
    notes.check("the trimmed prompt passes and keeps what carries it", all(each in text for each in LOADED.values()))
    stage.say("somebody wants to delete the clause about the order number as well")
    gone = ids[LOADED["order"]]
    refused = told(stage.folder, "eval", "prompt", "trim", *asked, "--drop", gone, "--out", "none.txt", expect=(1,))
    kept = not (stage.folder / "none.txt").exists()
    notes.check("deleting a load-bearing clause is refused", refused["passed"] is False and kept)
    stage.say("somebody adds a clause, and it is not shown to help")
    grown = (stage.folder / "prompt.txt").read_text(encoding="utf-8") + "\n- Think of the weather in the warehouse.\n"
    (stage.folder / "grown.txt").write_text(grown, encoding="utf-8")
    suite, _, old, *more = asked
    gate = told(stage.folder, "eval", "prompt", "gate", old, "grown.txt", "--suite", suite, *more, expect=(1, 3))
    notes.check("growth without evidence does not pass", gate["passed"] is not True)


def _shuffled() -> Iterator[str]:
    """The clauses, those that matter among those that do not."""
    rest = iter((*DEAD, *REST))
    for text in (*LOADED.values(), BRIEF, LONG):
        for _ in range(4):
            yield next(rest)
        yield text
    yield from rest


def _kind(n: int) -> str:
    """A fifth of the cases hangs on each clause that matters, a fifth on none."""
    return (*KINDS, "plain")[n % 5]


def _rules() -> tuple[Rule, ...]:
    right = (Chance(weight=99, answer="$word"), Chance(weight=1, answer="?"))
    wrong = (Chance(weight=1, answer="$word"), Chance(weight=99, answer="?"))
    rules = []
    for kind, text in LOADED.items():
        rules.append(Rule(name=f"{kind} with", when=When(system=text, last=rf"\[{kind}\] {WORD}"), chances=right))
        rules.append(Rule(name=f"{kind} without", when=When(last=rf"\[{kind}\] {WORD}"), chances=wrong))
    rules.append(Rule(name="long with", when=When(system=LONG, last=rf"\[long\] {WORD}"), chances=wrong))
    return (*rules, Rule(name="all else", when=When(last=WORD), chances=right))


def _quiet(control: dict[str, Any]) -> bool:
    return control["verdict"] not in ("better", "worse")
