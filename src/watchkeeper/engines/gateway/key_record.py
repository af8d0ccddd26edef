"""What a key is: its scopes, whom it is bound to, which models and upstreams it may call, and the limits it carries."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal

from watchkeeper.engines.gateway.errors import NO_RETRY, Refusal
from watchkeeper.records.event import KeyLimit
from watchkeeper.records.record import Record

SCOPES = ("call", "ingest", "read", "operate", "admin")
"""What a key may do: call models, send reports, read the record, work on it, and manage the house."""

DEFAULT_SCOPES = ("call", "ingest", "read")
LONGEST_NAME = 200
MOST_PATTERNS = 100
_LIMIT = re.compile(r"(usd|tokens|calls)=([0-9]+(?:\.[0-9]+)?)(?:/(minute|day|total))?\Z")
_MOST = 4_000_000_000.0
_IMPLIED: Mapping[str, tuple[str, ...]] = {"admin": ("operate", "read"), "operate": ("read",)}


class Former(Record):
    """A secret that was replaced: its salt and hash, and until when (unix nanoseconds) it still lets callers in."""

    salt: bytes
    hash: bytes
    until_ns: int


class Key(Record):
    """A key as it is kept: whom it is bound to and the salted BLAKE2b-256 of its secret, never the secret.

    Times are unix nanoseconds; `expires_ns` None is for ever. A revoked key is kept so that it stays in the list.
    `models` and `upstreams` are patterns as of file names; empty is all. With `all_tenants` it reads what belongs to
    every tenant; without, what belongs to its own. A caller's secret is 192 random bits, so that a fast hash is enough.
    """

    key_id: str
    name: str
    salt: bytes
    hash: bytes
    created_ns: int
    tenant: str = "default"
    user: str | None = None
    expires_ns: int | None = None
    revoked_ns: int | None = None
    team: str | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    all_tenants: bool = False
    models: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    limits: tuple[KeyLimit, ...] = ()
    rotated_ns: int | None = None
    former: tuple[Former, ...] = ()

    def valid_at(self, at_ns: int) -> bool:
        """Whether the key lets anybody in at that time."""
        return self.revoked_ns is None and (self.expires_ns is None or at_ns < self.expires_ns)

    def may(self, scope: str) -> bool:
        """Whether the key has a scope, or one that implies it."""
        return scope in self.scopes or any(scope in _IMPLIED.get(each, ()) for each in self.scopes)


class Made(Record):
    """A new key, or a key with a new secret, and that secret: the only time that anybody sees it."""

    key: Key
    secret: str


class Grant(Record):
    """What a key is to be bound to and may do. `check` says what is wrong with it."""

    tenant: str = "default"
    user: str | None = None
    team: str | None = None
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    all_tenants: bool = False
    models: tuple[str, ...] = ()
    upstreams: tuple[str, ...] = ()
    limits: tuple[KeyLimit, ...] = ()

    def check(self) -> None:
        """Raise `ValueError` with a sentence for what cannot be."""
        for what, value in (("tenant", self.tenant), ("user", self.user), ("team", self.team)):
            check_name(f"key's {what}", value)
        unknown = [scope for scope in self.scopes if scope not in SCOPES]
        if unknown or not self.scopes:
            raise ValueError(
                f"The key's scopes are {', '.join(map(repr, self.scopes)) or 'none'}; "
                f"give one or more of {', '.join(SCOPES)}."
            )
        if "admin" in self.scopes and not self.all_tenants:
            raise ValueError(
                "A key with the scope admin acts on the whole house, so that it cannot be bound to one tenant. "
                "Make it with all tenants, or leave the scope out."
            )
        for what, patterns in (("models", self.models), ("upstreams", self.upstreams)):
            if len(patterns) > MOST_PATTERNS:
                raise ValueError(
                    f"The key names {len(patterns)} {what}; at most {MOST_PATTERNS} are taken. Use * in them."
                )
            for pattern in patterns:
                check_name(f"pattern of {what}", pattern)
        if len({(limit.unit, limit.window) for limit in self.limits}) != len(self.limits):
            raise ValueError("The key has two limits of one unit and window. Leave one of them out.")
        for limit in self.limits:
            if limit.unit != "usd" and limit.amount != int(limit.amount):
                raise ValueError(f"A limit in {limit.unit} is a whole number; it is {limit.amount}.")
            if not 0 <= limit.amount <= _MOST:
                raise ValueError(f"A limit lies between 0 and {_MOST:,.0f}; it is {limit.amount}.")


def check_name(what: str, value: str | None) -> None:
    """Raise `ValueError` for a name that is empty, too long or not printable; None is no name and right."""
    if value is not None and not (0 < len(value) <= LONGEST_NAME and value.isprintable()):
        raise ValueError(f"The {what} should be 1 to {LONGEST_NAME} printable characters, it is {value[:50]!r}.")


def read_limit(text: str) -> KeyLimit:
    """A limit from `usd=5/day`, `tokens=1000000`, `calls=60/minute`; raises `ValueError`."""
    match = _LIMIT.match(text.strip())
    if match is None:
        raise ValueError(f"{text[:60]!r} is no limit; write usd=5/day, tokens=1000000/total or calls=60/minute.")
    unit, amount, window = match.groups()
    return KeyLimit(unit=_unit(unit), amount=float(amount), window=_window(window or "total"))


def show_limit(limit: KeyLimit) -> str:
    """A limit as `read_limit` reads it."""
    amount = f"{limit.amount:.9f}".rstrip("0").rstrip(".")
    return f"{limit.unit}={amount}/{limit.window}"


def hashed(secret: str, salt: bytes) -> bytes:
    """The salted BLAKE2b-256 of a secret."""
    return hashlib.blake2b(secret.encode(), salt=salt, digest_size=32).digest()


_NOBODY = Former(salt=b"\0" * 16, hash=b"\0" * 32, until_ns=0)


def matches(key: Key | None, secret: str, at_ns: int) -> tuple[bool, int | None]:
    """Whether a secret is the key's, and until when if it is one that was replaced.

    All that could match is compared, whether or not something did before, and a key that is not there costs as much as
    one that is, so that the time taken tells nothing.
    """
    good, until = False, None
    current = _NOBODY if key is None else Former(salt=key.salt, hash=key.hash, until_ns=0)
    if hmac.compare_digest(hashed(secret, current.salt), current.hash) and key is not None:
        good = True
    for former in () if key is None else key.former:
        if hmac.compare_digest(hashed(secret, former.salt), former.hash) and at_ns < former.until_ns:
            good, until = True, former.until_ns
    return good, until


def check_scope(key: Key | None, scope: str) -> None:
    """Raise a 403 when a key lacks a scope; None, where no key is asked for, may do all."""
    if key is not None and not key.may(scope):
        raise Refusal(
            403,
            "scope_missing",
            f"The Watchkeeper key {key.key_id} may {_words(key.scopes)}, and this needs the scope {scope!r}. "
            "Ask the owner for a key that has it.",
            kind="authentication",
            headers=(NO_RETRY,),
        )


def check_use(key: Key | None, asked: str | None, sent: str | None, upstream: str) -> None:
    """Raise a 403 when a key may not call this model or this upstream.

    A model is allowed by the name that was asked for or the one it stands for. A call that names no model is refused
    under a list of models, for nobody can tell what it would reach.
    """
    if key is None or not (key.models or key.upstreams):
        return
    if key.upstreams and not _fits(upstream, key.upstreams):
        raise _not_allowed(key, "upstream", upstream, key.upstreams)
    if key.models and not any(name and _fits(name, key.models) for name in (asked, sent)):
        raise _not_allowed(key, "model", asked or "(none named)", key.models)


def may_use(key: Key | None, model: str, upstream: str) -> bool:
    """Whether a key may call a model of an upstream, by that name."""
    if key is None:
        return True
    return (not key.upstreams or _fits(upstream, key.upstreams)) and (not key.models or _fits(model, key.models))


def _fits(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _not_allowed(key: Key, what: str, name: str, patterns: tuple[str, ...]) -> Refusal:
    return Refusal(
        403,
        f"{what}_not_allowed",
        f"The Watchkeeper key {key.key_id} may use the {what}s {', '.join(patterns[:10])}; this call asks for "
        f"{name[:80]!r}. Ask for one of them, or the owner for another key.",
        kind="authentication",
        param=what if what == "model" else None,
        headers=(NO_RETRY,),
    )


def _words(scopes: tuple[str, ...]) -> str:
    return ", ".join(scopes)


def _unit(text: str) -> Literal["usd", "tokens", "calls"]:
    return "usd" if text == "usd" else "tokens" if text == "tokens" else "calls"


def _window(text: str) -> Literal["minute", "day", "total"]:
    return "minute" if text == "minute" else "day" if text == "day" else "total"
