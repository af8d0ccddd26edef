"""What the pool of connections holds on to, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from tests.conformance.wire import answering, upstream
from watchkeeper.engines.gateway.transport.client import MOST_KEPT, Client
from watchkeeper.engines.gateway.transport.connection import Broken

pytestmark = pytest.mark.anyio

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
CLOSING = WHOLE.replace(b"content-length", b"connection: close\r\ncontent-length")


async def ask(client: Client, port: int) -> bytes:
    response = await client.request("POST", f"http://127.0.0.1:{port}", "/", (), b"{}", (1.0, 2.0))
    data = await response.readany()
    response.close()
    return data


async def test_connections_that_were_closed_are_not_held_on_to() -> None:
    async with upstream(answering(CLOSING)) as there:
        client = Client()
        for _ in range(20):
            assert await ask(client, there.port) == b"hi"
        client._sweep()
        assert client.connections == 0 and not client._open
        await client.close()


async def test_a_call_that_failed_leaves_no_connection() -> None:
    async with upstream(answering(b"garbage\r\n\r\n")) as there:
        client = Client()
        for _ in range(5):
            with pytest.raises(Broken):
                await ask(client, there.port)
        assert client.connections == 0
        await client.close()


async def test_idle_connections_are_bounded_and_closed_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("watchkeeper.engines.gateway.transport.client.MOST_KEPT", 3)
    monkeypatch.setattr("watchkeeper.engines.gateway.transport.client.KEPT_S", 0.05)
    assert MOST_KEPT > 3
    async with upstream(answering(WHOLE)) as there:
        client = Client()
        await asyncio.gather(*(ask(client, there.port) for _ in range(10)))
        assert client.connections == 3
        await asyncio.sleep(0.1)
        client._sweep()
        assert client.connections == 0
        await client.close()


async def test_after_its_end_nothing_is_open() -> None:
    async with upstream(answering(WHOLE)) as there:
        client = Client()
        await ask(client, there.port)
        await client.close()
        assert client.connections == 0
