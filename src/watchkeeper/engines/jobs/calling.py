"""Makes a job's calls through the gateway's own application: same keys, same limits, same record, and made once."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from watchkeeper.engines.gateway.app import Gateway
from watchkeeper.engines.gateway.errors import Header
from watchkeeper.engines.gateway.exchange import Message
from watchkeeper.engines.gateway.idempotency import Once
from watchkeeper.engines.gateway.keyed import Keyed
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.jobs.shapes import SentRequest
from watchkeeper.engines.jobs.state import JobState
from watchkeeper.kinds.ports import Cells
from watchkeeper.records.record import as_json, unpack

DENIED = "watchkeeper_denied"
_PAUSE_S = 1.0
_TRIES_WHILE_UNAVAILABLE = 5
_UNAVAILABLE = frozenset({"idempotency_unavailable", "recording_unavailable"})


class Reply(NamedTuple):
    """What a call gave: its status, its bytes, the error's code and type where it is one, and what is kept of it."""

    status: int
    media: str
    body: bytes
    code: str | None
    kind: str | None
    sentence: str
    keyed: Keyed | None


class Caller:
    """Makes calls under a name that makes them once: after a crash the same name finds the same call."""

    def __init__(self, gateway: Callable[[], Gateway], cells: Cells) -> None:
        self._gateway, self._cells = gateway, cells

    async def call(self, state: JobState, step: str, request: SentRequest, body: Any, key: Key | None) -> Reply:
        """Make one step's call and return its reply, whatever it is."""
        name = f"watchkeeper-job:{state.job_id}:{step}"
        data = as_json(body)
        tries = 0
        while True:
            reply = await self._once(state, name, request.path, data, key)
            if reply.code == "idempotency_in_progress":
                await asyncio.sleep(_PAUSE_S)
            elif reply.code in _UNAVAILABLE and tries < _TRIES_WHILE_UNAVAILABLE:
                tries += 1
                await asyncio.sleep(_PAUSE_S * 2**tries)
            else:
                return reply

    def cancel(self, state: JobState, step: str, key: Key | None) -> None:
        """Stop a step's call, if this process makes it."""
        once = self._gateway().once
        if once is not None:
            once.cancel(once.cell_of(key, f"watchkeeper-job:{state.job_id}:{step}"))

    async def _once(self, state: JobState, name: str, path: str, data: bytes, key: Key | None) -> Reply:
        gateway = self._gateway()
        headers, status, pieces = list[Header](), 0, list[bytes]()
        given = False

        async def receive() -> Message:
            nonlocal given
            if given:
                never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
                return await never
            given = True
            return {"type": "http.request", "body": data, "more_body": False}

        async def send(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status, headers = message["status"], list(message["headers"])
            elif message.get("body"):
                pieces.append(bytes(message["body"]))

        await gateway(_scope(state, name, path, data, key), receive, send)
        body, media = b"".join(pieces), dict(headers).get(b"content-type", b"").decode("latin-1")
        code, kind, sentence = _error(body) if status >= 400 else (None, None, "")
        if any(name == b"x-watchkeeper-decision" for name, _ in headers):
            kind = DENIED  # in whatever words this dialect says it
        return Reply(status, media, body, code, kind, sentence, await self._kept(gateway.once, key, name))

    async def _kept(self, once: Once | None, key: Key | None, name: str) -> Keyed | None:
        if once is None:
            return None
        cell = once.cell_of(key, name)
        await once.settled(cell)
        value = await self._cells.get(cell)
        return unpack(Keyed, value) if isinstance(value, bytes) else None


def _scope(state: JobState, name: str, path: str, data: bytes, key: Key | None) -> Message:
    headers: list[Header] = [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"content-length", str(len(data)).encode()),
        (b"idempotency-key", name.encode()),
        (b"x-watchkeeper-on-unknown", b"retry" if state.retry_unknown else b"refuse"),
        (b"traceparent", f"00-{state.trace_id}-{secrets.token_hex(8)}-01".encode()),
        (b"x-watchkeeper-run", state.run.encode()),
    ]
    for field in ("session", "user", "agent"):
        value = getattr(state.identity, field)
        if value is not None:
            headers.append((f"x-watchkeeper-{field}".encode(), value.encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": ("localhost", 80),
        "watchkeeper.key": key,
    }


def _error(body: bytes) -> tuple[str | None, str | None, str]:
    try:
        error = msgspec.json.decode(body)["error"]
        return error.get("code"), error.get("type"), str(error.get("message") or "")[:500]
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return None, None, body[:200].decode("utf-8", "replace")
