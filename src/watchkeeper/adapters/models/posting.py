"""Posts JSON to a model's endpoint, plainly over HTTP: no client library, no retries, and every failure has words."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from watchkeeper.kinds.ports import Completion

if TYPE_CHECKING:
    import aiohttp

MAX_REPLY_BYTES = 64 << 20
SHOWN = 300
_WORTH_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})


class Posted(NamedTuple):
    """What came back: the status, the reply decoded (None when it is no JSON), its bytes, and the provider's hints.

    `composition` is what a Watchkeeper gateway on the way says has answered.
    """

    status: int
    reply: Any
    data: bytes
    started: int
    retriable: bool
    retry_after_s: float | None
    composition: str | None = None


class Posting:
    """One pool of connections to one endpoint. Used as an async context manager, or closed after use.

    `timeout_s` bounds one whole call. Redirects are not followed, so that a key goes nowhere else.
    """

    def __init__(self, headers: Mapping[str, str], timeout_s: float = 120.0, connections: int = 64) -> None:
        self._headers = {**headers, "Content-Type": "application/json", "Accept": "application/json"}
        self._timeout_s = timeout_s
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: Mapping[str, object]) -> Posted | Completion:
        """Post a body; a Completion is the failure to get any reply."""
        import aiohttp

        started = time.perf_counter_ns()
        try:
            encoded = msgspec.json.encode(body)
            async with self._open().post(url, data=encoded, headers=self._headers, allow_redirects=False) as response:
                data = await response.content.read(MAX_REPLY_BYTES + 1)
                while len(data) <= MAX_REPLY_BYTES and not response.content.at_eof():
                    data += await response.content.read(MAX_REPLY_BYTES + 1 - len(data))
                status, given = response.status, response.headers
        except TimeoutError:
            return failed(f"no answer within {self._timeout_s:g} s", started, retriable=True)
        except (aiohttp.ClientError, OSError) as error:
            return failed(f"{type(error).__name__}: {error}", started, retriable=True)
        if len(data) > MAX_REPLY_BYTES:
            return failed(f"the reply is longer than {MAX_REPLY_BYTES >> 20} MiB", started)
        again = given.get("x-should-retry", "").lower()
        worth = again == "true" or (again != "false" and status in _WORTH_AGAIN)
        try:
            reply = msgspec.json.decode(data)
        except msgspec.DecodeError:
            reply = None
        composition = given.get("x-watchkeeper-composition")
        return Posted(status, reply, data, started, worth, retry_after(given), composition)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=self._timeout_s),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a provider asks to wait (`retry-after-ms`, `retry-after` in seconds), None where it does not say."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            told = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if math.isfinite(told) and told >= 0:
            return told
    return None


def failed(error: str, started: int, *, retriable: bool = False, posted: Posted | None = None) -> Completion:
    """A Completion that says why there is no answer; the reply's hints go with it."""
    return Completion(
        output=None,
        calls=None,
        finish_reason=None,
        model=None,
        input_tokens=None,
        output_tokens=None,
        duration_ns=time.perf_counter_ns() - started,
        error=error,
        status=None if posted is None else posted.status,
        retriable=retriable if posted is None else posted.retriable,
        retry_after_s=None if posted is None else posted.retry_after_s,
    )


def refused(posted: Posted) -> Completion:
    """The failure that an error status stands for, in the endpoint's own words."""
    return failed(f"HTTP {posted.status}: {error_text(posted.reply, posted.data)}", posted.started, posted=posted)


def unreadable(posted: Posted, what: str) -> Completion:
    """The failure of a reply that is not what was asked for."""
    told = f"HTTP {posted.status}, but the reply is no {what}: {error_text(posted.reply, posted.data)}"
    return failed(told, posted.started, posted=posted)


def tokens(usage: Any, name: str) -> int | None:
    """A count in a usage object; None where it is not told or no count."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def text_or_none(value: Any) -> str | None:
    """A value that should be a text."""
    return value if isinstance(value, str) else None


def error_text(reply: Any, data: bytes) -> str:
    """The endpoint's own words, or the beginning of what it sent."""
    error = reply.get("error") if isinstance(reply, dict) else None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"])[:SHOWN]
    if isinstance(error, str):
        return error[:SHOWN]
    return repr(data[:SHOWN].decode("utf-8", "replace")) if data else "an empty reply"
