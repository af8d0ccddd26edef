"""S06: after a refund that nobody approved the step is taken again: would it happen again, and what changes it?"""

from __future__ import annotations

import json
from typing import Any

from watchkeeper.lab.script import Chance, Rule, ScriptedCall, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import Watch
from watchkeeper.records.ids import new_span_id, new_trace_id

scenario = "S06"
promise = (
    "A recorded step is taken again with the recorded tool results: what a change changes is told as a rate over many "
    "samples with an interval, and a change that changes nothing is not resolved."
)

SAMPLES = 25
LOOSE = "You are the order desk. Refund at once when a customer is unhappy."
STRICT = "You are the order desk. Always find the order first."
REFUND = ScriptedCall(tool="refund", arguments={"order": "17", "usd": 240})
FIND = ScriptedCall(tool="find_order", arguments={"order": "17"})
RULES = (
    Rule(
        name="the loose desk",
        when=When(system="Refund at once", last_role="user"),
        chances=(Chance(weight=4, calls=(REFUND,)), Chance(weight=1, calls=(FIND,))),
    ),
    Rule(
        name="the strict desk",
        when=When(system="find the order first", last_role="user"),
        chances=(Chance(weight=1, calls=(REFUND,)), Chance(weight=19, calls=(FIND,))),
    ),
    Rule(name="the desk has its answer", when=When(system="order desk", last_role="tool"), answer="It is done."),
)
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("refund", "find_order")]


def run(stage: Stage) -> Result:
    """Record one run whose step went wrong, replay it, fork it with another prompt, and fork it with nothing new."""
    notes = Notes()
    watch = stage.serve(stage.lab(*RULES))
    stage.say("an order desk refunds what it should have looked up")
    trace_id = _incident(watch)
    watch.flush()
    stage.say(f"the step is taken {SAMPLES} times again")
    again = watch.cli("replay", trace_id, "--step", "1", "--samples", str(SAMPLES))["steps"][0]["arm"]["same_step"]
    notes.measure(again=again["value"], again_low=again["low"], again_high=again["high"])
    notes.tell(f"it would happen again in {again['value']:.0%} ({again['low']:.0%} to {again['high']:.0%})")
    notes.check("the rate has an interval that holds the scripted 80%", again["low"] < 0.8 < again["high"])
    stage.say("another prompt is tried beside the old one")
    refund = _fork(watch, trace_id, f"prompt={STRICT}")
    difference = refund["difference"]
    notes.measure(changed_by=difference["value"], changed_low=difference["low"], changed_high=difference["high"])
    notes.tell(f"the strict prompt changes that by {difference['value']:+.0%}")
    notes.check("the strict prompt is found to refund less", refund["verdict"] == "changed" and difference["high"] < 0)
    nothing = _fork(watch, trace_id, "seed=7")
    notes.check("a change that changes nothing is not resolved", nothing["verdict"] == "not resolved")
    listed = watch.cli("eval", "list")["items"]
    notes.check("both forks are kept as experiments", sum("fork of" in row["suite"] for row in listed) == 2)
    return notes.result()


def _incident(watch: Watch) -> str:
    """Runs until the loose desk refunds: the trace of that run."""
    with watch.openai() as client:
        for _ in range(50):
            trace_id = new_trace_id()
            headers = {"traceparent": f"00-{trace_id}-{new_span_id()}-01", "X-Watchkeeper-Agent": "order-desk"}
            messages: list[Any] = [
                {"role": "system", "content": LOOSE},
                {"role": "user", "content": "My parcel 17 is late and I am unhappy."},
            ]
            asked: dict[str, Any] = {"model": "lab-small", "tools": TOOLS, "extra_headers": headers}
            first = client.chat.completions.create(messages=messages, **asked)
            message = first.choices[0].message
            call = (message.tool_calls or [])[0]
            messages.append(message.model_dump(exclude_none=True))
            result = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"ok": True})}
            messages.append(result)
            client.chat.completions.create(messages=messages, **asked)
            if call.function.name == "refund":
                return trace_id
    raise RuntimeError("The loose desk did not refund in 50 runs. Look at the lab's rules.")


def _fork(watch: Watch, trace_id: str, change: str) -> dict[str, Any]:
    """What a change does to how often the step refunds."""
    told = watch.cli("fork", trace_id, "--at", "1", "--with", change, "--samples", str(SAMPLES))
    rows: list[dict[str, Any]] = told["differences"]
    return next(row for row in rows if row["what"].startswith("first does refund("))
