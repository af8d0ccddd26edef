"""Takes what was said out of an OTLP export, and leaves what is known of it: the same spans in the same order.

"bodies" takes the content: message attributes, long values and the content of events; a short preview stays. "fields"
takes all but what fills a column of the index. What was taken is named on each span (`watchkeeper.removed`), so that
its page can say so. An export that has nothing left to take is left as it is.

Limits: the rest is written anew by the protobuf library, so fields that it does not know are lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from watchkeeper.adapters.formats import otlp_logs
from watchkeeper.adapters.formats.otlp import decode
from watchkeeper.adapters.formats.otlp_attributes import LONGEST_VALUE
from watchkeeper.adapters.formats.otlp_wire import Stamp, parse, parse_as, read_stamp, stamped
from watchkeeper.adapters.formats.semconv import PLACES, PREVIEW, place_of

REMOVED = "watchkeeper.removed"
LEVELS = ("", "bodies", "fields")
_NAMES_KEPT = frozenset(("exception.type", "event.name"))

Wanted = Callable[[str], bool]
"""Whether a trace keeps its content."""


def received_ns(payload: bytes) -> int | None:
    """When an export came in, where its stamp says so."""
    mark = read_stamp(payload)
    return mark.received_ns or None if mark is not None else None


def spans_in(payload: bytes) -> Iterator[tuple[str, str, int]]:
    """Trace id, span id and start (unix ns) of each span of a trace export."""
    for span in _spans(parse(payload)):
        yield span.trace_id.hex(), span.span_id.hex(), span.start_time_unix_nano


def logs_in(payload: bytes) -> Iterator[tuple[str, str, int]]:
    """Trace id, span id ("" where a record has none) and time (unix ns) of each record of a log export."""
    for record in _records(_log_request(payload)):
        yield record.trace_id.hex(), record.span_id.hex(), record.time_unix_nano or record.observed_time_unix_nano


def strip_spans(payload: bytes, came_ns: int, level: str, keeps: Wanted) -> bytes | None:
    """A trace export less the content of the traces that do not keep it; None when that changes nothing.

    `came_ns` is when the export came in, for one whose stamp does not say it.
    """
    request = parse(payload)
    previews = {(span.trace_id, span.span_id): span.preview for span in decode(payload, came_ns).spans}
    changed = False
    for span in _spans(request):
        trace_id = span.trace_id.hex()
        if keeps(trace_id) or LEVELS.index(_removed(span.attributes)) >= LEVELS.index(level):
            continue
        changed = True
        if level == "fields":
            _bare(span)
        else:
            _quiet(span, previews.get((trace_id, span.span_id.hex()), ""))
        _add(span.attributes, REMOVED, level)
    if changed and level == "fields":
        for resource_spans in request.resource_spans:
            _only(resource_spans.resource.attributes, lambda kv: kv.key == "service.name")
    return _written(request, payload, came_ns) if changed else None


def strip_logs(payload: bytes, came_ns: int, level: str, keeps: Wanted) -> bytes | None:
    """A log export less the bodies and attributes of records whose trace does not keep them; see `strip_spans`.

    Records without a trace belong to none that could be kept.
    """
    request = _log_request(payload)
    changed = False
    for record in _records(request):
        if keeps(record.trace_id.hex()) or _removed(record.attributes):
            continue
        changed = True
        record.ClearField("body")
        _only(record.attributes, lambda kv: kv.key in _NAMES_KEPT)
        _add(record.attributes, REMOVED, level)
    return _written(request, payload, came_ns) if changed else None


def _quiet(span: Any, preview: str) -> None:
    """Take the content of one span; its preview stays."""
    _only(span.attributes, _short)
    for event in span.events:
        _only(event.attributes, lambda kv: kv.key in _NAMES_KEPT)
    if preview:
        _add(span.attributes, PREVIEW, preview)


def _bare(span: Any) -> None:
    """Take all of one span that fills no column."""
    _only(span.attributes, lambda kv: _place(kv.key).field is not None and _short(kv))
    del span.events[:]
    del span.links[:]
    span.trace_state = ""
    span.status.message = ""


def _short(kv: Any) -> bool:
    place = _place(kv.key)
    return not place.content and bool(place.kept) and kv.value.ByteSize() <= LONGEST_VALUE


def _place(key: str) -> Any:
    return PLACES.get(key) or place_of(key)


def _only(attributes: Any, stays: Callable[[Any], bool]) -> None:
    for at in reversed(range(len(attributes))):
        if not stays(attributes[at]):
            del attributes[at]


def _add(attributes: Any, key: str, value: str) -> None:
    _only(attributes, lambda kv: kv.key != key)
    attributes.add(key=key).value.string_value = value


def _removed(attributes: Iterable[Any]) -> str:
    said = next((kv.value.string_value for kv in attributes if kv.key == REMOVED), "")
    return said if said in LEVELS else ""


def _written(request: Any, payload: bytes, came_ns: int) -> bytes:
    mark = read_stamp(payload) or Stamp(received_ns=came_ns)
    request.DiscardUnknownFields()
    return stamped(request.SerializeToString(), mark)


def _log_request(payload: bytes) -> Any:
    return parse_as(otlp_logs._request_type(), payload, "log")


def _spans(request: Any) -> Iterator[Any]:
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            yield from scope_spans.spans


def _records(request: Any) -> Iterator[Any]:
    for resource_logs in request.resource_logs:
        for scope_logs in resource_logs.scope_logs:
            yield from scope_logs.log_records
