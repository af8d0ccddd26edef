"""The API of keys and people: made, shown, changed and ended; what is wrong is said, and nothing secret is listed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import NOW_NS, House
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.engines.people.accounts import Accounts
from watchkeeper.records.audit import Audit
from watchkeeper.server.asgi import App
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


async def call(app: App, method: str, path: str, value: object = None) -> tuple[int, Any]:
    got = await ask(app, f"/api/v1/{path}", method, JSON, b"" if value is None else json.dumps(value).encode())
    return got.status, json.loads(got.body)


def house_of(house: House, **more: Any) -> tuple[App, KeyRing]:
    ring = KeyRing(MemoryCells(), lambda: NOW_NS)
    return store_app(house.parts(keys=ring, people=Accounts(MemoryCells(), n=1 << 8), **more)), ring


async def test_a_key_lives_through_the_api(house: House) -> None:
    app, ring = house_of(house)
    wanted = {
        "name": "ci",
        "scopes": ["call"],
        "models": ["m*"],
        "limits": ["usd=5/day"],
        "team": "web",
        "expires": "1d",
    }
    status, made = await call(app, "POST", "keys", wanted)
    assert status == 201
    await ring.check(made["secret"])
    status, shown = await call(app, "GET", f"keys/{made['id']}")
    assert (shown["scopes"], shown["limits"], shown["team"]) == (["call"], ["usd=5/day"], "web")
    assert shown["last_used"] is not None and shown["expires"] is not None
    status, turned = await call(app, "POST", f"keys/{made['id']}/rotate", {"overlap": "1h"})
    assert turned["secret"] != made["secret"] and turned["old_secret_until"] is not None
    status, changed = await call(app, "POST", f"keys/{made['id']}/change", {"limits": ["usd=9/day"]})
    assert (changed["limits"], changed["models"]) == (["usd=9/day"], ["m*"])
    assert (await call(app, "DELETE", f"keys/{made['id']}"))[1]["state"] == "revoked"
    listed = json.dumps((await call(app, "GET", "keys"))[1])
    for secret in (made["secret"], turned["secret"]):
        assert secret.rpartition("-")[2] not in listed
    assert '"hash"' not in listed and '"salt"' not in listed


@pytest.mark.parametrize(
    "wanted",
    [{}, {"name": ""}, {"name": "a", "scopes": ["root"]}, {"name": "a", "scopes": ["admin"]},
     {"name": "a", "scopes": []},
     {"name": "a", "limits": ["usd=lots"]}, {"name": "a", "expires": "soon"}, {"name": "a", "revoked_ns": 1}, []],
)  # fmt: skip
async def test_what_a_key_cannot_be_is_a_400(house: House, wanted: Any) -> None:
    app, ring = house_of(house)
    status, said = await call(app, "POST", "keys", wanted)
    assert status == 400, said
    assert await ring.list() == ()


async def test_keys_that_are_not_there_are_a_404(house: House) -> None:
    app, _ = house_of(house)
    for method, path in (("GET", "keys/x"), ("DELETE", "keys/x"), ("POST", "keys/x/rotate"), ("POST", "keys/x/change")):
        assert (await call(app, method, path, {} if method == "POST" else None))[0] == 404


async def test_people_live_through_the_api_without_their_passwords(house: House) -> None:
    app, _ = house_of(house)
    status, root = await call(app, "POST", "people", {"name": "root", "role": "admin"})
    assert (status, root["role"], len(root["password"])) == (201, "admin", 24)
    own = "my own long password"
    status, vera = await call(app, "POST", "people", {"name": "vera", "tenant": "shop", "password": own})
    assert (status, vera["tenant"]) == (201, "shop") and "password" not in vera
    assert (await call(app, "POST", "people", {"name": "vera"}))[0] == 400
    assert (await call(app, "POST", "people", {"name": "bob", "password": "short"}))[0] == 400
    assert (await call(app, "POST", "people/vera/role", {"role": "operator", "tenant": "shop"}))[1][
        "role"
    ] == "operator"
    assert "password" in (await call(app, "POST", "people/vera/password", {}))[1]
    assert (await call(app, "DELETE", "people/root"))[0] == 409
    assert (await call(app, "DELETE", "people/vera"))[1]["state"] == "removed"
    assert (await call(app, "DELETE", "people/vera"))[0] == 404
    listed = json.dumps((await call(app, "GET", "people"))[1])
    assert own not in listed and root["password"] not in listed and "hash" not in listed


async def test_exports_and_reported_acts_are_in_the_trail_once(house: House) -> None:
    written: list[Audit] = []
    app, _ = house_of(house, record=written.append)
    for _ in range(3):
        assert (await call(app, "GET", "exported"))[0] == 200
    assert (await call(app, "POST", "acts", {"act": "backup.made", "subject": "data directory"}))[0] == 201
    assert (await call(app, "POST", "acts", {"act": "key.created", "subject": "key:x"}))[0] == 400
    assert [(each.act, each.actor) for each in written] == [("export.read", "local"), ("backup.made", "local")]
