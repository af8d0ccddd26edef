"""Keys: made, checked, revoked and expired."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.engines.gateway.stage import NANO, PlainCells
from watchkeeper.engines.gateway.errors import Refusal
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
