"""Writes an administrative act into the journal of a house whose server does not run."""

from __future__ import annotations

import time

from watchkeeper.compose.unlocking import unlock
from watchkeeper.config import Config
from watchkeeper.engines.recorder.home import Home
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import new_id


def note_act(config: Config, home: Home, act: str, subject: str, detail: str | None = None) -> None:
    """Append one act of the owner's; raises `HomeError` when somebody else holds the directory, `OSError`."""
    home.lock()
    try:
        journal = Journal(home.journal, "store", home.secret("chunks"), subjects=unlock(config, home))
        now_ns = time.time_ns()
        try:
            journal.append(
                Audit(
                    audit_id=new_id("aud", now_ns),
                    at_ns=now_ns,
                    act=act,
                    actor="local",
                    subject=subject[:200],
                    detail=detail,
                )
            )
        finally:
            journal.close()
    finally:
        home.unlock()
