"""The doors to jobs and to the ledger of effects, as one ASGI application: JSON in and out, and server-sent events.

It stands in the gateway process, which does not depend on the index, and in the store process, so that commands work
without a server; there nothing runs.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import msgspec

from watchkeeper.engines.gateway.errors import JSON_TYPE, Header, Refusal
from watchkeeper.engines.gateway.exchange import ClientGone, Exchange, Message, Receive, Send
from watchkeeper.engines.gateway.identity import resolve
from watchkeeper.engines.gateway.keyed import reply_of
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.jobs.desk import JobDesk, no_such_job
from watchkeeper.engines.jobs.effects import EffectLedger, Held, Settlement, Wish
from watchkeeper.engines.jobs.paths import EFFECTS, JOBS
from watchkeeper.engines.jobs.rights import Asker, Caller
from watchkeeper.engines.jobs.shapes import SentClaim, SentProgress, SentResume, SentSettle, read, read_many
from watchkeeper.engines.jobs.state import JobState, shown, told
from watchkeeper.engines.jobs.verifying import output_of
from watchkeeper.records.body import Body
from watchkeeper.records.identity import Identity
from watchkeeper.records.job import JobOutcome
from watchkeeper.records.record import as_json

_log = logging.getLogger("watchkeeper.jobs")
MAX_BODY_BYTES = 64 << 20
MOST_RECEIPT_BYTES = 16 << 10
STILL_HERE_S = 15.0
_LOOK_S = 0.5
_KEY = "key:"
_JOB = re.compile(r"/api/v1/jobs/([^/]{1,100})(?:/(events|cancel|resume|progress))?\Z")
_EFFECT = re.compile(r"/api/v1/effects/([^/]{1,100})\Z")
_RUN = re.compile(r"/api/v1/runs/(.{1,600})/cancel\Z")
_NO_STORE: Header = (b"cache-control", b"no-store")


class Answer(NamedTuple):
    """A reply: status, value and further headers."""

    status: int
    value: Any
    headers: tuple[Header, ...] = ()


class WorkDoor:
    """Answers requests about jobs and effects, for who asks by `scope["watchkeeper.caller"]`, and for nobody else.

    A key that was shown and checked comes in `scope["watchkeeper.key"]`.
    """

    def __init__(
        self,
        jobs: JobDesk,
        effects: EffectLedger,
        read: Callable[[Body], bytes],
        key_of: Callable[[str | None], Awaitable[Key | None]],
        private: Callable[[Identity], Identity],
    ) -> None:
        """`read` gives a payload's bytes from the disk, `key_of` the key with an id, for who signed in with one."""
        self._jobs, self._effects, self._read, self._key_of = jobs, effects, read, key_of
        self._private = private

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI asks for it."""
        exchange = Exchange(scope, receive, send)
        try:
            caller = await self._caller(scope, exchange)
            if exchange.method == "GET" and (match := _JOB.match(exchange.path)) and match[2] == "events":
                await self._events(match[1], caller, exchange)
                return
            status, value, headers = await self._answer(exchange, caller)
            await exchange.reply(status, [JSON_TYPE, _NO_STORE, *headers], as_json(value))
        except ClientGone:
            return
        except Refusal as refusal:
            await exchange.refuse(refusal)
        except OSError as error:
            await exchange.refuse(_unrecorded(error))
        except Exception:
            _log.exception("a request to %s failed", exchange.path[:200])
            if exchange.begun:
                raise
            sentence = "Something failed while this was answered; the server's log says what."
            await exchange.refuse(Refusal(500, "internal", sentence, kind="internal"))

    async def _caller(self, scope: Message, exchange: Exchange) -> Caller:
        headers = exchange.headers
        if headers.get(b"sec-fetch-site", b"none") in (b"cross-site", b"same-site"):
            raise Refusal(403, "cross_origin", "This request comes from a page of another site.", kind="denied")
        asker: Asker | None = scope.get("watchkeeper.caller")
        if asker is None:
            raise Refusal(401, "key_required", "This asks for a key.", kind="authentication")
        key = exchange.checked_key if isinstance(exchange.checked_key, Key) else None
        if key is None and asker.actor.startswith(_KEY):
            try:
                key = await self._key_of(asker.actor.removeprefix(_KEY))
            except LookupError as error:
                raise Refusal(401, "key_unknown", str(error.args[0]), kind="authentication") from error
        identity = resolve(headers, key, {})
        if key is None and asker.tenant is not None:
            identity = msgspec.structs.replace(identity, tenant=asker.tenant)
        return Caller(self._private(identity), key, asker)

    async def _seen(self, job_id: str, caller: Caller) -> JobState:
        """A job that this caller may see; raises a 404 for any other."""
        state = await self._jobs.get(job_id)
        if not caller.sees(state.identity):
            raise no_such_job(job_id)
        return state

    async def _answer(self, exchange: Exchange, caller: Caller) -> Answer:
        method, path = exchange.method, exchange.path
        if method == "GET" and (match := _JOB.match(path)) and match[2] is None:
            return await self._job(match[1], caller, exchange)
        if method == "GET" and (match := _EFFECT.match(path)):
            return Answer(200, _effect(await self._effects.get(match[1], caller.reads())))
        if method == "POST":
            if exchange.headers.get(b"content-type", b"").split(b";")[0].strip().lower() != b"application/json":
                raise Refusal(415, "unsupported_media_type", f"{path} takes application/json.")
            coded = await exchange.body(MAX_BODY_BYTES)
            return await self._post(exchange, exchange.plain(coded, MAX_BODY_BYTES), caller)
        if _JOB.match(path) or _EFFECT.match(path) or _RUN.match(path):
            raise Refusal(405, "method_not_allowed", f"{method[:20]} is not understood at {path[:100]}.")
        raise _nothing(path)

    async def _post(self, exchange: Exchange, body: bytes, caller: Caller) -> Answer:
        path = exchange.path
        if path == JOBS:
            return await self._submit(exchange, body, caller)
        if path == EFFECTS + "claim":
            return await self._claim(read(body, SentClaim), caller)
        if path == EFFECTS + "settle":
            if body.lstrip().startswith(b"["):
                answers = [await self._settle(each, caller) for each in read_many(body, SentSettle)]
                return Answer(200, {"items": [each.value for each in answers]})
            return await self._settle(read(body, SentSettle), caller)
        if match := _RUN.match(path):
            run = match[1]
            caller.settles()
            left = await self._effects.cancel_run(caller.identity.tenant, run)
            return Answer(200, {"run": run, "cancelled": True, "unsettled": [_effect(each) for each in left]})
        match = _JOB.match(path)
        if match is None or match[2] in (None, "events"):
            raise _nothing(path)
        state = await self._seen(match[1], caller)
        job_id = state.job_id
        if match[2] == "progress":
            caller.notes(state.identity)
            return Answer(200, shown(await self._jobs.note(job_id, read(body, SentProgress))))
        caller.changes(state.identity)
        if match[2] == "cancel":
            state = await self._jobs.cancel(job_id, caller.actor)
            held = await self._effects.of_run(state.identity.tenant, state.run)
            left = [each for each in held if each.effect.status in ("planned", "unknown")]
            return Answer(200, {**shown(state), "unsettled": [_effect(each) for each in left]})
        return Answer(200, shown(await self._jobs.resume(job_id, read(body, SentResume))))

    async def _submit(self, exchange: Exchange, body: bytes, caller: Caller) -> Answer:
        caller.submits()
        key = exchange.headers.get(b"idempotency-key", b"").strip().strip(b'"').decode("latin-1") or None
        if key is not None and (len(key) > 255 or not key.isprintable()):
            raise Refusal(400, "idempotency_key_malformed", "An Idempotency-Key is 1 to 255 printable characters.")
        state, new = await self._jobs.submit(body, caller.identity, key)
        where = f"{JOBS}/{state.job_id}".encode()
        marked = () if new else ((b"x-watchkeeper-idempotent", b"replayed"),)
        return Answer(202, shown(state), ((b"location", where), (b"retry-after", b"1"), *marked))

    async def _job(self, job_id: str, caller: Caller, exchange: Exchange) -> Answer:
        """A job, with its output where it has one that this consumer takes: 409 where only a verified one will do."""
        state = await self._seen(job_id, caller)
        wants = parse_qs(exchange.query[1:])
        preferred = exchange.headers.get(b"prefer", b"").lower()
        said = {part.strip() for part in preferred.replace(b";", b",").split(b",")}
        verified = state.require == "verified" or "verified" in wants.get("require", []) or b"verified" in said
        answer = shown(state, verified)
        if not state.ended:
            return Answer(200, answer, ((b"retry-after", b"1"),))
        if verified and state.outcome != JobOutcome.COMPLETED_VERIFIED:
            sentence = (
                f"This job's outcome is {state.outcome}, and only a verified one was asked for, so its output is not "
                f"given. {state.message or ''}".strip()
            )
            error = {"message": sentence, "type": "watchkeeper_denied", "param": None, "code": "not_verified"}
            return Answer(409, {"error": error, "job": answer}, ((b"x-should-retry", b"false"),))
        return Answer(200, {**answer, "output": await self._output(state)})

    async def _output(self, state: JobState) -> dict[str, Any] | None:
        """What the last call gave: its text, and the reply as it was; or why that cannot be given."""
        last = next((each for each in reversed(state.results) if each.reply is not None), None)
        if last is None or last.reply is None:
            return None
        if last.reply.why is not None:
            return {
                "step": last.name,
                "text": None,
                "reply": None,
                "missing": f"The reply is not kept: {last.reply.why}.",
            }
        try:
            data = await asyncio.to_thread(reply_of, last.reply, self._read)
        except (LookupError, ValueError, OSError) as error:
            gone = f"The reply is not in the record any more: {error}."
            return {"step": last.name, "text": None, "reply": None, "missing": gone}
        try:
            reply: Any = msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            reply = data.decode("utf-8", "replace")
        return {"step": last.name, "text": output_of(data).text, "reply": reply, "missing": None}

    async def _events(self, job_id: str, caller: Caller, exchange: Exchange) -> None:
        """Server-sent events, from after `Last-Event-ID` on, until the job has ended; 204 where nothing more comes."""
        state = await self._seen(job_id, caller)
        raw = exchange.headers.get(b"last-event-id", b"0").strip()
        if not raw.isdigit():
            raise Refusal(400, "invalid_header", "Last-Event-ID is a number that an event of this job had as its id.")
        seen = int(raw)
        if state.ended and state.events and state.events[-1].seq <= seen:
            await exchange.reply(204, [_NO_STORE], b"")
            return
        headers = [(b"content-type", b"text/event-stream"), _NO_STORE, (b"x-accel-buffering", b"no")]
        await exchange.begin(200, headers)
        exchange.watch()
        quiet_s = 0.0
        try:
            while True:
                fresh = [event for event in state.events if event.seq > seen]
                for event in fresh:
                    line = f"id: {event.seq}\nevent: {event.type}\ndata: ".encode() + as_json(told(state, event))
                    await exchange.push(line + b"\n\n")
                    seen = event.seq
                if state.ended:
                    await exchange.end()
                    return
                quiet_s = 0.0 if fresh else quiet_s + _LOOK_S
                if quiet_s >= STILL_HERE_S:
                    await exchange.push(b": still here\n\n")
                    quiet_s = 0.0
                await self._jobs.changed(job_id, _LOOK_S)
                state = await self._jobs.get(job_id)
        except asyncio.CancelledError:
            if not exchange.left():
                raise
        finally:
            exchange.unwatch()

    async def _claim(self, sent: SentClaim, caller: Caller) -> Answer:
        caller.claims()
        wish = Wish(
            run=sent.run,
            step=sent.step,
            tool=sent.tool,
            object=sent.object,
            claim=sent.claim,
            lease_ns=round(sent.lease_s * 1e9),
            identity=caller.identity,
            amount_usd=sent.amount_usd,
            reversible=sent.reversible,
            count=sent.count,
            detail=sent.detail,
            trace_id=sent.trace_id,
            span_id=sent.span_id,
            door=sent.door,
        )
        granted, held = await self._effects.claim(wish)
        differs = not granted and (held.effect.amount_usd, held.effect.count) != (sent.amount_usd, sent.count)
        return Answer(200, {"granted": granted, "differs": differs, **_effect(held)})

    async def _settle(self, sent: SentSettle, caller: Caller) -> Answer:
        raw = bytes(sent.receipt)
        if len(raw) > MOST_RECEIPT_BYTES:
            raise Refusal(
                422, "receipt_too_large", f"A receipt has at most {MOST_RECEIPT_BYTES:,} bytes; this one {len(raw):,}.",
                param="receipt",
            )  # fmt: skip
        held = await self._effects.settle(
            Settlement(
                effect_id=sent.effect_id,
                status=sent.status,
                actor=caller.actor if sent.claim is None else f"claimant {caller.actor}",
                tenant=caller.settles(),
                claim=sent.claim,
                receipt=raw.decode() if raw and raw != b"null" else None,
                detail=sent.detail,
            )
        )
        return Answer(200, _effect(held))


def _effect(held: Held) -> dict[str, Any]:
    """An effect as the API answers it; the claimant's token is the claimant's own."""
    effect = held.effect
    return {
        "effect_id": effect.effect_id,
        "status": effect.status,
        "receipt": None if effect.receipt is None else msgspec.Raw(effect.receipt.encode()),
        "run": effect.identity.run,
        "step": effect.step,
        "tool": effect.tool,
        "object": effect.target,
        "attempt": effect.attempt,
        "amount_usd": effect.amount_usd,
        "count": effect.count,
        "detail": effect.detail,
        "claimed_ns": effect.at_ns,
        "until_ns": held.until_ns,
        "settled_ns": effect.settled_ns,
        "settled_by": effect.settled_by,
    }


def _nothing(path: str) -> Refusal:
    return Refusal(404, "not_found", f"There is nothing at {path[:100]!r}.", kind="not_found")


def _unrecorded(error: OSError) -> Refusal:
    return Refusal(
        503,
        "recording_unavailable",
        f"The journal cannot be written ({error.strerror or type(error).__name__}), so nothing was taken or claimed. "
        "Try again; the owner should look at the disk.",
        kind="unavailable",
        headers=((b"retry-after", b"5"),),
    )
