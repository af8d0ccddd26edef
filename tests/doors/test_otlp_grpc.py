"""OTLP over gRPC, and logs and metrics over both, with the real OpenTelemetry SDK against a real server."""

from __future__ import annotations

import gzip
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.doors.test_server import Served, until
from tests.unit.adapters.formats.exports import payload

pytestmark = [pytest.mark.door, pytest.mark.slow]
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


class Both:
    """A running server with its gRPC port."""

    def __init__(self, folder: Path) -> None:
        self.grpc = f"127.0.0.1:{free_port()}"
        self.served = Served(folder, f'[server]\notlp_grpc = "{self.grpc}"\nmax_body_mb = 1\n')
        assert self.served.address, self.served.errors.read_text()

    def ask(self, question: str) -> list[dict[str, Any]]:
        status, body = self.served.get("/api/v1/ingest/flush", "POST", b"{}", content_type="application/json")
        assert status == 200, body
        status, body = self.served.get(f"/api/v1/{question}")
        assert status == 200, body
        return list(json.loads(body)["items"])


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    running = Both(tmp_path_factory.mktemp("grpc") / "house")
    try:
        until(lambda: running.served.get("/readyz")[0] == 200)
        yield running
    finally:
        assert running.served.end() == 0


def emit(logs: LoggerProvider, name: str, body: Any, context: Any, **attributes: Any) -> None:
    logs.get_logger("genai").emit(
        LogRecord(
            event_name=name, body=body, attributes=attributes, context=context, severity_number=SeverityNumber.INFO
        )
    )


def logger(exporter: Any) -> LoggerProvider:
    logs = LoggerProvider()
    logs.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return logs


@pytest.mark.parametrize("door", ["grpc", "http"])
@pytest.mark.parametrize("order", ["logs first", "span first"])
def test_what_was_said_in_logs_stands_at_its_span(both: Both, door: str, order: str) -> None:
    from opentelemetry import trace

    traces = TracerProvider()
    traces.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"http://{both.grpc}", insecure=True)))
    logs = logger(
        OTLPLogExporter(endpoint=f"http://{both.grpc}", insecure=True)
        if door == "grpc"
        else HttpLogExporter(endpoint=f"http://{both.served.address}/v1/logs")
    )
    words = {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-4o"}
    span = traces.get_tracer("t").start_span(f"chat {door} {order}", attributes=words)
    here = trace.set_span_in_context(span)

    def speak() -> None:
        emit(logs, "gen_ai.user.message", {"content": f"Where is the {door}?"}, here)
        said = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "On the left."}}
        emit(logs, "gen_ai.choice", said, here)
        assert logs.force_flush()

    if order == "logs first":
        speak()
        both.ask("drops")
    span.end()
    assert traces.force_flush()
    if order == "span first":
        both.ask("drops")
        speak()
    trace_id = f"{span.get_span_context().trace_id:032x}"
    (row,) = both.ask(f"trace?trace_id={trace_id}")
    assert row["preview"] == f"Where is the {door}?\nOn the left."
    assert len(both.ask(f"logs?trace_id={trace_id}&since=1h")) == 2
    _, body = both.served.get(f"/api/v1/spans/{trace_id}/{row['span_id']}")
    detail = json.loads(body)
    talk = detail["conversation"]
    assert [(m["role"], m["text"]) for m in talk["input"] + talk["output"]] == [
        ("user", f"Where is the {door}?"),
        ("assistant", "On the left."),
    ]
    _, asked = both.served.get(f"/api/v1/spans/{row['span_id']}/request")
    assert json.loads(asked)["messages"] == [{"role": "user", "content": f"Where is the {door}?"}]
    assert [event["name"] for event in detail["span"]["events"]] == ["gen_ai.user.message", "gen_ai.choice"]


def test_metrics_are_turned_away_politely_and_counted(both: Both, caplog: pytest.LogCaptureFixture) -> None:
    exporter = OTLPMetricExporter(endpoint=f"http://{both.grpc}", insecure=True)
    meters = MeterProvider([PeriodicExportingMetricReader(exporter, export_interval_millis=1e9)])
    meters.get_meter("m").create_counter("orders").add(3)
    assert meters.force_flush()
    meters.shutdown()
    (dropped,) = [row for row in both.ask("drops") if row["what"] == "metric_points"]
    assert dropped["reason"] == "metrics_not_kept" and dropped["count"] >= 1


def call(both: Both, body: bytes, **options: Any) -> ExportTraceServiceResponse:
    with grpc.insecure_channel(both.grpc) as channel:
        answer = channel.unary_unary(EXPORT)(body, timeout=30, **options)
    return ExportTraceServiceResponse.FromString(answer)


def test_partial_success_names_the_reason(both: Both) -> None:
    said = call(both, payload({"trace_id": b"short"}, {}), compression=grpc.Compression.Gzip).partial_success
    assert said.rejected_spans == 1 and "invalid_trace_id" in said.error_message


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (payload({}, {})[:-3], grpc.StatusCode.INVALID_ARGUMENT),
        (b"\xff" * 100, grpc.StatusCode.INVALID_ARGUMENT),
        (os.urandom(2 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (bytes(64 << 20), grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
    ids=["cut", "noise", "oversized", "a bomb"],
)
def test_bad_exports_are_refused_by_name(both: Both, body: bytes, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(both, body, compression=grpc.Compression.Gzip)
    assert refused.value.code() is code
    assert call(both, payload({"span_id": b"afterwar"})).partial_success.rejected_spans == 0


def test_an_unknown_key_is_refused_and_a_good_one_binds_its_tenant(both: Both) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(both, payload({}), metadata=(("authorization", "Bearer wk-nobody"),))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_json_logs_over_http_are_read_with_hex_ids_numbers_as_text_and_gzip(both: Both) -> None:
    record = {
        "timeUnixNano": "1760000000000000000",
        "traceId": "5B8EFFF798038103D269B633813FC60C",
        "spanId": "EEE19B7EC3C1B174",
        "severityNumber": "SEVERITY_NUMBER_INFO",
        "eventName": "gen_ai.client.inference.operation.details",
        "attributes": [
            {"key": "gen_ai.input.messages", "value": {"stringValue": '[{"role": "user", "content": "Hi"}]'}},
            {"key": "count", "value": {"intValue": "9007199254740993"}},
            {"key": "raw", "value": {"bytesValue": "AQID"}},
        ],
    }  # fmt: skip
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).encode()
    headers = {"content_type": "application/json", "content_encoding": "gzip"}
    status, answer = both.served.get("/v1/logs", "POST", gzip.compress(body), **headers)
    assert (status, answer) == (200, b"{}")
    (row,) = both.ask("logs?span_id=eee19b7ec3c1b174")
    assert (row["asked"], row["trace_id"]) == ("Hi", "5b8efff798038103d269b633813fc60c")


def test_without_grpcio_the_server_says_which_extra_is_missing(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    (hidden / "grpc").mkdir(parents=True)
    (hidden / "grpc" / "__init__.py").write_text("raise ImportError('no grpcio here')\n")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(hidden)
    try:
        served = Served(tmp_path / "house", f'[server]\notlp_grpc = "127.0.0.1:{free_port()}"\n')
        assert served.end() != 0
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    assert "pip install 'watchkeeper[grpc]'" in served.errors.read_text()
