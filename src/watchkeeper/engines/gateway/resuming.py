"""A streamed reply that, when it breaks after its first token, goes on with another target's words."""

from __future__ import annotations

from typing import Protocol

from watchkeeper.engines.gateway.continuing import CHAT_PATH, continuation, said_so_far, seam
from watchkeeper.engines.gateway.errors import Refusal, UpstreamFailure
from watchkeeper.engines.gateway.routes import Route
from watchkeeper.engines.gateway.stream import StreamReader
from watchkeeper.engines.gateway.upstream import Reply

_MOST_BYTES = 8 << 20


class Going(Protocol):
    """The attempts of a call, as far as going on needs them."""

    target: Route
    sent: tuple[str, bytes]

    def broke(self, error: UpstreamFailure) -> bool:
        """The stream under way broke: whether another may go on with it, which is then the target."""
        ...

    async def go_on(self, path: str, body: bytes, reason: str) -> Reply | None:
        """Ask the target for the rest; None when it does not answer well."""
        ...


class Resumable(Reply):
    """Gives whole events only, so that what was passed on ends where another can go on.

    What it has passed on is kept, up to 8 MiB, to know what was said; a longer stream that breaks ends in its error.
    """

    def __init__(self, reply: Reply, attempts: Going) -> None:
        self._reply, self._attempts = reply, attempts
        self._before_ns = 0
        self.status, self.headers, self.media = reply.status, reply.headers, reply.media
        self._given = bytearray()
        self._reader = StreamReader()
        self._last: bytes | None = None

    @property
    def waited_ns(self) -> int:
        """Time spent waiting for all upstreams so far."""
        return self._before_ns + self._reply.waited_ns

    @waited_ns.setter
    def waited_ns(self, value: int) -> None:
        self._before_ns = value - self._reply.waited_ns

    async def next(self) -> bytes:
        """The next whole events, empty at the end; raises `UpstreamFailure` when nobody goes on."""
        if self._last is not None:
            return b""
        try:
            while data := await self._reply.next():
                if ready := self._reader.feed(data):
                    self._keep(ready)
                    return ready
            self._last = self._reader.finish()
            if self._reader.complete or self._reader.answer.error_type is not None:
                return self._last
            self._last = None
            raise UpstreamFailure(
                502,
                "stream_incomplete",
                "The upstream ended its stream without a finish reason or [DONE]; the reply is not whole.",
                sent=True,
            )
        except UpstreamFailure as failure:
            if self._reader.complete:
                self._last = b""
                return b""
            return await self._resume(failure)

    def close(self) -> None:
        """Let go of the connection."""
        self._reply.close()

    def _keep(self, ready: bytes) -> None:
        if len(self._given) <= _MOST_BYTES:
            self._given += ready

    async def _resume(self, failure: UpstreamFailure) -> bytes:
        attempts = self._attempts
        said = said_so_far(bytes(self._given)) if len(self._given) <= _MOST_BYTES else None
        path, body = attempts.sent
        if said is None or not path.startswith(CHAT_PATH) or not attempts.broke(failure):
            raise failure
        waited_ns = self.waited_ns
        self._reply.close()
        try:
            more = await attempts.go_on(path, continuation(body, said), failure.code)
        except Refusal:
            more = None
        if more is None:
            raise failure
        self._reply = more
        self.waited_ns = waited_ns + more.waited_ns
        self._reader = StreamReader()
        return seam(attempts.target.spec.name, attempts.target.model, failure.code)
