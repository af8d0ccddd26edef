"""Keys: made, checked, revoked and expired."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.engines.gateway.stage import NANO, PlainCells, stage
from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.key_record import Grant, read_limit
from watchkeeper.engines.gateway.keys import CACHED_S, KeyRing, presented
from watchkeeper.records.audit import Audit

pytestmark = pytest.mark.anyio


async def test_a_new_key_lets_in_and_its_secret_is_not_kept() -> None:
    cells = PlainCells()
    made = await KeyRing(cells).create("ci", tenant="acme", user="ada")
    key = await KeyRing(cells).check(made.secret)
    assert (key.key_id, key.name, key.tenant, key.user) == (made.key.key_id, "ci", "acme", "ada")
    assert made.secret.rpartition("-")[2].encode() not in b"".join(
        value for value in cells.cells.values() if isinstance(value, bytes)
    )


async def test_two_keys_of_one_name_differ_in_everything() -> None:
    ring = KeyRing(PlainCells())
    one, two = await ring.create("ci"), await ring.create("ci")
    assert one.secret != two.secret and one.key.salt != two.key.salt and one.key.hash != two.key.hash


@pytest.mark.parametrize("change", ["id", "secret", "shape"])
async def test_a_key_that_is_not_quite_right_is_a_401(change: str) -> None:
    ring = KeyRing(PlainCells())
    secret = (await ring.create("ci")).secret
    wrong = {
        "id": "wk-0123456789" + secret[13:],
        "secret": secret[:-1] + ("0" if secret[-1] != "0" else "1"),
        "shape": secret + "0",
    }[change]
    with pytest.raises(Refusal) as caught:
        await ring.check(wrong)
    assert caught.value.status == 401 and secret[14:] not in caught.value.sentence


async def test_a_revoked_key_is_out_within_a_second_elsewhere_and_at_once_here() -> None:
    cells = PlainCells()
    here, elsewhere = KeyRing(cells), KeyRing(cells)
    made = await here.create("ci")
    await elsewhere.check(made.secret)
    await here.revoke(made.key.key_id)
    with pytest.raises(Refusal, match="revoked"):
        await here.check(made.secret)
    assert CACHED_S < 1
    await asyncio.sleep(CACHED_S + 0.05)
    with pytest.raises(Refusal, match="revoked"):
        await elsewhere.check(made.secret)


async def test_a_key_is_valid_until_its_expiry_and_not_at_it() -> None:
    now = [10 * NANO]
    ring = KeyRing(PlainCells(), lambda: now[0])
    made = await ring.create("ci", expires_ns=11 * NANO)
    now[0] = 11 * NANO - 1
    await ring.check(made.secret)
    now[0] = 11 * NANO
    with pytest.raises(Refusal, match="expired"):
        await ring.check(made.secret)


async def test_checks_in_a_row_read_the_cells_once() -> None:
    cells = PlainCells()
    ring = KeyRing(cells)
    made = await ring.create("ci")
    for _ in range(100):
        await ring.check(made.secret)
    assert cells.reads == 1


async def test_the_list_has_all_keys_and_acts_are_audited_without_secrets() -> None:
    audits: list[Audit] = []
    clock = iter(range(1, 100))
    ring = KeyRing(PlainCells(), lambda: next(clock), audits.append)
    one, two = await ring.create("one"), await ring.create("two")
    await ring.revoke(one.key.key_id)
    await ring.revoke(one.key.key_id)
    assert [(key.name, key.revoked_ns is None) for key in await ring.list()] == [("one", False), ("two", True)]
    assert [audit.act for audit in audits] == ["key.created", "key.created", "key.revoked"]
    assert one.secret not in str(audits) and two.secret not in str(audits)
    with pytest.raises(KeyError):
        await ring.revoke("nobody")


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb"])
async def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        await KeyRing(PlainCells()).create(name)


def test_a_key_is_looked_for_in_its_own_header_first() -> None:
    assert presented({b"x-watchkeeper-key": b"wk-a", b"authorization": b"Bearer wk-b"}) == "wk-a"
    assert presented({b"authorization": b"bearer wk-b"}) == "wk-b"
    assert presented({b"authorization": b"Bearer sk-b"}) is None
    assert presented({b"authorization": b"Bearer wko-b"}) == "wko-b"
    assert presented({b"api-key": b"wko-b"}) == "wko-b"
    assert presented({b"api-key": b"sk-b"}) is None
    assert presented({b"api-key": b"wk-c"}) == "wk-c"
    assert presented({b"api-key": b"azure"}) is None


async def test_another_secret_of_a_known_key_stays_out_after_the_right_one() -> None:
    ring = KeyRing(PlainCells())
    made = await ring.create("ci")
    await ring.check(made.secret)
    wrong = made.secret[:-1] + ("0" if made.secret[-1] != "0" else "1")
    with pytest.raises(Refusal):
        await ring.check(wrong)
    assert (await ring.check(made.secret)).key_id == made.key.key_id


async def test_after_a_rotation_the_old_secret_goes_on_for_the_overlap_and_not_longer() -> None:
    now = [10 * NANO]
    ring, elsewhere = (KeyRing(cells, lambda: now[0]) for cells in [PlainCells()] * 2)
    made = await ring.create("ci")
    await elsewhere.check(made.secret)
    fresh = await ring.rotate(made.key.key_id, 5 * NANO)
    assert fresh.secret != made.secret
    for secret in (made.secret, fresh.secret):
        assert (await ring.check(secret)).key_id == made.key.key_id
    now[0] = 15 * NANO - 1
    await ring.check(made.secret)
    now[0] = 15 * NANO
    await ring.check(fresh.secret)
    with pytest.raises(Refusal, match="not known"):
        await ring.check(made.secret)
    gone = await ring.rotate(made.key.key_id)
    with pytest.raises(Refusal, match="not known"):
        await ring.check(fresh.secret)
    await ring.check(gone.secret)


async def test_a_revoked_key_and_an_endless_overlap_are_not_rotated() -> None:
    ring = KeyRing(PlainCells())
    made = await ring.create("ci")
    with pytest.raises(ValueError, match="0 to 90 days"):
        await ring.rotate(made.key.key_id, 91 * 86_400 * NANO)
    await ring.revoke(made.key.key_id)
    with pytest.raises(ValueError, match="not valid any more"):
        await ring.rotate(made.key.key_id)
    with pytest.raises(Refusal):
        await ring.check(made.secret)


async def test_two_who_change_a_key_at_once_do_not_undo_one_another() -> None:
    ring = KeyRing(PlainCells())
    made = await ring.create("ci")
    await asyncio.gather(
        ring.revoke(made.key.key_id), *(ring.regrant(made.key.key_id, {"models": (f"m{n}",)}) for n in range(5))
    )
    kept = await ring.find(made.key.key_id)
    assert kept.revoked_ns is not None
    assert kept.models


async def test_raising_a_limit_is_audited_with_what_it_was() -> None:
    audits: list[Audit] = []
    ring = KeyRing(PlainCells(), record=audits.append)
    made = await ring.create("ci", grant=Grant(limits=(read_limit("usd=5/day"),)))
    await ring.regrant(made.key.key_id, {"limits": (read_limit("usd=500/day"),)}, "person:ada")
    detail = audits[-1].detail or ""
    assert (audits[-1].act, audits[-1].actor) == ("key.changed", "person:ada")
    assert "usd=5/day" in detail.split("; is ")[0]
    assert "usd=500/day" in detail.split("; is ")[1]
    with pytest.raises(ValueError, match="whole house"):
        await ring.regrant(made.key.key_id, {"scopes": ("admin",)})


async def test_last_use_is_known_and_written_seldom() -> None:
    cells, now = PlainCells(), [10 * NANO]
    ring = KeyRing(cells, lambda: now[0])
    used, unused = await ring.create("used"), await ring.create("unused")
    await ring.check(used.secret)
    assert await ring.last_used() == {used.key.key_id: 10 * NANO}
    await ring.note_use()
    assert not [name for name in cells.cells if name.startswith("key_used/")]  # not yet time
    await ring.note_use(every_s=0)
    assert await KeyRing(cells).last_used() == {used.key.key_id: 10 * NANO}
    assert unused.key.key_id not in await ring.last_used()


async def test_a_key_without_the_scope_or_the_model_makes_no_call() -> None:
    async with stage(require_keys=True) as scene:
        ingest = (await scene.keys.create("i", grant=Grant(scopes=("ingest",)))).secret
        small = (await scene.keys.create("s", grant=Grant(models=("beta",)))).secret
        away = (await scene.keys.create("u", grant=Grant(upstreams=("other",)))).secret
        good = (await scene.keys.create("g", grant=Grant(models=("alpha",), upstreams=("main",)))).secret
        for secret, code in ((ingest, "scope_missing"), (small, "model_not_allowed"), (away, "upstream_not_allowed")):
            got = await scene.ask(x_watchkeeper_key=secret)
            assert (got.status, (await got.json())["error"]["code"]) == (403, code)
        assert scene.upstream.heard == []
        assert (await scene.ask(x_watchkeeper_key=good)).status == 200


async def test_a_limited_key_is_asked_about_even_where_no_other_policy_is() -> None:
    async with stage(require_keys=True) as scene:
        free = (await scene.keys.create("free")).secret
        limited = (await scene.keys.create("limited", grant=Grant(limits=(read_limit("calls=1/day"),)))).secret
        await scene.ask(x_watchkeeper_key=free)
        assert scene.chain.asked == []
        await scene.ask(x_watchkeeper_key=limited)
        assert [event.limits for event in scene.chain.asked] == [(read_limit("calls=1/day"),)]


async def test_ending_a_secret_at_once_ends_those_that_were_still_going_on() -> None:
    ring = KeyRing(PlainCells())
    first = await ring.create("ci")
    second = await ring.rotate(first.key.key_id, 3_600 * NANO)
    third = await ring.rotate(first.key.key_id)
    for secret in (first.secret, second.secret):
        with pytest.raises(Refusal):
            await ring.check(secret)
    await ring.check(third.secret)


async def test_a_new_secret_is_good_at_once_in_another_process_that_knows_the_key() -> None:
    cells = PlainCells()
    here, elsewhere = KeyRing(cells), KeyRing(cells)
    made = await here.create("ci")
    await elsewhere.check(made.secret)
    await asyncio.sleep(0.03)
    fresh = await here.rotate(made.key.key_id, 3_600 * NANO)
    assert (await elsewhere.check(fresh.secret)).key_id == made.key.key_id
