"""Reads chat logs as JSON rows: message lists, request and response pairs, stored completions, batch results.

A row is one model call. Its shapes: `{messages: [...]}` as for fine-tuning (the last assistant message is the reply);
`{request: {...}, response: {...}}`, bare or wrapped in `body` as in batch files (both are kept as bodies, re-encoded as
compact JSON); a stored completion (`{choices: [...], messages: [...]}`); `{input, output}` and `{prompt, completion}`.
Model, usage, times, ids, session, user, metadata and error are read where they stand under their usual names.

Ids come from the row's own `trace_id` and `span_id`, else from the digest of its bytes (and its count among equal
rows), so that reading a file twice gives the same spans. A row without a time is given the file's time plus one
millisecond for each line, and says so in its attribute `watchkeeper.time`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from watchkeeper.adapters.formats.conversation import conversation_of, messages_in, messages_out
from watchkeeper.adapters.formats.imported import (
    Imported,
    ImportedSpan,
    Rejected,
    WrongRow,
    moment_of,
    span_id_of,
    trace_id_of,
)
from watchkeeper.adapters.formats.messages import preview_from
from watchkeeper.adapters.formats.semconv import count_of, finish_reasons_of, provider_of
from watchkeeper.analysis.usage import find as usage_in
from watchkeeper.analysis.usage import read as read_usage
from watchkeeper.records.identity import Identity, Source
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Scalar, as_json
from watchkeeper.records.span import Cost, Operation, Span, Status, Usage

_STARTS = (
    "start_time",
    "started_at",
    "startTime",
    "timestamp",
    "created_at",
    "createdAt",
    "created",
    "time",
    "date",
    "at",
)
_ENDS = ("end_time", "ended_at", "endTime", "completed_at", "finished_at")
_LENGTHS = (("duration_ms", 1e6), ("latency_ms", 1e6), ("duration_s", 1e9), ("latency_s", 1e9), ("duration_ns", 1.0))
_SESSIONS = ("session", "session_id", "sessionId", "conversation_id", "conversationId", "thread_id")
_PARAMETERS = {
    "temperature": "gen_ai.request.temperature", "top_p": "gen_ai.request.top_p", "seed": "gen_ai.request.seed",
    "max_tokens": "gen_ai.request.max_tokens", "max_completion_tokens": "gen_ai.request.max_tokens",
    "frequency_penalty": "gen_ai.request.frequency_penalty", "presence_penalty": "gen_ai.request.presence_penalty",
    "n": "gen_ai.request.choice.count", "stream": "gen_ai.request.stream",
}  # fmt: skip
_LONGEST = 256
_MOST_METADATA = 32
Row = dict[str, Any]


def looks_like(row: Any) -> bool:
    """Whether a JSON row is one of the shapes read here."""
    if not isinstance(row, dict):
        return False
    pair = isinstance(row.get("request"), dict | str) and ("response" in row or "error" in row)
    batch = isinstance(row.get("response"), dict) and "body" in row["response"]
    plain = any(isinstance(row.get(key), list) for key in ("messages", "choices"))
    return pair or batch or plain or {"prompt", "completion"} <= row.keys() or {"input", "output"} <= row.keys()


def read_rows(rows: Iterable[tuple[int, bytes]], file_time_ns: int) -> Iterator[Imported]:
    """Read rows given as (line, JSON bytes); a row that cannot be read is yielded as `Rejected` with the reason."""
    seen: Counter[str] = Counter()
    for line, raw in rows:
        try:
            row = msgspec.json.decode(raw, type=dict[str, Any])
            name = digest(raw.strip())
            seen[name] += 1
            yield _span(row, f"{name}:{seen[name]}", file_time_ns + line * 1_000_000)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            yield Rejected(line=line, reason=f"is no JSON object: {error}")
        except WrongRow as error:
            yield Rejected(line=line, reason=str(error))


def _span(row: Row, name: str, fallback_ns: int) -> ImportedSpan:
    request, response, bodies = _exchange(row)
    asked, answered = _messages(row, request, response)
    start_ns, end_ns, assigned = _times(row, response, fallback_ns)
    error = row.get("error") or response.get("error")
    own = _text(row.get("span_id"))
    trace = _text(row.get("trace_id") or row.get("traceId"))
    metadata = row.get("metadata") if isinstance(row.get("metadata"), dict) else request.get("metadata")
    model = _text(response.get("model")) or _text(row.get("response_model"))
    requested = _text(request.get("model")) or _text(row.get("model"))
    talk = conversation_of(
        as_json({"messages": asked}) if isinstance(asked, list) else as_json(asked), as_json(answered)
    )
    span = Span(
        trace_id=trace_id_of(trace) if trace else digest(f"chat-trace:{name}".encode()),
        span_id=span_id_of(own) if own else digest(f"chat-span:{name}".encode())[:16],
        parent_id=span_id_of(parent) if (parent := _text(row.get("parent_id") or row.get("parent_span_id"))) else None,
        start_ns=start_ns,
        end_ns=end_ns,
        name=f"chat {requested or model}" if requested or model else "chat",
        operation=Operation.COMPLETION.value if "prompt" in request and "messages" not in request else "chat",
        status=Status.ERROR.value if error else Status.OK.value,
        error_type=_error_type(error),
        message=_error_text(error),
        door="import",
        revision=1,
        identity=_identity(row, request, metadata if isinstance(metadata, dict) else {}),
        provider=provider_of(row.get("provider")),
        request_model=requested,
        response_model=model,
        response_id=_text(response.get("id")),
        fingerprint=_text(response.get("system_fingerprint")),
        stream=request.get("stream") is True,
        finish_reasons=_finish_reasons(response),
        usage=_usage(response.get("usage") or response.get("usageMetadata") or row.get("usage")),
        cost=_cost(row),
        attributes=_attributes(row, request, metadata, assigned),
        preview=preview_from(talk),
    )
    return ImportedSpan(span=span, bodies=bodies + _message_bodies(asked, answered))


def _exchange(row: Row) -> tuple[Row, Row, tuple[tuple[str, bytes], ...]]:
    """The request and the response of a row, each unwrapped, and their bytes where the row has both whole."""
    request, response = _unwrapped(row.get("request")), _unwrapped(row.get("response"))
    bodies = tuple((name, as_json(body)) for name, body in (("request", request), ("reply", response)) if body)
    if "body" in row and not request:
        request = _unwrapped(row)
    if not request and ("messages" in row or "prompt" in row):
        request = row
    if not response and ("choices" in row or "usage" in row):
        response = row
    return request, response, bodies


def _unwrapped(value: Any) -> Row:
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError:
            return {}
    if not isinstance(value, dict):
        return {}
    inner = value.get("body")
    if isinstance(inner, str | dict) and "messages" not in value and "choices" not in value:
        return _unwrapped(inner)
    return value


def _messages(row: Row, request: Row, response: Row) -> tuple[Any, Any]:
    """What was asked and what was answered, as JSON values; raises `WrongRow` when neither can be found."""
    asked = _first(request, "messages", "input", "contents", "prompt")
    if asked is None:
        asked = _first(row, "messages", "input", "prompt", "question")
    answered: Any = response.get("choices") and {"choices": response["choices"]}
    if not answered:
        answered = _first(response, "output", "content", "message", "candidates")
    if answered is None and not isinstance(row.get("response"), dict):
        answered = _first(row, "response", "output", "completion", "answer")
    if answered is None and isinstance(asked, list) and asked and _role(asked[-1]) == "assistant":
        asked, answered = asked[:-1], [asked[-1]]
    if asked is not None and not isinstance(asked, list | str | dict):
        raise WrongRow(f"its messages should be a list or a text; they are {asked!r}"[:200])
    if isinstance(asked, list) and not all(isinstance(each, dict | str) for each in asked):
        raise WrongRow("its messages should be objects with a role and a content; at least one is something else")
    if isinstance(asked, list) and not asked and answered is None:
        raise WrongRow("its list of messages is empty")
    if asked is None and answered is None:
        keys = ", ".join(sorted(row)[:8]) or "no fields"
        raise WrongRow(f"holds no messages, request, prompt or input; it has {keys}")
    return asked, answered


def _message_bodies(asked: Any, answered: Any) -> tuple[tuple[str, bytes], ...]:
    bodies = []
    if asked is not None:
        whole = asked if isinstance(asked, list) else [{"role": m.role, "content": m.text} for m in messages_in(asked)]
        bodies.append(("messages.input", as_json(whole)))
    if answered is not None:
        said = [
            m.raw if isinstance(m.raw, dict) else {"role": m.role, "content": m.text} for m in messages_out(answered)
        ]
        bodies.append(("messages.output", as_json(said)))
    return tuple(bodies)


def _times(row: Row, response: Row, fallback_ns: int) -> tuple[int, int | None, bool]:
    """Start, end, and whether the start had to be assigned. A response's `created` is when it began to answer."""
    start_ns = next((at for key in _STARTS if (at := moment_of(row.get(key))) is not None), None)
    if start_ns is None:
        start_ns = moment_of(response.get("created")) or moment_of(response.get("created_at"))
    end_ns = next((at for key in _ENDS if (at := moment_of(row.get(key))) is not None), None)
    if end_ns is None and start_ns is not None:
        for key, unit_ns in _LENGTHS:
            length = row.get(key)
            if isinstance(length, int | float) and not isinstance(length, bool) and 0 <= length * unit_ns < 1e18:
                end_ns = start_ns + int(length * unit_ns)
                break
    assigned = start_ns is None
    start_ns = fallback_ns if start_ns is None else start_ns
    return start_ns, end_ns if end_ns is None or end_ns >= start_ns else start_ns, assigned


def _usage(value: Any) -> Usage:
    if not isinstance(value, dict):
        return Usage()
    usage = usage_in(value)
    if usage is None:
        return Usage(input_tokens=count_of(value.get("input")), output_tokens=count_of(value.get("output")))
    return read_usage(usage).usage()


def _finish_reasons(response: Row) -> tuple[str, ...]:
    choices = response.get("choices")
    if isinstance(choices, list):
        return finish_reasons_of([each.get("finish_reason") for each in choices if isinstance(each, dict)])
    return finish_reasons_of(response.get("stop_reason"))


def _cost(row: Row) -> Cost | None:
    value = _first(row, "cost_usd", "total_cost", "cost")
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return Cost(usd=float(value), source="the imported file")
    return None


def _identity(row: Row, request: Row, metadata: Mapping[str, Any]) -> Identity:
    found = {
        "session": _text(_first(row, *_SESSIONS) or _first(metadata, *_SESSIONS)),
        "user": _text(_first(row, "user", "user_id", "userId") or request.get("user") or metadata.get("user_id")),
        "run": _text(_first(row, "run", "run_id", "runId") or metadata.get("run_id")),
        "agent": _text(_first(row, "agent", "agent_name") or metadata.get("agent")),
    }
    return Identity(
        user=found["user"],
        session=found["session"],
        run=found["run"],
        agent=found["agent"],
        sources={name: Source.BODY.value for name, value in found.items() if value},
    )


def _attributes(row: Row, request: Row, metadata: Any, assigned: bool) -> dict[str, Scalar]:
    kept: dict[str, Scalar] = {}
    for key, name in _PARAMETERS.items():
        if isinstance(request.get(key), int | float | str):
            kept[name] = request[key]
    for key, value in list(metadata.items())[:_MOST_METADATA] if isinstance(metadata, dict) else ():
        if isinstance(value, str | int | float) and len(str(value)) <= _LONGEST and len(key) <= _LONGEST:
            kept[f"metadata.{key}"] = value
    for key in ("id", "custom_id", "environment", "tag"):
        if (text := _text(row.get(key))) is not None:
            kept[f"import.{key}"] = text
    if assigned:
        kept["watchkeeper.time"] = "assigned: the row has none, so the file's time and the line say when"
    return kept


def _error_type(error: Any) -> str | None:
    if isinstance(error, dict):
        return _text(error.get("code") or error.get("type")) or "error"
    return "error" if error else None


def _error_text(error: Any) -> str | None:
    if isinstance(error, dict):
        error = error.get("message") or as_json(error).decode()
    return str(error)[:1000] if error else None


def _role(message: Any) -> str | None:
    return str(message.get("role") or "") if isinstance(message, dict) else None


def _first(value: Mapping[str, Any], *keys: str) -> Any:
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _text(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)[:_LONGEST] or None
