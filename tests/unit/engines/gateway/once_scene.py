"""A gateway that makes calls once, over a real journal and cells, before a scripted upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.unit.engines.gateway.stage import (
    FlatPricer,
    PlainCells,
    PlainChain,
    ScriptedUpstream,
    chat,
    serving,
    serving_upstream,
    spec,
)
from watchkeeper.engines.gateway.app import Gateway
from watchkeeper.engines.gateway.idempotency import IdempotencySettings, Once
from watchkeeper.engines.gateway.keyed import Keyed
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.engines.gateway.presence import Presence
from watchkeeper.engines.gateway.route_spec import RouteSpec
from watchkeeper.engines.gateway.settings import Settings, UpstreamSpec
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.vault import Vault
from watchkeeper.records.record import pack, unpack

SECRET = b"k" * 32
NS = 1_000_000_000


class Clock:
    """Unix nanoseconds that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000 * NS

    def __call__(self) -> int:
        return self.now_ns


@dataclass
class OnceScene:
    """A running gateway; `cells` outlive it, so that another one can be started on them."""

    gateway: Gateway
    once: Once
    presence: Presence
    upstream: ScriptedUpstream
    journal: Journal
    cells: PlainCells
    chain: PlainChain
    clock: Clock
    client: aiohttp.ClientSession
    url: str

    async def ask(self, key: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """POST a chat request under an idempotency key; status, headers, body."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        data = msgspec.json.encode(chat() if body is None else body)
        given |= {"content-type": "application/json", "idempotency-key": key}
        async with self.client.post(f"{self.url}/v1/chat/completions", data=data, headers=given) as answer:
            body = await answer.read()
        await self.once.settled(self.once.cell_of(None, key))
        return answer.status, {n.lower(): v for n, v in answer.headers.items()}, body

    def held(self, key: str) -> Keyed | None:
        """The cell of a key, of a caller without a key of its own."""
        value = self.cells.cells.get(self.once.cell_of(None, key))
        return unpack(Keyed, value) if isinstance(value, bytes) else None

    def crashed(self, key: str, **changes: Any) -> None:
        """Leave a key's cell as a process leaves it that dies during the call; `changes` alter it further."""
        held = self.held(key)
        assert held is not None
        former = msgspec.structs.replace(held.holder, nonce="former", **changes.pop("holder", {}))
        left = msgspec.structs.replace(
            held, state="running", holder=former, body=None, headers=(), status=None, why=None, **changes
        )
        self.cells.cells[self.once.cell_of(None, key)] = pack(left)


def code(body: bytes) -> str:
    """The code of an error."""
    return str(msgspec.json.decode(body)["error"]["code"])


@asynccontextmanager
async def once_scene(
    folder: Path,
    *,
    chain: PlainChain | None = None,
    settings: IdempotencySettings | None = None,
    more: tuple[UpstreamSpec, ...] = (),
    routes: tuple[RouteSpec, ...] = (),
    **upstream: Any,
) -> AsyncIterator[OnceScene]:
    """A gateway on a free loopback port that makes calls once."""
    scripted, cells, clock = ScriptedUpstream(), PlainCells(), Clock()
    journal = Journal(folder / "journal", "gateway", SECRET)
    vault = Vault(folder / "journal")
    ruling = chain or PlainChain(active=False)
    async with serving_upstream(scripted):
        gateway = Gateway(
            Settings(upstreams=(spec(scripted.url, **upstream), *more), routes=routes, drain_s=2.0),
            journal,
            ruling,
            KeyRing(cells),
            FlatPricer(),
            environment={},
        )
        presence = Presence(cells, SECRET, "gateway", clock)
        once = Once(cells, presence, folder / "journal", vault.body, settings or IdempotencySettings(wait_s=5.0), clock)
        gateway.once = once
        await presence.start()
        async with serving(gateway) as url, aiohttp.ClientSession() as client:
            yield OnceScene(gateway, once, presence, scripted, journal, cells, ruling, clock, client, url)
        await once.stop()
        await presence.stop()
    journal.close()
    vault.close()
