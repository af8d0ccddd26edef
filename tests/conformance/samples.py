"""One record of every kind, with every field that its table keeps filled in."""

from __future__ import annotations

from collections.abc import Mapping

from watchkeeper.queries.select import Table
from watchkeeper.records.audit import Audit
from watchkeeper.records.body import Address, Body
from watchkeeper.records.case import Case
from watchkeeper.records.checkpoint import Checkpoint, Reached
from watchkeeper.records.decision import Decision
from watchkeeper.records.drop import Drop
from watchkeeper.records.effect import Effect
from watchkeeper.records.erasure import Erasure
from watchkeeper.records.estimate import Estimate
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.finding import Finding
from watchkeeper.records.identity import Identity
from watchkeeper.records.incident import Entry, Incident
from watchkeeper.records.job import Job
from watchkeeper.records.kept import Kept
from watchkeeper.records.logged import Logged
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session
from watchkeeper.records.source import Source
from watchkeeper.records.span import Cost, Origin, Span, Usage

WHO = Identity(
    tenant="acme",
    key="k1",
    user="ann",
    session="s1",
    run="r1",
    agent="planner",
    sources={"user": "key", "run": "header"},
)
SHARE = Estimate(value=0.5, low=0.4, high=0.6, n=100, method="wilson")

SAMPLES: Mapping[Table, Record] = {
    "spans": Span(
        trace_id="a" * 32, span_id="b" * 16, start_ns=10, name="chat", parent_id="c" * 16, end_ns=30, operation="chat",
        status="error", error_type="timeout", message="too late", door="sdk", service="answers", revision=1,
        identity=WHO, provider="openai", upstream="main", request_model="a", response_model="b", response_id="id",
        fingerprint="fp", stream=True, finish_reasons=("stop", "length"), cost=Cost(usd=0.25, source="table"),
        usage=Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4, reasoning_tokens=5),
        first_token_ns=12, overhead_ns=1, http_status=504, tool="t", tool_call_id="call", manifest="m",
        duplicate_of="t:s",
        attributes={"k": "v", "": "empty key"}, preview="hi", origin=Origin(writer="w", segment=1, offset=2, item=3),
    ),
    "scores": Score(
        score_id="s", subject_kind="span", subject_id="b" * 16, name="n", at_ns=11, event_ns=10, value=0.5, label="l",
        explanation="e", scorer="exact", version="1", parameters="p", source="eval", trace_id="a" * 32, session="s1",
        experiment_id="x", worth_usd=1.5, propensity=0.1, attributes={"k": "v"},
    ),
    "decisions": Decision(
        verdict="deny", reason="r", sentence="s", decision_id="d", policy="p", version="1", instance="i", mode="shadow",
        stage="request", at_ns=10, trace_id="a" * 32, span_id="b" * 16, identity=WHO, model="m", tool="t",
        facts={"n": 1, "x": None, "y": True},
    ),
    "manifests": Manifest(digest="d", components={"model": "m"}, first_seen_ns=10),
    "findings": Finding(
        finding_id="f", monitor="slo", version="1", subject="slo:x", at_ns=10, window_start_ns=1, window_end_ns=9,
        severity="page", sentence="It burns.", estimate=SHARE, owner="o", evidence={"burn": 14.4},
    ),
    "incidents": Incident(
        incident_id="i", title="t", subject="slo:x", severity="page", status="open", opened_ns=10, at_ns=11, revision=2,
        resolved_ns=12, owner="o", findings=("f",), traces=("a" * 32,), timeline=(Entry(at_ns=1, kind="k", text="t"),),
    ),
    "cases": Case(
        case_id="c", dataset="d", messages="[]", expected="x", cluster="k", origin="file:x", at_ns=10, tags=("a", "b"),
        attributes={"k": "v"},
    ),
    "experiments": Experiment(
        experiment_id="e", suite="s", target="t", at_ns=10, end_ns=20, manifest="m", cases=3, errors=1,
        summary={"exact": SHARE}, spent_usd=0.5, revision=1,
    ),
    "drops": Drop(what="span", reason="late", count=2, first_ns=1, last_ns=2, door="import", detail="line 3"),
    "effects": Effect(
        effect_id="e", key="k", tool="t", at_ns=10, status="done", identity=WHO, trace_id="a" * 32, span_id="b" * 16,
        reversible=False, amount_usd=9.5, revision=1, settled_ns=11, target="ann@x", count=2, detail="sent", door="sdk",
    ),
    "sources": Source(
        source_id="src", trace_id="a" * 32, document="d", at_ns=10, span_id="b" * 16, query="q", version="1", chunk="c",
        digest="x", chars=9, score=0.5, rank=1, reranked_score=0.7, reranked_rank=2, retriever="r", index_version="i",
        ingest_run="n", document_start=0, document_end=9, prompt_start=4, prompt_end=13, status="truncated",
        reason="over_budget", seen="part", calls=("b" * 16,), seen_start=5, seen_end=10, kept_chars=5, door="sdk",
        identity=WHO, revision=1,
        content=Body(name="source", size_bytes=9, chunks=(Address(digest="ab", writer="w", segment=1, offset=2),)),
    ),
    "sessions": Session(session_id="s", at_ns=10, version=2, user="u", name="n", journey="j"),
    "jobs": Job(
        job_id="j", kind="import", at_ns=10, status="done", outcome="ok", revision=3, progress=1.0, message="fine"
    ),
    "logs": Logged(
        log_id="l", at_ns=10, name="gen_ai.choice", trace_id="a" * 32, span_id="b" * 16, severity="INFO",
        service="answers", identity=WHO, asked="q", answered="a", preview="p",
        origin=Origin(writer="w", segment=1, offset=2, item=3),
    ),
    "erasures": Erasure(
        erasure_id="e", at_ns=10, reason="subject", actor="owner", frames=3, payload_bytes=99, subject="sub-1",
        detail="d", keys=("ab",),
    ),
    "checkpoints": Checkpoint(
        checkpoint_id="c", at_ns=10, number=2, previous="aa", digest="bb",
        reached=(Reached(writer="w", segment=1, offset=9, seq=4, digest="cc", first_seq=1, root="dd"),),
    ),
    "kept": Kept(
        kept_id="trace:t", at_ns=10, rules="r", trace_id="t", reasons=("error",), probability=0.5, share=0.5
    ),
    "audits": Audit(audit_id="a", at_ns=10, act="key.created", actor="owner", subject="key:k1", detail="x"),
}  # fmt: skip
