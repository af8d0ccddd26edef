"""The prompt_cache monitor names what changes at the front of prompts, and keeps quiet about what may change."""

import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
import yaml

from tests.prompting import Called, PromptLog, asked, recorded
from tests.reading import NOW
from watchkeeper.capabilities.monitors.prompt_cache import PromptCache
from watchkeeper.kinds.monitor import Monitor, Window
from watchkeeper.records.finding import Finding

ROWS = yaml.safe_load((Path(__file__).parents[2] / "cases" / "monitors" / "prompt_cache.yaml").read_text())
SYSTEMS = 300
WORDS = ("plain", "green", "quick", "sunny", "round", "early", "loud", "warm")


async def look(log: PromptLog, **fields: Any) -> Finding | None:
    return await msgspec.convert(fields, PromptCache).check(Window(start_ns=0, end_ns=NOW), log)


def system_of(text: str, number: int) -> str:
    ordered = ["limit", "tone", "region"][:: 1 if number % 2 else -1]
    order = json.dumps(dict.fromkeys(ordered, "a word that is long enough to be worth something"))
    if text == "{order}":
        return order
    words = " ".join(WORDS[(number * 3 + each) % len(WORDS)] for each in range(4))
    return text.format(n=number, words=words)


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row["name"] for row in ROWS])
async def test_each_row_holds(row: dict[str, Any]) -> None:
    calls = []
    for number in range(row["calls"]):
        turns = [f"What about item {each} of the list?" for each in range(number + 1)]
        if "last" in row:
            turns[-1] += " " + row["last"].format(n=number)
            turns = turns[-1:]
        calls.append(Called(asked(*turns, system=system_of(row["system"], number)), 100 + 10 * number, "s-1"))
    finding = await look(await recorded(calls))
    assert (None if finding is None else finding.evidence["kind"]) == row["what"]


@pytest.mark.anyio
async def test_the_finding_names_place_texts_and_what_was_lost() -> None:
    rules = "You are a clerk. " * 20
    calls = [
        Called(asked("Hello.", system=f"Now: 2026-11-20T12:{number:02d}:07Z. {rules}"), 1_000, "s-1", cached=0)
        for number in range(12)
    ]
    finding = await look(await recorded(calls))
    assert finding is not None
    evidence = finding.evidence
    assert (evidence["path"], evidence["kind"], evidence["unstable"]) == ("messages[0].content", "timestamp", 11)
    assert (evidence["old"], evidence["new"]) == ("2026-11-20T12:10:07Z.", "2026-11-20T12:11:07Z.")
    assert isinstance(evidence["lost_tokens"], int) and 10_000 < evidence["lost_tokens"] <= 11_000
    assert "'2026-11-20T12:11:07Z.'" in finding.sentence


@pytest.mark.anyio
async def test_what_was_cached_is_not_counted_as_lost() -> None:
    calls = [
        Called(asked("Hello.", system=f"At 12:{n:02d}:01. {'Be brief. ' * 30}"), 500, "s", cached=450)
        for n in range(12)
    ]
    finding = await look(await recorded(calls))
    assert finding is not None and finding.evidence["lost_tokens"] == 11 * 50


def clerk(chance: Random, session: str, turns: int, head: str) -> list[Called]:
    """A session whose user texts are full of times, ids and numbers."""
    texts: list[str] = []
    calls = []
    for _ in range(turns):
        texts.append(
            f"At {chance.randint(10, 23)}:{chance.randint(10, 59)} order {chance.randrange(10**6)} "
            f"({chance.randrange(16**12):012x}) {chance.choice(WORDS)} {chance.choice(WORDS)}"
        )
        if len(texts) > 3 and chance.random() < 0.02:
            texts = [f"In short: {chance.choice(WORDS)}.", *texts[-2:]]
        calls.append(Called(asked(*texts, system=head), 100 + 30 * len(texts), session))
    return calls


@pytest.mark.anyio
@pytest.mark.slow
async def test_steady_systems_are_quiet_and_one_clock_is_found() -> None:
    chance = Random(7)
    false_alarms = found = 0
    for system in range(SYSTEMS):
        head = f"You are clerk number {system}. " + " ".join(chance.choice(WORDS) for _ in range(40))
        calls = [call for number in range(8) for call in clerk(chance, f"s{number}", 10, head)]
        alone = [call._replace(session=None) for call in clerk(chance, "x", 20, head)]
        false_alarms += await look(await recorded([*calls, *alone])) is not None
        ticking = []
        for number, call in enumerate(clerk(chance, "t", 12, f"Another one. {head}")):
            messages = call.request["messages"]
            clock = f"2026-11-{1 + number % 28:02d} {number % 24:02d}:15. " + messages[0]["content"]
            request = {**call.request, "messages": [{"role": "system", "content": clock}, *messages[1:]]}
            ticking.append(call._replace(request=request))
        finding = await look(await recorded([*calls, *ticking]))
        found += finding is not None and finding.evidence["kind"] == "timestamp"
    assert (false_alarms, found) == (0, SYSTEMS)


def test_it_is_a_monitor() -> None:
    assert isinstance(PromptCache(), Monitor)
