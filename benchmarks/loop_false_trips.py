"""Measures how often the `loop` policy, as it comes, would have stopped recorded agent runs that ended well.

    python benchmarks/loop_false_trips.py DATA

DATA is a folder with `agentdojo/trajectories/*.jsonl.gz` and `tau-bench-airline/episodes.jsonl.gz`: recorded runs of
real models, made by others, each with its own judgment of success. They are recorded data, not live traffic, and the
thresholds of the policy (five equal calls, four equal rounds, twice that for what is nearly equal) were chosen before
it was run over them; that the model is told twice before a run is stopped was decided after it was seen here how many
good runs repeat themselves, so the rate of stops is to be confirmed on other recordings. Runs of one task are not
independent of each other. The planted loops are made up, and come after whatever the recorded run had done.

A good run is one whose task was done in the end, and may have looped on the way (one here sends one payment fifteen
times and passes). So a second figure counts the good runs that lost work: those that, not being stopped, later made a
tool call that told something new. The others lost at most their closing words.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from watchkeeper.analysis.intervals import wilson
from watchkeeper.capabilities.policies.loop import Loop
from watchkeeper.engines.decide.backtest import RecordedCall, RecordedRun, backtest
from watchkeeper.engines.decide.fold import normal, result_of, sketch_of, steps_of
from watchkeeper.engines.decide.link import Link
from watchkeeper.records.event import ToolStep


def main(folder: Path) -> None:
    """Play both sources with the policy as it comes, then everything with other settings of `repeats`."""
    dojo = list(agentdojo(folder / "agentdojo"))
    sources = {
        "agentdojo, no attack": [run for run, attacked in dojo if not attacked],
        "agentdojo, under attack": [run for run, attacked in dojo if attacked],
        "tau-bench airline": list(airline(folder / "tau-bench-airline")),
    }
    everything = [run for runs in sources.values() for run in runs]
    print("recorded data; the loop policy as it comes: it tells the model twice before it stops the run")
    for name, runs in {**sources, "all": everything}.items():
        show(name, runs, Loop())
    print("the same with action = stop: at the first time")
    show("all, stop", everything, Loop(action="stop"))
    show("all, stop, no soft", everything, Loop(action="stop", soft_repeats=0))
    for soft in (6, 8, 14):
        show(f"all, stop, soft = {soft}", everything, Loop(action="stop", soft_repeats=soft))
    show("all, stop, barren = 20", everything, Loop(action="stop", barren=20))
    print("loops planted at the end of good runs: how many are found, and after how many calls of the loop")
    planted(everything, Random(20261128))


def show(name: str, runs: list[RecordedRun], policy: Loop) -> None:
    """One line for a source: false trips among the good runs, and stops among the bad ones."""
    result = backtest(Link(policy=policy, instance="loop"), runs)
    wrong, right = result.wrongly, result.rightly
    by_name = {run.run_id: run for run in runs}
    stops = [each for each in result.interventions if each.success]
    lost = wilson(sum(brought_news(by_name[each.run_id], each.call) for each in stops), wrong.n)
    print(
        f"{name:24} {result.calls:6} calls; stopped {wrong.value * wrong.n:.0f} of {wrong.n} good runs "
        f"({wrong.value:.2%}, {wrong.method} 95% {wrong.low:.2%} to {wrong.high:.2%}), work lost in "
        f"{lost.value * lost.n:.0f} ({lost.value:.2%}, {lost.low:.2%} to {lost.high:.2%}); "
        f"stopped {right.value * right.n:.0f} of {right.n} bad runs; told {result.told} first ({result.told_good} good)"
    )


def planted(runs: list[RecordedRun], rng: Random) -> None:
    """Plant each kind of loop behind good runs that were not stopped by themselves, and play them again."""
    policies = {"as it comes": Loop(), "action = stop": Loop(action="stop")}
    for kind, steps in LOOPS.items():
        told = []
        for name, policy in policies.items():
            link = Link(policy=policy, instance="loop")
            quiet = {each.run_id for each in backtest(link, runs).interventions}
            fit = [run for run in runs if run.success and run.run_id not in quiet and run.calls]
            chosen = rng.sample(fit, min(PLANTED, len(fit)))
            made = [with_loop(run, steps, rng) for run in chosen]
            result = backtest(link, made)
            starts = {run.run_id: len(old.calls) for run, old in zip(made, chosen, strict=True)}
            took = sorted(each.call - starts[each.run_id] for each in result.interventions)
            share = wilson(len(took), len(made))
            middle = took[len(took) // 2] if took else None
            told.append(
                f"{name}: stopped {len(took)} of {len(made)} (95% {share.low:.1%} to {share.high:.1%}), "
                f"median after {middle} calls"
            )
        print(f"{kind:34} {'; '.join(told)}")


def with_loop(run: RecordedRun, loop: Steps, rng: Random) -> RecordedRun:
    """A run that goes on with `LONG` more calls, each of which brings one more step of a loop."""
    steps = run.calls[-1].steps
    at_ns = run.calls[-1].at_ns
    calls = list(run.calls)
    for number in range(LONG):
        tool, arguments, told = loop(number, rng)
        result, gist = result_of(told)
        step = ToolStep(
            agent=None,
            tool=tool,
            arguments=normal(arguments),
            result=result,
            call_id=f"planted-{number}",
            sketch=sketch_of(arguments),
            gist=gist,
        )
        steps = (*steps, step)
        calls.append(RecordedCall(at_ns=at_ns + (number + 1) * 1_000_000_000, steps=steps))
    return RecordedRun(run_id=run.run_id, calls=tuple(calls), success=False)


def _search(number: int, rng: Random) -> tuple[str, dict[str, Any], str]:
    words = ["refund", "policy", "for", "late", "orders", "of", "members", "in", "the", "shop"]
    rng.shuffle(words)
    return "search", {"query": " ".join(words[: rng.randint(7, 10)]), "limit": 10}, "no results"


def _watch(number: int, rng: Random) -> tuple[str, dict[str, Any], str]:
    at = f"2026-11-28T09:{number // 60:02}:{number % 60:02}Z"
    return "status", {"job": "build", "at": at, "request_id": f"{rng.getrandbits(128):032x}"}, f"pending at {at}"


def _rewrite(number: int, rng: Random) -> tuple[str, dict[str, Any], str]:
    fillers = ["please", "again", "now", "carefully", "once more", "in full", "kindly", "right away"]
    told = f"Check the summary of the report for the board {rng.choice(fillers)} and say whether it is approved"
    return ("verify", {"text": told}, "not approved") if number % 2 else ("analyse", {"text": told}, "unsure")


def _page(number: int, rng: Random) -> tuple[str, dict[str, Any], str]:
    return "list", {"offset": 20 * number, "limit": 20}, "[]"


Steps = Callable[[int, Random], tuple[str, dict[str, Any], str]]
LOOPS: dict[str, Steps] = {
    "one call, again and again": lambda number, rng: ("read", {"path": "a.txt"}, "the same"),
    "two calls, back and forth": lambda number, rng: (("analyse", {}, "unsure"), ("verify", {}, "redo"))[number % 2],
    "a round of five calls": lambda number, rng: (f"step_{number % 5}", {}, "same"),
    "soft: a time and an id each time": _watch,
    "soft: a search in other words": _search,
    "soft: back and forth, other words": _rewrite,
    "soft: ever further pages, all empty": _page,
}
PLANTED = 100
LONG = 80


def brought_news(run: RecordedRun, stop: int) -> bool:
    """Whether the run, where it was not stopped, later made a tool call that told something new."""
    before = {(step.tool, step.arguments, step.result) for step in run.calls[stop].steps}
    return any((s.tool, s.arguments, s.result) not in before for call in run.calls[stop + 1 :] for s in call.steps)


def agentdojo(folder: Path) -> Iterator[tuple[RecordedRun, bool]]:
    """Each trajectory as a run, and whether it was under attack; its user's task decides success."""
    for path in sorted((folder / "trajectories").glob("*.jsonl.gz")):
        for number, row in enumerate(rows(path)):
            messages = [openai_shaped(message) for message in row["messages"]]
            name = f"{path.name}:{number}"
            yield recorded(name, messages, bool(row["utility"])), row["attack_type"] not in (None, "none")


def airline(folder: Path) -> Iterator[RecordedRun]:
    """Each episode as a run; the reward from the final state of the database decides success."""
    for row in rows(folder / "episodes.jsonl.gz"):
        yield recorded(f"airline:{row['task_id']}:{row['trial']}", row["traj"], row["reward"] == 1.0)


def openai_shaped(message: dict[str, Any]) -> dict[str, Any]:
    """A trajectory's message as the chat completions API has it; some have no ids, and errors stand apart."""
    calls = [
        {"id": call.get("id") or "", "function": {"name": call["function"], "arguments": json.dumps(call["args"])}}
        for call in message.get("tool_calls") or ()
    ]
    return {**message, "tool_calls": calls, "content": message["content"] or message.get("error")}


def recorded(run_id: str, messages: list[dict[str, Any]], success: bool) -> RecordedRun:
    """A run with one model call for each assistant message, at made-up times one second apart."""
    calls = [
        RecordedCall(at_ns=place * 1_000_000_000, steps=steps_of(messages[:place]))
        for place, message in enumerate(messages)
        if message["role"] == "assistant"
    ]
    return RecordedRun(run_id=run_id, calls=tuple(calls), success=success)


def rows(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON lines of a gzip file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
