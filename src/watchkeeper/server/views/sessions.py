"""Prepares the list of sessions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from watchkeeper.records.record import Record
from watchkeeper.server.views.wording import UNKNOWN, count, duration, usd
from watchkeeper.server.visible import visible


class SessionRow(Record):
    """One session, in words; `href` leads to its traces."""

    session: str
    href: str
    first_ns: int
    last_ns: int | None
    lasted: str
    user: str
    traces: str
    calls: str
    errors: int
    denied: int
    tokens: str
    cost: str


def session_rows(items: Iterable[Mapping[str, Any]]) -> list[SessionRow]:
    """The lines of the sessions page."""
    return [_row(item) for item in items]


def _row(item: Mapping[str, Any]) -> SessionRow:
    told, said = item["input_tokens"], item["output_tokens"]
    last = item["end_ns"]
    return SessionRow(
        session=visible(item["session"]),
        href="/ui/traces?" + urlencode({"session": item["session"], "since": "all"}),
        first_ns=item["start_ns"],
        last_ns=last,
        lasted=duration(None if last is None or last < item["start_ns"] else last - item["start_ns"]),
        user=visible(item["user"] or "") or UNKNOWN,
        traces=count(item["traces"]),
        calls=count(item["calls"]),
        errors=item["errors"],
        denied=item["denied"],
        tokens=count(None if told is None and said is None else (told or 0) + (said or 0)),
        cost=usd(item["cost_usd"]),
    )
