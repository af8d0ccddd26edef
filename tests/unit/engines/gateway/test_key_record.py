"""What a key may do: scopes that imply others, models and upstreams by pattern, limits that are read and refused."""

from __future__ import annotations

from typing import Any

import pytest

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.key_record import (
    SCOPES,
    Former,
    Grant,
    Key,
    check_scope,
    check_use,
    hashed,
    matches,
    read_limit,
    show_limit,
)
from watchkeeper.records.event import KeyLimit
from watchkeeper.records.record import pack, unpack


def key(**fields: Any) -> Key:
    return Key(**{"key_id": "0123456789", "name": "k", "salt": b"s" * 16, "hash": b"", "created_ns": 0, **fields})


def test_scopes_imply_what_is_below_them_and_nothing_beside() -> None:
    told = {scope: {other for other in SCOPES if key(scopes=(scope,)).may(other)} for scope in SCOPES}
    assert told == {
        "call": {"call"}, "ingest": {"ingest"}, "read": {"read"}, "operate": {"operate", "read"},
        "admin": {"admin", "operate", "read"},
    }  # fmt: skip


def test_a_key_without_the_scope_is_refused_in_words_and_nobody_is_where_nobody_is_asked() -> None:
    check_scope(None, "call")
    check_scope(key(scopes=("call",)), "call")
    with pytest.raises(Refusal, match="may ingest, and this needs the scope 'call'") as told:
        check_scope(key(scopes=("ingest",)), "call")
    assert (told.value.status, told.value.code) == (403, "scope_missing")


def test_a_key_that_was_made_before_there_were_scopes_calls_reports_and_reads_its_own_tenant() -> None:
    old = unpack(Key, pack({"key_id": "a", "name": "old", "salt": b"", "hash": b"", "created_ns": 1, "tenant": "shop"}))
    assert (old.scopes, old.all_tenants, old.limits, old.former) == (("call", "ingest", "read"), False, (), ())


@pytest.mark.parametrize(
    ("asked", "sent", "allowed"),
    [("gpt-5", "gpt-5", True), ("gpt-5-mini", "gpt-5-mini", True), ("fast", "gpt-5", True), ("GPT-5", "GPT-5", False),
     ("claude", "claude", False), (None, None, False), ("xgpt-5", "xgpt-5", False), ("cheap", "other", True)],
)  # fmt: skip
def test_a_model_is_allowed_by_the_name_asked_for_or_the_one_it_stands_for(
    asked: str | None, sent: str | None, allowed: bool
) -> None:
    mine = key(models=("gpt-5*", "cheap"))
    if allowed:
        check_use(mine, asked, sent, "main")
        return
    with pytest.raises(Refusal) as told:
        check_use(mine, asked, sent, "main")
    assert told.value.code == "model_not_allowed"


def test_an_upstream_that_is_not_named_is_refused_whatever_the_model() -> None:
    mine = key(upstreams=("eu-*",))
    check_use(mine, "m", "m", "eu-west")
    with pytest.raises(Refusal) as told:
        check_use(mine, "m", "m", "us")
    assert told.value.code == "upstream_not_allowed"


@pytest.mark.parametrize("text", ["usd=5/day", "usd=0.000001/total", "tokens=1000000/total", "calls=60/minute"])
def test_a_limit_reads_as_it_is_shown(text: str) -> None:
    assert show_limit(read_limit(text)) == text


@pytest.mark.parametrize(
    "text", ["", "usd", "usd=", "usd=-1", "usd=1e9", "eur=5", "calls=5/hour", "usd=nan", "usd=5/day " * 2]
)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no limit"):
        read_limit(text)


@pytest.mark.parametrize(
    "fields",
    [{"scopes": ()}, {"scopes": ("root",)}, {"scopes": ("admin",)}, {"tenant": ""}, {"team": "a\nb"},
     {"user": "x" * 201},
     {"models": ("",)}, {"models": ("a",) * 101}, {"limits": (KeyLimit(unit="calls", amount=1.5),)},
     {"limits": (KeyLimit(unit="usd", amount=-1),)}, {"limits": (KeyLimit(unit="usd", amount=1e12),)},
     {"limits": (KeyLimit(unit="usd", amount=1), KeyLimit(unit="usd", amount=2))}],
)  # fmt: skip
def test_what_a_key_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Grant(**fields).check()


def test_every_hash_is_compared_whether_or_not_one_has_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal work for a right secret, a wrong one, an old one and a key that is not there: time tells nothing."""
    from watchkeeper.engines.gateway import key_record

    compared: list[int] = []
    real = key_record.hmac.compare_digest
    monkeypatch.setattr(key_record.hmac, "compare_digest", lambda a, b: (compared.append(1), real(a, b))[1])
    former = Former(salt=b"o" * 16, hash=hashed("old", b"o" * 16), until_ns=10)
    mine = key(hash=hashed("new", b"s" * 16), former=(former,))
    work = []
    for secret in ("new", "old", "wrong"):
        compared.clear()
        matches(mine, secret, 5)
        work.append(len(compared))
    assert work == [2, 2, 2]
    compared.clear()
    assert matches(None, "any", 5) == (False, None)
    assert len(compared) == 1
    assert matches(mine, "new", 5) == (True, None)
    assert matches(mine, "old", 9) == (True, 10)
    assert matches(mine, "old", 10) == (False, None)
