"""The state of the SDK in this process: where the server is, what was set up, and what could not be delivered."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

from watchkeeper.kinds.policy import Policy
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.decision import Decision
from watchkeeper.sdk.connection import Connection
from watchkeeper.sdk.guard import Guard, OnUnreachable
from watchkeeper.sdk.private import Masking, Redact
from watchkeeper.sdk.sender import Sender
from watchkeeper.sdk.tracing import Exporting

_RULING = (
    "verdict", "reason", "policy", "version", "instance", "mode", "stage", "tool", "model", "trace_id", "span_id",
)  # fmt: skip
DEFAULT_URL = "http://127.0.0.1:8787"
_log = logging.getLogger("watchkeeper.sdk")
_lock = threading.Lock()


class Flushed(NamedTuple):
    """What `flush` found: true when everything was delivered.

    `waiting` items were not delivered in time, `lost` never will be; `spans_failed` spans could not be exported.
    """

    delivered: int
    waiting: int
    lost: int
    spans_sent: int
    spans_failed: int
    problems: tuple[str, ...]

    def __bool__(self) -> bool:
        return not (self.waiting or self.lost or self.spans_failed or self.problems)


class Client:
    """One process's connection to a server. Made by `init`, or from the environment when something is first sent."""

    def __init__(self, url: str | None, key: str | None, timeout_s: float = 2.0, redact: Redact = ()) -> None:
        """`url` and `key` default to WATCHKEEPER_URL and WATCHKEEPER_API_KEY; raises `ValueError` for a wrong URL."""
        self.url = url or os.environ.get("WATCHKEEPER_URL") or DEFAULT_URL
        self.key = key or os.environ.get("WATCHKEEPER_API_KEY") or None
        self.connection = Connection(self.url, self.key, timeout_s)
        self.sender = Sender(Connection(self.url, self.key, max(timeout_s, 10.0)))
        self.masking = Masking(redact)
        self.exporting = Exporting(self.masking, self.sender.lost_elsewhere)
        self.guard: Guard | None = None
        self.capture_content = True

    def send(self, path: str, value: dict[str, Any]) -> None:
        """Queue something for the server; None values are left out."""
        said = {key: each for key, each in value.items() if each is not None}
        self.sender.put(path, self.masking.value(said) if self.masking.active else said)

    def report(self, decision: Decision) -> None:
        """Queue a ruling that was made in this process, for the record."""
        said = {name: getattr(decision, name) for name in _RULING}
        who = {name: getattr(decision.identity, name) for name in ("user", "session", "run", "agent")}
        given = {name: each for name, each in who.items() if each is not None}
        facts = {str(name)[:200]: each for name, each in list(decision.facts.items())[:64]}
        ruling = {**said, "sentence": decision.sentence[:2000], "identity": given, "facts": facts}
        self.send("/api/v1/decisions", {**ruling, "id": decision.decision_id, "at": decision.at_ns})

    def flush(self, timeout_s: float) -> Flushed:
        """Deliver what waits, and say honestly what was not delivered since the start."""
        spans = self.exporting.flush(timeout_s)
        waiting = self.sender.flush(timeout_s)
        self.sender.tell()
        problems = [each for each in (self.sender.problem, self.exporting.problem) if each is not None]
        if not spans and self.exporting.problem is None:
            problems.append(f"the spans were not exported within {timeout_s} s")
        if waiting:
            problems.append(f"{waiting} items still wait after {timeout_s} s")
        counts = self.exporting.counts
        return Flushed(
            self.sender.counts["sent"], waiting, self.sender.lost, counts["sent"], counts["failed"], tuple(problems)
        )


_client: Client | None = None


def current_client() -> Client:
    """This process's client; made from the environment when `init` was not called."""
    global _client
    with _lock:
        if _client is None:
            _client = Client(None, None)
        return _client


class Options(NamedTuple):
    """What `init` was told."""

    url: str | None
    key: str | None
    service: str | None
    policies: Sequence[Policy]
    cells: Cells | None
    on_unreachable: OnUnreachable
    ask_server: bool
    add_to_existing: bool
    capture_content: bool
    timeout_s: float
    redact: Redact = ()


def start(chosen: Options) -> Client:
    """Make this process's client and set everything up; a later call replaces the connection and keeps the tracer."""
    global _client
    if chosen.on_unreachable not in ("open", "closed"):
        raise ValueError(f"on_unreachable is {chosen.on_unreachable!r}; it should be 'open' or 'closed'.")
    made = Client(chosen.url, chosen.key, chosen.timeout_s, chosen.redact)
    made.capture_content = chosen.capture_content
    asked = made.connection if chosen.ask_server else None
    made.guard = Guard(asked, chosen.on_unreachable, chosen.policies, chosen.cells, made.report)
    with _lock:
        before, _client = _client, made
    if before is not None and before.exporting.provider is not None:
        made.exporting = before.exporting
        made.exporting.masking = made.masking
        if before.url != made.url:
            _log.warning("watchkeeper: init was called again; spans still go to %s", before.url)
    else:
        made.exporting.start(made.url, made.key, chosen.service, chosen.add_to_existing)
    return made
