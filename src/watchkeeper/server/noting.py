"""Writes down an administrative act that came through the API, with who did it."""

from __future__ import annotations

from starlette.requests import Request

from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import new_id
from watchkeeper.server.callers import read_caller
from watchkeeper.server.parts import StoreParts

LONGEST_DETAIL = 2_000


def note(parts: StoreParts, request: Request, act: str, subject: str, detail: str | None = None) -> None:
    """Keep one act; a house that keeps no record of its own keeps none."""
    if parts.record is None:
        return
    now_ns = parts.clock_ns()
    parts.record(
        Audit(
            audit_id=new_id("aud", now_ns),
            at_ns=now_ns,
            act=act,
            actor=read_caller(request.headers).actor,
            subject=subject[:200],
            detail=None if detail is None else detail[:LONGEST_DETAIL],
        )
    )
