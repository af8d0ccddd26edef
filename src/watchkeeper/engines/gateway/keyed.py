"""What is kept of a call that was made under an idempotency key, and what the journal says became of it.

The cell holds where the reply lies, never the reply: its bytes are the payload that the journal keeps of the call.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from watchkeeper.engines.gateway.attempt import MARK
from watchkeeper.engines.gateway.attempted import UNMETERED
from watchkeeper.engines.gateway.errors import Header
from watchkeeper.engines.gateway.presence import Holder
from watchkeeper.engines.gateway.stream import StreamReader
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.segments import read_frames, segments_of
from watchkeeper.records.body import Body
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Span, Status, Usage

LONGEST_TAIL = 4096
_NO_WORK_DONE = frozenset({501, 503, 529})
_BROKEN = frozenset(
    {
        "cancelled",
        "client_disconnected",
        "gateway_fault",
        "stream_incomplete",
        "upstream_disconnected",
        "upstream_timeout",
    }
)
State = Literal["running", "done", "unknown"]


class Keyed(Record):
    """The cell of a key. Times are unix nanoseconds.

    `digest` is of the request. `segment` is where the writer's journal stood when the call was claimed. `status`,
    `headers` and `body` are the reply's; `hide_usage` and `tail` say how it is made from the recorded payload, and
    `why` is a sentence for a reply that cannot be given again, or for an end that is not known. `model` is the one that
    answered, `cost_usd` what that cost, both None where unknown.
    """

    state: State
    digest: str
    attempt: str
    holder: Holder
    since_ns: int
    expires_ns: int
    segment: int = 0
    trace_id: str | None = None
    span_id: str | None = None
    status: int | None = None
    headers: tuple[Header, ...] = ()
    body: Body | None = None
    hide_usage: bool = False
    tail: bytes = b""
    why: str | None = None
    model: str | None = None
    cost_usd: float | None = None


class Told(NamedTuple):
    """What the journal says of an attempt: its span as last written, and whether the upstream may have been asked."""

    span: Span | None
    asked: bool


def last_segment(folder: Path) -> int:
    """Where a writer's journal stands; 0 where it has not begun."""
    return max(segments_of(folder), default=0)


def told(folder: Path, segment: int, attempt: str) -> Told:
    """Look for an attempt in a writer's journal from a segment on; reads the disk, so call it in a thread."""
    span, asked, mark = None, False, attempt.encode()
    for frame in read_frames(folder, segment):
        if frame.head.kind != FrameKind.SPAN or mark not in frame.payload:
            continue
        found = unpack(Span, frame.payload)
        if found.attributes.get(MARK) != attempt:
            continue
        span = found
        asked = asked or found.status == Status.OPEN
        if found.status != Status.OPEN:
            break
    return Told(span, asked)


def end_of(span: Span | None, asked: bool, untouched: bool) -> tuple[Literal["free", "done", "unknown"], str | None]:
    """What a key is worth after its call: free again, spent on a whole reply, or spent on an unknown end.

    A key is spent when something may have been charged. A call that was refused, was never sent on, or that the
    upstream turned away (a 4xx, or a 5xx by which no work is done) may be repeated under it, unless it was asked more
    than once and an attempt before the last may have been charged.
    """
    if not asked:
        return "free", None
    if span is None or span.status == Status.OPEN:
        return "unknown", "the upstream was asked, and its answer is not on record"
    status = span.http_status or 0
    charged = UNMETERED in span.attributes or span.usage != Usage()
    if not charged and (untouched or 400 <= status < 500 or status in _NO_WORK_DONE):
        return "free", None
    if charged and status >= 400:
        return "unknown", f"an attempt of it may have been charged, and the last one ended with status {status}"
    if span.error_type in _BROKEN:
        return "unknown", f"the upstream was asked, and the reply did not come whole ({span.error_type})"
    if status >= 500 or status == 0:
        return "unknown", f"the upstream was asked and failed with status {status or 'none'}"
    return "done", None


class Made(NamedTuple):
    """How a reply is made from a recorded payload; `body` is None when it cannot be, and `why` says so."""

    body: Body | None
    hide_usage: bool = False
    tail: bytes = b""
    why: str | None = None


def made_from(span: Span, sent: bytes, read: Callable[[Body], bytes]) -> Made:
    """Find the recorded payload from which the very bytes that were sent can be made; reads the disk."""
    replies = [body for body in span.bodies if body.name.startswith("reply")]
    for body in replies:
        if body.redactions:
            continue
        kept = read(body)
        for hide, plain in ((False, kept), (True, _without_usage(kept) if b"usage" in kept else kept)):
            tail = sent[len(plain) :]
            if sent.startswith(plain) and len(tail) <= LONGEST_TAIL and (plain or not sent):
                return Made(body, hide, tail)
    if not sent and not replies:
        return Made(None)
    redacted = sum(body.redactions for body in replies)
    if redacted:
        why = f"{redacted} sensitive values were taken out of it when it was recorded"
    elif not replies:
        why = "it is not on record"
    else:
        why = "what is on record is not the bytes that were sent"
    return Made(None, why=why)


def reply_of(keyed: Keyed, read: Callable[[Body], bytes]) -> bytes:
    """The bytes of a stored reply; raises what `read` raises for a payload that is gone."""
    if keyed.body is None:
        return keyed.tail
    kept = read(keyed.body)
    return (_without_usage(kept) if keyed.hide_usage else kept) + keyed.tail


def _without_usage(kept: bytes) -> bytes:
    reader = StreamReader(hide_usage=True)
    return reader.feed(kept) + reader.finish()
