"""Makes a call once for all requests that show the same `Idempotency-Key`: the reply of the first is given again.

A key belongs to its caller's tenant and key and is bound to the request's digest. Its call runs apart from the
connection, so that a client that gives up and comes back finds the call where it is. What is known of it stands in the
Cells (see `keyed`): after a crash the journal says whether it ended, was never asked, or is unknown.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Literal, NamedTuple

import msgspec

from watchkeeper.engines.gateway.attempt import Attempt
from watchkeeper.engines.gateway.errors import NO_RETRY, Header, Refusal
from watchkeeper.engines.gateway.exchange import Abandoned, ClientGone, Exchange, Message, Receive, Send
from watchkeeper.engines.gateway.keyed import Keyed, end_of, last_segment, made_from, reply_of, told
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.gateway.presence import Presence
from watchkeeper.engines.gateway.tape import Tape
from watchkeeper.kinds.ports import Applied, Cells, Swap
from watchkeeper.records.body import Body
from watchkeeper.records.ids import digest, new_id
from watchkeeper.records.record import Record, pack, unpack
from watchkeeper.records.span import Span

HEADER = b"idempotency-key"
ON_UNKNOWN = b"x-watchkeeper-on-unknown"
STATE = b"x-watchkeeper-idempotent"
PREFIX = "idempotency/"
LONGEST_KEY = 255
SWEEP_EVERY_S = 600.0
_POLL_S = 0.1
_RETRY_AFTER_S = 2
_WAIT = re.compile(rb"(?:^|,)\s*wait=(\d{1,4})\s*(?:,|;|$)")
_log = logging.getLogger("watchkeeper.gateway")

Serve = Callable[[Message, Receive, Send], Awaitable[None]]
Admit = Callable[[Exchange], Awaitable[Key | None]]


class IdempotencySettings(Record):
    """How long a key is remembered, how long a repeat waits for the first, and what follows an unknown end."""

    keep_s: float = 86_400.0
    wait_s: float = 60.0
    on_unknown: Literal["refuse", "retry"] = "refuse"
    max_body_bytes: int = 64 << 20


class Asked(NamedTuple):
    """A request with a key: its cell, its digest, its body, and what it says of waiting and of an unknown end."""

    cell: str
    digest: str
    body: bytes
    wait_s: float
    retry_unknown: bool


class Once:
    """The layer before the gateway's own application. `start` inside the running loop, `stop` at the end.

    `counts` tells what came of requests with a key, for metrics.
    """

    def __init__(
        self,
        cells: Cells,
        presence: Presence,
        journal: Path,
        read: Callable[[Body], bytes],
        settings: IdempotencySettings,
        clock_ns: Callable[[], int],
    ) -> None:
        """`journal` is the folder of all writers' journals; `read` gives a payload's bytes from the disk."""
        self._cells, self._presence, self._journal, self._read = cells, presence, journal, read
        self.settings, self._clock_ns = settings, clock_ns
        self._tapes: dict[str, Tape] = {}
        self._work: dict[str, asyncio.Task[None]] = {}
        self._sweeping: asyncio.Task[None] | None = None
        self.counts: Counter[str] = Counter()

    async def start(self) -> None:
        """Settle what a former process left, and forget old keys from time to time."""
        self._sweeping = asyncio.create_task(self._sweep(), name="idempotency keys")

    async def stop(self) -> None:
        """Wait for the cells of calls that have ended; the gateway has been closed before."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)
        if self._work:
            await asyncio.wait(list(self._work.values()), timeout=5)

    def wants(self, scope: Message) -> bool:
        """Whether a request is to be made once: it posts something and shows a key."""
        return scope["method"] == "POST" and any(name == HEADER for name, _ in scope["headers"])

    def cell_of(self, key: Key | None, name: str) -> str:
        """The cell of a caller's idempotency key."""
        who = ("default", "") if key is None else (key.tenant, key.key_id)
        return PREFIX + digest("\x1f".join((*who, name)).encode())

    def cancel(self, cell: str) -> bool:
        """Stop the call under a cell, if this process makes it; says whether it did."""
        task = self._work.get(cell)
        return task is not None and task.cancel()

    async def settled(self, cell: str) -> None:
        """Return when this process makes no call under a cell any more, and what came of it is written."""
        task = self._work.get(cell)
        if task is not None:
            await asyncio.wait([task])

    async def __call__(self, scope: Message, receive: Receive, send: Send, serve: Serve, admit: Admit) -> None:
        """Answer a request with a key: by `serve` the first time, from the first reply afterwards."""
        exchange = Exchange(scope, receive, send)
        try:
            key = await admit(exchange)
        except Refusal:
            await serve(scope, receive, send)  # refuses in the same words, and counts it
            return
        try:
            asked = await self._read_request(exchange, key)
            await self._answer(asked, {**scope, "watchkeeper.key": key}, exchange, send, serve)
        except ClientGone:
            return
        except Refusal as refusal:
            self.counts[refusal.code] += 1
            await exchange.refuse(refusal)
        except Abandoned:
            raise
        except OSError as error:
            await exchange.refuse(_unavailable(error))
        except Exception as error:
            _log.exception("a call with an idempotency key could not be looked up")
            if exchange.begun:
                raise Abandoned from error
            await exchange.refuse(_unavailable(error))

    async def _read_request(self, exchange: Exchange, key: Key | None) -> Asked:
        name = exchange.headers[HEADER].strip().strip(b'"')
        if not 0 < len(name) <= LONGEST_KEY or not name.isascii() or not name.decode("latin-1").isprintable():
            raise Refusal(
                400,
                "idempotency_key_malformed",
                f"An Idempotency-Key is 1 to {LONGEST_KEY} printable ASCII characters; this one has {len(name)} bytes. "
                "Use a UUID for each thing that should happen once.",
                param="Idempotency-Key",
                close=True,
            )
        wish = exchange.headers.get(ON_UNKNOWN, b"").strip().lower() or self.settings.on_unknown.encode()
        if wish not in (b"retry", b"refuse"):
            raise Refusal(
                400,
                "invalid_header",
                f"X-Watchkeeper-On-Unknown is {wish.decode('latin-1')[:40]!r}; it should be retry or refuse.",
                param="X-Watchkeeper-On-Unknown",
                close=True,
            )
        body = await exchange.body(self.settings.max_body_bytes)
        plain = exchange.plain(body, self.settings.max_body_bytes)
        seen = hashlib.blake2b(f"{exchange.method} {exchange.raw_path}{exchange.query}\0".encode(), digest_size=16)
        seen.update(exchange.headers.get(b"x-watchkeeper-upstream", b"") + b"\0" + plain)
        wait = _WAIT.search(exchange.headers.get(b"prefer", b""))
        wait_s = self.settings.wait_s if wait is None else min(float(wait[1]), self.settings.wait_s)
        cell = self.cell_of(key, name.decode())
        return Asked(cell, seen.hexdigest(), body, wait_s, wish == b"retry")

    async def _answer(self, asked: Asked, scope: Message, exchange: Exchange, send: Send, serve: Serve) -> None:
        """Claim the key and make the call, or give what is known of the call that was made under it."""
        until_s = monotonic() + asked.wait_s
        while True:
            value = await self._cells.get(asked.cell)
            held = unpack(Keyed, value) if isinstance(value, bytes) else None
            fresh = held is None or (held.state != "running" and held.expires_ns <= self._clock_ns())
            if not fresh and held is not None and held.digest != asked.digest:
                raise _reused(held)
            if fresh or (held is not None and held.state == "unknown" and asked.retry_unknown):
                if await self._claimed(asked, scope, value, send, serve):
                    return
            elif held is not None and held.state == "done":
                await self._replay(held, exchange)
                return
            elif held is not None and held.state == "unknown":
                raise _unknown(held)
            elif held is not None and await self._join(asked, held, value, until_s, send):
                return

    async def _claimed(
        self, asked: Asked, scope: Message, before: int | bytes | None, send: Send, serve: Serve
    ) -> bool:
        """Take the key for this request and make its call; False when another was faster."""
        attempt, now_ns, me = Attempt(new_id("idm")), self._clock_ns(), self._presence.me
        held = Keyed(
            state="running",
            digest=asked.digest,
            attempt=attempt.name,
            holder=me,
            since_ns=now_ns,
            expires_ns=now_ns + round(self.settings.keep_s * 1e9),
            segment=last_segment(self._journal / me.writer),
        )
        written = pack(held)
        expected = before if isinstance(before, bytes) else None
        answer = await self._cells.apply([Swap(key=asked.cell, expected=expected, value=written)])
        if not isinstance(answer, Applied):
            return False
        self.counts["first"] += 1
        tape = self._tapes[asked.cell] = Tape(self.settings.max_body_bytes)
        inner = {**scope, "watchkeeper.attempt": attempt}
        work = self._make(asked, held, attempt, tape, lambda: serve(inner, _given(asked.body), tape.send))
        task = self._work[asked.cell] = asyncio.create_task(work, name="keyed call")
        task.add_done_callback(lambda _: self._work.pop(asked.cell, None))
        await tape.play(send, first=True)
        return True

    async def _make(
        self, asked: Asked, held: Keyed, attempt: Attempt, tape: Tape, serve: Callable[[], Awaitable[None]]
    ) -> None:
        """Make the call apart from its client, and write what came of it."""
        try:
            await serve()
        except Abandoned:
            _log.info("the reply of a keyed call was given up half-way")
        finally:
            tape.give_up()
            try:
                await self._settle(asked.cell, held, attempt, tape)
            except Exception as error:  # noqa: BLE001 - the cell says "running" by a call that is not: the next looks
                _log.error("the end of a keyed call could not be written: %s", error)
            self._tapes.pop(asked.cell, None)

    async def _settle(self, cell: str, held: Keyed, attempt: Attempt, tape: Tape) -> None:
        end, why = end_of(attempt.span, attempt.asked, attempt.untouched)
        if end == "done" and tape.broken:
            end, why = "unknown", "the upstream was asked, and the reply was given up half-way"
        after: Keyed | None = None
        if end == "unknown":
            after = _ended(held, attempt.span, "unknown", why=why)
        elif end == "done":
            after = await self._kept(held, attempt.span, tape)
        value = None if after is None else pack(after)
        await self._cells.apply([Swap(key=cell, expected=pack(held), value=value)])
        self.counts[f"ended_{end}"] += 1

    async def _kept(self, held: Keyed, span: Span | None, tape: Tape) -> Keyed:
        """The cell of a call whose reply was whole: where its bytes lie, or why they cannot be given again."""
        assert span is not None
        headers = tuple((name, value) for name, value in tape.headers if name != b"content-length")
        after = _ended(held, span, "done", status=tape.status, headers=headers)
        if tape.over:
            return msgspec.structs.replace(after, why="it was longer than what is kept")
        try:
            made = await asyncio.to_thread(made_from, span, tape.body, self._read)
        except (LookupError, ValueError, OSError) as error:
            return msgspec.structs.replace(after, why=f"it cannot be read from the record: {error}")
        return msgspec.structs.replace(after, body=made.body, hide_usage=made.hide_usage, tail=made.tail, why=made.why)

    async def _join(self, asked: Asked, held: Keyed, value: int | bytes | None, until_s: float, send: Send) -> bool:
        """Be answered by the call that is under way; False when its state has changed and must be looked at anew."""
        tape = self._tapes.get(asked.cell)
        if tape is not None and not tape.over:
            if not await tape.begun(max(0.0, until_s - monotonic())):
                raise _in_progress(held)
            if tape.status is None:
                return False
            self.counts["joined"] += 1
            await tape.play(send, [(STATE, b"replayed")])
            return True
        ours = self._presence.mine(held.holder)
        if (ours and asked.cell not in self._work) or (not ours and await self._presence.gone(held.holder)):
            await self._resolve(asked.cell, held, value)
            return False
        if monotonic() >= until_s:
            raise _in_progress(held)
        await asyncio.sleep(_POLL_S)
        return False

    async def _resolve(self, cell: str, held: Keyed, value: int | bytes | None) -> None:
        """Write what the journal says of a call whose process is gone."""
        after: Keyed | None
        why: str | None
        if not self._presence.home(held.holder):
            why = "the gateway that made the call is gone, and the record of it lies with that gateway"
            after = _ended(held, None, "unknown", why=why)
        else:
            folder = self._journal / held.holder.writer
            said = await asyncio.to_thread(told, folder, held.segment, held.attempt)
            end, why = end_of(said.span, said.asked, False)
            if end == "free" and said.span is None and held.holder.boot != self._presence.me.boot:
                # The machine went down as well, so what the journal had not yet on the disk is not there to ask.
                end, why = "unknown", "the machine went down during the call, and its record may not be whole"
            if end == "done":
                assert said.span is not None
                body = next((each for each in said.span.bodies if each.name == "reply"), None)
                media = (b"content-type", (body.media if body else "application/json").encode("latin-1", "replace"))
                after = _ended(held, said.span, "done", status=said.span.http_status, headers=(media,), body=body)
                if body is not None and body.redactions:
                    why = f"{body.redactions} sensitive values were taken out of it when it was recorded"
                    after = msgspec.structs.replace(after, body=None, why=why)
            else:
                after = _ended(held, said.span, "unknown", why=why) if end == "unknown" else None
        expected = value if isinstance(value, bytes) else None
        await self._cells.apply([Swap(key=cell, expected=expected, value=None if after is None else pack(after))])
        self.counts["resolved"] += 1

    async def _replay(self, held: Keyed, exchange: Exchange) -> None:
        """Give the first reply again: status, headers and bytes, a stream as a stream."""
        if held.why is not None:
            raise _not_kept(held, held.why)
        if not self._presence.home(held.holder):
            raise _not_kept(held, "its bytes lie with another gateway; send the repeat to that one")
        try:
            body = await asyncio.to_thread(reply_of, held, self._read)
        except (LookupError, ValueError, OSError) as error:
            raise _not_kept(held, str(error.args[0] if error.args else error), status=410) from error
        self.counts["replayed"] += 1
        headers = [*held.headers, (STATE, b"replayed")]
        if any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers):
            await exchange.begin(held.status or 200, headers)
            await exchange.push(body)
            await exchange.end()
        else:
            await exchange.reply(held.status or 200, headers, body)

    async def _sweep(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - it is tried again later; nothing depends on it
                _log.warning("idempotency keys could not be looked through: %s", error)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self) -> int:
        """Forget keys whose time is over, and settle calls that a former process of this house left; how many went."""
        gone, cursor = 0, None
        while True:
            page = await self._cells.scan(PREFIX, cursor)
            for cell, value in page.items:
                if not isinstance(value, bytes):
                    continue
                held = unpack(Keyed, value)
                if held.state == "running":
                    if self._presence.home(held.holder) and await self._presence.gone(held.holder):
                        await self._resolve(cell, held, value)
                elif held.expires_ns <= self._clock_ns():
                    await self._cells.apply([Swap(key=cell, expected=value, value=None)], urgent=False)
                    gone += 1
            cursor = page.cursor
            if cursor is None:
                return gone

    def metrics(self) -> bytes:
        """What came of requests with a key, in the Prometheus text format."""
        name = "watchkeeper_gateway_idempotent_total"
        lines = [f"# HELP {name} Requests with an Idempotency-Key, by what came of them.", f"# TYPE {name} counter"]
        lines += [f'{name}{{outcome="{outcome}"}} {count}' for outcome, count in sorted(self.counts.items())]
        return ("\n".join(lines) + "\n").encode()


def _given(body: bytes) -> Receive:
    """The request's body once, and then a client that stays whatever the real one does."""
    waiting = True

    async def receive() -> Message:
        nonlocal waiting
        if waiting:
            waiting = False
            return {"type": "http.request", "body": body, "more_body": False}
        never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        return await never

    return receive


def _ended(
    held: Keyed,
    span: Span | None,
    state: Literal["done", "unknown"],
    *,
    status: int | None = None,
    headers: tuple[Header, ...] = (),
    body: Body | None = None,
    why: str | None = None,
) -> Keyed:
    return msgspec.structs.replace(
        held,
        state=state,
        trace_id=None if span is None else span.trace_id,
        span_id=None if span is None else span.span_id,
        status=status,
        headers=headers,
        body=body,
        why=why,
        model=None if span is None else span.model,
        cost_usd=None if span is None else span.cost_usd,
    )


def _place(held: Keyed) -> str:
    return "" if held.span_id is None else f" Its record is span {held.span_id} of trace {held.trace_id}."


def _reused(held: Keyed) -> Refusal:
    return Refusal(
        422,
        "idempotency_key_reused",
        "This Idempotency-Key was used before with another request." + _place(held) + " Give each request a key of its "
        "own; a repeat must send the same bytes to the same path.",
        param="Idempotency-Key",
        headers=(NO_RETRY,),
    )


def _in_progress(held: Keyed) -> Refusal:
    del held
    return Refusal(
        409,
        "idempotency_in_progress",
        f"The first request with this Idempotency-Key is still under way. Ask again in {_RETRY_AFTER_S} s; "
        "nothing is charged for that.",
        kind="unavailable",
        headers=((b"retry-after", str(_RETRY_AFTER_S).encode()),),
    )


def _unknown(held: Keyed) -> Refusal:
    return Refusal(
        409,
        "idempotency_unknown",
        f"What became of the first request with this Idempotency-Key is not known: {held.why}."
        + _place(held)
        + " It may have been charged, so it is not made again by itself. Look at the record; to make it all the same, "
        "repeat it with X-Watchkeeper-On-Unknown: retry.",
        kind="unavailable",
        headers=(NO_RETRY, (STATE, b"unknown")),
    )


def _not_kept(held: Keyed, why: str, status: int = 409) -> Refusal:
    return Refusal(
        status,
        "idempotency_reply_not_kept",
        f"The request with this Idempotency-Key was answered before with status {held.status}, and the reply cannot be "
        f"given again: {why}." + _place(held) + " It is not made a second time; use another key to make it anew.",
        kind="unavailable",
        headers=(NO_RETRY, (STATE, b"done")),
    )


def _unavailable(error: BaseException) -> Refusal:
    return Refusal(
        503,
        "idempotency_unavailable",
        f"Whether this Idempotency-Key was used before cannot be looked up ({type(error).__name__}), so the call was "
        "not made. Try again in a moment, or send it without the key.",
        kind="unavailable",
        headers=((b"retry-after", b"2"),),
    )
