"""What every call of a gateway shares: its settings, its routes and the things it talks to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from watchkeeper.engines.gateway.composition import Compositions
from watchkeeper.engines.gateway.health import Board
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.engines.gateway.measures import Measures
from watchkeeper.engines.gateway.ports import Chain
from watchkeeper.engines.gateway.recording import Keeper
from watchkeeper.engines.gateway.replies import Replies
from watchkeeper.engines.gateway.routes import Routes
from watchkeeper.engines.gateway.routing import Routing
from watchkeeper.engines.gateway.settings import Credential, Settings
from watchkeeper.engines.gateway.upstream import Upstream
from watchkeeper.kinds.ports import Pricer
from watchkeeper.records.identity import Identity

_log = logging.getLogger("watchkeeper.gateway")


class Books:
    """The settlements that are under way after their replies."""

    def __init__(self, measures: Measures) -> None:
        self._measures = measures
        self._under_way: dict[asyncio.Future[object], str] = {}

    def begin(self, work: Awaitable[object], span_id: str) -> None:
        """Settle or release in the background; a failure is logged and counted, and the reservation stays charged."""
        future = asyncio.ensure_future(work)
        self._under_way[future] = span_id
        future.add_done_callback(self._ended)

    def depth(self) -> int:
        """How many settlements are under way."""
        return len(self._under_way)

    async def closed(self) -> None:
        """Return when nothing is under way any more."""
        while self._under_way:
            await asyncio.wait(list(self._under_way))

    def _ended(self, future: asyncio.Future[object]) -> None:
        span_id = self._under_way.pop(future)
        error = None if future.cancelled() else future.exception()
        if error is not None:
            what = "span %s could not be settled; what was reserved for it stays charged"
            _log.error(what, span_id, exc_info=error)
            self._measures.fault()


def _as_it_is(identity: Identity) -> Identity:
    return identity


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The shared parts. `clock` gives unix nanoseconds; durations are taken from the monotonic clock instead.

    `private` turns the names in an identity into tokens where a rule of redaction is about them.
    """

    settings: Settings
    routes: Routes
    routing: Routing
    board: Board
    credentials: Mapping[str, Credential]
    upstream: Upstream
    keeper: Keeper
    chain: Chain
    keys: KeyRing
    pricer: Pricer
    measures: Measures
    clock: Callable[[], int]
    books: Books
    compositions: Compositions
    replies: Replies
    private: Callable[[Identity], Identity] = _as_it_is
