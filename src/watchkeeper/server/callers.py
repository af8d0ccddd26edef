"""Who asks: a person, a key or whoever is on this machine, how far they may go, and whose rows they may read.

The front door finds out and tells the store process in headers of its own; the same headers from outside are taken
off before. Nothing else says who a caller is.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any
from urllib.parse import quote, unquote

from watchkeeper.engines.gateway.keys import Key
from watchkeeper.records.record import Record

ACTOR_HEADER = b"x-watchkeeper-actor"
TOKEN_HEADER = b"x-watchkeeper-form-token"
ROLE_HEADER = b"x-watchkeeper-role"
TENANT_HEADER = b"x-watchkeeper-tenant"
OURS = frozenset({ACTOR_HEADER, TOKEN_HEADER, ROLE_HEADER, TENANT_HEADER})
OWNERS = ("local", "key:owner")


class Level(IntEnum):
    """How far a caller may go: each level includes those below it."""

    NONE = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """The level as people write it."""
        return self.name.lower()


ROLES = tuple(level.word for level in Level if level)


def level_of(word: str | None) -> Level:
    """The level of a word; what is no role is none."""
    return Level[word.upper()] if word in ROLES else Level.NONE


class Caller(Record):
    """Who asks. `tenant` None reads all tenants; `actor` is "local", "key:<id>" or "person:<name>"."""

    actor: str
    level: int = 0
    tenant: str | None = None

    @property
    def role(self) -> Level:
        """The level as one."""
        return Level(self.level)

    @property
    def reads(self) -> bool:
        """Whether they may read what belongs to their tenant, or to all."""
        return self.level >= Level.VIEWER

    @property
    def operates(self) -> bool:
        """Whether they may work on what belongs to their tenant, or to all."""
        return self.level >= Level.OPERATOR

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What the store process is told."""
        told = [(ACTOR_HEADER, quote(self.actor, safe=":@.+ ").encode()), (ROLE_HEADER, self.role.word.encode())]
        return told if self.tenant is None else [*told, (TENANT_HEADER, quote(self.tenant, safe="").encode())]


LOCAL = Caller(actor="local", level=Level.ADMIN)
"""Whoever reaches a port on this machine where nobody is asked for anything."""


def caller_of_key(key: Any) -> Caller:
    """How far a key reaches: admin, operator or viewer by its scopes, bound to its tenant unless it reads all."""
    if not isinstance(key, Key):
        return Caller(actor=f"key:{key.key_id}")
    if key.key_id == "owner":
        return Caller(actor="key:owner", level=Level.ADMIN)
    level = Level.ADMIN if key.may("admin") else Level.OPERATOR if key.may("operate") else Level.NONE
    if level == Level.NONE and key.may("read"):
        level = Level.VIEWER
    return Caller(actor=f"key:{key.key_id}", level=level, tenant=None if key.all_tenants else key.tenant)


def read_caller(headers: Any) -> Caller:
    """The caller that the front door names in a request to the store process.

    Without a role, only whoever is at the private socket itself is the owner: the commands, and the house's own work.
    """
    actor = unquote(headers.get(ACTOR_HEADER.decode(), "local"))
    role, tenant = headers.get(ROLE_HEADER.decode()), headers.get(TENANT_HEADER.decode())
    if role is None:
        return Caller(actor=actor, level=Level.ADMIN if actor in OWNERS else Level.NONE)
    return Caller(actor=actor, level=level_of(role), tenant=None if tenant is None else unquote(tenant))
