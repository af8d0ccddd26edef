"""Who is at the door: people, keys and strangers; sessions that cannot be fixed, forged, replayed or kept too long."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.issuer import CLIENT, LabIssuer
from tests.unit.server.asgi_client import Got, ask
from tests.unit.server.test_front import FORM, JSON, cookies, front, socket_path
from watchkeeper.adapters.identity.oidc import Issuer, IssuerSettings
from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.engines.gateway.keys import Grant
from watchkeeper.engines.people.accounts import Accounts
from watchkeeper.server.front import Front

pytestmark = pytest.mark.anyio
__all__ = ["socket_path"]
PASSWORD = "correct horse battery"
CHEAP = 1 << 8
PAGE = {"accept": "text/html"}


async def people_with(*names: tuple[str, str, str | None]) -> Accounts:
    people = Accounts(MemoryCells(), n=CHEAP)
    for name, role, tenant in names:
        await people.add(name, role, PASSWORD, tenant)
    return people


async def sign_in(
    door: Front, name: str, password: str = PASSWORD, next_path: str = "/", visit: str | None = None
) -> Got:
    given = {} if visit is None else {"cookie": f"wk_visit={visit}"}
    page = await ask(door, "/ui/signin", headers=given)
    visit = visit or cookies(page)["wk_visit"]
    token = page.text.split('name="csrf" value="')[1].split('"')[0]
    body = urlencode({"name": name, "password": password, "csrf": token, "next": next_path}).encode()
    return await ask(door, "/ui/signin", "POST", {**FORM, "cookie": f"wk_visit={visit}"}, body)


def session(got: Got) -> dict[str, str]:
    return {"cookie": f"wk_session={cookies(got)['wk_session']}", **PAGE}


async def test_on_loopback_nobody_signs_in_until_somebody_has_an_account(socket_path: Path) -> None:
    people = Accounts(MemoryCells(), n=CHEAP)
    async with front(socket_path, people=people) as (door, _):
        assert (await ask(door, "/ui/traces", headers=PAGE)).status == 200
        await people.add("ada", "admin", PASSWORD)
        assert (await ask(door, "/ui/traces", headers=PAGE)).headers["location"] == "/ui/signin?next=/ui/traces"
        assert (await ask(door, "/api/v1/traces")).status == 401
        assert (await ask(door, "/metrics")).status == 401
        assert (await ask(door, "/v1/models")).status == 200  # calls follow require_keys, as before
        assert (await ask(door, "/api/v1/scores", "POST", JSON, b"{}")).status == 200


async def test_a_person_signs_in_and_out_and_the_cookie_is_worth_nothing_after(socket_path: Path) -> None:
    told: list[tuple[str, str]] = []
    people = await people_with(("ada", "admin", None))
    async with front(socket_path, people=people, signed=lambda *each: told.append(each)) as (door, _):
        got = await sign_in(door, "ada", next_path="/ui/incidents")
        assert (got.status, got.headers["location"]) == (303, "/ui/incidents")
        (line,) = [value for name, value in got.raw if name == "set-cookie" and value.startswith("wk_session")]
        assert "HttpOnly" in line and "SameSite=Strict" in line and "Secure" not in line
        page = await ask(door, "/ui/keys", headers=session(got))
        assert "person:ada" in page.text
        token = page.text.split('name="csrf" value="')[1].split('"')[0]
        out = {**FORM, "cookie": session(got)["cookie"]}
        assert (await ask(door, "/ui/signout", "POST", out, b"csrf=wrong")).status == 403
        assert (await ask(door, "/ui/signout", "POST", out, urlencode({"csrf": token}).encode())).status == 303
        assert (await ask(door, "/ui/keys", headers=session(got))).status == 303
        assert [act for act, _ in told] == ["signin", "signout"]


async def test_behind_tls_the_cookies_are_for_tls_alone(socket_path: Path) -> None:
    people = await people_with(("ada", "admin", None))
    async with front(socket_path, people=people, url="https://watch.example") as (door, _):
        got = await ask(door, "/ui/signin", headers={"host": "watch.example"})
        assert "; Secure" in got.headers["set-cookie"]
        assert "; Secure" not in (await ask(door, "/ui/signin")).headers["set-cookie"]
        assert (await ask(door, "/ui/signin", headers={"x-forwarded-proto": "https"})).status == 200


async def test_wrong_names_and_wrong_passwords_read_alike(socket_path: Path) -> None:
    people = await people_with(("ada", "admin", None))
    async with front(socket_path, people=people) as (door, _):
        wrong = await sign_in(door, "ada", "wrong-password-1")
        nobody = await sign_in(door, "nobody", "wrong-password-1")
        assert (wrong.status, nobody.status) == (403, 403)
        said = [each.text.split('role="alert">')[1].split("<")[0] for each in (wrong, nobody)]
        assert said[0] == said[1]
        assert "wk_session" not in cookies(wrong)
        assert "wrong-password-1" not in wrong.text


async def test_a_session_cannot_be_fixed_before_signing_in(socket_path: Path) -> None:
    people = await people_with(("ada", "admin", None))
    async with front(socket_path, people=people) as (door, _):
        first, second = [await sign_in(door, "ada", visit="chosen-by-an-attacker") for _ in range(2)]
        assert cookies(first)["wk_session"] != cookies(second)["wk_session"]
        assert cookies(first)["wk_visit"] == ""
        real = cookies(first)["wk_session"]
        changed = real[:-1] + ("1" if real.endswith("0") else "0")
        for planted in ("", "x", "a.b", changed, "chosen-by-an-attacker"):
            got = await ask(door, "/ui/keys", headers={"cookie": f"wk_session={planted}", **PAGE})
            assert got.status == 303


async def test_a_cookie_for_one_purpose_is_none_for_another(socket_path: Path) -> None:
    people = await people_with(("ada", "admin", None))
    async with front(socket_path, people=people) as (door, _):
        keeper = door._keeper.sessions
        sealed = keeper.seal("attempt", keeper.read(keeper.issue("", "ada", 0)))  # type: ignore[arg-type]
        assert (await ask(door, "/ui/keys", headers={"cookie": f"wk_session={sealed}", **PAGE})).status == 303


async def test_roles_hold_through_the_door_and_end_with_the_account(socket_path: Path) -> None:
    people = await people_with(("root", "admin", None), ("vi", "viewer", None), ("op", "operator", None))
    async with front(socket_path, people=people) as (door, _):
        viewer, operator = session(await sign_in(door, "vi")), session(await sign_in(door, "op"))
        act, origin = "/api/v1/incidents/inc_1/acknowledge", {"origin": "http://127.0.0.1:8787"}
        assert (await ask(door, act, "POST", {**JSON, **viewer, **origin}, b"{}")).status == 403
        assert (await ask(door, act, "POST", {**JSON, **operator, **origin}, b"{}")).status == 200
        assert (await ask(door, "/ui/keys", headers=viewer)).status == 403
        shown = (await ask(door, "/ui/traces", headers=viewer)).text
        assert "/ui/keys" not in shown and "/ui/people" not in shown
        await people.set_role("vi", "viewer", "shop")
        assert (await ask(door, "/ui/traces", headers=viewer)).status == 303
        await people.remove("op")
        assert (await ask(door, "/ui/traces", headers=operator)).status == 303


async def test_a_cookie_alone_changes_nothing_through_the_api(socket_path: Path) -> None:
    people = await people_with(("root", "admin", None))
    async with front(socket_path, people=people) as (door, _):
        mine = session(await sign_in(door, "root"))
        asks = {**JSON, **mine}
        for more in ({}, {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            got = await ask(door, "/api/v1/keys", "POST", {**asks, **more}, b'{"name": "x"}')
            assert (got.status, json.loads(got.body)["error"]["code"]) == (403, "foreign_origin")
        form = {**FORM, **mine, "origin": "http://127.0.0.1:8787"}
        assert (await ask(door, "/ui/people", "POST", form, b"name=eve&role=admin")).status == 403
        assert [p.name for p in await people.list()] == ["root"]


@pytest.mark.parametrize(
    "name", ["X-Watchkeeper-Role", "x-watchkeeper_role", "X_WATCHKEEPER_ROLE", "x-watchkeeper-role "]
)
async def test_nobody_tells_the_store_who_they_are_but_the_front(socket_path: Path, name: str) -> None:
    people = await people_with(("root", "admin", None), ("vi", "viewer", "shop"))
    async with front(socket_path, people=people) as (door, ring):
        mine = session(await sign_in(door, "vi"))
        forged = {**mine, name: "admin", "x-watchkeeper-actor": "local", "x-watchkeeper-tenant": "bank"}
        assert (await ask(door, "/ui/keys", headers=forged)).status == 403
        key = (await ring.create("call", grant=Grant(scopes=("call",)))).secret
        got = await ask(door, "/api/v1/traces", headers={"x-watchkeeper-key": key, name: "admin"})
        assert (got.status, json.loads(got.body)["error"]["code"]) == (403, "role_missing")


async def test_an_ordinary_key_cannot_make_itself_more(socket_path: Path) -> None:
    async with front(socket_path, require_keys=True) as (door, ring):
        made = await ring.create("program", grant=Grant(scopes=("call", "ingest", "read", "operate")))
        shown = {**JSON, "x-watchkeeper-key": made.secret}
        tries = (
            ("keys", {"name": "x", "scopes": ["admin"], "all_tenants": True}),
            (f"keys/{made.key.key_id}/change", {"scopes": ["admin"]}),
            (f"keys/{made.key.key_id}/rotate", {}),
            ("people", {"name": "eve", "role": "admin"}),
            ("erasures", {"user": "ada"}),
        )
        for path, body in tries:
            got = await ask(door, f"/api/v1/{path}", "POST", shown, json.dumps(body).encode())
            assert (got.status, json.loads(got.body)["error"]["code"]) == (403, "role_missing"), path
        assert len(await ring.list()) == 1
        assert (await ask(door, "/metrics", headers=shown)).status == 200
        caller = (await ring.create("caller", grant=Grant(scopes=("call",)))).secret
        assert (await ask(door, "/metrics", headers={"x-watchkeeper-key": caller})).status == 403


async def test_on_an_open_loopback_a_key_that_is_shown_still_binds(socket_path: Path) -> None:
    async with front(socket_path) as (door, ring):
        made = await ring.create("shop", grant=Grant(tenant="shop", scopes=("read",)))
        mine = {"x-watchkeeper-key": made.secret}
        assert json.loads((await ask(door, "/api/v1/traces", headers=mine)).body)["items"] == []
        assert json.loads((await ask(door, "/api/v1/traces")).body)["items"]


def issuer_client(issuer: LabIssuer) -> Issuer:
    return Issuer(
        IssuerSettings(
            issuer=issuer.url, client_id=CLIENT, redirect_uri="http://127.0.0.1:8787/ui/signin/callback",
            roles={"wk-operators": "operator"},
        )
    )  # fmt: skip


async def test_an_issuers_word_lets_a_person_in_once(socket_path: Path) -> None:
    people = Accounts(MemoryCells(), n=CHEAP)
    async with LabIssuer() as issuer, front(socket_path, people=people, issuer=issuer_client(issuer)) as (door, _):
        assert (await ask(door, "/ui/traces", headers=PAGE)).status == 303
        assert "Sign in with 127.0.0.1" in (await ask(door, "/ui/signin")).text
        begun = await ask(door, "/ui/signin/issuer?next=/ui/decisions")
        assert begun.headers["location"].startswith(f"{issuer.url}/authorize?")
        (line,) = [value for name, value in begun.raw if name == "set-cookie"]
        assert "SameSite=Lax" in line and "HttpOnly" in line
        back = f"/ui/signin/callback?{issuer.authorize(begun.headers['location'])}"
        kept = {"cookie": f"wk_attempt={cookies(begun)['wk_attempt']}", "sec-fetch-site": "cross-site"}
        assert (await ask(door, back)).status == 403  # another browser
        got = await ask(door, back, headers=kept)
        assert got.status == 200
        assert 'content="0;url=/ui/decisions"' in got.text
        assert "person:sso:ada-42" in (await ask(door, "/ui/decisions", headers=session(got))).text
        again = await ask(door, back, headers=kept)
        assert again.status == 403
        assert "used before" in again.text
        assert issuer.asked["token"] == 1


@pytest.mark.parametrize(
    "where", ["//evil.example", "https://evil.example", "/\\evil.example", "/%0d%0aset-cookie:x", "javascript:x", ""]
)
async def test_signing_in_leads_nowhere_else(socket_path: Path, where: str) -> None:
    people = await people_with(("ada", "admin", None))
    async with LabIssuer() as issuer, front(socket_path, people=people, issuer=issuer_client(issuer)) as (door, _):
        got = await sign_in(door, "ada", next_path=where)
        assert got.headers["location"] == "/" or got.headers["location"].startswith("/%0d")
        begun = await ask(door, f"/ui/signin/issuer?{urlencode({'next': where})}")
        back = f"/ui/signin/callback?{issuer.authorize(begun.headers['location'])}"
        got = await ask(door, back, headers={"cookie": f"wk_attempt={cookies(begun)['wk_attempt']}"})
        led = got.text.split("0;url=")[1].split('"')[0]
        assert led.startswith("/") and not led.startswith(("//", "/\\")) and "evil" not in led


async def test_an_issuer_that_refuses_is_told_in_words_and_escaped(socket_path: Path) -> None:
    people = Accounts(MemoryCells(), n=CHEAP)
    async with LabIssuer() as issuer, front(socket_path, people=people, issuer=issuer_client(issuer)) as (door, _):
        begun = await ask(door, "/ui/signin/issuer")
        kept = {"cookie": f"wk_attempt={cookies(begun)['wk_attempt']}"}
        state = begun.headers["location"].split("state=")[1].split("&")[0]
        query = urlencode({"error": "<script>alert(1)</script>", "state": state})
        got = await ask(door, f"/ui/signin/callback?{query}", headers=kept)
        assert got.status == 403
        assert "<script>alert" not in got.text
        assert "wk_session" not in cookies(got)
