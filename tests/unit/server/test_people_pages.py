"""The pages of keys and people: escaped, with a token in every form, and each secret on one page once."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from tests.unit.server.asgi_client import Got, ask
from tests.unit.server.scene import NOW_NS, House
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.engines.gateway.keys import KeyRing
from watchkeeper.engines.people.accounts import Accounts
from watchkeeper.server.asgi import App
from watchkeeper.server.store_app import store_app

pytestmark = pytest.mark.anyio
TOKEN = "the-visitors-token"
FORM = {
    "content-type": "application/x-www-form-urlencoded", "x-watchkeeper-actor": "person:root",
    "x-watchkeeper-role": "admin", "x-watchkeeper-form-token": TOKEN,
}  # fmt: skip
EVIL = "<script>alert(1)</script>"


def house_of(house: House) -> tuple[App, KeyRing, Accounts]:
    ring = KeyRing(MemoryCells(), lambda: NOW_NS)
    people = Accounts(MemoryCells(), lambda: NOW_NS, n=1 << 8)
    return store_app(house.parts(keys=ring, people=people)), ring, people


async def post(app: App, path: str, **fields: str) -> Got:
    return await ask(app, path, "POST", FORM, urlencode({"csrf": TOKEN, **fields}).encode())


async def test_a_key_is_made_on_its_page_and_its_secret_is_there_once(house: House) -> None:
    app, ring, _ = house_of(house)
    got = await post(
        app, "/ui/keys", name=f"shop {EVIL}", tenant="shop", scope_call="1", scope_read="1", models="gpt-5* lab",
        limits="usd=5/day calls=60/minute", expires="90d",
    )  # fmt: skip
    (key,) = await ring.list()
    assert (key.tenant, key.scopes, key.models, len(key.limits)) == ("shop", ("call", "read"), ("gpt-5*", "lab"), 2)
    secret = re.findall(r"wk-[0-9a-f]{10}-[0-9a-f]{48}", got.text)
    assert len(secret) == 1
    assert got.headers["cache-control"] == "no-store"
    assert EVIL not in got.text
    again = await ask(app, "/ui/keys", headers=FORM)
    assert secret[0] not in again.text
    assert "usd=5/day" in again.text and EVIL not in again.text
    assert (await ring.check(secret[0])).key_id == key.key_id


async def test_every_form_needs_the_visitors_token(house: House) -> None:
    app, ring, people = house_of(house)
    made = await ring.create("kept")
    await people.add("ada", "viewer", "correct horse battery")
    for path in ("/ui/keys", f"/ui/keys/{made.key.key_id}/revoke", f"/ui/keys/{made.key.key_id}/rotate", "/ui/people",
                 "/ui/people/ada/remove", "/ui/people/ada/role", "/ui/people/ada/password"):  # fmt: skip
        for token in ("", "wrong"):
            got = await post(app, path, csrf=token, name="eve", role="admin", scope_call="1")
            assert got.status == 403, path
    assert [(key.name, key.revoked_ns) for key in await ring.list()] == [("kept", None)]
    assert [(p.name, p.role, p.epoch) for p in await people.list()] == [("ada", "viewer", 0)]


async def test_keys_are_rotated_and_revoked_from_their_rows(house: House) -> None:
    app, ring, _ = house_of(house)
    made = await ring.create("ci")
    got = await post(app, f"/ui/keys/{made.key.key_id}/rotate", overlap="1h")
    assert "old secret until" in got.text
    assert (await post(app, f"/ui/keys/{made.key.key_id}/rotate", overlap="1 fortnight")).status == 400
    assert (await post(app, f"/ui/keys/{made.key.key_id}/revoke")).status == 200
    assert (await ring.find(made.key.key_id)).revoked_ns is not None
    assert (await post(app, "/ui/keys/0000000000/revoke")).status == 404
    assert (await post(app, f"/ui/keys/{made.key.key_id}/promote")).status == 404


async def test_people_are_added_changed_and_removed(house: House) -> None:
    app, _, people = house_of(house)
    assert "Nobody yet" in (await ask(app, "/ui/people", headers=FORM)).text
    got = await post(app, "/ui/people", name="ada", role="admin")
    password = re.findall(r'class="secret">([^<]+)<', got.text)[0]
    assert (await people.sign_in("ada", password, "x")).role == "admin"
    assert password not in (await ask(app, "/ui/people", headers=FORM)).text
    await post(app, "/ui/people", name="vera", role="viewer", tenant="shop")
    await post(app, "/ui/people/vera/role", role="operator", tenant="bank")
    found = await people.find("vera")
    assert found is not None
    assert (found.role, found.tenant) == ("operator", "bank")
    assert (await post(app, "/ui/people/vera/role", role="root")).status == 400
    assert "only admin" in (await post(app, "/ui/people/ada/remove")).text
    assert (await post(app, "/ui/people/vera/remove")).status == 200
    assert (await post(app, "/ui/people/nobody/remove")).status == 404
    odd = await post(app, "/ui/people", name=EVIL, role="viewer")
    assert odd.status == 400 and EVIL not in odd.text


async def test_pages_are_for_whom_they_are_and_the_navigation_says_so(house: House) -> None:
    app, _, _ = house_of(house)
    viewer = {**FORM, "x-watchkeeper-role": "viewer"}
    bound = {**viewer, "x-watchkeeper-tenant": "shop"}
    whole, part = [(await ask(app, "/ui/traces", headers=each)).text for each in (viewer, bound)]
    assert "/ui/incidents" in whole and "/ui/keys" not in whole
    assert "/ui/incidents" not in part.split("</nav>")[0] and "/ui/audit" not in part.split("</nav>")[0]
    refused = await ask(app, "/ui/people", headers=viewer)
    assert refused.status == 403
    assert "needs the role admin" in refused.text
    assert (
        'action="/ui/incidents/inc_1/acknowledge"' not in (await ask(app, "/ui/incidents/inc_1", headers=viewer)).text
    )
