"""What the gateway measures of itself: the conventions' names, few labels, and pages that parsers take."""

from __future__ import annotations

from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_open
from prometheus_client.parser import text_string_to_metric_families

from watchkeeper.engines.decide.timing import ONE_IN, Timing
from watchkeeper.engines.gateway.measures import OTHER, Measures
from watchkeeper.records.span import Span, Usage
from watchkeeper.server.metrics import DoorMetrics, join, openmetrics

S = 1_000_000_000


def call(model: str | None = "lab-small", **fields: Any) -> Span:
    return Span(
        **{
            "trace_id": "a" * 32, "span_id": "b" * 16, "start_ns": 0, "end_ns": 2 * S, "name": "chat",
            "operation": "chat", "status": "ok", "request_model": model, "upstream": "lab",
            "provider": "lab", "http_status": 200,
            "usage": Usage(input_tokens=100, output_tokens=11), "first_token_ns": S, "overhead_ns": 40_000, **fields,
        }
    )  # fmt: skip


def families(measures: Measures) -> dict[str, Any]:
    return {each.name: each for each in text_string_to_metric_families(measures.render().decode())}


def samples(family: Any, suffix: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {tuple(sorted(s.labels.items())): s.value for s in family.samples if s.name.endswith(suffix)}


def test_a_call_is_measured_under_the_names_of_the_conventions_in_base_units() -> None:
    measures = Measures()
    measures.call(call())
    found = families(measures)
    labels = (("gen_ai_operation_name", "chat"), ("gen_ai_provider_name", "lab"), ("gen_ai_request_model", "lab-small"))
    assert samples(found["gen_ai_server_request_duration_seconds"], "_sum") == {(("error_type", ""), *labels): 2.0}
    assert samples(found["gen_ai_server_time_to_first_token_seconds"], "_sum") == {labels: 1.0}
    assert samples(found["gen_ai_server_time_per_output_token_seconds"], "_sum") == {labels: 0.1}
    assert samples(found["gen_ai_client_token_usage"], "_sum") == {
        (*labels, ("gen_ai_token_type", "input")): 100.0,
        (*labels, ("gen_ai_token_type", "output")): 11.0,
    }
    assert samples(found["watchkeeper_gateway_overhead_seconds"], "_sum") == {(("upstream", "lab"),): 0.00004}


def test_unknown_use_is_not_measured_as_zero() -> None:
    measures = Measures()
    measures.call(call(usage=Usage(), first_token_ns=None))
    assert samples(families(measures)["gen_ai_client_token_usage"], "_count") == {}


def test_models_above_the_cap_and_models_that_nobody_answered_for_are_one_label() -> None:
    measures = Measures(most_models=3)
    for number in range(1_000):
        measures.call(call(f"made-up-{number}", status="error", http_status=404, error_type="model_not_found"))
        measures.call(call(f"model-{number}"))
    names = {
        dict(key)["gen_ai_request_model"]
        for key in samples(families(measures)["gen_ai_server_request_duration_seconds"], "_count")
    }
    assert names == {"model-0", "model-1", "model-2", OTHER}
    assert len(measures.render()) < 100_000


def test_errors_are_few_kinds_whatever_upstreams_call_them() -> None:
    measures = Measures()
    for number in range(100):
        measures.call(call(status="error", http_status=429, error_type=f"odd-{number}"))
        measures.call(call(status="error", http_status=None, error_type="upstream_timeout"))
    found = samples(families(measures)["gen_ai_server_request_duration_seconds"], "_count")
    assert {dict(key)["error_type"] for key in found} == {"429", "upstream_timeout"}


def test_queues_streams_and_policies_are_told_when_asked() -> None:
    measures, timing = Measures(), Timing()
    ruled = timing.around(lambda event, facts: event + facts)
    assert [ruled(n, 1) for n in range(3 * ONE_IN)] == [n + 1 for n in range(3 * ONE_IN)]
    measures.watch({"settlements": lambda: 4}, lambda: 2)
    measures.time_policies({"guard": timing, "idle": Timing()})
    found = families(measures)
    assert samples(found["watchkeeper_gateway_queue_depth"], "depth") == {(("queue", "settlements"),): 4.0}
    assert found["watchkeeper_gateway_streams"].samples[0].value == 2.0
    assert samples(found["watchkeeper_policy_duration_seconds"], "_count") == {(("policy", "guard"),): 3.0}


def test_a_policy_that_raises_is_timed_and_raises() -> None:
    timing = Timing()

    def broken(event: int, facts: int) -> int:
        raise KeyError(event + facts)

    try:
        timing.around(broken)(1, 2)
    except KeyError:
        assert sum(timing.counts) == 1
    else:
        raise AssertionError


def test_the_joined_page_is_valid_openmetrics() -> None:
    measures, door = Measures(), DoorMetrics()
    measures.call(call('odd "model"\n\\'))
    measures.time_policies({"guard": Timing()})
    measures.watch({"settlements": lambda: 0})
    door.refused("unknown_host")
    page = openmetrics(join(door.text(), measures.render(), b"# HELP a_total A\n# TYPE a_total counter\na_total 3\n"))
    assert page.endswith(b"# EOF\n")
    found = {each.name: each for each in read_open(page.decode())}
    assert found["a"].samples[0].value == 3
    assert found["watchkeeper_http_refused"].type == "counter"
    assert found["gen_ai_server_request_duration_seconds"].type == "histogram"
