"""Reads Langfuse exports: traces with their observations, observations and scores on their own, as JSON or JSON lines.

An observation becomes a span. Where its metadata holds the OpenTelemetry attributes it was made from, those are read
as at the OTLP door and win over Langfuse's own reading; model, tokens and cost that Langfuse knows fill the rest. Its
input and output become the bodies "messages.input" and "messages.output". A trace whose observations have one root
needs no span of its own; otherwise it becomes the root.

What the observation's attributes say of the conversation is taken where it says more than input and output do, and both
are kept. Where the attributes hold no token counts and Langfuse counted for itself, `watchkeeper.usage` says so.

Limits: Langfuse's tokens of an agent or chain are sums of the calls below it and are not counted again.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from watchkeeper.adapters.formats.conversation import (
    Conversation,
    Message,
    conversation_of,
    decode_json,
    plain_messages,
    told_once,
)
from watchkeeper.adapters.formats.imported import (
    Imported,
    ImportedSpan,
    Rejected,
    WrongRow,
    moment_of,
    span_id_of,
    trace_id_of,
)
from watchkeeper.adapters.formats.messages import messages, preview_from, tool_exchange
from watchkeeper.adapters.formats.semconv import (
    MODEL_OPERATIONS,
    fields_of,
    finish_reasons_of,
    identity_of,
    operation_of,
    place_of,
    provider_of,
    response_id_in,
    tool_of,
    usage_in_details,
    usage_of,
)
from watchkeeper.records.identity import Identity, Source
from watchkeeper.records.record import Scalar, as_json
from watchkeeper.records.score import Score
from watchkeeper.records.span import Cost, Operation, Span, Status, Usage

_LONGEST = 256
_MOST_ATTRIBUTES = 128
_LONGEST_LITERAL = 1 << 16
_OLD_USAGE = {"input": "inputUsage", "output": "outputUsage"}
_SCORERS = {"ANNOTATION": "person", "API": "api", "EVAL": "langfuse"}
Row = dict[str, Any]


def looks_like(row: Any) -> bool:
    """Whether a JSON row is part of a Langfuse export."""
    if not isinstance(row, dict):
        return False
    if isinstance(row.get("trace"), dict):
        return "observations" in row or looks_like(row["trace"])
    if "observations" in row and ("timestamp" in row or "trace" in row or "projectId" in row):
        return True
    if isinstance(row.get("traces"), list) and "observations" in row:
        return True
    if "trace_id" in row and "start_time" in row:
        return any(
            key in row for key in ("parent_observation_id", "usage_details", "provided_model_name", "project_id")
        )
    return "traceId" in row and ("startTime" in row or "dataType" in row or "observationId" in row)


def _camel(row: Row) -> Row:
    """A row whose fields are named as in Langfuse's files on object storage (start_time), named as in its API."""
    if "traceId" in row or "trace_id" not in row:
        return row
    named = {}
    for key, value in row.items():
        head, *rest = key.split("_")
        named[head + "".join(word.capitalize() for word in rest)] = value
    return named


def read_rows(rows: Iterable[tuple[int, bytes]]) -> Iterator[Imported]:
    """Read rows given as (line, JSON bytes); what cannot be read is yielded as `Rejected` with the reason."""
    for line, raw in rows:
        try:
            row = msgspec.json.decode(raw, type=dict[str, Any])
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            yield Rejected(line=line, reason=f"is no JSON object: {error}")
            continue
        yield from _row(row, line)


def _row(row: Row, line: int) -> Iterator[Imported]:
    row = _camel(row)
    try:
        if isinstance(row.get("traces"), list) and "trace" not in row:
            for each in _regrouped(row):
                yield from _row(each, line)
            return
        if "traceId" in row and "startTime" not in row and "name" in row and ("value" in row or "stringValue" in row):
            yield _score(row)
        elif "traceId" in row and "startTime" in row:
            yield _observation(row, {}, None)
        else:
            yield from _trace(row, line)
    except WrongRow as error:
        yield Rejected(line=line, reason=str(error))


def _regrouped(row: Row) -> Iterator[Row]:
    """Traces with the observations that were listed beside them all, and what belongs to no trace on its own."""
    groups: dict[str, list[Row]] = {}
    rest: list[Row] = []
    traces = [each for each in row["traces"] if isinstance(each, dict)]
    for each in traces:
        groups[str(each.get("id"))] = []
    found = row.get("observations")
    for each in found if isinstance(found, list) else ():
        if isinstance(each, dict):
            each = _camel(each)
            groups.get(str(each.get("traceId")), rest).append(each)
    for each in traces:
        yield {"trace": each, "observations": groups[str(each.get("id"))]}
    yield from rest
    scores = row.get("scores")
    yield from (each for each in (scores if isinstance(scores, list) else ()) if isinstance(each, dict))


def _trace(row: Row, line: int) -> Iterator[Imported]:
    """A trace with its observations, which stand beside it, within it, or one level further down."""
    inner = row.get("trace")
    if isinstance(inner, dict) and isinstance(inner.get("trace"), dict):
        row, inner = inner, inner["trace"]
    trace: Row = inner if isinstance(inner, dict) else row
    found = row.get("observations") or trace.get("observations")
    observations = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
    if not isinstance(trace.get("id"), str) or not trace["id"]:
        raise WrongRow("is no Langfuse trace: it has no id")
    roots = [each for each in observations if not each.get("parentObservationId")]
    top = None
    if len(roots) != 1:
        root = _root(trace)
        top = root.span.span_id
        yield root
    for each in observations:
        try:
            alone = each if top or each is not roots[0] else _with_talk(each, trace)
            yield _observation({"traceId": trace["id"]} | alone, trace, top)
        except WrongRow as error:
            yield Rejected(line=line, reason=str(error))
    for score in trace.get("scores") or row.get("scores") or ():
        if isinstance(score, dict):
            try:
                yield _score({"traceId": trace["id"]} | score)
            except WrongRow as error:
                yield Rejected(line=line, reason=str(error))


def _with_talk(observation: Row, trace: Row) -> Row:
    """The only root, with the trace's input and output where it has none of its own."""
    missing = {
        key: trace[key] for key in ("input", "output") if observation.get(key) is None and trace.get(key) is not None
    }
    return observation | missing


def _root(trace: Row) -> ImportedSpan:
    start_ns = moment_of(trace.get("timestamp") or trace.get("createdAt"))
    if start_ns is None:
        raise WrongRow(f"trace {trace['id'][:60]!r} has no timestamp")
    latency_s = trace.get("latency")
    known = isinstance(latency_s, int | float) and not isinstance(latency_s, bool) and 0 <= latency_s < 1e6
    end_ns = start_ns + int(latency_s * 1e9) if known and latency_s is not None else None
    talk, bodies = _talk(trace, {})
    span = Span(
        trace_id=trace_id_of(trace["id"]),
        span_id=span_id_of(f"langfuse-trace:{trace['id']}"),
        start_ns=start_ns,
        end_ns=end_ns,
        name=str(trace.get("name") or "trace")[:_LONGEST],
        operation=Operation.WORKFLOW.value,
        status=Status.UNSET.value,
        door="import",
        revision=1,
        identity=_identity(trace, {}, Operation.WORKFLOW.value),
        attributes=_attributes(trace, {}, {}),
        preview=preview_from(talk),
    )
    return ImportedSpan(span=span, bodies=bodies)


def _observation(row: Row, trace: Row, top: str | None) -> ImportedSpan:
    if not isinstance(row.get("id"), str) or not isinstance(row.get("traceId"), str):
        raise WrongRow("holds an observation without an id or a traceId")
    start_ns, end_ns = moment_of(row.get("startTime")), moment_of(row.get("endTime"))
    if start_ns is None:
        raise WrongRow(
            f"observation {row['id'][:60]!r} has no startTime that is a time: {str(row.get('startTime'))[:40]!r}"
        )
    metadata = _object(row.get("metadata"))
    attributes = _object(metadata.get("attributes"))
    fields = {"kind_langfuse": row.get("type")} | fields_of(_scalars(metadata)) | fields_of(attributes)
    operation = operation_of(fields)
    answer = _tool_answer(row) if operation == Operation.OTHER else None
    if answer is not None:
        operation = Operation.TOOL.value
        fields = {"tool": answer.name, "tool_call_id": answer.tool_call_id} | fields
    tool = _text(tool_of(operation, fields)) or (_text(row.get("name")) if operation == Operation.TOOL else None)
    talk, bodies = _talk(
        row, attributes, (tool, _text(fields.get("tool_call_id"))) if operation == "execute_tool" else None
    )
    failed = row.get("level") == "ERROR"
    parent = row.get("parentObservationId")
    first_ns = moment_of(row.get("completionStartTime"))
    asked, answered = _models(row, fields)
    usage, counted = _usage(row, fields, operation, bool(attributes))
    span = Span(
        trace_id=trace_id_of(row["traceId"]),
        span_id=span_id_of(row["id"]),
        parent_id=span_id_of(parent) if isinstance(parent, str) and parent else top,
        start_ns=start_ns,
        end_ns=end_ns if end_ns is None or end_ns >= start_ns else start_ns,
        name=str(row.get("name") or operation)[:_LONGEST],
        operation=operation,
        status=Status.ERROR.value if failed else Status.OK.value,
        error_type=_text(fields.get("error_type")) or ("error" if failed else None),
        message=_text(row.get("statusMessage"), 1000),
        door="import",
        service=_text(_object(metadata.get("resourceAttributes")).get("service.name")),
        revision=1,
        identity=_identity(trace, fields, operation),
        provider=provider_of(fields.get("provider")),
        request_model=asked,
        response_model=answered,
        response_id=_text(fields.get("response_id")) or _reply_id(row, operation),
        finish_reasons=finish_reasons_of(fields.get("finish_reasons")),
        usage=usage,
        cost=_cost(row, operation),
        first_token_ns=None if first_ns is None else max(0, first_ns - start_ns),
        tool=tool,
        tool_call_id=_text(fields.get("tool_call_id")),
        attributes=_attributes(row, attributes, metadata) | ({"watchkeeper.usage": counted} if counted else {}),
        preview=preview_from(talk),
    )
    return ImportedSpan(span=span, bodies=bodies)


def _scalars(metadata: Row) -> Row:
    """The plain entries of an observation's metadata, where LangChain's callbacks put model, provider and thread."""
    return {key: value for key, value in metadata.items() if isinstance(value, str | int) and key != "attributes"}


def _models(row: Row, fields: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The model asked for and the one that answered; Langfuse names one, which is the second where both are known."""
    asked, answered = _text(fields.get("request_model")), _text(fields.get("response_model"))
    named = _text(row.get("model") or row.get("providedModelName"))
    if asked is not None and answered is None and named != asked:
        answered = named
    return asked or named, answered


def _reply_id(row: Row, operation: str) -> str | None:
    return response_id_in(row.get("output")) if operation in MODEL_OPERATIONS else None


def _tool_answer(row: Row) -> Message | None:
    """The answer of a tool that a framework reported as a plain step; None where the output is not one."""
    output = _value(row.get("output"))
    if not isinstance(output, dict) or output.get("type") != "tool" or not output.get("tool_call_id"):
        return None
    found = conversation_of(b"", as_json(output)).output
    return found[0] if found and found[0].role == "tool" else None


def _talk(
    row: Row, attributes: Row, tool: tuple[str | None, str | None] | None = None
) -> tuple[Conversation, tuple[tuple[str, bytes], ...]]:
    """The conversation, and what to keep of it as bodies: JSON where it is, else a JSON string.

    The given input and output are kept as they are where they tell the conversation; else the messages that were found
    in the attributes stand as "messages.*" and what was given beside them as "import.*".
    """
    given = [_value(row.get("input")), _value(row.get("output"))]
    content = {key: value for key, value in attributes.items() if place_of(key).content}
    named = {"gen_ai.tool.name": tool[0], "gen_ai.tool.call.id": tool[1]} if tool is not None else {}
    spoken = messages(attributes | named) if content else Conversation()
    read = conversation_of(*(as_json(value) if value is not None else b"" for value in given))
    if tool is not None:
        read = _as_tool(read, given, tool)
        spoken = spoken if any(m.tool_calls for m in spoken.input) else Conversation()
    better = (_says_more(spoken.input, read.input), _says_more(spoken.output, read.output))
    talk = told_once(
        spoken.input if better[0] else read.input,
        spoken.output if better[1] else read.output,
    )
    bodies: list[tuple[str, bytes]] = []
    for side, value, said, wins in zip(("input", "output"), given, (talk.input, talk.output), better, strict=True):
        if (wins or tool is not None) and said:
            bodies.append((f"messages.{side}", as_json(plain_messages(said))))
        if value is not None:
            bodies.append(
                (f"{'import' if bodies and bodies[-1][0] == f'messages.{side}' else 'messages'}.{side}", as_json(value))
            )
    if content:
        bodies.append(("attributes", as_json(content)))
    return talk, tuple(bodies)


def _as_tool(read: Conversation, given: list[Any], tool: tuple[str | None, str | None]) -> Conversation:
    """A tool's input and output as the call of it and its answer."""
    result = given[1] or None
    if len(read.output) == 1 and read.output[0].role == "tool":
        result = read.output[0].text
    exchange = tool_exchange(tool[0] or "?", tool[1], given[0], result)
    return exchange if given[0] is not None else Conversation(output=exchange.output)


def _says_more(one: tuple[Message, ...], other: tuple[Message, ...]) -> bool:
    """Whether some messages tell more than others: there at all, in roles rather than one lump, and not fewer."""
    if not one or _lump(one):
        return bool(one) and not other
    return _lump(other) or len(one) > len(other)


def _lump(said: tuple[Message, ...]) -> bool:
    """Whether some messages are none, or one text that nobody divided into messages."""
    return not said or (
        len(said) == 1 and not said[0].tool_calls and not (isinstance(said[0].raw, dict) and "role" in said[0].raw)
    )


def _value(value: Any) -> Any:
    """A value that Langfuse may have turned into JSON text, once or twice."""
    for _ in range(2):
        if not isinstance(value, str) or value.lstrip()[:1] not in ("{", "[", '"'):
            break
        value = decode_json(value)
    if isinstance(value, str) and value.startswith(("{'", "[{'")) and len(value) <= _LONGEST_LITERAL:
        try:
            found = ast.literal_eval(value)  # a dictionary that Python wrote out as text
            as_json(found)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return value
        return found
    return value


def _usage(row: Row, fields: Mapping[str, Any], operation: str, described: bool) -> tuple[Usage, str | None]:
    """The tokens of a call, and a word where they are Langfuse's own count rather than what the call reported."""
    if operation not in MODEL_OPERATIONS:
        return Usage(), None
    usage = usage_of(fields)
    details = _object(row.get("usageDetails")) or _object(row.get("usage"))
    if not details:
        details = {key: row.get(key) for key in ("promptTokens", "completionTokens") if row.get(key)}
        details |= {name: row.get(key) for name, key in _OLD_USAGE.items() if row.get(key)}
    spare = usage_in_details(details)
    names = Usage.__struct_fields__
    best = {n: getattr(usage, n) if getattr(usage, n) is not None else getattr(spare, n) for n in names}
    silent = usage.input_tokens is None and usage.output_tokens is None
    guessed = described and silent and spare != Usage()
    return Usage(**best), "counted by Langfuse; the span itself does not say" if guessed else None


def _cost(row: Row, operation: str) -> Cost | None:
    """What Langfuse priced the call at; its zero means that it had no price, unless it says so in detail."""
    details = row.get("costDetails")
    total = details.get("total") if isinstance(details, dict) else None
    if total is None:
        total = row.get("calculatedTotalCost") or row.get("totalCost") or None
    if operation in MODEL_OPERATIONS and isinstance(total, int | float) and not isinstance(total, bool) and total >= 0:
        return Cost(usd=float(total), source="Langfuse, in its export")
    return None


def _identity(trace: Row, fields: Mapping[str, Any], operation: str) -> Identity:
    found = {"session": _text(trace.get("sessionId")), "user": _text(trace.get("userId"))}
    sources = {name: Source.BODY.value for name, value in found.items() if value}
    return identity_of(fields, operation, Identity(session=found["session"], user=found["user"], sources=sources))


def _attributes(row: Row, attributes: Row, metadata: Row) -> dict[str, Scalar]:
    kept: dict[str, Scalar] = {}
    for key, value in attributes.items():
        if place_of(key).content or len(kept) >= _MOST_ATTRIBUTES:
            continue
        _keep(kept, key, value)
    for key, value in metadata.items():
        if key not in ("attributes", "resourceAttributes", "scope") and len(kept) < _MOST_ATTRIBUTES:
            _keep(kept, f"metadata.{key}", value)
    for key in ("type", "level", "environment", "version", "release", "promptName", "promptVersion"):
        if row.get(key) not in (None, "", "DEFAULT"):
            _keep(kept, f"langfuse.{key}", row[key])
    if row.get("tags"):
        _keep(kept, "langfuse.tags", row["tags"])
    for key, value in _object(row.get("modelParameters")).items():
        _keep(kept, f"gen_ai.request.{key}", value)
    return kept


def _keep(kept: dict[str, Scalar], key: str, value: Any) -> None:
    if isinstance(value, list | dict):
        value = as_json(value).decode()
    if value is not None and len(key) <= _LONGEST and len(str(value)) <= _LONGEST:
        kept[key] = value


def _score(row: Row) -> Score:
    at_ns = moment_of(row.get("timestamp") or row.get("createdAt"))
    if not isinstance(row.get("id"), str) or not isinstance(row.get("name"), str) or at_ns is None:
        raise WrongRow("holds a score without an id, a name or a time")
    observation, trace, session = row.get("observationId"), row.get("traceId"), row.get("sessionId")
    if isinstance(observation, str) and observation:
        kind, subject = "span", span_id_of(observation)
    elif isinstance(trace, str) and trace:
        kind, subject = "trace", trace_id_of(trace)
    elif isinstance(session, str) and session:
        kind, subject = "session", session
    else:
        raise WrongRow(f"score {row['id'][:60]!r} says of nothing: it has no observationId, traceId or sessionId")
    value = row.get("value")
    number = float(value) if isinstance(value, int | float) else None
    label = _text(row.get("stringValue"), 1000) or (value[:1000] if isinstance(value, str) else None)
    if number is None and label is None:
        raise WrongRow(f"score {row['id'][:60]!r} has neither a value nor a label")
    source = str(row.get("source") or "API")
    return Score(
        score_id=f"langfuse:{row['id']}",
        subject_kind=kind,
        subject_id=subject,
        name=row["name"][:_LONGEST],
        at_ns=moment_of(row.get("updatedAt")) or at_ns,
        event_ns=at_ns,
        value=number if row.get("dataType") != "CATEGORICAL" else None,
        label=label,
        explanation=_text(row.get("comment"), 100_000),
        scorer=_SCORERS.get(source, source.lower()),
        source="import",
        trace_id=trace_id_of(trace) if isinstance(trace, str) and trace else None,
        session=session if isinstance(session, str) and session else None,
    )


def _object(value: Any) -> Row:
    found = _value(value)
    return found if isinstance(found, dict) else {}


def _text(value: Any, longest: int = _LONGEST) -> str | None:
    return (
        str(value)[:longest] if isinstance(value, str | int) and not isinstance(value, bool) and value != "" else None
    )
