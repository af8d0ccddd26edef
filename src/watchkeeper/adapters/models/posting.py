"""Posts JSON to a model's endpoint, plainly over HTTP: no client library, no retries, and every failure has words."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Self

import msgspec

from watchkeeper.kinds.ports import Answering, Carrier, Completion

MAX_REPLY_BYTES = 64 << 20
SHOWN = 300
_PLAIN = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
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


class Posting(ABC):
    """One pool of connections to one endpoint. Used as an async context manager, or closed after use.

    `carrier` makes what sends requests, inside the running loop. `timeout_s` bounds connecting, and then the reply.
    Redirects are not followed, so that a key goes nowhere else. An interface says by `usual` which headers it always
    wants, by `shown` how it is shown a key, and by `root` where its paths begin.
    """

    usual: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        carrier: Callable[[], Carrier],
        base_url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 120.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        key = self.shown(api_key) if api_key else {}
        self._url = self.root(base_url.rstrip("/"))
        self._headers = tuple({**self.usual, **(headers or {}), **key, **_PLAIN}.items())
        self._times_s = (timeout_s, timeout_s)
        self._make = carrier
        self._carrier: Carrier | None = None

    @staticmethod
    def shown(api_key: str) -> Mapping[str, str]:
        """The header that carries a key."""
        return {"Authorization": f"Bearer {api_key}"}

    @staticmethod
    def root(base_url: str) -> str:
        """The address that the paths of this interface are put behind."""
        return base_url

    @abstractmethod
    async def complete(self, messages: str, parameters: Mapping[str, object]) -> Completion:
        """One completion for a JSON message list."""

    async def post(self, url: str, path: str, body: Mapping[str, object]) -> Posted | Completion:
        """Post a body to a path below a URL; a Completion is the failure to get any reply."""
        started = time.perf_counter_ns()
        if self._carrier is None:
            self._carrier = self._make()
        try:
            encoded = msgspec.json.encode(body)
            reply = await self._carrier.request("POST", url, path, self._headers, encoded, self._times_s)
            data = await _whole(reply)
        except TimeoutError:
            return failed(f"no answer within {self._times_s[1]:g} s", started, retriable=True)
        except OSError as error:
            return failed(f"{url}: {error}", started, retriable=True)
        except ValueError as error:
            return failed(f"{url}: {error}", started)
        given = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reply.raw_headers}
        packed = given.get("content-encoding", "").strip().lower() in ("gzip", "deflate")
        unpacked = _unpacked(data) if packed and data is not None else data
        if unpacked is None:
            return failed(f"the reply cannot be unpacked or is longer than {MAX_REPLY_BYTES >> 20} MiB", started)
        return _posted(reply.status, given, unpacked, started)

    async def close(self) -> None:
        """Close the connections."""
        if self._carrier is not None:
            await self._carrier.close()
            self._carrier = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _whole(reply: Answering) -> bytes | None:
    """The body of a reply; None where it is too long."""
    pieces: list[bytes] = []
    size = 0
    try:
        while size <= MAX_REPLY_BYTES and (data := await reply.readany()):
            pieces.append(data)
            size += len(data)
    finally:
        reply.close()
    return b"".join(pieces) if size <= MAX_REPLY_BYTES else None


def _unpacked(data: bytes) -> bytes | None:
    """A body that came compressed although nobody asked for that; None where it cannot be read or is too long."""
    import zlib

    for bits in (47, -15):
        unpacker = zlib.decompressobj(bits)
        try:
            plain = unpacker.decompress(data, MAX_REPLY_BYTES + 1)
        except zlib.error:
            continue
        return plain if len(plain) <= MAX_REPLY_BYTES else None
    return None


def _posted(status: int, given: Mapping[str, str], data: bytes, started: int) -> Posted:
    again = given.get("x-should-retry", "").lower()
    worth = again == "true" or (again != "false" and status in _WORTH_AGAIN)
    try:
        reply = msgspec.json.decode(data)
    except msgspec.DecodeError:
        reply = None
    return Posted(status, reply, data, started, worth, retry_after(given), given.get("x-watchkeeper-composition"))


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
