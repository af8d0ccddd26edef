"""Remembers the responses that providers keep: who made each, at which upstream, how long it is, and what it called.

A response that was stored can be read, continued, cancelled and deleted by its id alone. The gateway must then know
where it lies and whose it is, what its continuation can cost at most, which tool calls the next request answers, and,
for one that ran in the background, which reservation its usage settles.

Entries lie in memory and, so that they outlive the process and are known to other gateways, in Cells under
`response/<id>`; those of responses are forgotten after `KEPT_NS`. What cannot be written is known to this process
alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from watchkeeper.kinds.ports import Applied, Cells, Delete, Put, Refused, Swap
from watchkeeper.records.event import KeyLimit, ToolStep
from watchkeeper.records.ids import digest
from watchkeeper.records.record import Record, pack, unpack

_log = logging.getLogger("watchkeeper.gateway")
PREFIX = "response/"
KEPT_NS = 30 * 86_400 * 1_000_000_000
"""As long as OpenAI keeps a stored response (30 days, "Data controls in the OpenAI platform")."""

HELD = 10_000
MOST_UNDER_WAY = 1_000


class Kept(Record):
    """A response as the gateway remembers it: no text, and no name of a person.

    `session` is the one that it was made in. `calls` are the tool calls that it asked for, by their digests. `tokens`
    is what stands in its context with what it wrote, None where unknown. `pending` is whether its usage is not settled
    yet. `root` is the first response of its chain; it names the session where the caller names none. `limits` are those
    of the key that made it, which its usage is settled under whoever retrieves it. `lasting` is what the provider keeps
    until it is deleted, such as a file or a conversation: it is not forgotten.
    """

    response_id: str
    at_ns: int
    tenant: str
    session: str | None
    upstream: str
    model: str
    request_model: str
    trace_id: str
    span_id: str
    root: str
    tokens: int | None = None
    calls: tuple[ToolStep, ...] = ()
    pending: bool = False
    limits: tuple[KeyLimit, ...] = ()
    lasting: bool = False


class Replies:
    """The responses of this gateway and, through Cells, of its siblings. Used from one event loop."""

    def __init__(self, cells: Cells | None, clock: Callable[[], int]) -> None:
        """Without `cells` what is remembered is gone with the process."""
        self._cells, self._clock = cells, clock
        self._held: OrderedDict[str, Kept] = OrderedDict()
        self._under_way: set[asyncio.Task[Any]] = set()

    def keep(self, kept: Kept) -> None:
        """Remember a response from now on; it is written beside the call, which does not wait for it."""
        self._hold(kept)
        if self._cells is not None and len(self._under_way) < MOST_UNDER_WAY:
            self._begin(self._write(self._cells, kept))

    async def find(self, response_id: str) -> Kept | None:
        """A response by its id, None when it was not made here or is forgotten; errors of the store pass through."""
        held = self._held.get(response_id)
        if held is not None or self._cells is None:
            return held
        value = await self._cells.get(_key(response_id))
        if not isinstance(value, bytes):
            return None
        kept = unpack(Kept, value)
        if _gone(kept, self._clock() - KEPT_NS):
            return None
        self._hold(kept)
        return kept

    async def settled(self, kept: Kept, tokens: int | None, calls: tuple[ToolStep, ...]) -> bool:
        """Note that a pending response has come to its end; True for exactly one of those who saw it."""
        ended = msgspec.structs.replace(kept, pending=False, tokens=tokens, calls=calls)
        if self._cells is None:
            held = self._held.get(kept.response_id)
            self._hold(ended)
            return held is None or held.pending
        key = _key(kept.response_id)
        answer = await self._cells.apply([Swap(key=key, expected=pack(kept), value=pack(ended))])
        if isinstance(answer, Refused) and answer.current is None:  # it was never written: this process alone knows it
            answer = await self._cells.apply([Swap(key=key, expected=None, value=pack(ended))])
        self._hold(ended)
        return isinstance(answer, Applied)

    def begin_forgetting(self) -> None:
        """Forget in the background what is too old to be kept by any provider."""
        if self._cells is not None:
            self._begin(self._forget(self._cells, self._clock() - KEPT_NS))

    async def closed(self) -> None:
        """Return when nothing is being written any more."""
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    def _hold(self, kept: Kept) -> None:
        self._held[kept.response_id] = kept
        self._held.move_to_end(kept.response_id)
        if len(self._held) > HELD:
            self._held.popitem(last=False)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("what is known of a response could not be written or tidied", exc_info=task.exception())

    async def _write(self, cells: Cells, kept: Kept) -> None:
        await cells.apply([Put(key=_key(kept.response_id), value=pack(kept))], urgent=False)

    async def _forget(self, cells: Cells, before_ns: int) -> None:
        cursor: str | None = None
        while True:
            page = await cells.scan(PREFIX, cursor)
            old = [
                key for key, value in page.items if isinstance(value, bytes) and _gone(unpack(Kept, value), before_ns)
            ]
            if old:
                await cells.apply([Delete(key=key) for key in old], urgent=False)
            cursor = page.cursor
            if cursor is None:
                return


def _gone(kept: Kept, before_ns: int) -> bool:
    return kept.at_ns < before_ns and not kept.lasting


def _key(response_id: str) -> str:
    plain = response_id.isascii() and response_id.isprintable() and len(response_id) <= 120
    return PREFIX + (response_id if plain else "%" + digest(response_id.encode("utf-8", "surrogatepass")))
