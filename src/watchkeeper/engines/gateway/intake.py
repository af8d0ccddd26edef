"""The doors through which others write: OTLP traces, scores, outcomes, feedback, sessions, and decisions on request.

Raw ASGI, like the gateway. A door answers 200 when what it took is in the journal: handed to the operating system,
or with `durable` on the disk. What the journal cannot take is answered 503 with a time to try again, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import msgspec

from watchkeeper.engines.gateway import acts, assembly, submissions
from watchkeeper.engines.gateway.assembly import SOURCE_BODY, SOURCE_MEDIA, text_of
from watchkeeper.engines.gateway.errors import JSON_TYPE, Header, Refusal
from watchkeeper.engines.gateway.exchange import ClientGone, Exchange, Message, Receive, Send
from watchkeeper.engines.gateway.identity import join_trace, resolve
from watchkeeper.engines.gateway.key_record import check_scope
from watchkeeper.engines.gateway.keys import Key, KeyRing, key_required, presented
from watchkeeper.engines.gateway.ports import Chain, Payload
from watchkeeper.engines.gateway.submissions import SentEvent, SentUsage, event_of, read
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.ledger import DropLedger, reason_of
from watchkeeper.engines.recorder.redaction import RedactionFailed
from watchkeeper.records.body import Body
from watchkeeper.records.drop import Drop
from watchkeeper.records.event import Event, Stage
from watchkeeper.records.identity import Identity
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Record, as_json
from watchkeeper.records.span import Cost, Usage

TRACES = "/v1/traces"
LOGS = "/v1/logs"
METRICS = "/v1/metrics"
EXPORTS = (TRACES, LOGS, METRICS)
"""Where OpenTelemetry exporters send."""
DECIDE = "/api/v1/decide"
SHAPES = {**submissions.SHAPES, **assembly.SHAPES, **acts.SHAPES}
PATHS = frozenset((*EXPORTS, DECIDE, *SHAPES))
"""The paths that are answered here."""

MAX_BODY_BYTES = 64 << 20
RETRY_AFTER_S = 5
_LARGE_BYTES = 256 << 10
_MOST_REMEMBERED = 20_000
_OWNER = "wko-"
_PROTOBUF: Header = (b"content-type", b"application/x-protobuf")
_TOLD = "answered 503 with a time to try again: a sender that does so loses nothing"
_log = logging.getLogger("watchkeeper.intake")


class Recorder(Protocol):
    """The journal as the doors use it. Thread-safe; writing may raise `OSError`."""

    def append(self, record: Record) -> object:
        """Keep one record."""
        ...

    def append_raw(self, kind: FrameKind, payload: bytes) -> object:
        """Keep a payload as it is."""
        ...

    def write(
        self, payloads: Sequence[Payload], records_of: Callable[[tuple[Body, ...]], Iterable[Record]]
    ) -> tuple[Body, ...]:
        """Keep payloads, and the records that are made of their bodies, in one write."""
        ...

    async def synced(self) -> None:
        """Return when everything appended so far is on the disk."""
        ...


class Counted(Protocol):
    """What is known of an export without building its spans."""

    @property
    def spans(self) -> int:
        """How many spans it holds."""
        ...

    @property
    def rejected(self) -> int:
        """How many of them cannot be kept as spans."""
        ...

    @property
    def reasons(self) -> Mapping[str, int]:
        """How many for which reason."""
        ...


class TraceFormat(NamedTuple):
    """How trace exports are read and answered; every function raises `ValueError` for bytes that are no export."""

    check: Callable[[bytes], Counted]
    from_json: Callable[[bytes], bytes]
    stamp: Callable[[bytes, int, Identity], bytes]
    reply: Callable[[int, str], bytes]
    failure: Callable[[str], bytes]


class Signal(NamedTuple):
    """One signal of OTLP: its format, the frame that keeps it (None: it is refused and counted), and its words."""

    format: TraceFormat
    kind: FrameKind | None
    items: str
    rejected_field: str


class Outcome(NamedTuple):
    """What became of an export: how many items were refused, with the reason in a sentence (empty: all was taken)."""

    rejected: int
    message: str


class Intake:
    """The doors as one ASGI application. `counts` tells what was taken and what was not, for metrics."""

    def __init__(
        self,
        journal: Recorder,
        traces: TraceFormat,
        chain: Chain | None = None,
        keys: KeyRing | None = None,
        *,
        require_keys: bool = False,
        durable: bool = False,
        max_body_bytes: int = MAX_BODY_BYTES,
        signals: Mapping[str, Signal] | None = None,
        clock_ns: Callable[[], int] = time.time_ns,
        ledger: DropLedger | None = None,
        private: Callable[[Identity], Identity] | None = None,
    ) -> None:
        """`ledger` counts what cannot be kept; `private` makes tokens of the names in an identity."""
        self._ledger = ledger or DropLedger()
        self._private = private or (lambda identity: identity)
        self._journal, self._chain, self._keys = journal, chain, keys
        self._signals = {TRACES: Signal(traces, FrameKind.OTLP, "spans", "rejectedSpans"), **(signals or {})}
        self._require_keys, self._durable = require_keys, durable
        self._limit_bytes, self._clock_ns = max_body_bytes, clock_ns
        self._taken: OrderedDict[str, str] = OrderedDict()
        self._reserved: OrderedDict[str, str] = OrderedDict()
        self.counts: Counter[str] = Counter()

    def use(self, chain: Chain | None) -> None:
        """Other policies are in force from now on."""
        self._chain = chain

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request to one of `PATHS`; a key that was checked before comes in `scope["watchkeeper.key"]`."""
        shown = scope.get("watchkeeper.key")
        exchange = Exchange(scope, receive, send)
        try:
            status, headers, body = await self._answer(exchange, shown if isinstance(shown, Key) else None)
        except ClientGone:
            return
        except Refusal as refusal:
            self.counts[f"refused:{refusal.code}"] += 1
            signal = self._signals.get(exchange.path)
            if signal is not None and refusal.status != 415:
                headers, body = _in_otlp(signal, exchange, refusal)
                await exchange.reply(refusal.status, [*headers, *refusal.headers], body)
            else:
                await exchange.refuse(refusal)
            return
        await exchange.reply(status, headers, body)

    async def _answer(self, exchange: Exchange, shown: Key | None) -> tuple[int, list[Header], bytes]:
        if exchange.method != "POST":
            allow = (b"allow", b"POST")
            raise Refusal(405, "method_not_allowed", f"{exchange.path} takes POST only.", headers=(allow,))
        _same_origin(exchange.headers)
        media = exchange.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        identity = await self._identify(exchange.headers, shown)
        if exchange.path in EXPORTS:
            return await self._take_body(exchange, media, identity)
        if media != b"application/json":
            raise Refusal(
                415, "unsupported_media_type", f"{exchange.path} takes application/json, not {_shown(media)}."
            )
        body = exchange.plain(await exchange.body(self._limit_bytes), self._limit_bytes)
        if exchange.path == DECIDE:
            return await self._decide(exchange, body, identity)
        return await self._take_records(exchange.path, body, identity)

    async def _identify(self, headers: Mapping[bytes, bytes], key: Key | None) -> Identity:
        secret = presented(headers)
        if secret is not None and secret.startswith(_OWNER) and not self._require_keys:
            secret = None  # the owner's own commands show their token even where nobody asks for one
        if key is None and secret is not None and self._keys is not None:
            key = await self._keys.check(secret)
        elif key is None and self._require_keys:
            raise key_required()
        check_scope(key, "ingest")
        return self._private(resolve(headers, key, {}))

    async def identify(self, headers: Mapping[bytes, bytes], *, needs_key: bool = False) -> Identity:
        """Who sends, from gRPC metadata named like headers; raises `Refusal` where a key is missing or bad."""
        secret = presented(headers)
        if needs_key and secret is None:
            raise key_required()
        if needs_key and secret is not None and self._keys is not None:
            # Checked here whatever it looks like: nobody has looked at it before, and the owner's token is not known.
            key = await self._keys.check(secret)
            check_scope(key, "ingest")
            return self._private(resolve(headers, key, {}))
        return await self._identify(headers, None)

    def answer(self, path: str, outcome: Outcome) -> bytes:
        """What an exporter is told of an export that was taken, as protobuf."""
        return self._signal(path).format.reply(outcome.rejected, outcome.message)

    async def take_export(self, path: str, body: bytes, identity: Identity, *, json: bool = False) -> Outcome:
        """Keep one plain export of the signal at `path`, protobuf or JSON; raises `Refusal` when nothing was taken."""
        signal = self._signal(path)
        if len(body) > _LARGE_BYTES:
            payload, counted = await asyncio.to_thread(_read_export, signal, body, json)
        else:
            payload, counted = _read_export(signal, body, json)
        if counted.spans:
            await self._keep_export(signal, payload, counted, identity)
        self.counts[signal.items] += counted.spans - counted.rejected
        self.counts[f"{signal.items}_rejected"] += counted.rejected
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(counted.reasons.items()))
        items = signal.items.replace("_", " ")
        if signal.kind is None and why:
            return Outcome(counted.rejected, f"{items} are not kept here: send them to a metrics system ({why}).")
        message = f"{counted.rejected} of {counted.spans} {items} cannot be kept as {items}: {why}." if why else ""
        return Outcome(counted.rejected, message)

    async def _keep_export(self, signal: Signal, payload: bytes, counted: Counted, identity: Identity) -> None:
        """Write an export as it came; of a signal that is not kept, one line in the drop ledger."""
        now_ns, kind = self._clock_ns(), signal.kind
        if kind is not None:
            stamped = signal.format.stamp(payload, now_ns, identity)
            await self._write(lambda: self._journal.append_raw(kind, stamped), len(stamped), counted.spans)
            return
        for reason, count in sorted(counted.reasons.items()):
            drop = Drop(what=signal.items, reason=reason, count=count, first_ns=now_ns, last_ns=now_ns, door="otlp")
            await self._write(lambda drop=drop: self._journal.append(drop), 0, count)  # type: ignore[misc]

    def _signal(self, path: str) -> Signal:
        signal = self._signals.get(path)
        if signal is None:
            raise Refusal(404, "not_found", f"{path} is not taken by this server.")
        return signal

    async def _take_body(self, exchange: Exchange, media: bytes, identity: Identity) -> tuple[int, list[Header], bytes]:
        if media not in (b"application/x-protobuf", b"application/json"):
            raise Refusal(
                415,
                "unsupported_media_type",
                f"{exchange.path} takes OTLP as application/x-protobuf or application/json, not {_shown(media)}. "
                "Set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf in the program that sends.",
            )
        signal = self._signal(exchange.path)
        body = await exchange.body(self._limit_bytes)
        if len(body) > _LARGE_BYTES:
            body = await asyncio.to_thread(exchange.plain, body, self._limit_bytes)
        else:
            body = exchange.plain(body, self._limit_bytes)
        rejected, message = await self.take_export(exchange.path, body, identity, json=media == b"application/json")
        if media == b"application/json":
            partial = {"partialSuccess": {signal.rejected_field: str(rejected), "errorMessage": message}}
            return 200, [JSON_TYPE], as_json(partial if message else {})
        return 200, [_PROTOBUF], signal.format.reply(rejected, message)

    async def _take_records(self, path: str, body: bytes, identity: Identity) -> tuple[int, list[Header], bytes]:
        shape, make, key = SHAPES[path]
        sent, many = read(body, shape)
        now_ns = self._clock_ns()
        records = [make(each, identity, now_ns) for each in sent]
        fresh = []
        for record, source in zip(records, sent, strict=True):
            mark = digest(path.encode() + as_json(source))
            if self._taken.get(getattr(record, key)) != mark or getattr(source, "id", None) is None:
                fresh.append((record, mark, text_of(source)))
        if fresh:
            await self._write(lambda: self._append(fresh, key, identity.owner), len(body), len(fresh))
        self.counts[path.rsplit("/", 1)[-1]] += len(fresh)
        self.counts["repeated"] += len(records) - len(fresh)
        ids = [getattr(record, key) for record in records]
        return 200, [JSON_TYPE], as_json({"ids": ids} if many else {"id": ids[0]})

    def _append(self, fresh: list[tuple[Record, str, bytes | None]], key: str, owner: str) -> None:
        texts = {place: text for place, (_, _, text) in enumerate(fresh) if text is not None}
        if texts:

            def records_of(bodies: tuple[Body, ...]) -> Iterable[Record]:
                kept = dict(zip(texts, bodies, strict=True))
                return [
                    msgspec.structs.replace(record, content=kept[place]) if place in kept else record
                    for place, (record, _, _) in enumerate(fresh)
                ]

            self._journal.write([(text, SOURCE_BODY, SOURCE_MEDIA, owner) for text in texts.values()], records_of)
        else:
            for record, _, _ in fresh:
                self._journal.append(record)
        for record, mark, _ in fresh:
            _remember(self._taken, getattr(record, key), mark)

    async def _write(self, write: Callable[[], object], size_bytes: int, items: int) -> None:
        """Write to the journal, a large payload in a thread of its own; a 503 when that fails."""
        try:
            if size_bytes > _LARGE_BYTES:
                await asyncio.to_thread(write)
            else:
                write()
            if self._durable:
                await self._journal.synced()
        except OSError as error:
            self.counts["unrecorded"] += items
            self._ledger.lost("record", f"refused_{reason_of(error)}", "intake", items, _TOLD)
            _log.error("%d records could not be written and were refused: %s", items, error)
            raise _unavailable(error) from error
        except RedactionFailed as error:
            self.counts["unrecorded"] += items
            raise _unsearchable(items) from error

    async def _decide(self, exchange: Exchange, body: bytes, identity: Identity) -> tuple[int, list[Header], bytes]:
        (sent, *more), _ = read(body, SentEvent)
        if more:
            raise Refusal(
                422, "invalid_field", "One event is ruled on at a time; send one object, not a list of several."
            )
        event = event_of(sent, identity, join_trace(exchange.headers), self._clock_ns())
        event = msgspec.structs.replace(event, identity=self._private(event.identity))
        decisions: list[object] = []
        stop = None
        asked: list[str] = []
        if self._chain is not None:
            try:
                ruling = await self._chain.decide(event)
            except OSError as error:
                self.counts["unrecorded"] += 1
                raise _unavailable(error) from error
            if event.stage == Stage.TOOL_CALL and ruling.stop is None:
                # A cap on calls is used up by being granted: there is no bill to wait for.
                await self._chain.settle(event, Usage(), None)
            if event.stage == Stage.REQUEST and ruling.stop is None:
                _remember(self._reserved, event.span_id, "")
            decisions = [msgspec.to_builtins(each) for each in ruling.decisions]
            stop = None if ruling.stop is None else msgspec.to_builtins(ruling.stop)
            asked = [stage.value for stage in Stage if self._chain.wants(stage)]
        self.counts["decisions"] += 1
        answer = {
            "allowed": stop is None,
            "stop": stop,
            "decisions": decisions,
            "trace_id": event.trace_id,
            "span_id": event.span_id,
            "stages": asked,
            "settled": await self._settle(event, sent.usage),
        }
        return 200, [JSON_TYPE], as_json(answer)

    async def _settle(self, event: Event, used: SentUsage | None) -> object:
        """Correct a reservation to what was used; only one that was made through this door, so that no caller can
        settle a call of the gateway to nothing."""
        if used is None or self._chain is None or event.stage != Stage.REPLY:
            return None
        if self._reserved.pop(event.span_id, None) is None:
            return {"note": "nothing that was reserved through this door waits under that span_id"}
        cost = None if used.cost_usd is None else Cost(usd=used.cost_usd, source="the caller of /api/v1/decide")
        usage = Usage(input_tokens=used.input_tokens, output_tokens=used.output_tokens)
        return msgspec.to_builtins(await self._chain.settle(event, usage, cost))


def _read_export(signal: Signal, body: bytes, json: bool) -> tuple[bytes, Counted]:
    try:
        payload = signal.format.from_json(body) if json else body
        return payload, signal.format.check(payload)
    except ValueError as error:
        raise Refusal(400, "malformed_export", str(error)) from error


def _in_otlp(signal: Signal, exchange: Exchange, refusal: Refusal) -> tuple[list[Header], bytes]:
    """A refusal as exporters read it: the status message of OTLP, in the encoding of the request."""
    if b"json" in exchange.headers.get(b"content-type", b""):
        return [JSON_TYPE], as_json({"message": refusal.sentence})
    return [_PROTOBUF], signal.format.failure(refusal.sentence)


def _remember(known: OrderedDict[str, str], name: str, mark: str) -> None:
    known[name] = mark
    if len(known) > _MOST_REMEMBERED:
        known.popitem(last=False)


def _same_origin(headers: Mapping[bytes, bytes]) -> None:
    """Refuse what a page of another site sent through somebody's browser."""
    origin = headers.get(b"origin")
    site = headers.get(b"sec-fetch-site", b"none")
    own = headers.get(b"host", b"").decode("latin-1").lower()
    if site in (b"cross-site", b"same-site") or (
        origin is not None and urlsplit(origin.decode("latin-1")).netloc.lower() != own
    ):
        raise Refusal(
            403,
            "cross_origin",
            "This request comes from a page of another site. Send it from a program, or from the server's own pages.",
            kind="denied",
        )


def _unavailable(error: OSError) -> Refusal:
    """The answer when the journal cannot be written: the client keeps what it has and tries again."""
    retry = (b"retry-after", str(RETRY_AFTER_S).encode())
    return Refusal(
        503,
        "recording_unavailable",
        f"The journal cannot be written ({error.strerror or type(error).__name__}), so nothing was taken. "
        "Try again; the owner should look at the disk.",
        kind="unavailable",
        headers=(retry,),
    )


def _unsearchable(items: int) -> Refusal:
    """The answer when a body cannot be searched for sensitive values: sending it again would not help."""
    return Refusal(
        422,
        "redaction_failed",
        f"The body could not be searched for sensitive values, so none of its {items} items was kept. It stands in the "
        "drop ledger; the owner should look at the server's log.",
    )


def _shown(media: bytes) -> str:
    return repr(media.decode("latin-1")[:80]) if media else "a body without a content type"
