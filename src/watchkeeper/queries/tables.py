"""The logical tables of the Log: one wide table per record kind, and how records become rows and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, Literal

import msgspec

from watchkeeper.queries.select import Table
from watchkeeper.records.audit import Audit
from watchkeeper.records.case import Case
from watchkeeper.records.checkpoint import Checkpoint
from watchkeeper.records.decision import Decision
from watchkeeper.records.drop import Drop
from watchkeeper.records.effect import Effect
from watchkeeper.records.erasure import Erasure
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.finding import Finding
from watchkeeper.records.incident import Incident
from watchkeeper.records.job import Job
from watchkeeper.records.kept import Kept
from watchkeeper.records.logged import Logged
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session
from watchkeeper.records.source import Source
from watchkeeper.records.span import Span

FieldType = Literal["text", "int", "real", "bool", "map", "json"]


class Field(Record):
    """One column. `path` is where it lies in the record, dotted; "map" holds text by text, "json" nested values."""

    name: str
    type: FieldType
    path: str
    derived: bool = False


class Shape(Record):
    """One table: the record it indexes, the column that is its clock, its key, and what orders revisions of a key.

    `unique` tables hold a key once: a later revision replaces the row. The others keep every revision, and a query
    asks for the latest with `latest_by`.
    """

    table: Table
    record: type[Record]
    clock: str
    key: tuple[str, ...]
    fields: tuple[Field, ...]
    revision: str | None = None
    unique: bool = False

    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(field.name for field in self.fields)


def _fields(spec: str) -> tuple[Field, ...]:
    """Read "name:type[=path][!]" words; "!" marks a column that is derived and not read back."""
    fields = []
    for word in spec.split():
        derived = word.endswith("!")
        head, _, path = word.rstrip("!").partition("=")
        name, _, kind = head.partition(":")
        fields.append(Field(name=name, type=msgspec.convert(kind, FieldType), path=path or name, derived=derived))
    return tuple(fields)


_IDENTITY = (
    "tenant:text=identity.tenant key:text=identity.key user:text=identity.user session:text=identity.session "
    "run:text=identity.run agent:text=identity.agent sources:json=identity.sources"
)

SPANS = Shape(
    table="spans",
    record=Span,
    clock="start_ns",
    key=("trace_id", "span_id"),
    revision="revision",
    unique=True,
    fields=_fields(
        "trace_id:text span_id:text parent_id:text start_ns:int end_ns:int duration_ns:int! name:text operation:text "
        "status:text error_type:text message:text door:text service:text revision:int "
        + _IDENTITY
        + " provider:text upstream:text model:text! request_model:text response_model:text response_id:text "
        "fingerprint:text stream:bool finish_reasons:json input_tokens:int=usage.input_tokens "
        "output_tokens:int=usage.output_tokens cache_read_tokens:int=usage.cache_read_tokens "
        "cache_write_tokens:int=usage.cache_write_tokens reasoning_tokens:int=usage.reasoning_tokens "
        "cost_usd:real! cost_source:text! first_token_ns:int overhead_ns:int http_status:int tool:text "
        "tool_call_id:text duplicate_of:text manifest:text attributes:map preview:text "
        "origin_writer:text=origin.writer origin_segment:int=origin.segment origin_offset:int=origin.offset "
        "origin_item:int=origin.item"
    ),
)

SHAPES: Mapping[Table, Shape] = {
    "spans": SPANS,
    "scores": Shape(
        table="scores",
        record=Score,
        clock="event_ns",
        key=("score_id",),
        revision="at_ns",
        fields=_fields(
            "score_id:text subject_kind:text subject_id:text name:text at_ns:int event_ns:int value:real label:text "
            "explanation:text scorer:text version:text parameters:text source:text trace_id:text session:text "
            "experiment_id:text worth_usd:real propensity:real attributes:map"
        ),
    ),
    "decisions": Shape(
        table="decisions",
        record=Decision,
        clock="at_ns",
        key=("decision_id",),
        unique=True,
        fields=_fields(
            "decision_id:text verdict:text reason:text sentence:text policy:text version:text instance:text mode:text "
            "stage:text at_ns:int trace_id:text span_id:text " + _IDENTITY + " model:text tool:text facts:json"
        ),
    ),
    "manifests": Shape(
        table="manifests",
        record=Manifest,
        clock="first_seen_ns",
        key=("digest",),
        revision="first_seen_ns",
        fields=_fields("digest:text components:json first_seen_ns:int"),
    ),
    "findings": Shape(
        table="findings",
        record=Finding,
        clock="at_ns",
        key=("finding_id",),
        unique=True,
        fields=_fields(
            "finding_id:text monitor:text version:text subject:text at_ns:int window_start_ns:int window_end_ns:int "
            "severity:text sentence:text estimate:json owner:text evidence:json"
        ),
    ),
    "incidents": Shape(
        table="incidents",
        record=Incident,
        clock="opened_ns",
        key=("incident_id",),
        revision="revision",
        fields=_fields(
            "incident_id:text title:text subject:text severity:text status:text opened_ns:int at_ns:int revision:int "
            "resolved_ns:int owner:text findings:json traces:json timeline:json"
        ),
    ),
    "cases": Shape(
        table="cases",
        record=Case,
        clock="at_ns",
        key=("case_id",),
        revision="at_ns",
        fields=_fields(
            "case_id:text dataset:text messages:text expected:text cluster:text origin:text at_ns:int tags:json "
            "attributes:map"
        ),
    ),
    "experiments": Shape(
        table="experiments",
        record=Experiment,
        clock="at_ns",
        key=("experiment_id",),
        revision="revision",
        fields=_fields(
            "experiment_id:text suite:text target:text at_ns:int end_ns:int manifest:text cases:int errors:int "
            "summary:json spent_usd:real compositions:json revision:int"
        ),
    ),
    "drops": Shape(
        table="drops",
        record=Drop,
        clock="first_ns",
        key=(),
        fields=_fields("what:text reason:text count:int first_ns:int last_ns:int door:text detail:text"),
    ),
    "effects": Shape(
        table="effects",
        record=Effect,
        clock="at_ns",
        key=("effect_id",),
        revision="revision",
        unique=True,
        fields=_fields(
            "effect_id:text idempotency_key:text=key tool:text at_ns:int status:text "
            + _IDENTITY
            + " trace_id:text span_id:text reversible:bool amount_usd:real revision:int settled_ns:int target:text "
            "count:int detail:text door:text step:text receipt:text attempt:int settled_by:text"
        ),
    ),
    "sources": Shape(
        table="sources",
        record=Source,
        clock="at_ns",
        key=("source_id",),
        revision="revision",
        unique=True,
        fields=_fields(
            "source_id:text trace_id:text span_id:text at_ns:int document:text version:text chunk:text digest:text "
            "status:text reason:text seen:text query:text score:real rank:int reranked_score:real reranked_rank:int "
            "retriever:text index_version:text ingest_run:text chars:int kept_chars:int document_start:int "
            "document_end:int prompt_start:int prompt_end:int seen_start:int seen_end:int calls:json content:json "
            "door:text revision:int " + _IDENTITY
        ),
    ),
    "sessions": Shape(
        table="sessions",
        record=Session,
        clock="at_ns",
        key=("session_id",),
        revision="version",
        fields=_fields("session_id:text at_ns:int version:int user:text name:text journey:text"),
    ),
    "jobs": Shape(
        table="jobs",
        record=Job,
        clock="at_ns",
        key=("job_id",),
        revision="revision",
        fields=_fields(
            "job_id:text kind:text at_ns:int status:text outcome:text revision:int progress:real message:text "
            "submitted_ns:int step:text steps:int stop_reason:text model:text cost_usd:real trace_id:text checks:json "
            + _IDENTITY
        ),
    ),
    "erasures": Shape(
        table="erasures",
        record=Erasure,
        clock="at_ns",
        key=("erasure_id",),
        unique=True,
        fields=_fields(
            "erasure_id:text at_ns:int reason:text actor:text frames:int payload_bytes:int subject:text detail:text "
            "keys:json"
        ),
    ),
    "checkpoints": Shape(
        table="checkpoints",
        record=Checkpoint,
        clock="at_ns",
        key=("checkpoint_id",),
        unique=True,
        fields=_fields("checkpoint_id:text at_ns:int number:int previous:text digest:text reached:json"),
    ),
    "kept": Shape(
        table="kept",
        record=Kept,
        clock="at_ns",
        key=("kept_id",),
        unique=True,
        fields=_fields(
            "kept_id:text at_ns:int rules:text trace_id:text reasons:json probability:real writer:text segment:int "
            "stage:text why:text share:real window_ns:int since_ns:int until_ns:int traces:int kept_traces:int "
            "frames:int freed_bytes:int first_seq:int last_seq:int previous:text last_digest:text"
        ),
    ),
    "logs": Shape(
        table="logs",
        record=Logged,
        clock="at_ns",
        key=("log_id",),
        unique=True,
        fields=_fields(
            "log_id:text at_ns:int name:text trace_id:text span_id:text severity:text service:text "
            + _IDENTITY
            + " asked:text answered:text preview:text origin_writer:text=origin.writer "
            "origin_segment:int=origin.segment origin_offset:int=origin.offset origin_item:int=origin.item"
        ),
    ),
    "audits": Shape(
        table="audits",
        record=Audit,
        clock="at_ns",
        key=("audit_id",),
        unique=True,
        fields=_fields("audit_id:text at_ns:int act:text actor:text subject:text detail:text"),
    ),
}

TABLE_OF: Mapping[type[Record], Table] = {shape.record: table for table, shape in SHAPES.items()}

_json = msgspec.json.Encoder()


def _compile(shape: Shape) -> Callable[[Any], tuple[object, ...]]:
    read = attrgetter(*(field.path for field in shape.fields))
    nested = tuple(i for i, field in enumerate(shape.fields) if field.type == "json")

    def row(record: Any) -> tuple[object, ...]:
        values = list(read(record))
        for i in nested:
            values[i] = _json.encode(values[i]).decode() if values[i] else None
        return tuple(values)

    return row


_rows: dict[Table, Callable[[Any], tuple[object, ...]]] = {table: _compile(shape) for table, shape in SHAPES.items()}


def row_of(record: Record) -> tuple[object, ...]:
    """The row of a record, in the order of its shape's fields. Maps stay dictionaries, nested values become JSON."""
    return _rows[TABLE_OF[type(record)]](record)


def record_of(table: Table, row: Mapping[str, object]) -> Record:
    """The record of a row, less what the index does not keep (a span's bodies and events).

    Map values come back as text. Raises `msgspec.ValidationError` when a column has the wrong type.
    """
    shape = SHAPES[table]
    nested: dict[str, Any] = {}
    for field in shape.fields:
        value = row.get(field.name)
        if field.derived or value is None:
            continue
        if field.type == "json":
            value = msgspec.json.decode(str(value))
        place = nested
        *parents, leaf = field.path.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    if table in ("spans", "logs"):
        _restore_span(nested, row)
    elif table == "findings":
        _restore_estimate(nested["estimate"])
    elif table == "experiments":
        for estimate in nested.get("summary", {}).values():
            _restore_estimate(estimate)
    return msgspec.convert(nested, shape.record)


def _restore_span(nested: dict[str, Any], row: Mapping[str, object]) -> None:
    origin = nested.get("origin")
    if origin is not None:
        nested["origin"] = [origin["writer"], origin["segment"], origin["offset"], origin.get("item", 0)]
    if row.get("cost_usd") is not None:
        nested["cost"] = {"usd": row["cost_usd"], "source": row.get("cost_source") or "unknown"}


def _restore_estimate(estimate: dict[str, Any]) -> None:
    """JSON has no infinity: a bound that says nothing was written as null."""
    for name, unknown in (("value", float("nan")), ("low", float("-inf")), ("high", float("inf"))):
        if estimate.get(name) is None:
            estimate[name] = unknown
