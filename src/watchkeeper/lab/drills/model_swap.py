"""S18: the provider swaps the model behind a name one day; nothing was deployed, and every status is still 200."""

from __future__ import annotations

from collections.abc import Mapping

from watchkeeper.lab.script import Chance, Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import Watch

scenario = "S18"
promise = (
    "A model that is swapped behind its name is found within 3 rounds of probes after it; an unchanged one stays "
    "quiet, and what was accepted is quiet again."
)

BASELINE = 36
QUIET_ROUNDS = 20
WITHIN = 3
QUESTIONS = {"capital": "Name the capital of the lab.", "tone": "Greet a customer.", "policy": "May I return this?"}
BEFORE = {
    "capital": ("Labville.", "Labville, of course."),
    "tone": ("Hello.", "Hi."),
    "policy": ("Yes.", "Within a month."),
}
AFTER = {
    "capital": ("Labville.", "Labville!"),
    "tone": ("Dear customer.", "Hello."),
    "policy": ("I cannot help with that.",),
}

SETTINGS = f"""
[[monitors]]
use = "canary"
with = {{ baseline = {BASELINE}, every_s = 3600 }}
""" + "".join(
    f'\n[[probes]]\nname = "{name}"\nmodel = "lab-small"\nprompt = "{question}"\nsamples = 3\nevery_s = 86400\n'
    for name, question in QUESTIONS.items()
)


def _rules(said: Mapping[str, tuple[str, ...]], tag: str) -> tuple[Rule, ...]:
    """What a model says to each question: its first answer three times in four."""
    return tuple(
        Rule(
            name=f"{tag} {name}",
            when=When(model=f"*{tag}", last_user=QUESTIONS[name]),
            chances=tuple(Chance(weight=3 if n == 0 else 1, answer=text) for n, text in enumerate(texts)),
        )
        for name, texts in said.items()
    )


def run(stage: Stage) -> Result:
    """Take a baseline, stay quiet for a while, swap the model, find it, accept it."""
    notes = Notes()
    lab = stage.lab(*_rules(BEFORE, "small"), *_rules(AFTER, "large"))
    watch = stage.serve(lab, SETTINGS)
    stage.say("the probes take their baseline, and go on while nothing changes")
    rounds = BASELINE // 3 + QUIET_ROUNDS
    answers = sum(item["answers"] for item in watch.cli("probe", "run", "--rounds", str(rounds))["items"])
    quiet = _findings(watch)
    notes.measure(baseline_answers=BASELINE, quiet_rounds=QUIET_ROUNDS, answers=answers, quiet_findings=len(quiet))
    notes.check("every probe was answered", answers == rounds * 3 * len(QUESTIONS))
    notes.check("nothing is found while nothing changes", not quiet)
    stage.say("the name now leads to another model")
    _swap(watch)
    found: list[str] = []
    after = 0
    while not found and after < 2 * WITHIN:
        after += 1
        watch.cli("probe", "run")
        found = _findings(watch)
    notes.measure(found_after_rounds=after if found else None, within=WITHIN)
    notes.tell(f"found after {after} rounds of 3 answers to {len(QUESTIONS)} probes" if found else "NOT found")
    notes.check(f"the swap is found within {WITHIN} rounds", bool(found) and after <= WITHIN)
    notes.check("the finding names the model that answers now", bool(found) and "lab-large" in found[0])
    stage.say("the change is accepted")
    for name in QUESTIONS:
        watch.cli("probe", "accept", name)
    watch.cli("probe", "run", "--rounds", "2")
    notes.check("what was accepted is quiet again", not _findings(watch))
    return notes.result()


def _findings(watch: Watch) -> list[str]:
    """What the monitors say when they look now."""
    return [finding["sentence"] for finding in watch.post("/api/v1/monitors/run")["findings"]]


def _swap(watch: Watch) -> None:
    """Let the name stand for another model, as a provider does; the house is started anew with it."""
    watch.stop()
    none = 'credential = "none"\n'
    watch.settings = watch.settings.replace(none, none + 'aliases = { lab-small = "lab-large" }\n')
    watch.start()
