"""Tells others of a job's end, or of its question: signed, durable, again until it is taken, with one id for all tries.

Signed as Standard Webhooks are (https://www.standardwebhooks.com, version 1): `webhook-id`, `webhook-timestamp` in unix
seconds, and `webhook-signature: v1,` with the base64 of HMAC-SHA256 over "id.timestamp.body". Delivery is at least
once: a receiver that has seen an id has seen the event. An event holds no output of a model.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from watchkeeper.engines.jobs.state import JobState, told
from watchkeeper.kinds.ports import Applied, Cells, Put, Swap
from watchkeeper.records.drop import Drop
from watchkeeper.records.ids import new_id
from watchkeeper.records.job import Transport
from watchkeeper.records.record import Record, as_json, pack, unpack

PREFIX = "job-hook/"
MOST_TRIES = 14
FIRST_WAIT_S = 2.0
LONGEST_WAIT_S = 3600.0
TRY_S = 30.0
_log = logging.getLogger("watchkeeper.jobs")

Deliver = Callable[[str, Mapping[str, str], bytes], Awaitable[None]]
"""Posts a body to a URL; raises with a sentence that names no secret when it was not taken."""


class Hook(Record):
    """One event on its way: where to, its id and body, how often it was tried, and when it is next."""

    url: str
    hook_id: str
    body: bytes
    tries: int = 0
    next_ns: int = 0


def hook_of(state: JobState) -> Put | None:
    """The operation that sends word of a job's new state; None for a state that nobody is told of."""
    if state.webhook is None or not state.events or state.status not in (Transport.ENDED, Transport.WAITING):
        return None
    event = state.events[-1]
    hook_id = f"{state.job_id}.{event.seq}"
    hook = Hook(url=state.webhook, hook_id=hook_id, body=as_json(told(state, event)))
    return Put(key=PREFIX + hook_id, value=pack(hook))


def signed(secret: bytes, hook_id: str, at_s: int, body: bytes) -> str:
    """The signature of an event."""
    mac = hmac.new(secret, f"{hook_id}.{at_s}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


class Hooks:
    """Delivers what waits. `counts` tells how often a delivery was taken, failed and was given up."""

    def __init__(
        self,
        cells: Cells,
        deliver: Deliver,
        secret: bytes | None,
        clock_ns: Callable[[], int],
        record: Callable[[Record], object],
    ) -> None:
        """Without a `secret` nothing is signed; `record` keeps what was given up in the drop ledger."""
        self._cells, self._deliver, self._secret = cells, deliver, secret
        self._clock_ns, self._record = clock_ns, record
        self.counts: Counter[str] = Counter()

    async def round(self) -> int:
        """Try everything that is due once; returns how many were tried."""
        due: list[tuple[str, bytes, Hook]] = []
        cursor: str | None = None
        while True:
            page = await self._cells.scan(PREFIX, cursor)
            for cell, value in page.items:
                if isinstance(value, bytes):
                    hook = unpack(Hook, value)
                    if hook.next_ns <= self._clock_ns():
                        due.append((cell, value, hook))
            cursor = page.cursor
            if cursor is None:
                break
        tried = await asyncio.gather(*(self._try(*each) for each in due[:16]))
        return sum(tried)

    async def _try(self, cell: str, value: bytes, hook: Hook) -> bool:
        """Take a delivery on (its next time is put off first, so that others leave it alone), and make it."""
        now_ns = self._clock_ns()
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**hook.tries)
        later = msgspec.structs.replace(hook, tries=hook.tries + 1, next_ns=now_ns + round((wait_s + TRY_S) * 1e9))
        taken = pack(later)
        if not isinstance(await self._cells.apply([Swap(key=cell, expected=value, value=taken)]), Applied):
            return False
        at_s = now_ns // 1_000_000_000
        headers = {
            "content-type": "application/json",
            "webhook-id": hook.hook_id,
            "webhook-timestamp": str(at_s),
        }
        if self._secret is not None:
            headers["webhook-signature"] = signed(self._secret, hook.hook_id, at_s, hook.body)
        try:
            await self._deliver(hook.url, headers, hook.body)
        except Exception as error:  # noqa: BLE001 - whatever the other side or the way to it does, it is tried again
            await self._failed(cell, taken, later, wait_s, error)
            return True
        self.counts["delivered"] += 1
        await self._cells.apply([Swap(key=cell, expected=taken, value=None)])
        return True

    async def _failed(self, cell: str, taken: bytes, hook: Hook, wait_s: float, error: Exception) -> None:
        self.counts["failed"] += 1
        now_ns = self._clock_ns()
        if hook.tries < MOST_TRIES:
            again = msgspec.structs.replace(hook, next_ns=now_ns + round(wait_s * 1e9))
            await self._cells.apply([Swap(key=cell, expected=taken, value=pack(again))])
            return
        self.counts["given_up"] += 1
        _log.error("webhook %s was given up after %d tries: %s", hook.hook_id, hook.tries, error)
        await self._cells.apply([Swap(key=cell, expected=taken, value=None)])
        self._record(
            Drop(
                what="webhook",
                reason="not_delivered",
                count=1,
                first_ns=now_ns,
                last_ns=now_ns,
                door="jobs",
                detail=f"{hook.hook_id}: {error}"[:300],
                drop_id=new_id("drp", now_ns),
            )
        )
