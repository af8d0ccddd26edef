"""The store's doors to jobs and effects tell the app behind them who asks, and let nobody through beyond their role."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import House
from tests.unit.server.test_roles import as_role
from watchkeeper.server.asgi import Receive, Scope, Send, reply_json
from watchkeeper.server.callers import LOCAL, Caller, Level
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
CANCEL = "/api/v1/runs/a/b/cancel"


class Door:
    """An app that remembers who asked for what."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append((scope["path"], scope["watchkeeper.caller"]))
        await reply_json(send, 202, {})


async def test_the_app_behind_is_told_who_asks(house: House) -> None:
    door = Door()
    app = store_app(house.parts(work=door))
    assert (await ask(app, "/api/v1/jobs/job_1/events", headers=as_role("viewer", "shop"))).status == 202
    assert (await ask(app, CANCEL, "POST", {"content-type": "application/json"}, b"{}")).status == 202
    assert door.asked == [
        ("/api/v1/jobs/job_1/events", Caller(actor="person:eve", level=Level.VIEWER, tenant="shop")),
        (CANCEL, LOCAL),
    ]


async def test_viewers_change_nothing(house: House) -> None:
    door = Door()
    app = store_app(house.parts(work=door))
    for path in ("/api/v1/jobs", "/api/v1/jobs/job_1/cancel", "/api/v1/effects/settle", CANCEL):
        assert (await ask(app, path, "POST", as_role("viewer"), b"{}")).status == 403, path
    assert door.asked == []


async def test_lists_and_runs_that_go_on_are_not_the_doors(house: House) -> None:
    door = Door()
    app = store_app(house.parts(work=door))
    assert (await ask(app, "/api/v1/jobs", headers=as_role("viewer"))).status == 200
    assert (await ask(app, "/api/v1/effects", headers=as_role("viewer"))).status == 200
    assert b"rules on no runs" in (await ask(app, "/api/v1/runs/resume", "POST", as_role("operator"), b"{}")).body
    assert door.asked == []
