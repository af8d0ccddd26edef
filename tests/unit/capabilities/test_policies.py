"""Every row of the policies' tables: an event and facts in, a ruling out."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from watchkeeper.analysis.sketch import masked, sketch
from watchkeeper.kinds.facts import (
    Activity,
    Contract,
    Fact,
    FactRequest,
    Facts,
    Missing,
    Reservation,
    Reserve,
    RunActivity,
    RunContract,
)
from watchkeeper.kinds.policy import Need, Policy
from watchkeeper.records.event import Event, ToolStep

CASES = Path(__file__).parents[2] / "cases" / "policies"
ROWS = [
    pytest.param(path.stem, row, id=f"{path.stem}: {row['name']}")
    for path in sorted(CASES.glob("*.yaml"))
    for row in yaml.safe_load(path.read_text(encoding="utf-8"))
]


def policy_named(stem: str, parameters: dict[str, Any]) -> Policy:
    """The policy of a file, with parameters checked as the config checks them."""
    module = importlib.import_module(f"watchkeeper.capabilities.policies.{stem}")
    (kind,) = [
        each
        for name, each in vars(module).items()
        if isinstance(each, type) and each.__module__ == module.__name__ and not name.startswith("_")
    ]
    policy: Policy = msgspec.convert(parameters, kind)
    return policy


def event_of(row: dict[str, Any], steps: tuple[ToolStep, ...]) -> Event:
    """The row's event; what it leaves out is filled in."""
    given = {"stage": "request", "at_ns": 0, "trace_id": "t", "span_id": "s", **row.get("event", {})}
    if "steps" in row:
        given["identity"] = row.get("identity", {"run": "r1"})
        given["stage"] = "tool_call" if "call" in row else "request"
    event = msgspec.convert(given, Event)
    return msgspec.structs.replace(event, steps=steps[-1:]) if "call" in row else event


def step(text: str, number: int) -> ToolStep:
    """A step from "agent:tool(arguments)=result"."""
    agent, _, rest = text.partition(":")
    call, _, result = rest.partition("=")
    tool, _, arguments = call.rstrip(")").partition("(")
    return ToolStep(
        agent=agent or None,
        tool=tool,
        arguments=arguments,
        result=result or None,
        call_id=str(number),
        sketch=sketch(arguments),
        gist=masked(result),
    )


def facts_of(
    policy: Policy, event: Event, row: dict[str, Any], steps: tuple[ToolStep, ...], more: tuple[FactRequest, ...] = ()
) -> Facts:
    """What the engine would answer; `more` is what the policy asks for in the second round."""
    values: dict[str, Fact] = {}
    for request in (*policy.needs(event), *more):
        if isinstance(request, Reserve):
            before = row["held"][request.unit]
            granted = before + request.amount <= request.limit
            answer = Reservation(granted=granted, before=before, amount=request.amount, limit=request.limit)
            values[request.name] = answer
        elif isinstance(request, Activity):
            values[request.name] = RunActivity(steps=steps, total=len(steps))
        elif isinstance(request, Contract):
            given = row["contract"] or {"done": request.done or "", "steps": request.steps}
            values[request.name] = RunContract(**given)
    return Facts(values)


@pytest.mark.parametrize(("stem", "row"), ROWS)
def test_the_ruling_is_the_expected_one(stem: str, row: dict[str, Any]) -> None:
    policy = policy_named(stem, row.get("parameters", {}))
    texts = row.get("steps", []) * row.get("repeat", 1) + ([row["call"]] if "call" in row else [])
    steps = tuple(step(text, number) for number, text in enumerate(texts))
    event = event_of(row, steps)
    expected = row["expected"]
    outcome = policy.decide(event, facts_of(policy, event, row, steps))
    if isinstance(outcome, Need):
        outcome = policy.decide(event, facts_of(policy, event, row, steps, outcome.requests))
    assert not isinstance(outcome, Need)
    assert (None if outcome is None else outcome.verdict) == expected["verdict"]
    if outcome is not None and "reason" in expected:
        assert outcome.reason == expected["reason"]
    for words in expected.get("says", []):
        assert outcome is not None and words in outcome.sentence
    for words in expected.get("advises", []):
        assert outcome is not None and outcome.advice is not None and words in outcome.advice
    for name in {"instead", "facts"} & set(expected):
        assert outcome is not None and getattr(outcome, name) == expected[name]
    if "meters" in expected:
        meters = [request.meter for request in policy.needs(event) if isinstance(request, Reserve)]
        assert meters == expected["meters"]


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"per": "key"}, "neither usd nor tokens"),
        ({"per": "key", "usd": -1}, "usd is -1.0"),
        ({"per": "key", "usd": float("nan")}, "usd is nan"),
        ({"per": "key", "tokens": 10**30}, "tokens"),
        ({"per": "tool", "usd": 1}, "per"),
        ({"per": "key", "usd": 1, "slice_usd": 2}, "slice_usd is 2"),
        ({"per": "key", "usd": 1, "slice_tokens": 2}, "slice_tokens is 2, and its tokens is None"),
        ({"per": "key", "usd": 1, "window": "week"}, "window"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_refused_by_name(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError), match=says):
        policy_named("budget", parameters)


MAP = {"columns": ["a"], "bar": 0.8, "cells": []}


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"models": ["m"]}, "`to` does not say where"),
        ({"models": ["m*"], "to": "mine"}, "which `models` is about as well"),
        ({"models": [], "to": "x"}, "models"),
        ({"models": ["m"], "to": "x", "map": {**MAP, "columns": ["a"], "cells": [
            {"cell": ["b"], "state": "open", "rate": None}, {"cell": ["a"], "state": "open", "rate": None}]}}, "order"),
        ({"models": ["m"], "to": "x", "map": {**MAP, "cells": [
            {"cell": ["b", "c"], "state": "open", "rate": None}]}}, "each of the columns"),
        ({"models": ["m"], "to": "x", "on_stale": "keep"}, "on_stale"),
        ({"models": ["m"], "to": "x", "map": {**MAP, "digest": "d"}}, "it was changed after it was drawn"),
    ],
)  # fmt: skip
def test_a_frontier_that_cannot_be_meant_is_refused_by_name(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError), match=says):
        policy_named("frontier", {"map": MAP, **parameters})


def test_a_frontier_that_diverts_nothing_needs_no_other_model() -> None:
    never = {"failing": "refuse", "open": "allow", "unmeasured": "hold"}
    assert policy_named("frontier", {"map": MAP, "models": ["m"], **never}) is not None


def test_a_name_of_any_length_makes_a_short_meter() -> None:
    policy = policy_named("budget", {"per": "session", "tokens": 1})
    identity = {"session": "x" * 100_000, "tenant": "t" * 100_000}
    event = event_of({"event": {"identity": identity, "bound": {"input_tokens": 1, "output_tokens": 1}}}, ())
    (request,) = policy.needs(event)
    assert len(request.name) < 300


def test_a_legitimate_crawl_of_forty_pages_is_let_go_on_at_every_step() -> None:
    policy = policy_named("loop", {})
    event = event_of({"steps": []}, ())
    pages = [step(f"crawler:fetch(page {n})=text {n}", n) for n in range(40)]
    for n in range(41):
        activity = RunActivity(steps=tuple(pages[:n]), total=n)
        assert policy.decide(event, Facts({"activity:r1": activity})) is None


@pytest.mark.parametrize(("stem", "parameters"), [("budget", {"per": "key", "tokens": 5}), ("loop", {})])
def test_a_missing_fact_is_raised_and_not_guessed(stem: str, parameters: dict[str, Any]) -> None:
    policy = policy_named(stem, parameters)
    bound = {"input_tokens": 1, "output_tokens": 1}
    event = event_of({"event": {"identity": {"run": "r1", "key": "k"}, "bound": bound}}, ())
    with pytest.raises(Missing):
        policy.decide(event, Facts())
