"""A log record that came over OTLP, as the index keeps it: which span it belongs to, and where its bytes lie."""

from __future__ import annotations

from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record
from watchkeeper.records.span import NOWHERE, Origin


class Logged(Record):
    """One OpenTelemetry log record or event. The frame named by `origin` holds it whole; the content stays there.

    `log_id` is a digest of what it says and when, so that a record that is sent again is the same one. `name` is the
    event's name ("gen_ai.choice"), empty for a plain log line. `asked` and `answered` are short plain texts of what a
    GenAI event says went into a call and came out of it, `preview` the start of any other record's text.
    """

    log_id: str
    at_ns: int
    name: str = ""
    trace_id: str | None = None
    span_id: str | None = None
    severity: str | None = None
    service: str | None = None
    identity: Identity = Identity()
    asked: str = ""
    answered: str = ""
    preview: str = ""
    origin: Origin = NOWHERE
