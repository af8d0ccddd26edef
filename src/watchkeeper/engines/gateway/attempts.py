"""Asks the targets of a call until one answers: retries with the provider's hints, fallbacks, limits and breakers.

Everything that happens before the first token reaches the caller is decided here; what an attempt may be repeated
after, and why, stands in docs/decisions/0015-what-is-asked-again.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from time import monotonic_ns
from typing import NamedTuple

from multidict import CIMultiDict

from watchkeeper.engines.gateway.attempted import Spending
from watchkeeper.engines.gateway.errors import Refusal, UpstreamFailure
from watchkeeper.engines.gateway.exchange import Exchange
from watchkeeper.engines.gateway.health import Board
from watchkeeper.engines.gateway.limits import Lease
from watchkeeper.engines.gateway.logbook import Logbook, Outcome
from watchkeeper.engines.gateway.opening import Opened, open_reply, wants_look
from watchkeeper.engines.gateway.parts import Parts
from watchkeeper.engines.gateway.recording import unrecorded
from watchkeeper.engines.gateway.rescues import ATTEMPT, UPSTREAM_HEADER, Rescue, Rescues, client_retries
from watchkeeper.engines.gateway.resuming import Resumable
from watchkeeper.engines.gateway.retrying import NO_HINT, Hint, Kind, hint_of, kind_of, may_repeat, wait_before
from watchkeeper.engines.gateway.routes import Route
from watchkeeper.engines.gateway.routing import Plan
from watchkeeper.engines.gateway.upstream import Reply
from watchkeeper.records.record import Scalar
from watchkeeper.records.span import Usage

Sendable = tuple[str, CIMultiDict[str], bytes]
Prepare = Callable[[Route, str, bytes], Sendable]
"""What is to be sent to a target: path, headers and body, from the path and body that were made for the first one."""

_NS = 1_000_000_000
_BYTES_A_TOKEN = 4
_USUAL_OUTPUT = 256
_SHARED = Random()


class Failed(NamedTuple):
    """An attempt that failed before its first token: how, and the upstream's reply or the error to answer with."""

    kind: Kind
    code: str
    status: int
    hint: Hint = NO_HINT
    reply: Reply | None = None
    error: UpstreamFailure | Refusal | None = None
    by_us: bool = False
    usage: Usage | None = None
    model: str | None = None


class Attempts:
    """The attempts of one call. `ask` gives the reply to pass back; `closed` must follow, whatever came of it."""

    def __init__(self, parts: Parts, exchange: Exchange, logbook: Logbook, plan: Plan, prepare: Prepare) -> None:
        self._parts, self._exchange, self._logbook = parts, exchange, logbook
        self.plan, self._prepare = plan, prepare
        self.board: Board = parts.board
        self.rescues = Rescues(logbook.happened, logbook.attributes)
        self.spending = Spending(parts.pricer, logbook.start_ns)
        self.target = plan.first
        self.guess_tokens = 0.0
        self._place = 0
        self._tried = 0
        self._lease: Lease | None = None
        self._number = 0
        self._began_ns = self._first_ns = monotonic_ns()
        self._open = False
        self.sent = ("", b"")
        self._first: Sendable | None = None
        if told := client_retries(exchange.headers):
            self.rescues.add(Rescue.CLIENT_RETRY, count=told)

    def made(self, path: str, body: bytes) -> None:
        """Make ready what the first target is sent; raises a `Refusal` where its credential is not there."""
        self._first = self._prepare(self.plan.first, path, body)

    async def ask(self, path: str, body: bytes) -> Reply:
        """Ask until a target answers or no rescue is left; the reply may still be an upstream's error.

        Raises `UpstreamFailure` or `Refusal` when the last attempt gave no reply at all.
        """
        self._first_ns = monotonic_ns()
        self.sent, self.guess_tokens = (path, body), len(body) / _BYTES_A_TOKEN + _USUAL_OUTPUT
        self.board.share(self.plan.route.name).called(self.plan.route.retry_share)
        self._choose()
        while True:
            failed, opened = await self._attempt(path, body)
            if failed is None:
                assert opened is not None
                return self._answered(opened.reply)
            wait_s = self._next(failed)
            if wait_s is None:
                return self._gave_up(failed)
            if failed.reply is not None:
                failed.reply.close()
            if wait_s:
                await self._pause(wait_s)

    def closed(self, outcome: Outcome) -> None:
        """The call has ended: give the turn back, and tell the breaker. A second time changes nothing."""
        if self._lease is None and not self._open and (self._number < 2 or self.spending.told):
            return
        usage = outcome.answer.usage
        known = None if usage.output_tokens is None else (usage.input_tokens or 0) + usage.output_tokens
        self._end(_verdict(outcome), known)
        if self._number > 1 and not self.spending.told:
            self.spending.told = True
            self._note(None, outcome.error_type, outcome.http_status)

    def counted(self, well: bool) -> None:
        """Count the call and its rescues, once, when it is over."""
        if self.rescues.counts:
            self.board.rescued.update(self.rescues.counts)
        self.board.successes += well

    def broke(self, error: UpstreamFailure) -> bool:
        """The stream of the attempt under way broke after its first token: whether another may go on with it.

        The attempt is closed as a failure, its use unknown. Chooses the next target, another one where there is one.
        """
        route = self.plan.route
        spent = sum(self.rescues.counts[kind.value] for kind in (Rescue.RETRY, Rescue.FALLBACK, Rescue.CONTINUED))
        if route.on_broken_stream != "continue" or spent >= route.rescues or self.rescues.counts[Rescue.CONTINUED]:
            return False
        self._end(error.code, None)
        self._note("broken", error.code, 200)
        self.spending.unknown()
        if len(self.plan.targets) > 1:
            self._place = self._following(self._place + 1) % len(self.plan.targets)
        return True

    async def go_on(self, path: str, body: bytes, reason: str) -> Reply | None:
        """Ask the chosen target for the rest of a broken stream; None when it does not answer well."""
        self._move()
        failed, opened = await self._attempt(path, body)
        if failed is not None or opened is None or opened.reply.status != 200 or not opened.reply.streamed:
            if opened is not None:
                opened.reply.close()
            self._end("undecided" if failed is None else _blame(failed), None)
            self._note(*("broken", "no_stream", None) if failed is None else (failed.kind, failed.code, failed.status))
            self.spending.told = True
            if failed is None or failed.kind == "broken":
                self.spending.unknown()
            return None
        self.rescues.add(Rescue.CONTINUED, to=self.target.spec.name, model=self.target.model, reason=reason)
        return opened.reply

    async def _attempt(self, path: str, body: bytes) -> tuple[Failed | None, Opened | None]:
        """One attempt at the target: (None, reply) when it may be passed back, else how it failed."""
        target, board = self.target, self.board
        self._number += 1
        self._began_ns = monotonic_ns()
        try:
            first, self._first = self._first, None
            to, headers, data = first if first and target is self.plan.first else self._prepare(target, path, body)
            await self._record(target, data, body)
            self._lease = await board.gate(target.spec).enter(self.guess_tokens, self._left_s())
        except Refusal as refusal:
            hint = hint_of(refusal.headers, self._parts.clock() / _NS)
            return Failed("unsent", refusal.code, refusal.status, hint, error=refusal, by_us=True), None
        board.begin(target.spec, target.model)
        self._open = True
        try:
            async with asyncio.timeout(self._attempt_s()):
                token = self._parts.credentials[target.spec.name].token
                reply = await self._parts.upstream.ask(target.spec, self._exchange.method, to, headers, data, token)
                opened = await open_reply(reply, target.spec, look=self._looks(reply))
        except TimeoutError:
            sentence = f"The upstream {target.spec.name!r} gave no first token in the time that its route allows it."
            return self._lost(UpstreamFailure(504, "upstream_timeout", sentence, sent=True))
        except UpstreamFailure as failure:
            return self._lost(failure)
        return self._judge(opened), opened

    def _judge(self, opened: Opened) -> Failed | None:
        """Whether a reply that has come counts as a failure: an error status, or an error inside a 200."""
        reply = opened.reply
        if opened.failure is not None:
            lost, _ = self._lost(opened.failure)
            kind: Kind = "broken" if opened.usage is not None else opened.kind
            return lost._replace(kind=kind, usage=opened.usage, model=opened.model)
        status = opened.error_status if opened.error is not None else reply.status
        if status < 400:
            return None
        hint = hint_of(reply.headers, self._parts.clock() / _NS)
        if hint.absurd:
            self.board.absurd_hints[self.target.spec.name] += 1
        kind = opened.kind if opened.error is not None else kind_of(status)
        if opened.usage is not None:
            kind = "broken"
        code = opened.error or str(status)
        return Failed(kind, code, status, hint, reply=reply, usage=opened.usage, model=opened.model)

    def _lost(self, failure: UpstreamFailure) -> tuple[Failed, None]:
        kind: Kind = "broken" if failure.sent else "unsent"
        return Failed(kind, failure.code, failure.status, error=failure), None

    def _next(self, failed: Failed) -> float | None:
        """Whether and after what wait (seconds) something else is tried; it is chosen here, and counted as a rescue."""
        route, hint = self.plan.route, failed.hint
        spent = sum(self.rescues.counts[kind.value] for kind in (Rescue.RETRY, Rescue.FALLBACK))
        if not self.plan.rescuable or spent >= route.rescues or not may_repeat(route, failed.kind):
            return None
        wait_s = self._retry_wait(failed) if self._tried < route.retries else None
        if hint.wait_s is not None and not failed.by_us and failed.status in (429, 503, 529):
            self.board.breaker(self.target.spec, self.target.model).cool(
                self.board.clock_s(), min(hint.wait_s, route.longest_wait_s)
            )
        follows = self._following(self._place + 1)
        if wait_s is not None and follows < len(self.plan.targets) and not self._ready(self.target):
            wait_s = None  # it is known to be ill, or asked to be left alone, and another is there
        if wait_s is not None and self.board.share(route.name).take():
            self._after(failed)
            self._tried += 1
            self.rescues.add(Rescue.RETRY, upstream=self.target.spec.name, reason=failed.code, wait_s=round(wait_s, 3))
            return wait_s
        left_s = self._left_s()
        if follows >= len(self.plan.targets) or not self._falls(failed) or (left_s is not None and left_s <= 0):
            return None
        self._after(failed)
        self._place = follows
        self._move()
        self.rescues.add(Rescue.FALLBACK, to=self.target.spec.name, model=self.target.model, reason=failed.code)
        return 0.0

    def _falls(self, failed: Failed) -> bool:
        """Whether the next target may be asked after this; a credential of the caller's own is shown no other."""
        if failed.by_us or failed.error is not None:
            return True
        if failed.status in (401, 403) and self.target.spec.credential == "client":
            return False
        return failed.status in self.plan.route.fallback_statuses

    def _retry_wait(self, failed: Failed) -> float | None:
        route = self.plan.route
        wanted = failed.hint.retry
        if wanted is None:
            wanted = failed.status in route.retry_statuses if failed.error is None else not failed.by_us
        if not wanted:
            return None
        wait_s = wait_before(route, self._tried, failed.hint, _SHARED)
        left_s = self._left_s()
        return None if wait_s is None or (left_s is not None and wait_s >= left_s) else wait_s

    def _after(self, failed: Failed) -> None:
        """A failed attempt that something follows is closed and written down."""
        self._end(_blame(failed), 0 if failed.kind == "unsent" else None)
        self._note(failed.kind, failed.code, failed.status)
        if failed.usage is not None:
            self.spending.known(failed.usage, failed.model or self.target.model, self.target.spec.provider)
        elif failed.kind == "broken":
            self.spending.unknown()

    def _choose(self) -> None:
        """Begin with the first target that is well; with none, with the first all the same, or refuse as it is set."""
        self._place = self._following(0)
        if self._place < len(self.plan.targets):
            self._move()
            if self._place:
                self.rescues.add(
                    Rescue.FALLBACK, to=self.target.spec.name, model=self.target.model, reason="circuit_open"
                )
            return
        self._place = 0
        self._move()
        spec = self.target.spec
        if spec.breaker.when_alone == "refuse":
            after = round(self.board.breaker(spec, self.target.model).wait_s(self.board.clock_s()))
            why = self.board.breaker(spec, self.target.model).why or "it asked to be left alone"
            raise Refusal(
                503,
                "circuit_open",
                f"No target of this call is well. Of the upstream {spec.name!r} it is known: {why}. "
                f"Nothing was sent. Try again in {after} s.",
                kind="unavailable",
                headers=((b"retry-after", str(after).encode()),),
            )

    def _following(self, place: int) -> int:
        """The next target from a place on that is well; how many there are when none is."""
        targets = self.plan.targets
        while place < len(targets) and not self._ready(targets[place]):
            place += 1
        return place

    def _ready(self, target: Route) -> bool:
        return self.board.breaker(target.spec, target.model).ready(self.board.clock_s())

    def _move(self) -> None:
        self.target, self._tried = self.plan.targets[self._place], 0
        if self.target.model or self._logbook.spec is None:
            self._logbook.route(self.target)

    async def _record(self, target: Route, data: bytes, first: bytes) -> None:
        """What another target is sent is kept beside what the first was; required recording holds for each."""
        if self._number > 1 and data != first:
            await self._logbook.keep(data, f"sent.{self._number}")
        more = target.spec.recording == "required" and self.plan.first.spec.recording != "required"
        if more and not await self._parts.keeper.synced():
            raise unrecorded(target.spec.name)

    async def _pause(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)

    def _answered(self, reply: Reply) -> Reply:
        """The reply that is passed back; what was waited for before it is the upstreams' time, not ours."""
        self._add_waits(reply)
        self._tell()
        if reply.streamed and reply.status == 200 and self.plan.route.on_broken_stream == "continue":
            return Resumable(reply, self)
        return reply

    def _gave_up(self, failed: Failed) -> Reply:
        self._tell()
        if failed.error is not None:
            if failed.usage is not None:
                self.spending.known(failed.usage, failed.model or self.target.model, self.target.spec.provider)
            raise failed.error
        assert failed.reply is not None
        self._add_waits(failed.reply)
        return failed.reply

    def _add_waits(self, reply: Reply) -> None:
        """Earlier attempts, pauses and the queue were no work of ours."""
        queued_ns = 0 if self._lease is None else round(self._lease.waited_s * _NS)
        earlier_ns = self._began_ns - self._first_ns if self._number > 1 else 0
        if queued_ns or earlier_ns:
            reply.waited_ns += earlier_ns + queued_ns

    def _tell(self) -> None:
        name = self.target.spec.name.encode("latin-1", "replace")
        self._exchange.extra += [(UPSTREAM_HEADER, name), *self.rescues.headers()]

    def _end(self, outcome: str, used_tokens: int | None) -> None:
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release(used_tokens)
        if self._open:
            self._open = False
            self.board.ended(self.target.spec, self.target.model, outcome)

    def _note(self, kind: str | None, code: str | None, status: int | None) -> None:
        """Write an attempt down: where, how it ended and how long it took."""
        details: dict[str, Scalar] = {
            "number": self._number,
            "upstream": self.target.spec.name,
            "model": self.target.model,
            "took_s": round((monotonic_ns() - self._began_ns) / _NS, 6),
        }
        ended = {"failure": kind, "error": code, "http_status": status}
        self._logbook.happened(ATTEMPT, details | {name: value for name, value in ended.items() if value is not None})

    def _looks(self, reply: Reply) -> bool:
        """Whether to look inside a reply before it is passed back: only where something could be done about it."""
        return self.plan.rescuable and wants_look(reply)

    def _left_s(self) -> float | None:
        limit = self.plan.route.deadline_s
        return None if limit is None else limit - (monotonic_ns() - self._first_ns) / _NS

    def _attempt_s(self) -> float | None:
        limits = [limit for limit in (self.plan.route.attempt_s, self._left_s()) if limit is not None]
        return max(0.001, min(limits)) if limits else None


_OURS = frozenset({"client_disconnected", "cancelled", "recording_unavailable"})
_THEIRS = frozenset({"upstream_disconnected", "upstream_timeout", "upstream_unreachable", "stream_incomplete"})


def _verdict(outcome: Outcome) -> str:
    """What a finished call says of its upstream: "ok", how it failed, or "undecided"."""
    if outcome.error_type in _OURS:
        return "undecided"
    if outcome.error_type in _THEIRS or outcome.error_type == "malformed_reply":
        return str(outcome.error_type)
    status = outcome.http_status or 0
    if status >= 500:
        return f"{status // 100}xx"
    if status >= 400:
        return "undecided"
    return "ok" if outcome.error_type is None else "error_inside"


def _blame(failed: Failed) -> str:
    """What a failed attempt says of its upstream. Being told to wait, or refused, is not being ill."""
    if failed.by_us or (400 <= failed.status < 500 and failed.error is None):
        return "undecided"
    return failed.code if failed.error is not None else f"{failed.status // 100}xx"
