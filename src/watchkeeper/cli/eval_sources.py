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
        "status": "ok",
        "operation": "chat",
        "limit": MOST_CALLS,
    }
    calls = door.ask("spans", asked)["items"]
    Random(wanted.seed).shuffle(calls)
    items: list[Item] = []
    unread = 0
    for call in calls:
        if len(items) == wanted.n:
            break
        item = _item(door, call, wanted.expect == "recorded")
        if item is None:
            unread += 1
        else:
            items.append(item)
    if not items:
        raise Failure(
            f"`recorded` found {len(calls)} chat calls since {wanted.since}, and the messages of none could be read "
            f"({unread} tried). Widen `since`, or name another model or data directory.",
            "suite",
        )
    return items


def _item(door: Door, call: dict[str, Any], expect: bool) -> Item | None:
    """One call as a case: the messages exactly as they were sent, None where they are gone or no chat's."""
    from watchkeeper.engines.experiments.dataset import Item

    span, trace = call["span_id"], call["trace_id"]
    reply = door.get(f"/api/v1/spans/{quote(span, safe='')}/request", {"trace": trace})
    try:
        messages = json.loads(reply.body)["messages"] if reply.status == 200 else None
    except (ValueError, KeyError, TypeError):
        messages = None
    if not isinstance(messages, list) or not messages:
        return None
    answer = _answer(door, span, trace) if expect else None
    if expect and answer is None:
        return None
    return Item(
        case_id=f"span:{span}",
        messages=messages,
        expected=answer,
        cluster=call.get("session"),
        origin=f"span:{trace}/{span}",
        attributes={"model": call.get("model")},
    )


def _answer(door: Door, span: str, trace: str) -> str | None:
    reply = door.get(f"/api/v1/spans/{quote(trace, safe='')}/{quote(span, safe='')}")
    if reply.status != 200:
        return None
    said = json.loads(reply.body)["conversation"]["output"]
    return "".join(message.get("text") or "" for message in said) or None
