"""A real server on loopback that answers every POST as it is told, and remembers what it was sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer


@dataclass
class Answering:
    """What to answer with, and what came in."""

    url: str = ""
    status: int = 200
    reply: Any = None
    text: str | None = None
    data: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, {k.lower(): v for k, v in request.headers.items()}, await request.json()))
        if self.data is not None:
            return web.Response(body=self.data, status=self.status, headers=self.headers)
        if self.text is not None:
            return web.Response(text=self.text, status=self.status, headers=self.headers)
        return web.json_response(self.reply, status=self.status, headers=self.headers)


@asynccontextmanager
async def answering(**given: Any) -> AsyncIterator[Answering]:
    """Serve for a while."""
    at = Answering(**given)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", at.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        at.url = str(server.make_url("/v1")).rstrip("/")
        yield at
