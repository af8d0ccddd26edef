"""S18: an upstream goes down, one stream breaks and is continued, and every call succeeds: what did that take?"""

from __future__ import annotations

import json
import time
from typing import Any

from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import SETTINGS as FILE
from watchkeeper.lab.watch import Answer, Watch

scenario = "S18"
promise = (
    "An outage falls over without a lost call and is marked; each rescue is counted for each success, told to the "
    "caller, and found by a monitor while every status is 200."
)

PAUSE_S = 0.05
WELL = 60
ILL = 60
SAYS = "The lab has answered at some length, so that a stream can break in the middle of it."
RULES = (
    Rule(name="an answer", when=When(last_user="Say something."), answer=SAYS),
    Rule(name="the rest of it", when=When(last_user="Your last message was cut off"), answer=" And so it went on."),
)

SETTINGS = """
[[upstreams]]
name = "backup"
base_url = "{backup}"
credential = "none"
models = ["lab-large"]

[[routes]]
name = "clerk"
targets = [{{ upstream = "lab", model = "lab-small" }}, {{ upstream = "backup", model = "lab-large" }}]
retries = 0

[[routes]]
name = "teller"
targets = [{{ upstream = "lab", model = "lab-small!cut:4" }}, {{ upstream = "backup", model = "lab-large" }}]
retries = 0
on_broken_stream = "continue"

[[monitors]]
use = "rescues"
with = {{ at_most = 0.1, window_hours = 0.0167, blocks = 100, min_successes = 20, confidence = 0.95, every_s = 3600 }}
"""


def run(stage: Stage) -> Result:
    """Be well, go down, break a stream, recover; count all of it."""
    notes = Notes()
    first, second = stage.lab(*RULES), stage.lab(*RULES)
    watch = stage.serve(first, SETTINGS.format(backup=second.base_url))
    stage.say(f"{WELL} calls while all is well")
    well = _steadily(watch, WELL)
    notes.check(
        "while all is well nothing is rescued", all("x-watchkeeper-rescues" not in each.headers for each in well)
    )
    notes.check("and no monitor finds anything", not watch.post("/api/v1/monitors/run")["findings"])
    stage.say(f"the first upstream goes down; {ILL} calls")
    first.stop()
    ill = _steadily(watch, ILL)
    found = [each for each in watch.post("/api/v1/monitors/run")["findings"] if each["monitor"] == "rescues"]
    notes.check("the monitor finds what no status shows", len(found) == 1 and found[0]["estimate"]["low"] > 0.1)
    _outage(watch, ill, notes)
    stage.say("a stream breaks in the middle")
    _broken(watch, second.base_url, notes)
    stage.say("what the record says")
    _record(watch, notes)
    stage.say("the settings name an upstream that is well, and are taken anew")
    _recover(watch, second.base_url, notes)
    return notes.result()


def _steadily(watch: Watch, calls: int) -> list[Answer]:
    """Calls one after the other, so that they spread over some stretches of the monitor's window."""
    answers = []
    for _ in range(calls):
        answers.append(_ask(watch))
        time.sleep(PAUSE_S)
    return answers


def _ask(watch: Watch, model: str = "clerk", stream: bool = False) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "Say something."}], "stream": stream}
    return watch.http("POST", "/v1/chat/completions", body)


def _outage(watch: Watch, ill: list[Answer], notes: Notes) -> None:
    lost = sum(each.status != 200 for each in ill)
    marked = sum(each.headers.get("x-watchkeeper-rescues", "").startswith("fallback") for each in ill)
    notes.measure(outage_calls=len(ill), outage_lost=lost, outage_marked=marked)
    notes.tell(f"{len(ill)} calls in an outage, {lost} lost, {marked} marked as fallen over")
    notes.check("no call was lost in the outage", lost == 0)
    notes.check("every call of the outage is marked for its caller", marked == len(ill))
    listed = {(item["upstream"], item["model"]): item for item in watch.cli("upstreams")["items"]}
    state = listed[("lab", "lab-small")]
    notes.measure(breaker=state["state"], asked_while_down=state["failures"])
    notes.check(
        "the breaker of the dead upstream is open and says why", state["state"] == "open" and bool(state["why"])
    )
    notes.check("the dead upstream was not asked for every call", state["failures"] < len(ill) // 2)


def _broken(watch: Watch, base_url: str, notes: Notes) -> None:
    """The dead upstream is replaced by one whose streams break; its breaker belongs to the model, which is another."""
    _edit(watch, lambda text: _first(text, base_url))
    answer = _ask(watch, "teller", stream=True)
    text = answer.body.decode()
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(line).get("choices") or [{}] for line in lines]
    said = "".join(chunk[0].get("delta", {}).get("content") or "" for chunk in chunks)
    notes.measure(stream_seams=text.count(": watchkeeper continued"), stream_done=text.count("[DONE]"))
    notes.check("the broken stream was continued, marked, and came to its end", text.count("[DONE]") == 1)
    notes.check("its seam is marked in the stream", text.count(": watchkeeper continued; to=backup") == 1)
    notes.check("what was said before the break was kept", said.startswith(SAYS[:8]))


def _record(watch: Watch, notes: Notes) -> None:
    watch.flush()
    (item,) = watch.cli("ask", "rescues")["items"]
    ratio = item["rescues_per_success"]
    notes.measure(
        calls=item["calls"], successes=item["successes"], rescues=item["rescues"], rescues_per_success=ratio,
        fallbacks=item["fallback"], continued=item["continued"],
    )  # fmt: skip
    notes.tell(f"{item['successes']} of {item['calls']} calls succeeded with {ratio:.2f} rescues for each success")
    notes.check("every call succeeded", item["successes"] == item["calls"] == WELL + ILL + 1)
    notes.check("each fallback and the continued stream are counted", (item["fallback"], item["continued"]) == (ILL, 1))
    acts = watch.cli("ask", "audits", "act=upstream.open")["items"]
    notes.check("the record says when and why the breaker opened", any(act["subject"] == "lab" for act in acts))


def _recover(watch: Watch, base_url: str, notes: Notes) -> None:
    _edit(watch, lambda text: _first(text, base_url).replace("lab-small", "lab-medium"))
    answer = _ask(watch)
    notes.measure(recovered_upstream=answer.headers.get("x-watchkeeper-upstream"))
    notes.check(
        "after the reload the first upstream answers again, without a rescue",
        answer.status == 200
        and answer.headers.get("x-watchkeeper-upstream") == "lab"
        and "x-watchkeeper-rescues" not in answer.headers,
    )


def _edit(watch: Watch, change: Any) -> None:
    """Write the settings file anew and have it taken."""
    file = watch.folder / FILE
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")
    watch.cli("reload")


def _first(text: str, base_url: str) -> str:
    """The settings with another address for the first upstream."""
    lines = text.split("\n")
    place = next(number for number, line in enumerate(lines) if line.startswith("base_url"))
    lines[place] = f"base_url = {json.dumps(base_url)}"
    return "\n".join(lines)
