"""Reads OTLP metric exports as far as is needed to say, politely, that metrics are not kept here."""

from __future__ import annotations

from functools import cache
from typing import Any

from watchkeeper.adapters.formats.otlp import Checked
from watchkeeper.adapters.formats.otlp_wire import json_to_message, parse_as

REASON = "metrics_not_kept"
_POINTS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


@cache
def _request_type() -> Any:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

    return ExportMetricsServiceRequest


def from_json(body: bytes) -> bytes:
    """The protobuf bytes of a metric export sent as OTLP JSON; raises `MalformedExport` when it is none."""
    return json_to_message(body, _request_type(), ("resourceMetrics", "scopeMetrics", "metrics"), "metric")


def check(payload: bytes) -> Checked:
    """Count the data points of an export, all of which are refused; raises `MalformedExport` when it is none."""
    points = 0
    for resource_metrics in parse_as(_request_type(), payload, "metric").resource_metrics:
        for scope_metrics in resource_metrics.scope_metrics:
            for metric in scope_metrics.metrics:
                which = metric.WhichOneof("data")
                points += len(getattr(metric, which).data_points) if which in _POINTS else 0
    return Checked(points, points, {REASON: points} if points else {})


def reply(rejected: int, message: str) -> bytes:
    """The `ExportMetricsServiceResponse` bytes: partial success with the reason."""
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

    response = ExportMetricsServiceResponse()
    if rejected or message:
        response.partial_success.rejected_data_points = rejected
        response.partial_success.error_message = message
    data: bytes = response.SerializeToString()
    return data
