"""Rulings that were made in this process are sent for the record, cut to what the door takes."""

from __future__ import annotations

from typing import Any

import pytest

from watchkeeper.engines.decide.link import Link
from watchkeeper.kinds.facts import Facts
from watchkeeper.kinds.header import Header
from watchkeeper.records.decision import Decision, deny
from watchkeeper.records.event import Event, Stage, ToolStep
from watchkeeper.records.identity import Identity
from watchkeeper.sdk.client import Client
from watchkeeper.sdk.guard import Denied, Guard
from watchkeeper.sdk.identity import Who


class NoSearch:
    """Denies one tool."""

    header = Header(id="no_search", version="2", theme="agents", summary="Denies one tool.")
    stages = frozenset({Stage.TOOL_CALL})
    on_error = "closed"

    def needs(self, event: Event) -> tuple[Any, ...]:
        return ()

    def decide(self, event: Event, facts: Facts) -> Decision | None:
        return deny("not_here", "Ask somebody.") if event.tool == "search" else None


def test_a_local_denial_is_on_its_way_to_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    client, sent = Client("http://127.0.0.1:1", None), list[tuple[str, dict[str, Any]]]()
    monkeypatch.setattr(client, "send", lambda path, value: sent.append((path, value)))
    guard = Guard(None, "open", [Link(policy=NoSearch(), instance="mine")], report=client.report)  # type: ignore[arg-type]
    step = ToolStep(agent=None, tool="search", arguments="a")
    with pytest.raises(Denied, match="Ask somebody"):
        guard.ask(step, Who(session="s-1"), "a" * 32, "b" * 16)
    ((path, told),) = sent
    assert path == "/api/v1/decisions"
    assert (told["policy"], told["version"], told["instance"], told["verdict"]) == ("no_search", "2", "mine", "deny")
    assert (told["trace_id"], told["tool"], told["identity"]) == ("a" * 32, "search", {"session": "s-1"})


def test_a_ruling_is_cut_to_what_the_door_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    client, sent = Client("http://127.0.0.1:1", None), list[dict[str, Any]]()
    monkeypatch.setattr(client, "send", lambda path, value: sent.append(value))
    facts = {f"{number}{'x' * 300}": number for number in range(100)}
    client.report(
        Decision(verdict="allow", reason="r", sentence="s" * 5_000, policy="p", facts=facts, identity=Identity())
    )
    assert (len(sent[0]["sentence"]), len(sent[0]["facts"]), max(map(len, sent[0]["facts"]))) == (2_000, 64, 200)
