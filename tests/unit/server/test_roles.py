"""Every address has its line in the table of roles; what has none is closed; no caller gets further than their role."""

from __future__ import annotations

import json
from itertools import product

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router

from tests.unit.server.asgi_client import ask
from tests.unit.server.scene import House
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.engines.gateway.keys import Key, KeyRing
from watchkeeper.engines.people.accounts import Accounts
from watchkeeper.server.callers import Caller, Level, caller_of_key, read_caller
from watchkeeper.server.pages import Pages
from watchkeeper.server.roles import ACCESS, ADMIN, Access, access_of, guarded, refusal_of
from watchkeeper.server.store_app import routes_of, store_app

JSON = {"content-type": "application/json"}
ROLES = ("none", "viewer", "operator", "admin")


def as_role(role: str, tenant: str | None = None, actor: str = "person:eve") -> dict[str, str]:
    told = {**JSON, "x-watchkeeper-actor": actor, "x-watchkeeper-role": role}
    return told if tenant is None else {**told, "x-watchkeeper-tenant": tenant}


def addresses(house: House) -> list[str]:
    parts = house.parts()
    found = []
    for route in routes_of(parts, Pages(parts)):
        found += [f"{method} {route.path}" for method in sorted(route.methods or ()) if method != "HEAD"]
    return found


@pytest.mark.anyio
async def test_every_route_has_a_line_and_every_line_a_route(house: House) -> None:
    assert sorted(set(addresses(house))) == sorted(ACCESS)


def test_what_has_no_line_is_for_admins_of_the_whole_house() -> None:
    assert access_of("POST", "/api/v1/something/new") == ADMIN
    assert access_of("HEAD", "/ui/traces") == ACCESS["GET /ui/traces"]


def test_what_changes_something_is_never_for_viewers() -> None:
    reading = {"POST /api/v1/ingest/flush", "POST /api/v1/runs"}  # a run declares itself, in its own tenant
    for address, access in ACCESS.items():
        if not address.startswith("GET ") and address not in reading:
            assert access.level >= Level.OPERATOR, address


@pytest.mark.anyio
async def test_each_role_gets_as_far_as_its_line_says_and_no_further(house: House) -> None:
    app = store_app(house.parts(keys=KeyRing(MemoryCells()), people=Accounts(MemoryCells())))
    for address, role in product(ACCESS, ROLES):
        method, _, path = address.partition(" ")
        path = "".join(
            part if not part.startswith("{") else "x"
            for part in path.replace("{", "\0{").replace("}", "}\0").split("\0")
        )
        got = await ask(app, path, method, as_role(role), b"{}" if method == "POST" else b"")
        allowed = Level[role.upper()] >= ACCESS[address].level
        refused = got.status == 403 and (b"role_missing" in got.body or b"Not for you" in got.body)
        assert refused is not allowed, (address, role, got.status)


@pytest.mark.anyio
async def test_who_is_bound_to_a_tenant_does_not_see_or_change_the_whole_house(house: House) -> None:
    app = store_app(house.parts())
    for address, access in ACCESS.items():
        method, _, path = address.partition(" ")
        if "{" in path or not access.house:
            continue
        got = await ask(app, path, method, as_role("admin", "shop"), b"{}" if method == "POST" else b"")
        assert got.status == 403, address


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path",
    ["/api/v1/keys/", "/api/v1//keys", "/API/V1/KEYS", "/api/v1/keys/../traces", "/api/v1/./keys",
     "/api/v1/traces/../keys", "/api/v1/keys%2f", "/api/v1/keys;x", "/api/v1/keys\\", "//api/v1/keys",
     "/ui/../api/v1/keys"],
)  # fmt: skip
async def test_tricks_with_the_path_open_nothing(house: House, path: str) -> None:
    ring = KeyRing(MemoryCells())
    await ring.create("planted-name")
    got = await ask(store_app(house.parts(keys=ring)), path, headers=as_role("viewer"))
    assert b"planted-name" not in got.body
    assert got.status in (307, 400, 403, 404)


@pytest.mark.anyio
async def test_another_method_does_not_get_round_the_table(house: House) -> None:
    ring = KeyRing(MemoryCells())
    made = await ring.create("mine")
    app = store_app(house.parts(keys=ring))
    for method in ("PUT", "PATCH", "OPTIONS", "TRACE", "DELETE", "HEAD", "delete", "POST "):
        got = await ask(app, f"/api/v1/keys/{made.key.key_id}", method, as_role("operator"), b"{}")
        assert got.status in (403, 405), method
    assert (await ring.find(made.key.key_id)).revoked_ns is None


@pytest.mark.anyio
async def test_a_method_override_header_overrides_nothing(house: House) -> None:
    ring = KeyRing(MemoryCells())
    made = await ring.create("mine")
    asks = {**as_role("viewer"), "x-http-method-override": "DELETE"}
    await ask(store_app(house.parts(keys=ring)), f"/api/v1/keys/{made.key.key_id}", headers=asks)
    assert (await ring.find(made.key.key_id)).revoked_ns is None


@pytest.mark.anyio
async def test_fields_that_nobody_asked_for_are_refused(house: House) -> None:
    app = store_app(house.parts(keys=KeyRing(MemoryCells()), people=Accounts(MemoryCells())))
    for path, body in (
        ("keys", {"name": "a", "key_id": "0000000000"}), ("keys", {"name": "a", "hash": "x"}),
        ("people", {"name": "eve", "epoch": 9}), ("people", {"name": "eve", "issuer": "x", "role": "viewer"}),
    ):  # fmt: skip
        got = await ask(app, f"/api/v1/{path}", "POST", JSON, json.dumps(body).encode())
        assert got.status == 400, (path, body)


def key(*scopes: str, **more: object) -> Key:
    return Key(key_id="0123456789", name="k", salt=b"", hash=b"", created_ns=0, scopes=scopes, **more)  # type: ignore[arg-type]


def test_how_far_a_key_reaches_follows_from_its_scopes() -> None:
    assert caller_of_key(key("call", "ingest")).role == Level.NONE
    assert caller_of_key(key("read")) == Caller(actor="key:0123456789", level=Level.VIEWER, tenant="default")
    assert caller_of_key(key("operate", tenant="shop")).tenant == "shop"
    assert caller_of_key(key("admin", all_tenants=True)) == Caller(actor="key:0123456789", level=Level.ADMIN)


def test_without_a_role_only_the_socket_itself_is_the_owner() -> None:
    assert read_caller({}).role == Level.ADMIN
    assert read_caller({"x-watchkeeper-actor": "key:abc"}).role == Level.NONE
    assert read_caller({"x-watchkeeper-actor": "key:owner", "x-watchkeeper-role": "root"}).role == Level.NONE


def test_callers_are_told_apart_whatever_they_are_called() -> None:
    odd = Caller(actor="person:a@b", level=Level.VIEWER, tenant="Zürich\r\nx-watchkeeper-role: admin")
    told = {name.decode(): value.decode() for name, value in odd.headers()}
    assert "\n" not in "".join(told.values())
    assert read_caller(told) == odd


def test_a_refusal_says_who_and_what_is_missing() -> None:
    code, sentence = refusal_of(Caller(actor="key:a", level=1), Access(Level.OPERATOR)) or ("", "")
    assert code == "role_missing"
    assert "needs the role operator" in sentence
    assert "have viewer" in sentence


@pytest.mark.anyio
async def test_a_route_that_somebody_adds_is_closed_until_it_is_declared() -> None:
    async def fresh(request: Request) -> Response:
        return PlainTextResponse("in")

    async def missing(request: Request, heading: str, sentence: str, status: int) -> Response:
        return PlainTextResponse(heading, status)

    app = Router(guarded([Route("/api/v1/fresh", fresh)], missing))
    assert (await ask(app, "/api/v1/fresh", headers=as_role("operator"))).status == 403
    assert (await ask(app, "/api/v1/fresh", headers=as_role("admin"))).text == "in"
