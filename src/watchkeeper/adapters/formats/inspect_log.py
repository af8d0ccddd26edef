"""Reads the logs of Inspect evaluations (`.eval` archives and `.json`): samples as traces, with their calls and scores.

A sample becomes a trace: its root is the sample, its steps are Inspect's spans, and its model and tool events are calls
with their messages and tokens. What a scorer said of the sample becomes a score of the trace. Texts that Inspect moved
into attachments or a pool of messages are put back. Ids are made of the evaluation's and the sample's own, so that
reading a log twice, or as archive and as JSON, gives the same records.

Limits: state changes, sandbox commands and log lines are left out, and so are events that were still pending. The input
that Inspect reports leaves cached tokens out; they are added where the log says how many there were.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import msgspec

from watchkeeper.adapters.formats.conversation import conversation_of, plain_messages
from watchkeeper.adapters.formats.imported import Imported, ImportedSpan, Rejected, WrongRow, moment_of
from watchkeeper.adapters.formats.messages import preview_from, tool_exchange
from watchkeeper.adapters.formats.semconv import count_of, finish_reasons_of, provider_of, usage_in_details
from watchkeeper.adapters.formats.unpacking import Broken, TooLarge, member
from watchkeeper.records.identity import Identity, Source
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Scalar, as_json
from watchkeeper.records.score import Score
from watchkeeper.records.span import Operation, Span, Status, Usage

_LONGEST = 256
_DEEPEST = 40
_ATTACHMENT = "attachment://"
_GRADES = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
"""Inspect's letters for correct, partial, incorrect and no answer, as its own metrics count them."""
_STEPS = {"agent": Operation.AGENT.value, "tool": Operation.OTHER.value}
Row = dict[str, Any]


def looks_like(row: Any) -> bool:
    """Whether a JSON value is an evaluation's log."""
    return isinstance(row, dict) and isinstance(row.get("eval"), dict) and ("plan" in row or "samples" in row)


def is_archive(names: Iterable[str]) -> bool:
    """Whether an archive with members of these names is an evaluation's log."""
    return any(name in ("header.json", "_journal/start.json") for name in names)


def read_archive(file: BinaryIO) -> Iterator[Imported]:
    """Read a `.eval` archive sample by sample; a member that cannot be read is rejected by name."""
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        try:
            head = _decoded(member(archive, "header.json" if "header.json" in names else "_journal/start.json"))
        except (WrongRow, TooLarge, zipfile.BadZipFile, *Broken) as error:
            yield Rejected(line=0, reason=f"its header cannot be read, so nothing else was: {error}")
            return
        about = _about(head)
        number = 0
        for name in names:
            if not name.startswith("samples/"):
                continue
            number += 1
            try:
                yield from _sample(_decoded(member(archive, name)), about)
            except (WrongRow, TooLarge, zipfile.BadZipFile, *Broken) as error:
                yield Rejected(line=number, reason=f"{name}: {error}")
        if not number:
            yield Rejected(line=0, reason="holds no samples; was it logged with --no-log-samples?")


def read_rows(rows: Iterable[tuple[int, bytes]]) -> Iterator[Imported]:
    """Read logs given as (line, JSON bytes)."""
    for line, raw in rows:
        try:
            log = _decoded(raw)
            if not looks_like(log):
                raise WrongRow("is no log of an Inspect evaluation: it has no eval and no samples")
            about = _about(log)
        except WrongRow as error:
            yield Rejected(line=line, reason=str(error))
            continue
        samples = log.get("samples")
        if not isinstance(samples, list) or not samples:
            yield Rejected(line=line, reason="holds no samples; was it logged with --no-log-samples?")
            continue
        for number, sample in enumerate(samples, 1):
            try:
                yield from _sample(sample, about)
            except WrongRow as error:
                yield Rejected(line=line, reason=f"sample {number}: {error}")


def _decoded(raw: bytes) -> Row:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongRow(f"is no JSON object: {error}") from error


class _About(msgspec.Struct, frozen=True):
    """What all samples of a log share."""

    name: str
    run: str
    model: str
    created_ns: int | None
    attributes: dict[str, Scalar]


def _about(log: Row) -> _About:
    head = log.get("eval")
    if not isinstance(head, dict):
        raise WrongRow("its header does not say which evaluation it is of")
    name = (
        _text(head.get("eval_id"))
        or _text(head.get("run_id"))
        or digest(as_json([head.get("task"), head.get("created")]))
    )
    about = {
        "inspect.task": head.get("task"),
        "inspect.eval_id": head.get("eval_id"),
        "inspect.model": head.get("model"),
        "inspect.task_version": head.get("task_version"),
    }
    kept: dict[str, Scalar] = {
        key: value for key, value in about.items() if isinstance(value, str | int) and len(str(value)) <= _LONGEST
    }
    return _About(
        name, _text(head.get("run_id")) or name, _text(head.get("model")) or "", moment_of(head.get("created")), kept
    )


class _Place(msgspec.Struct, frozen=True):
    """Where a sample's records go: its trace, its root, who they belong to, and what its texts were moved to."""

    trace_id: str
    root_id: str
    identity: Identity
    attachments: Mapping[str, Any]
    pool: list[Any]

    def span_id(self, name: str) -> str:
        return digest(f"{self.trace_id}:{name}".encode())[:16]

    def whole(self, value: Any, depth: int = 0) -> Any:
        """A value with its attachments put back."""
        if isinstance(value, str) and value.startswith(_ATTACHMENT):
            return self.attachments.get(value[len(_ATTACHMENT) :], value)
        if depth >= _DEEPEST:
            return value
        if isinstance(value, list):
            return [self.whole(each, depth + 1) for each in value]
        if isinstance(value, dict):
            return {key: self.whole(each, depth + 1) for key, each in value.items()}
        return value


def _sample(sample: Any, about: _About) -> Iterator[Imported]:
    if not isinstance(sample, dict) or "id" not in sample:
        raise WrongRow("is no sample: it has no id")
    name = f"{about.name}:{sample['id']}:{sample.get('epoch', 1)}"
    trace_id = digest(f"inspect:{name}".encode())
    found, pool = sample.get("attachments"), sample.get("events_data")
    place = _Place(
        trace_id,
        digest(f"inspect-root:{name}".encode())[:16],
        Identity(session=name[:_LONGEST], run=about.run, sources=dict.fromkeys(("session", "run"), Source.BODY.value)),
        found if isinstance(found, dict) else {},
        _listed(pool.get("messages")) if isinstance(pool, dict) else [],
    )
    events = [each for each in _listed(sample.get("events")) if isinstance(each, dict)]
    times = [at for each in events for at in (moment_of(each.get("timestamp")), moment_of(each.get("completed"))) if at]
    start_ns = moment_of(sample.get("started_at")) or min(times, default=None) or about.created_ns
    if start_ns is None:
        raise WrongRow(f"sample {str(sample['id'])[:60]!r} has no time: neither it, its events nor its log says when")
    end_ns = moment_of(sample.get("completed_at")) or max(times, default=start_ns)
    yield _root(sample, about, place, start_ns, max(start_ns, end_ns))
    yield from _events(events, place, about, end_ns)
    yield from _scores(sample, place, max(start_ns, end_ns))


def _root(sample: Row, about: _About, place: _Place, start_ns: int, end_ns: int) -> ImportedSpan:
    output = sample.get("output")
    said = output.get("choices") if isinstance(output, dict) else None
    asked, answered = place.whole(sample.get("input")), place.whole({"choices": said} if said else None)
    talk = conversation_of(as_json(asked), as_json(answered) if said else b"")
    error = sample.get("error")
    kept = about.attributes | {
        "inspect.sample_id": str(sample["id"])[:_LONGEST],
        "inspect.epoch": sample.get("epoch", 1),
    }
    if isinstance(target := sample.get("target"), str) and len(target) <= _LONGEST:
        kept["inspect.target"] = target
    metadata = sample.get("metadata")
    for key, value in list(metadata.items())[:32] if isinstance(metadata, dict) else ():
        if isinstance(value, str | int | float) and len(str(value)) <= _LONGEST and len(key) <= _LONGEST:
            kept[f"metadata.{key}"] = value
    span = Span(
        trace_id=place.trace_id,
        span_id=place.root_id,
        start_ns=start_ns,
        end_ns=end_ns,
        name=f"{about.attributes.get('inspect.task', 'sample')} {sample['id']}"[:_LONGEST],
        operation=Operation.WORKFLOW.value,
        status=Status.ERROR.value if error else Status.OK.value,
        error_type="error" if error else None,
        message=str(error.get("message"))[:1000] if isinstance(error, dict) else None,
        door="import",
        revision=1,
        identity=place.identity,
        attributes={key: value for key, value in kept.items() if isinstance(value, str | int | float)},
        preview=preview_from(talk),
    )
    return ImportedSpan(span=span, bodies=_bodies(asked, plain_messages(talk.output)))


def _events(events: list[Row], place: _Place, about: _About, end_ns: int) -> Iterator[ImportedSpan]:
    ends = {each.get("id"): moment_of(each.get("timestamp")) for each in events if each.get("event") == "span_end"}
    for number, event in enumerate(events):
        kind, at_ns = event.get("event"), moment_of(event.get("timestamp"))
        if at_ns is None or event.get("pending"):
            continue
        if kind == "span_begin":
            yield _step(event, place, at_ns, ends.get(event.get("id")) or end_ns)
        elif kind == "model":
            yield _call(event, place, about, at_ns, number)
        elif kind == "tool":
            yield _tool(event, place, at_ns, number)


def _parent(event: Row, place: _Place, name: str) -> str:
    above = event.get(name)
    return place.span_id(above) if isinstance(above, str) and above else place.root_id


def _step(event: Row, place: _Place, at_ns: int, end_ns: int) -> ImportedSpan:
    kind = str(event.get("type") or "")
    operation = _STEPS.get(kind, Operation.OTHER.value)
    name = str(event.get("name") or kind or "step")[:_LONGEST]
    identity = msgspec.structs.replace(place.identity, agent=name) if operation == Operation.AGENT else place.identity
    return ImportedSpan(
        span=Span(
            trace_id=place.trace_id,
            span_id=place.span_id(str(event.get("id"))),
            parent_id=_parent(event, place, "parent_id"),
            start_ns=at_ns,
            end_ns=max(at_ns, end_ns),
            name=name,
            operation=operation,
            status=Status.OK.value,
            door="import",
            revision=1,
            identity=identity,
            attributes={"inspect.span_type": kind[:_LONGEST]} if kind else {},
        )
    )


def _call(event: Row, place: _Place, about: _About, at_ns: int, number: int) -> ImportedSpan:
    output = event["output"] if isinstance(event.get("output"), dict) else {}
    asked = place.whole(_input(event, place))
    answered = place.whole({"choices": output.get("choices")})
    talk = conversation_of(as_json({"messages": asked}), as_json(answered))
    provider, _, model = (_text(event.get("model")) or about.model).rpartition("/")
    error = event.get("error") or output.get("error")
    choices = [each for each in _listed(output.get("choices")) if isinstance(each, dict)]
    call = event["call"] if isinstance(event.get("call"), dict) else {}
    response = call.get("response")
    span = Span(
        trace_id=place.trace_id,
        span_id=place.span_id(str(event.get("uuid") or number)),
        parent_id=_parent(event, place, "span_id"),
        start_ns=at_ns,
        end_ns=_end(event, at_ns),
        name=f"chat {model}"[:_LONGEST],
        operation=Operation.CHAT.value,
        status=Status.ERROR.value if error else Status.OK.value,
        error_type="error" if error else None,
        message=str(error)[:1000] if error else None,
        door="import",
        revision=1,
        identity=place.identity,
        provider=provider_of(provider.partition("/")[0]),
        request_model=model or None,
        response_model=_text(output.get("model")) if output.get("model") != event.get("model") else None,
        response_id=_text(response.get("id")) if isinstance(response, dict) else None,
        finish_reasons=finish_reasons_of([each.get("stop_reason") for each in choices]),
        usage=_usage(output),
        attributes=_settings(event),
        preview=preview_from(talk),
    )
    return ImportedSpan(span=span, bodies=_bodies(asked, plain_messages(talk.output)))


def _input(event: Row, place: _Place) -> list[Any]:
    """The messages of a model event, which may lie in the sample's pool as ranges [first, after the last]."""
    given = _listed(event.get("input"))
    found: list[Any] = []
    for span in _listed(event.get("input_refs")):
        if isinstance(span, list) and len(span) == 2 and all(type(each) is int and each >= 0 for each in span):
            found += place.pool[span[0] : span[1]]
    return given or found


def _settings(event: Row) -> dict[str, Scalar]:
    config = event.get("config")
    kept: dict[str, Scalar] = {
        f"gen_ai.request.{key}": value
        for key, value in (config.items() if isinstance(config, dict) else ())
        if isinstance(value, int | float) and key in ("temperature", "top_p", "max_tokens", "seed", "top_k")
    }
    if isinstance(retries := event.get("retries"), int) and retries:
        kept["inspect.retries"] = retries
    if isinstance(cache := event.get("cache"), str):
        kept["inspect.cache"] = cache[:_LONGEST]
    return kept


def _usage(output: Row) -> Usage:
    given = output.get("usage")
    if not isinstance(given, dict):
        return Usage()
    usage = usage_in_details({key.replace("input_tokens_cache", "cache"): value for key, value in given.items()})
    whole = count_of(output.get("input_context_tokens"))
    if whole is not None and usage.input_tokens is not None and whole > usage.input_tokens:
        return msgspec.structs.replace(usage, input_tokens=whole)
    return usage


def _tool(event: Row, place: _Place, at_ns: int, number: int) -> ImportedSpan:
    name, call_id = _text(event.get("function")) or "tool", _text(event.get("id"))
    talk = tool_exchange(name, call_id, place.whole(event.get("arguments")), place.whole(event.get("result")))
    error = event.get("error")
    span = Span(
        trace_id=place.trace_id,
        span_id=place.span_id(str(event.get("uuid") or number)),
        parent_id=_parent(event, place, "span_id"),
        start_ns=at_ns,
        end_ns=_end(event, at_ns),
        name=f"execute_tool {name}"[:_LONGEST],
        operation=Operation.TOOL.value,
        status=Status.ERROR.value if error else Status.OK.value,
        error_type=(_text(error.get("type")) or "error") if isinstance(error, dict) else None,
        message=str(error.get("message"))[:1000] if isinstance(error, dict) else None,
        door="import",
        revision=1,
        identity=place.identity,
        tool=name,
        tool_call_id=call_id,
        preview=preview_from(talk),
    )
    return ImportedSpan(span=span, bodies=_bodies(plain_messages(talk.input), plain_messages(talk.output)))


def _scores(sample: Row, place: _Place, at_ns: int) -> Iterator[Score]:
    scores = sample.get("scores")
    for scorer, score in scores.items() if isinstance(scores, dict) else ():
        if not isinstance(score, dict):
            continue
        value = score.get("value")
        parts = value.items() if isinstance(value, dict) else (("", value),)
        for part, said in parts:
            name = f"{scorer}.{part}" if part else str(scorer)
            number, label = number_of(said)
            if number is None and label is None:
                continue
            yield Score(
                score_id=f"inspect:{place.trace_id}:{name}"[:_LONGEST],
                subject_kind="trace",
                subject_id=place.trace_id,
                name=name[:_LONGEST],
                at_ns=at_ns,
                event_ns=at_ns,
                value=number,
                label=label,
                explanation=_text(place.whole(score.get("explanation")), 100_000),
                scorer=f"inspect:{scorer}"[:_LONGEST],
                source="import",
                trace_id=place.trace_id,
                session=place.identity.session,
            )


def number_of(value: Any) -> tuple[float | None, str | None]:
    """A score's value as a number, and as the label it was given where that was one."""
    if isinstance(value, bool | int | float):
        return float(value), None
    if isinstance(value, str) and value:
        return _GRADES.get(value), value[:1000]
    return None, None


def _bodies(asked: Any, answered: Any) -> tuple[tuple[str, bytes], ...]:
    given = (("messages.input", asked), ("messages.output", answered))
    return tuple((name, as_json(value)) for name, value in given if value)


def _end(event: Row, at_ns: int) -> int:
    end_ns = moment_of(event.get("completed"))
    return max(at_ns, end_ns) if end_ns is not None else at_ns


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any, longest: int = _LONGEST) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return str(value)[:longest]
