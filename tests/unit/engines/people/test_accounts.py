"""People are added, changed and removed; sessions end with what they rest on; nothing tells whether a name exists."""

from __future__ import annotations

import asyncio

import pytest

from watchkeeper.adapters.store.memory_cells import MemoryCells
from watchkeeper.engines.people.accounts import Accounts, Refused
from watchkeeper.engines.people.throttle import PER_PAIR
from watchkeeper.records.audit import Audit

pytestmark = pytest.mark.anyio
PASSWORD = "correct horse battery"


def accounts(written: list[Audit] | None = None) -> Accounts:
    return Accounts(MemoryCells(), n=1 << 8, record=None if written is None else written.append)


async def test_somebody_signs_in_with_their_own_password_alone() -> None:
    people = accounts()
    assert not await people.any()
    await people.add("ada", "admin", PASSWORD)
    assert await people.any()
    assert (await people.sign_in("ada", PASSWORD, "here")).role == "admin"
    for name, password in (("ada", "wrong horse battery"), ("bob", PASSWORD), ("", PASSWORD), ("ADA", PASSWORD)):
        with pytest.raises(Refused, match="do not belong together"):
            await people.sign_in(name, password, "elsewhere")


async def test_guessing_is_throttled_also_when_done_at_once() -> None:
    people = accounts()
    await people.add("ada", "admin", PASSWORD)
    told = await asyncio.gather(
        *(people.sign_in("ada", f"wrong-{n}-password", "x") for n in range(PER_PAIR + 5)), return_exceptions=True
    )
    assert sum("too many" in str(each) for each in told) == 5
    with pytest.raises(Refused, match="too many"):
        await people.sign_in("ada", PASSWORD, "x")
    assert await people.sign_in("ada", PASSWORD, "her own desk")


async def test_a_session_ends_with_a_new_role_a_new_password_a_removal_or_a_sign_out() -> None:
    people = accounts()
    await people.add("root", "admin", PASSWORD)
    person = await people.add("ada", "viewer", PASSWORD)
    assert await people.alive("ada", person.epoch, "n1") is not None
    await people.end("n0", 1)
    await people.end("n1", 2**62)
    assert not await people.ended("n0")  # that session has run out by itself
    assert await people.alive("ada", person.epoch, "n1") is None
    for change in (
        lambda: people.set_role("ada", "operator", "shop"),
        lambda: people.set_password("ada", PASSWORD + "!"),
        lambda: people.remove("ada"),
    ):
        now = await people.find("ada")
        assert now is not None
        before = now.epoch
        assert await people.alive("ada", before, "n2") is not None
        await change()
        assert await people.alive("ada", before, "n2") is None
    with pytest.raises(Refused):
        await people.sign_in("ada", PASSWORD + "!", "y")
    again = await people.add("ada", "viewer", PASSWORD)
    assert await people.alive("ada", person.epoch, "n3") is None
    assert await people.alive("ada", again.epoch, "n3") is not None


async def test_an_issuers_word_does_not_bring_back_who_was_removed_here() -> None:
    people = accounts()
    person = await people.vouched("42", "https://id.example", "viewer", "shop", "ada@example.org")
    assert (person.name, person.role, person.tenant) == ("sso:42", "viewer", "shop")
    same = await people.vouched("42", "https://id.example", "viewer", "shop", "ada@example.org")
    assert same.epoch == person.epoch
    more = await people.vouched("42", "https://id.example", "operator", "shop", None)
    assert more.epoch == person.epoch + 1
    await people.remove("sso:42")
    with pytest.raises(Refused, match="removed here"):
        await people.vouched("42", "https://id.example", "admin", None, None)
    for odd in ("", "a b", "x\n", "é"):
        with pytest.raises(Refused):
            await people.vouched(odd, "https://id.example", "viewer", None, None)


async def test_no_local_name_can_be_taken_for_one_that_an_issuer_vouches_for() -> None:
    people = accounts()
    for name in ("sso:42", "a/b", "", "a" * 101, "a b", "-x", "ada\n", "ada\x00"):
        with pytest.raises(ValueError, match="cannot be a person's name"):
            await people.add(name, "viewer", PASSWORD)


async def test_roles_and_tenants_that_cannot_be_are_refused() -> None:
    people = accounts()
    with pytest.raises(ValueError, match="is no role"):
        await people.add("ada", "root", PASSWORD)
    with pytest.raises(ValueError, match="whole house"):
        await people.add("ada", "admin", PASSWORD, "shop")
    await people.add("ada", "admin", PASSWORD)
    with pytest.raises(ValueError, match="already"):
        await people.add("ada", "viewer", PASSWORD)
    await people.add("bob", "viewer", PASSWORD)
    with pytest.raises(ValueError, match="only admin"):
        await people.set_role("ada", "viewer", None)
    with pytest.raises(ValueError, match="only admin"):
        await people.remove("ada")
    with pytest.raises(KeyError):
        await people.remove("nobody")


async def test_of_two_who_use_a_nonce_one_is_first() -> None:
    people = accounts()
    assert sorted(await asyncio.gather(*(people.use_once("n", 1) for _ in range(5)))) == [False] * 4 + [True]


async def test_each_act_is_audited_with_who_did_it_and_without_a_password() -> None:
    written: list[Audit] = []
    people = accounts(written)
    await people.add("root", "admin", PASSWORD, actor="local")
    await people.add("ada", "viewer", PASSWORD, "shop", "person:root")
    await people.set_role("ada", "operator", "shop", "person:root")
    await people.set_password("ada", PASSWORD, "person:root")
    await people.remove("ada", "person:root")
    acts = [(each.act, each.subject, each.actor) for each in written[1:]]
    assert acts == [
        (f"person.{act}", "person:ada", "person:root")
        for act in ("added", "role_changed", "password_changed", "removed")
    ]
    assert written[2].detail == "was viewer of tenant shop; is operator of tenant shop"
    assert PASSWORD not in repr(written)
