"""Names in exports become what is put for them: in attributes that say whose a span is, and in texts."""

from __future__ import annotations

import json

from watchkeeper.adapters.formats import otlp_logs, otlp_wire
from watchkeeper.adapters.formats.otlp import decode
from watchkeeper.adapters.formats.otlp_names import rename_logs, rename_spans
from watchkeeper.records.identity import Identity


def of(name: str) -> str:
    return f"p-{len(name)}"


def sub(text: str) -> str:
    return text.replace("ann@x.org", "p-9")


def test_a_spans_user_its_texts_and_the_stamp_are_renamed_and_the_rest_is_as_it_was() -> None:
    attributes = [
        {"key": "gen_ai.operation.name", "value": {"stringValue": "chat"}},
        {"key": "user.id", "value": {"intValue": "4711"}},
        {"key": "session.id", "value": {"stringValue": "s-1"}},
        {"key": "note", "value": {"arrayValue": {"values": [{"stringValue": "by ann@x.org"}]}}},
    ]
    span = {
        "traceId": "ab" * 16, "spanId": "cd" * 8, "name": "chat", "startTimeUnixNano": "5", "endTimeUnixNano": "9",
        "attributes": attributes, "status": {"message": "ann@x.org"},
    }  # fmt: skip
    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    payload = otlp_wire.stamp(otlp_wire.from_json(json.dumps(body).encode()), 7, Identity(tenant="a", agent="bot"))
    renamed = rename_spans(payload, 8, ("user",), of, sub)
    (new,), (old,) = decode(renamed, 7).spans, decode(payload, 7).spans
    assert (new.identity.user, new.identity.session, new.identity.tenant) == ("p-4", "s-1", "a")
    assert b"ann@x.org" not in renamed and b"4711" not in renamed
    assert (new.trace_id, new.start_ns, new.end_ns, new.operation) == (old.trace_id, 5, 9, "chat")
    bound = otlp_wire.stamp(otlp_wire.from_json(json.dumps(body).encode()), 7, Identity(user="ann@x.org"))
    mark = otlp_wire.read_stamp(rename_spans(bound, 8, ("user",), of, sub))
    assert mark is not None and (mark.identity.user, mark.received_ns) == ("p-9", 7)


def test_log_records_are_renamed_too_and_one_without_a_stamp_gets_the_time_it_came_in() -> None:
    record = {
        "timeUnixNano": "5", "body": {"stringValue": "from ann@x.org"},
        "attributes": [{"key": "user.id", "value": {"stringValue": "ann"}}],
    }  # fmt: skip
    body = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    renamed = rename_logs(otlp_logs.from_json(json.dumps(body).encode()), 8, ("user",), of, sub)
    (new,) = otlp_logs.decode(renamed, otlp_logs.Origin(writer="w", segment=1, offset=1), 8).logs
    assert (new.identity.user, new.preview) == ("p-3", "from p-9")
    mark = otlp_wire.read_stamp(renamed)
    assert mark is not None and mark.received_ns == 8
