"""Brings cases to a suite that are not in a text file: Parquet files, and recorded traffic."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from watchkeeper.cli.options import Failure

if TYPE_CHECKING:
    from watchkeeper.cli.door import Door
    from watchkeeper.engines.experiments.dataset import Item
    from watchkeeper.engines.experiments.suite import Recorded, Sources

MOST_CALLS = 10_000


def sources_of(config: Path | None, data: str | None) -> Sources:
    """The sources of a command's --config and --data."""
    from watchkeeper.engines.experiments.suite import Sources

    def parquet(path: Path) -> list[dict[str, Any]]:
        from watchkeeper.adapters.store.parquet import read_parquet

        return read_parquet(path)

    def recorded(wanted: Recorded) -> list[Item]:
        from watchkeeper.cli.door import open_door

        with open_door(config, data) as door:
            door.flush()
            return _recorded(door, wanted)

    return Sources(parquet=parquet, recorded=recorded)


def _recorded(door: Door, wanted: Recorded) -> list[Item]:
    """Chat calls that went well, drawn at random; each case names the span that it comes from."""
    asked = {
        "since": wanted.since,
        "until": wanted.until,
        "model": wanted.model,
        "service": wanted.service,
        "agent": wanted.agent,
        "status": "ok",
        "operation": "chat",
        "limit": MOST_CALLS,
    }
    calls = door.ask("spans", asked)["items"]
    Random(wanted.seed).shuffle(calls)
    items: list[Item] = []
    unread = wordless = 0
    for call in calls:
        if len(items) == wanted.n:
            break
        messages = _messages(door, call)
        answer = None if messages is None or wanted.expect == "nothing" else _answer(door, call)
        unread += messages is None
        wordless += messages is not None and wanted.expect == "recorded" and answer is None
        if messages is not None and (answer is not None or wanted.expect == "nothing"):
            items.append(_item(call, messages, answer))
    if not items:
        raise Failure(_why_none(wanted, len(calls), unread, wordless), "suite")
    return items


def _why_none(wanted: Recorded, calls: int, unread: int, wordless: int) -> str:
    if wordless:
        return (
            f"`recorded` found {calls} chat calls since {wanted.since}, and {wordless} of them were answered without a "
            "text (by tool calls), so there is nothing to expect. Set `expect: nothing`, and judge by other scorers."
        )
    return (
        f"`recorded` found {calls} chat calls since {wanted.since}, and the messages of none could be read "
        f"({unread} tried). Widen `since`, or name another model, agent, service or data directory."
    )


def _messages(door: Door, call: dict[str, Any]) -> list[Any] | None:
    """The messages exactly as they were sent, None where they are gone or no chat's."""
    reply = door.get(f"/api/v1/spans/{quote(call['span_id'], safe='')}/request", {"trace": call["trace_id"]})
    try:
        messages = json.loads(reply.body)["messages"] if reply.status == 200 else None
    except (ValueError, KeyError, TypeError):
        return None
    return messages if isinstance(messages, list) and messages else None


def _item(call: dict[str, Any], messages: list[Any], answer: str | None) -> Item:
    """One call as a case."""
    from watchkeeper.engines.experiments.dataset import Item

    return Item(
        case_id=f"span:{call['span_id']}",
        messages=messages,
        expected=answer,
        cluster=call.get("session"),
        origin=f"span:{call['trace_id']}/{call['span_id']}",
        attributes={"model": call.get("model")},
    )


def _answer(door: Door, call: dict[str, Any]) -> str | None:
    """The text that was answered; None where there was none."""
    reply = door.get(f"/api/v1/spans/{quote(call['trace_id'], safe='')}/{quote(call['span_id'], safe='')}")
    if reply.status != 200:
        return None
    said = json.loads(reply.body)["conversation"]["output"]
    return "".join(message.get("text") or "" for message in said) or None
