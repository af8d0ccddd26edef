"""S18: a guard drops out of the settings, and replies stop carrying a field: nothing fails, and a finding says so."""

from __future__ import annotations

from typing import Any

from watchkeeper.lab.script import Rule, When
from watchkeeper.lab.stage import Notes, Result, Stage
from watchkeeper.lab.watch import Watch

scenario = "S18"
promise = (
    "A policy that stops ruling and a field that replies stop carrying are each found within 150 calls; while nothing "
    "changes it is quiet."
)

SHORT = Rule(name="a short answer", when=When(model="*"), answer="It is short.")
HEALTHY, AFTER = 240, 150
BUCKET_MINUTES = 0.0001
"""6 ms: a control is learnt from 40 blocks of at least one bucket each, and 240 calls must fill them on any machine."""
GUARD = """
[[policies]]
use = "budget"
name = "guard"
with = { per = "key", usd = 100.0 }
"""
MONITOR = f"""
[[monitors]]
use = "silent_control"
with = {{ every_s = 3600, bucket_minutes = {BUCKET_MINUTES}, controls = ["policy:*", "field:usage@*"] }}
"""


def run(stage: Stage) -> Result:
    """Make healthy calls, drop the guard, then let the client stop asking for usage."""
    notes = Notes()
    watch = stage.serve(stage.lab(SHORT), GUARD + MONITOR)
    stage.say(f"{HEALTHY} calls, on each of which the guard rules and whose replies carry their usage")
    _calls(watch, HEALTHY)
    quiet = _findings(watch)
    notes.measure(healthy_calls=HEALTHY, quiet_findings=len(quiet))
    notes.check("while nothing changes it is quiet", not quiet)
    stage.say("somebody edits the settings, and the guard is gone")
    watch.stop()
    watch.settings = watch.settings.replace(GUARD, "")
    watch.start()
    after, found = _until_found(watch, "policy:guard", usage=True)
    notes.measure(guard_found_after=after)
    notes.tell(found or "NOT found")
    notes.check(f"the silent guard is found within {AFTER} calls", found is not None)
    stage.say("a client is changed, and streams no longer carry their usage")
    watch.stop()
    watch.settings = watch.settings.replace('"policy:*", ', "")
    watch.start()
    after, found = _until_found(watch, "field:usage@", usage=False)
    notes.measure(field_found_after=after)
    notes.tell(found or "NOT found")
    notes.check(f"the missing field is found within {AFTER} calls", found is not None)
    return notes.result()


def _until_found(watch: Watch, control: str, usage: bool) -> tuple[int | None, str | None]:
    """Make calls until a finding names a control; how many it took, and what it says."""
    for made in range(25, AFTER + 1, 25):
        _calls(watch, 25, usage)
        for finding in _findings(watch):
            if str(finding["evidence"]["control"]).startswith(control):
                return made, str(finding["sentence"])
    return None, None


def _calls(watch: Watch, count: int, usage: bool = True) -> None:
    with watch.openai() as client:
        for number in range(count):
            options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
            said: Any = [{"role": "user", "content": f"Say something short, number {number}."}]
            stream = client.chat.completions.create(model="lab-small", messages=said, stream=True, **options)
            for _ in stream:
                pass


def _findings(watch: Watch) -> list[dict[str, Any]]:
    """What the monitors say when they look now."""
    watch.flush()
    found: list[dict[str, Any]] = watch.post("/api/v1/monitors/run")["findings"]
    return found
