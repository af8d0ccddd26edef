"""The front door: who gets where, who is turned away, and what is said while the store is not there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn

from tests.unit.server.asgi_client import Got, ask
from tests.unit.server.scene import House
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.keys import Grant, Key, KeyRing
from watchkeeper.server.asgi import Receive, Scope, Send
from watchkeeper.server.front import Front
from watchkeeper.server.guard import GuardSettings
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
SECRET = b"s" * 32
JSON = {"content-type": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


class Echo:
    """An ASGI app that says its name and how many bytes it was sent."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        size = 0
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        body = json.dumps({"app": self.name, "bytes": size}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def socket_path(house: House, tmp_path: Path) -> AsyncIterator[Path]:
    """A store process's socket with the eventful house behind it."""
    path = tmp_path / "s.sock"
    server = uvicorn.Server(uvicorn.Config(store_app(house.parts()), uds=str(path), log_level="error", lifespan="off"))
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield path
    server.should_exit = True
    await task


@contextlib.asynccontextmanager
async def front(path: Path, **settings: Any) -> AsyncIterator[tuple[Front, KeyRing]]:
    """A front door with a ring of keys."""
    ring = KeyRing(MemoryCells())

    async def check(secret: str) -> Key | None:
        try:
            return await ring.check(secret)
        except Refusal:
            return None

    more = {name: settings.pop(name) for name in ("journal_ready", "metrics_text", "signed") if name in settings}
    more |= {name: settings.pop(name) for name in ("people", "issuer") if name in settings}
    door = Front(
        Echo("gateway"), Echo("intake"), path, GuardSettings(secret=SECRET, **settings),
        check_key=check, key_alive=ring.alive, **more,
    )  # fmt: skip
    yield door, ring
    await door.close()


def cookies(got: Got) -> dict[str, str]:
    """The cookies that an answer sets."""
    values = [value.split(";")[0].partition("=") for name, value in got.raw if name == "set-cookie"]
    return {name: value for name, _, value in values}


@pytest.mark.parametrize(
    ("method", "path", "app"),
    [("POST", "/v1/chat/completions", "gateway"), ("GET", "/v1/models", "gateway"), ("POST", "/v1/traces", "intake"),
     ("POST", "/api/v1/scores", "intake"), ("POST", "/api/v1/decide", "intake"),
     ("POST", "/api/v1/feedback", "intake")],
)  # fmt: skip
async def test_each_path_reaches_its_app(tmp_path: Path, method: str, path: str, app: str) -> None:
    async with front(tmp_path / "none.sock") as (door, _):
        got = await ask(door, path, method, JSON, b"{}" if method == "POST" else b"")
        assert json.loads(got.body)["app"] == app


async def test_everything_else_reaches_the_store_and_comes_back_whole(socket_path: Path) -> None:
    async with front(socket_path) as (door, _):
        assert "invoke_agent planner" in (await ask(door, "/", headers={"accept": "text/html"})).text
        assert json.loads((await ask(door, "/api/v1/scores?limit=1")).body)["items"]
        got = await ask(door, f"/api/v1/spans/{7:016x}/request")
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["content-length"] == str(len(got.body))
        assert (await ask(door, "/api/v1/ingest/flush", "POST", JSON, b"{}")).status == 200
        assert (await ask(door, "/api/v1/incidents/inc_1/note", "POST", JSON, b'{"text":"hi"}')).status == 200


async def test_a_store_that_is_down_is_said_and_the_gateway_goes_on(tmp_path: Path) -> None:
    async with front(tmp_path / "none.sock") as (door, _):
        page = await ask(door, "/", headers={"accept": "text/html"})
        assert page.status == 503
        assert "The store is starting" in page.text
        assert page.headers["retry-after"] == "2"
        error = json.loads((await ask(door, "/api/v1/traces")).body)["error"]
        assert error["code"] == "store_unavailable"
        assert (await ask(door, "/v1/chat/completions", "POST", JSON, b"{}")).status == 200
        assert (await ask(door, "/healthz")).status == 200
        ready = await ask(door, "/readyz")
        assert ready.status == 503
        assert json.loads(ready.body)["journal"] == "ok"
        assert "does not answer" in json.loads(ready.body)["store"]
        metrics = (await ask(door, "/metrics")).text
        assert "watchkeeper_store_up 0.0" in metrics
        assert (await ask(door, "/ui/static/watchkeeper.css")).status == 200


async def test_readiness_says_which_part_is_not(socket_path: Path) -> None:
    async with front(socket_path) as (door, _):
        assert json.loads((await ask(door, "/readyz")).body) == {"ready": True, "journal": "ok", "store": "ok"}
    async with front(socket_path, journal_ready=lambda: "the disk is full") as (door, _):
        got = await ask(door, "/readyz")
        assert got.status == 503
        assert json.loads(got.body)["journal"] == "the disk is full"


async def test_a_body_without_a_length_is_stopped_at_the_limit(tmp_path: Path) -> None:
    async with front(tmp_path / "none.sock", max_body_bytes=1000) as (door, _):
        at_limit = await ask(door, "/v1/traces", "POST", JSON, [b"x" * 500, b"x" * 500])
        assert json.loads(at_limit.body)["bytes"] == 1000
        over = await ask(door, "/v1/traces", "POST", JSON, [b"x" * 500, b"x" * 501, b"x" * 5000])
        assert over.status == 413
        assert json.loads(over.body)["error"]["code"] == "body_too_large"
        declared = await ask(door, "/v1/traces", "POST", JSON, b"x" * 1001)
        assert declared.status == 413


async def test_a_refusal_has_the_security_headers_and_is_counted(tmp_path: Path) -> None:
    async with front(tmp_path / "none.sock") as (door, _):
        got = await ask(door, "/", headers={"host": "evil.example"})
        assert got.status == 421
        assert "frame-ancestors 'none'" in got.headers["content-security-policy"]
        assert 'watchkeeper_http_refused_total{reason="unknown_host"} 1.0' in (await ask(door, "/metrics")).text


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_an_anthropic_client_without_a_key_is_told_so_in_its_words(socket_path: Path, path: str) -> None:
    async with front(socket_path, require_keys=True) as (door, _):
        got = await ask(door, path, method="POST", headers={"content-type": "application/json"})
        told = json.loads(got.body)
        assert (got.status, told["type"], told["error"]["type"]) == (401, "error", "authentication_error")


async def test_with_keys_nothing_but_health_and_sign_in_is_open(socket_path: Path) -> None:
    async with front(socket_path, require_keys=True) as (door, ring):
        for path in ("/healthz", "/readyz", "/ui/signin", "/ui/static/page.js"):
            assert (await ask(door, path)).status == 200
        for path in ("/api/v1/traces", "/v1/models", "/metrics"):
            got = await ask(door, path)
            assert (got.status, json.loads(got.body)["error"]["code"]) == (401, "key_required")
        page = await ask(door, "/ui/traces", headers={"accept": "text/html"})
        assert (page.status, page.headers["location"]) == (303, "/ui/signin?next=/ui/traces")
        secret = (await ring.create("ci")).secret
        shown = [{name: secret} for name in ("x-watchkeeper-key", "x-api-key", "api-key")]
        for headers in (*shown, {"authorization": f"Bearer {secret}"}):
            assert (await ask(door, "/api/v1/traces", headers=headers)).status == 200
            assert (await ask(door, "/v1/models", headers=headers)).status == 200
        got = await ask(door, "/api/v1/traces", headers={"x-watchkeeper-key": "wk-0000000000-" + "0" * 48})
        assert json.loads(got.body)["error"]["code"] == "invalid_key"


async def test_a_caller_from_beyond_loopback_needs_a_key_whatever_the_settings_say(socket_path: Path) -> None:
    async with front(socket_path) as (door, _):
        assert (await ask(door, "/api/v1/traces", client=("10.0.0.7", 9))).status == 401
        assert (await ask(door, "/v1/models", client=("10.0.0.7", 9))).status == 401


async def test_signing_in_opens_the_pages_until_the_key_is_revoked(socket_path: Path) -> None:
    async with front(socket_path, require_keys=True) as (door, ring):
        made = await ring.create("mia", grant=Grant(scopes=("read",), all_tenants=True))
        page = await ask(door, "/ui/signin?next=/ui/decisions")
        visit = cookies(page)["wk_visit"]
        token = page.text.split('name="csrf" value="')[1].split('"')[0]
        sent = {**FORM, "cookie": f"wk_visit={visit}"}

        async def post(**fields: str) -> Got:
            return await ask(door, "/ui/signin", "POST", sent, urlencode(fields).encode())

        assert (await post(key=made.secret)).status == 403
        assert (await post(key="wk-no", csrf=token)).status == 403
        good = await post(key=made.secret, csrf=token, next="//evil.example")
        assert (good.status, good.headers["location"]) == (303, "/")
        session = {"cookie": f"wk_session={cookies(good)['wk_session']}", "accept": "text/html"}
        shown = await ask(door, "/ui/incidents/inc_1", headers=session)
        assert shown.status == 200
        assert f"key:{made.key.key_id}" in shown.text
        assert made.secret not in shown.text
        assert (await ask(door, "/v1/models", headers=session)).status == 401
        await ring.revoke(made.key.key_id)
        assert (await ask(door, "/ui/incidents", headers=session)).status == 303


async def test_a_form_of_the_ui_needs_the_token_of_its_own_visitor(socket_path: Path) -> None:
    async with front(socket_path) as (door, _):
        page = await ask(door, "/ui/incidents/inc_1", headers={"accept": "text/html"})
        visit = cookies(page)["wk_visit"]
        token = page.text.split('name="csrf" value="')[1].split('"')[0]
        mine, other = ({**FORM, "cookie": f"wk_visit={each}"} for each in (visit, "somebody-else"))
        path, body = "/ui/incidents/inc_1/acknowledge", urlencode({"csrf": token}).encode()
        assert (await ask(door, path, "POST", other, body)).status == 403
        assert (await ask(door, path, "POST", {**mine, "origin": "http://evil.example"}, body)).status == 403
        forged = {**other, "x-watchkeeper-form-token": token, "x-watchkeeper-actor": "root"}
        assert (await ask(door, path, "POST", forged, body)).status == 403
        assert (await ask(door, path, "POST", mine, body)).status == 303
        shown = (await ask(door, "/api/v1/incidents/inc_1")).text
        assert '"actor":"local"' in shown
        assert "root" not in shown


async def test_lifespan_is_acknowledged(tmp_path: Path) -> None:
    async with front(tmp_path / "none.sock") as (door, _):
        events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
        said: list[str] = []

        async def receive() -> MutableMapping[str, Any]:
            return events.pop(0)

        async def send(message: MutableMapping[str, Any]) -> None:
            said.append(message["type"])

        await door({"type": "lifespan"}, receive, send)
        assert said == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
