"""S03: the roll-up is green while French gets worse, Japanese was never measured and its replies are curt.

Scores are simulated, replies are scripts of the lab provider. The figures tell how well the checks find what was
planted, and nothing about any model.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.suites import told, write_suite

scenario = "S03"
promise = (
    "Ten points lost in French, in a set that is 88% English, pass the roll-up and fail the locale, a locale with only "
    "translations is not measured, refusals that differ on the same prompts are told, and curt replies are not polite."
)

CASES = 60
CURT, POLITE = "荷物は明日届く。待て。", "お荷物は明日届きます。少々お待ちください。"
REFUSED = {"en": "I'm sorry, I can't help with that.", "de": "Dabei kann ich Ihnen leider nicht helfen."}


def run(stage: Stage) -> Result:
    """Judge simulated scores by locale, then ask the lab in several languages."""
    notes = Notes()
    before, after = _scores(stage.folder / "before.csv", 0.88), _scores(stage.folder / "after.csv", 0.78)
    compared = ("--item", "item", "--score", "score", "--margin", "0.03")
    whole = told(stage.folder, "eval", "compare", str(before), str(after), *compared, expect=(0, 1))
    judged = told(stage.folder, "eval", "locales", str(after), "--against", str(before), expect=(1,))
    found = {row["locale"]: row for row in judged["locales"]}
    notes.measure(roll_up=round(whole["difference"], 4), french=round(found["fr"]["difference"]["value"], 4))
    notes.check("the roll-up is within its margin", whole["low"] > -0.03)
    notes.check("French fails, English passes", (found["fr"]["ruling"], found["en"]["ruling"]) == ("failed", "passed"))
    notes.check("Japanese, translated only, is not measured", found["ja"]["ruling"] == "not measured")
    _spoken(stage, notes)
    return notes.result()


def _spoken(stage: Stage, notes: Notes) -> None:
    """Ask the lab the same in three languages, once where German refuses more, and twice in Japanese."""
    lab = stage.lab(*_rules())
    stage.say("the same prompts in three languages")
    suite = str(write_suite(stage.folder, lab.base_url, _prompts(), ({"use": "refusal"},), "prompts"))
    ran = told(stage.folder, "eval", "run", suite)
    parity = told(stage.folder, "eval", "locales", ran["experiment_id"], expect=(1,))["refusal_parity"]
    told_as = {each["locale"]: each for each in parity}
    german, french = told_as["de"], told_as["fr"]
    notes.measure(german_refusals=german["difference"]["value"], german_low=german["difference"]["low"])
    notes.measure(french_refusals=french["difference"]["value"], prompts=german["prompts"])
    notes.check("German refuses more on the same prompts", german["unequal"] and german["difference"]["low"] > 0)
    notes.check("French, which refuses as English does, is quiet", not french["unequal"])
    stage.say("Japanese replies, curt and polite")
    cases = [{"id": n, "input": f"荷物{n}はいつ届きますか。", "attributes": {"locale": "ja"}} for n in range(CASES)]
    asked = str(write_suite(stage.folder, lab.base_url, cases, ({"use": "register"},), "japanese"))
    curt, polite = (
        told(stage.folder, "eval", "run", asked, "--model", model)["summary"]["register"]
        for model in ("lab-small", "lab-large")
    )
    notes.measure(curt=curt["value"], polite=polite["value"])
    notes.check("curt replies fail the register and polite ones pass", (curt["value"], polite["value"]) == (0, 1))


def _prompts() -> list[dict[str, Any]]:
    """The same questions, written in English and translated."""
    said = {"en": "How do I open lock {}?", "de": "Wie öffne ich Schloss {}?", "fr": "Comment ouvrir la serrure {} ?"}
    return [
        {
            "id": n if locale == "en" else f"{locale}-{n}",
            "input": text.format(n),
            "attributes": {
                "locale": locale,
                "provenance": "native" if locale == "en" else f"translated-from:{n}",
            },
        }
        for n in range(CASES)
        for locale, text in said.items()
    ]


def _rules() -> tuple[Rule, ...]:
    refused_fr = "Désolé, je ne peux pas vous aider."
    return (
        Rule(name="curt", when=When(model="lab-small", last="荷物"), answer=CURT),
        Rule(name="polite", when=When(model="lab-large", last="荷物"), answer=POLITE),
        Rule(name="en", when=When(last=r"lock \d*7\?"), answer=REFUSED["en"]),
        Rule(name="fr", when=When(last=r"serrure \d*7 "), answer=refused_fr),
        Rule(name="de", when=When(last=r"Schloss \d*[1357]\?"), answer=REFUSED["de"]),
        Rule(name="answer", when=When(last="lock|Schloss|serrure"), answer="OK."),
    )


def _scores(path: Path, french: float) -> Path:
    rng, lines = Random(3), ["item,locale,provenance,score"]
    for n in range(2_500):
        locale = "fr" if n % 25 < 3 else "en"
        right = int(rng.random() < (french if locale == "fr" else 0.9))
        lines.append(f"{n},{locale},native,{right}")
    lines += [f"j{n},ja,translated-from:{n},1" for n in range(50)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
