"""What was said goes from an export, what is known of it stays, and stripping again changes nothing."""

from __future__ import annotations

import json
from typing import Any

from watchkeeper.adapters.formats import otlp_logs, otlp_strip, otlp_wire
from watchkeeper.adapters.formats.otlp import decode, span_at
from watchkeeper.records.identity import Identity

A, B = "0a" * 16, "0b" * 16
AT_NS = 1_790_000_000_000_000_000


def export() -> bytes:
    said = json.dumps([{"role": "user", "parts": [{"type": "text", "content": "the secret"}]}])

    def span(trace: str) -> dict[str, Any]:
        values = {
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "user.id": "u1", "custom": "short",
            "long": "the secret " * 40, "gen_ai.input.messages": said,
        }  # fmt: skip
        return {
            "traceId": trace, "spanId": trace[:16], "name": "chat m", "startTimeUnixNano": str(AT_NS),
            "endTimeUnixNano": str(AT_NS + 1),
            "attributes": [{"key": k, "value": {"stringValue": v}} for k, v in values.items()],
            "events": [{"name": "gen_ai.choice", "attributes": [{"key": "m", "value": {"stringValue": "the secret"}}]}],
        }  # fmt: skip

    body = {"resourceSpans": [{"scopeSpans": [{"spans": [span(A), span(B)]}]}]}
    payload = otlp_wire.from_json(json.dumps(body).encode())
    return otlp_wire.stamp(payload, AT_NS + 5, Identity(tenant="t"))


def test_content_of_the_others_goes_and_their_metadata_stays() -> None:
    before = decode(export()).spans
    stripped = otlp_strip.strip_spans(export(), 7, "bodies", lambda trace: trace == A)
    assert stripped is not None and otlp_strip.received_ns(stripped) == AT_NS + 5
    kept, thinned = decode(stripped).spans
    assert kept == before[0]
    for name in ("trace_id", "span_id", "start_ns", "identity", "request_model", "preview"):
        assert getattr(thinned, name) == getattr(before[1], name), name
    assert thinned.attributes["custom"] == "short" and thinned.attributes["watchkeeper.removed"] == "bodies"
    assert span_at(stripped, 0)[2].input[0].text == "the secret"
    assert not span_at(stripped, 1)[2].input
    assert stripped.count(b"the secret") < export().count(b"the secret") / 2 + 2


def test_stripping_again_changes_nothing_and_a_later_level_takes_more() -> None:
    bodies = otlp_strip.strip_spans(export(), 7, "bodies", lambda trace: False)
    assert bodies is not None
    assert otlp_strip.strip_spans(bodies, 7, "bodies", lambda trace: False) is None
    fields = otlp_strip.strip_spans(bodies, 7, "fields", lambda trace: False)
    assert fields is not None and b"the secret" not in fields and b"short" not in fields
    span = decode(fields).spans[0]
    assert (span.request_model, span.preview, span.identity.user) == ("m", "", "u1")
    assert otlp_strip.strip_spans(fields, 7, "fields", lambda trace: False) is None


def test_everything_kept_leaves_the_bytes_alone() -> None:
    assert otlp_strip.strip_spans(export(), 7, "bodies", lambda trace: True) is None
    assert [found[:2] for found in otlp_strip.spans_in(export())] == [(A, A[:16]), (B, B[:16])]


def test_log_records_lose_body_and_attributes() -> None:
    record = {
        "timeUnixNano": str(AT_NS), "traceId": A, "spanId": A[:16], "eventName": "gen_ai.choice",
        "body": {"stringValue": "the secret"}, "attributes": [{"key": "x", "value": {"stringValue": "the secret"}}],
    }  # fmt: skip
    payload = otlp_logs.from_json(json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode())
    assert list(otlp_strip.logs_in(payload)) == [(A, A[:16], AT_NS)]
    stripped = otlp_strip.strip_logs(payload, 7, "bodies", lambda trace: False)
    assert stripped is not None and b"the secret" not in stripped and b"gen_ai.choice" in stripped
    assert otlp_strip.strip_logs(stripped, 7, "bodies", lambda trace: False) is None
    assert otlp_strip.strip_logs(payload, 7, "bodies", lambda trace: True) is None
