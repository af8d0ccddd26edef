"""Exports without sensitive values: the stamp stays in front, ids and numbers stay, what is not known is left out."""

from __future__ import annotations

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from watchkeeper.adapters.formats.otlp import decode
from watchkeeper.adapters.formats.otlp_private import EXPORTS, REDACTED
from watchkeeper.adapters.formats.otlp_wire import Stamp, read_stamp, stamped
from watchkeeper.engines.recorder.private_records import PrivateRecords
from watchkeeper.engines.recorder.redaction import Redactor
from watchkeeper.engines.recorder.rule_spec import RuleSpec
from watchkeeper.engines.recorder.rules import Rule
from watchkeeper.records.identity import Identity

KEY, MAIL = "sk-proj-Q7wErTyUiOpAs9dFgHjKl", "bob@example.org"
REDACTOR = Redactor([Rule(RuleSpec(detect="secret_keys")), Rule(RuleSpec(detect="emails"))], b"k" * 32)


def export(text: str) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for number in (1, 2):
        span = scope.spans.add(
            trace_id=b"1" * 16, span_id=bytes((number,)) * 8, name="chat", start_time_unix_nano=14 * 10**17
        )
        span.attributes.add(key="note").value.string_value = text if number == 1 else "nothing"
        span.attributes.add(key="n").value.int_value = 7
    return request


def redacted(payload: bytes) -> tuple[bytes, dict[str, int]]:
    data, by = EXPORTS["traces"](payload, REDACTOR, PrivateRecords(REDACTOR))
    return data, dict(by)


def test_texts_go_and_the_span_says_so_while_the_other_one_says_nothing() -> None:
    data, by = redacted(
        stamped(
            export(f"{KEY} {MAIL}").SerializeToString(),
            Stamp(received_ns=14 * 10**17 + 5, identity=Identity(user=MAIL)),
        )
    )
    assert by == {"secret_keys": 1, "emails": 1}
    stamp = read_stamp(data)
    assert stamp is not None and stamp.received_ns == 14 * 10**17 + 5 and str(stamp.identity.user).startswith("[email:")
    one, two = decode(data).spans
    assert one.attributes == {"note": "[secret] [email]", "n": 7, REDACTED: "emails, secret_keys"}
    assert two.attributes == {"note": "nothing", "n": 7}


def test_a_field_that_is_not_known_is_left_out_when_it_holds_something() -> None:
    payload = export("nothing").SerializeToString()
    unknown = f"a new field with {KEY}".encode()
    tagged = payload + bytes((0xFA, 0x3F, len(unknown))) + unknown
    data, by = redacted(tagged)
    assert KEY.encode() not in data and by == {"unknown_fields": 1}
    assert len(decode(data).spans) == 2


def test_an_export_without_anything_comes_back_as_it_is() -> None:
    payload = stamped(export("nothing").SerializeToString(), Stamp(received_ns=5))
    assert redacted(payload) == (payload, {})
