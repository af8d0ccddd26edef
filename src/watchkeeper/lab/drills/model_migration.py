"""S35: a model is exchanged, nine tests in ten pass, and in production a part of the answers no longer parses.

Both models are scripts of the lab provider whose habits are known. The figures tell how well the report finds them, and
nothing about any model.
"""

from __future__ import annotations

from watchkeeper.lab.script import Chance, Rule, ScriptedCall, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told, write_suite
from watchkeeper.lab.watch import lab_settings

scenario = "S35"
promise = (
    "Every planted difference between two models appears with its interval, a slice that gets worse blocks although "
    "the mean improves, and a model against itself is quiet."
)

CASES = 180
PROMPT = "You are the desk. Reply with JSON that has a `label`. Begin with '{' and nothing else."
RIGHT, WRONG = '{"label": "$label"}', '{"label": "unsure"}'
FENCED = f"```json\n{RIGHT}\n```"
REFUSED = "I'm sorry, but I cannot help with that."
LONG = '{"label": "$label", "reasons": "' + "because the order says so and the catalogue agrees with it " * 3 + '"}'
EXPECTED = {
    "parse failures": "worse",
    "refusals": "worse",
    "label flips": "different",
    "tool pattern": "different",
    "output characters": "different",
    "latency in s": "different",
    "cost in $": "different",
}


def run(stage: Stage) -> Result:
    """Migrate from the old model to the new one, and from the old one to itself."""
    notes = Notes()
    lab = stage.lab(*_rules())
    (stage.folder / "watchkeeper.toml").write_text(lab_settings(lab.base_url), encoding="utf-8")
    cases = [
        {
            "id": f"case-{n}",
            "messages": [{"role": "system", "content": PROMPT}, {"role": "user", "content": _question(n)}],
            "expected": _label(n),
            "attributes": {"language": _language(n)},
        }
        for n in range(CASES)
    ]
    scorers = [
        {
            "use": "schema",
            "name": "right",
            "with": {"schema": {"properties": {"label": {"pattern": "^(refund|exchange)$"}}}},
        }
    ]
    suite = str(write_suite(stage.folder, lab.base_url, cases, scorers, margin=0.1))
    asked = ("eval", "migrate", suite, "--slice", "language", "--concurrency", "32")
    stage.say(f"{CASES} cases are asked three times a side, old and new at the same time")
    found = told(stage.folder, *asked, "--from", "lab-small", "--to", "lab-large!slow:0.03", expect=(1,))
    cells = {(cell["what"], cell["slice"]): cell for cell in found["cells"]}
    missing = [what for what, verdict in EXPECTED.items() if cells[what, "all"]["verdict"] != verdict]
    mean, german = cells["right", "all"], cells["right", "de"]
    parse = cells["parse failures", "all"]["change"]
    notes.measure(planted=len(EXPECTED), not_found=len(missing), cells=len(cells), changed=len(found["changed"]))
    notes.measure(parse_failures_rise=parse["value"], rise_low=parse["low"], rise_high=parse["high"])
    notes.tell(f"{len(EXPECTED) - len(missing)} of {len(EXPECTED)} planted differences found")
    notes.tell(f"score {mean['change']['value']:+.2f} over all, {german['change']['value']:+.2f} in German: blocked")
    notes.check("every planted difference appears: " + ", ".join(EXPECTED), not missing)
    notes.check("the score is better over all", mean["verdict"] == "better")
    notes.check("the gate blocks on the slice that is worse", german["passed"] is False and found["passed"] is False)
    notes.check(
        "the lint names what hangs on the old model", {h["kind"] for h in found["portability"]} >= {"lenient schema"}
    )
    stage.say("the old model is exchanged for itself")
    same = told(stage.folder, *asked, "--from", "lab-small", "--to", "lab-small", "--no-cache", expect=(0, 3))
    # How long the lab takes depends on what else this machine does: told, and not claimed.
    moved = [cell for cell in same["changed"] if not cell.startswith("latency")]
    notes.measure(changed_against_itself=len(moved), latency_cells_changed=len(same["changed"]) - len(moved))
    notes.check("a model against itself is quiet", not moved)
    listed = told(stage.folder, "eval", "list")["items"]
    notes.check("both sides of both reports are kept as runs", len(listed) == 4)
    return notes.result()


def _language(n: int) -> str:
    return "de" if n % 3 == 0 else "en"


def _label(n: int) -> str:
    return "refund" if n % 2 else "exchange"


def _question(n: int) -> str:
    return f"[{_language(n)}] Order {n} asks for label {_label(n)}"


def _rules() -> tuple[Rule, ...]:
    """The old model is good in German and poor in English; the new one the other way round, with habits of its own."""
    call = ScriptedCall(tool="find_order", arguments={"order": "17"})
    said = r"\[{}\] .*label (?P<label>\w+)"
    return (
        _rule("old", "de", said, Chance(weight=95, answer=RIGHT), Chance(weight=5, answer=WRONG)),
        _rule("old", "en", said, Chance(weight=45, answer=RIGHT), Chance(weight=55, answer=WRONG)),
        _rule(
            "new", "de", said,
            Chance(weight=45, answer=LONG), Chance(weight=15, answer=WRONG), Chance(weight=15, answer=FENCED),
            Chance(weight=15, answer=REFUSED), Chance(weight=10, calls=(call,)),
        ),
        _rule("new", "en", said,
            Chance(weight=84, answer=LONG), Chance(weight=8, answer=FENCED), Chance(weight=8, calls=(call,)),
        ),
    )  # fmt: skip


def _rule(model: str, language: str, said: str, *chances: Chance) -> Rule:
    name = "lab-small" if model == "old" else "lab-large*"
    return Rule(name=f"{model} {language}", when=When(model=name, last=said.format(language)), chances=chances)
