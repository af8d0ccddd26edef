"""What a key's scopes and a person's role allow with jobs and effects, and never beyond their tenant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.keys import Key
from watchkeeper.engines.jobs.rights import Caller
from watchkeeper.records.identity import Identity

OWN = Identity(tenant="shop", key="0123456789")
OTHERS = Identity(tenant="shop", key="other")
BANK = Identity(tenant="bank", key="theirs")


class Asking(NamedTuple):
    actor: str
    tenant: str | None = None
    reads: bool = True
    operates: bool = True


def by_key(*scopes: str, tenant: str = "shop", all_tenants: bool = False) -> Caller:
    key = Key(key_id="0123456789", name="k", salt=b"", hash=b"", created_ns=0, tenant=tenant, scopes=scopes)
    reaches = None if all_tenants else tenant
    return Caller(OWN, key, Asking("key:0123456789", reaches, key.may("read"), key.may("operate")))


def person(role: str, tenant: str | None = "shop") -> Caller:
    identity = Identity(tenant=tenant or "default")
    return Caller(identity, None, Asking("person:eve", tenant, role != "none", role in ("operator", "admin")))


LOCAL = Caller(Identity(), None, Asking("local"))


def refused(act: Callable[..., Any], *given: Any) -> str | None:
    try:
        act(*given)
    except Refusal as refusal:
        assert refusal.status == 403
        return refusal.code
    return None


def test_a_job_is_submitted_by_a_key_that_may_call_and_by_no_sign_in() -> None:
    assert refused(by_key("call").submits) is None
    assert refused(LOCAL.submits) is None
    assert refused(by_key("ingest", "read", "operate").submits) == "scope_missing"
    for role in ("none", "viewer", "operator", "admin"):
        assert refused(person(role, None).submits) == "key_required"
    assert refused(Caller(Identity(), None, Asking("nobody", operates=False)).submits) == "role_missing"


def test_a_key_that_only_calls_sees_and_changes_the_jobs_of_its_own() -> None:
    caller = by_key("call")
    assert [caller.sees(each) for each in (OWN, OTHERS, BANK)] == [True, False, False]
    assert [refused(caller.changes, each) for each in (OWN, OTHERS)] == [None, "role_missing"]
    assert refused(caller.notes, OTHERS) == "role_missing"
    assert refused(by_key("call", "ingest").notes, OTHERS) is None
    assert refused(by_key("call", "ingest").notes, BANK) == "role_missing"


def test_a_key_of_the_same_id_in_another_tenant_owns_nothing_here() -> None:
    assert not by_key("call", tenant="bank").sees(OWN)


@pytest.mark.parametrize(
    ("caller", "seen"),
    [
        (by_key("read"), [True, True, False]),
        (by_key("read", all_tenants=True), [True, True, True]),
        (by_key("ingest"), [False, False, False]),
        (by_key("call", "ingest", all_tenants=True), [True, False, False]),
        (person("viewer"), [True, True, False]),
        (person("viewer", None), [True, True, True]),
        (person("none"), [False, False, False]),
        (LOCAL, [True, True, True]),
    ],
)
def test_who_may_read_sees_the_jobs_of_their_tenant(caller: Caller, seen: list[bool]) -> None:
    assert [caller.sees(each) for each in (OWN, OTHERS, BANK)] == seen


def test_operators_change_the_jobs_of_their_tenant() -> None:
    for caller in (by_key("operate"), person("operator")):
        assert [refused(caller.changes, each) for each in (OWN, OTHERS)] == [None, None]
        assert refused(caller.changes, BANK) == "role_missing"
    assert refused(person("viewer").changes, OWN) == "role_missing"
    assert refused(by_key("read").changes, OWN) == "role_missing"
    assert refused(person("admin", None).changes, BANK) is None


def test_effects_are_claimed_by_those_who_may_report() -> None:
    assert refused(by_key("ingest").claims) is None
    assert refused(by_key("call", "operate").claims) == "scope_missing"
    assert refused(person("viewer").claims) == "role_missing"
    assert refused(person("operator").claims) is None


def test_effects_are_read_and_settled_within_the_tenant() -> None:
    for caller in (by_key("ingest"), by_key("operate"), person("operator")):
        assert (caller.reads(), caller.settles()) == ("shop", "shop")
    assert (by_key("ingest", all_tenants=True).reads(), by_key("ingest", all_tenants=True).settles()) == (
        "shop",
        "shop",
    )
    assert (by_key("operate", all_tenants=True).settles(), LOCAL.settles()) == (None, None)
    assert by_key("read").reads() == person("viewer").reads() == "shop"
    assert refused(by_key("read").settles) == refused(by_key("call").reads) == "scope_missing"
    assert refused(person("viewer").settles) == refused(person("none").reads) == "role_missing"
