"""The keys that let callers in: made once, shown once, hashed at rest, and gone within a second of being revoked."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping

import msgspec

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.engines.gateway.key_record import (
    Former,
    Grant,
    Key,
    Made,
    check_name,
    check_scope,
    hashed,
    matches,
    show_limit,
)
from watchkeeper.kinds.ports import Applied, Cells, Put, Swap
from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import pack, unpack

OWNER = "wko-"
"""How the owner's token begins: it lies in the data directory's lock file, for the commands of whoever owns that."""
CACHED_S = 0.5
_MOST_CACHED = 10_000
_MOST_HELD = 256
_PREFIX = "key/"
_SHAPE = re.compile(r"wk-([0-9a-f]{10})-([0-9a-f]{48})\Z")
_HELD = re.compile(rb"wk-[0-9a-f]{10}-[0-9a-f]{48}|wko-[A-Za-z0-9_-]{16}")
_USED = "key_used/"
_MOST_FORMER = 5
_FRESH_S = 0.02
USE_NOTED_EVERY_S = 30.0
LONGEST_OVERLAP_NS = 90 * 86_400 * 1_000_000_000

__all__ = ["CACHED_S", "OWNER", "Grant", "Key", "KeyRing", "Made", "bearer", "check_scope", "key_required", "presented"]


class KeyRing:
    """The keys in Cells, under `key/<id>`. A key that was looked up is remembered for half a second.

    When a key was last used is noted in memory and written to `key_used/<id>` by `note_use`, so that no call waits.
    """

    def __init__(
        self,
        cells: Cells,
        clock: Callable[[], int] = time.time_ns,
        record: Callable[[Audit], object] | None = None,
    ) -> None:
        """`clock` gives unix nanoseconds; `record` keeps an audit of each key made, changed or revoked."""
        self._cells, self._clock, self._record = cells, clock, record
        self._cached: dict[str, tuple[float, Key | None]] = {}
        self._held: dict[str, tuple[float, Key, int | None]] = {}
        self._used: dict[str, int] = {}
        self._noted_s = time.monotonic()

    async def create(
        self,
        name: str,
        tenant: str = "default",
        user: str | None = None,
        expires_ns: int | None = None,
        actor: str = "owner",
        grant: Grant | None = None,
    ) -> Made:
        """Make a key; raises `ValueError` for a name, tenant, scope or limit that cannot be.

        `grant` says all that the key is bound to and may do; `tenant` and `user` stand for the rest of the defaults.
        """
        grant = grant or Grant(tenant=tenant, user=user)
        check_name("key's name", name)
        grant.check()
        key_id, secret, salt = secrets.token_hex(5), secrets.token_hex(24), secrets.token_bytes(16)
        key = Key(
            key_id=key_id,
            name=name,
            salt=salt,
            hash=hashed(secret, salt),
            created_ns=self._clock(),
            expires_ns=expires_ns,
            **{field: getattr(grant, field) for field in Grant.__struct_fields__},
        )
        await self._put(key)
        self._audit("key.created", key, actor, _granted(key))
        return Made(key=key, secret=f"wk-{key_id}-{secret}")

    async def list(self) -> tuple[Key, ...]:
        """All keys, revoked and expired ones too, oldest first."""
        found: dict[str, Key] = {}
        cursor: str | None = None
        while True:
            page = await self._cells.scan(_PREFIX, cursor)
            found |= {name: unpack(Key, value) for name, value in page.items if isinstance(value, bytes)}
            cursor = page.cursor
            if cursor is None:
                return tuple(sorted(found.values(), key=lambda key: key.created_ns))

    async def find(self, key_id: str) -> Key:
        """One key; raises `KeyError` when there is none with that id."""
        key = await self._read(key_id)
        if key is None:
            raise KeyError(f"There is no key {key_id!r}. See the list of keys for their ids.")
        return key

    async def last_used(self) -> dict[str, int]:
        """When each key was last used, unix nanoseconds by id; a key that never was is left out."""
        used: dict[str, int] = {}
        cursor: str | None = None
        while True:
            page = await self._cells.scan(_USED, cursor)
            used |= {key.removeprefix(_USED): int(value) for key, value in page.items}
            cursor = page.cursor
            if cursor is None:
                break
        return used | {key_id: at for key_id, at in self._used.items() if at > used.get(key_id, 0)}

    async def note_use(self, every_s: float = USE_NOTED_EVERY_S) -> None:
        """Write when keys were last used, at most so often."""
        if not self._used or time.monotonic() - self._noted_s < every_s:
            return
        self._noted_s = time.monotonic()
        used, self._used = self._used, {}
        await self._cells.apply([Put(key=_USED + key_id, value=str(at).encode()) for key_id, at in used.items()])

    async def revoke(self, key_id: str, actor: str = "owner") -> Key:
        """Revoke a key; raises `KeyError` when there is none with that id. Revoking twice changes nothing."""

        def revoked(key: Key) -> Key:
            return key if key.revoked_ns is not None else msgspec.structs.replace(key, revoked_ns=self._clock())

        before, key = await self._change(key_id, revoked)
        if before.revoked_ns is None:
            self._audit("key.revoked", key, actor)
        return key

    async def rotate(self, key_id: str, overlap_ns: int = 0, actor: str = "owner") -> Made:
        """Give a key a new secret; older ones let callers in for at most `overlap_ns` more, then no longer.

        Raises `KeyError` when there is no such key, `ValueError` when it is not valid any more or the overlap is long.
        """
        if not 0 <= overlap_ns <= LONGEST_OVERLAP_NS:
            raise ValueError("The old secret may go on for 0 to 90 days. Choose an overlap in that range.")
        secret, salt = secrets.token_hex(24), secrets.token_bytes(16)

        def rotated(key: Key) -> Key:
            now = self._clock()
            if not key.valid_at(now):
                raise ValueError(f"The key {key.key_id} is not valid any more. Make a new one.")
            # No secret outlives this overlap: whoever ends one at once means those before it too.
            end_ns = now + overlap_ns
            former = [
                msgspec.structs.replace(each, until_ns=min(each.until_ns, end_ns))
                for each in (*key.former, Former(salt=key.salt, hash=key.hash, until_ns=end_ns))
                if min(each.until_ns, end_ns) > now
            ]
            return msgspec.structs.replace(
                key, salt=salt, hash=hashed(secret, salt), rotated_ns=now, former=tuple(former[-_MOST_FORMER:])
            )

        _, key = await self._change(key_id, rotated)
        self._audit("key.rotated", key, actor, f"{key.name}; the old secret goes on for {overlap_ns // 10**9} s")
        return Made(key=key, secret=f"wk-{key_id}-{secret}")

    async def regrant(self, key_id: str, changes: Mapping[str, object], actor: str = "owner") -> Key:
        """Change what a key may do; raises `KeyError` or `ValueError`. The audit says what it was and what it is."""

        def changed(key: Key) -> Key:
            grant = Grant(**{name: changes.get(name, getattr(key, name)) for name in Grant.__struct_fields__})  # type: ignore[arg-type]
            grant.check()
            return msgspec.structs.replace(key, **{name: getattr(grant, name) for name in Grant.__struct_fields__})

        before, key = await self._change(key_id, changed)
        self._audit("key.changed", key, actor, f"was {_granted(before)}; is {_granted(key)}")
        return key

    async def check(self, secret: str) -> Key:
        """The key that a secret belongs to; raises a 401 that says what is wrong without saying which part."""
        now = self._clock()
        held = self._held.get(secret)
        if held is not None and time.monotonic() < held[0] and (held[2] is None or now < held[2]):
            known = held[1]
            if known.valid_at(now):
                self._used[known.key_id] = now
                return known
        shape = _SHAPE.match(secret)
        if shape is None:
            raise _unauthorized("key_malformed", "The Watchkeeper key is not one: it should read wk-<id>-<secret>.")
        key = await self._lookup(shape.group(1))
        good, until_ns = matches(key, shape.group(2), now)
        if not good and self._is_old(shape.group(1)):
            self._cached.pop(shape.group(1), None)  # it may have been made, or given this secret, a moment ago
            key = await self._lookup(shape.group(1))
            good, until_ns = matches(key, shape.group(2), now)
        if key is None or not good:
            raise _unauthorized("key_unknown", "The Watchkeeper key is not known here. Ask the owner for one.")
        if not key.valid_at(now):
            ended = "revoked" if key.revoked_ns is not None else "expired"
            raise _unauthorized(
                f"key_{ended}", f"The Watchkeeper key {key.key_id} has {_HOW[ended]}. Ask the owner for a new one."
            )
        self._hold(secret, key, until_ns)
        self._used[key.key_id] = now
        return key

    def _is_old(self, key_id: str) -> bool:
        cached = self._cached.get(key_id)
        return cached is not None and time.monotonic() - cached[0] > _FRESH_S

    def _hold(self, secret: str, key: Key, until_ns: int | None) -> None:
        """Remember a secret that was found right, for as long as its key is."""
        if len(self._held) >= _MOST_HELD:
            self._held.clear()
        looked_up = self._cached.get(key.key_id)
        if looked_up is not None:
            self._held[secret] = (looked_up[0] + CACHED_S, key, until_ns)

    async def alive(self, key_id: str) -> Key | None:
        """The key with that id if it lets anybody in at this moment."""
        key = await self._lookup(key_id)
        return key if key is not None and key.valid_at(self._clock()) else None

    async def _lookup(self, key_id: str) -> Key | None:
        cached = self._cached.get(key_id)
        now = time.monotonic()
        if cached is not None and now - cached[0] < CACHED_S:
            return cached[1]
        key = await self._read(key_id)
        if len(self._cached) >= _MOST_CACHED:
            self._cached.clear()
        self._cached[key_id] = (now, key)
        return key

    async def _read(self, key_id: str) -> Key | None:
        value = await self._cells.get(_PREFIX + key_id)
        return unpack(Key, value) if isinstance(value, bytes) else None

    async def _change(self, key_id: str, change: Callable[[Key], Key]) -> tuple[Key, Key]:
        """Change a key so that of two who change it at once neither undoes the other; returns it before and after."""
        while True:
            value = await self._cells.get(_PREFIX + key_id)
            if not isinstance(value, bytes):
                raise KeyError(f"There is no key {key_id!r}. See the list of keys for their ids.")
            before = unpack(Key, value)
            after = change(before)
            if after == before:
                return before, after
            swap = Swap(key=_PREFIX + key_id, expected=value, value=pack(after))
            if isinstance(await self._cells.apply([swap]), Applied):
                self._forget(key_id)
                return before, after

    async def _put(self, key: Key) -> None:
        await self._cells.apply([Put(key=_PREFIX + key.key_id, value=pack(key))])
        self._forget(key.key_id)

    def _forget(self, key_id: str) -> None:
        self._cached.pop(key_id, None)
        self._held.clear()

    def _audit(self, act: str, key: Key, actor: str, detail: str | None = None) -> None:
        if self._record is not None:
            now = self._clock()
            self._record(
                Audit(
                    audit_id=new_id("aud", now),
                    at_ns=now,
                    act=act,
                    actor=actor,
                    subject=f"key:{key.key_id}",
                    detail=detail or key.name,
                )
            )


def _granted(key: Key) -> str:
    """What a key is and may do, in a line."""
    said = [key.name, f"tenant {key.tenant}", f"scopes {'+'.join(key.scopes)}"]
    said += [f"{what} {value}" for what, value in (("user", key.user), ("team", key.team)) if value]
    said += ["all tenants"] if key.all_tenants else []
    for what, values in (
        ("models", key.models),
        ("upstreams", key.upstreams),
        ("limits", tuple(map(show_limit, key.limits))),
    ):
        said += [f"{what} {' '.join(values)}"] if values else []
    return ", ".join(said)


_HOW = {"revoked": "been revoked", "expired": "expired"}


def presented(headers: Mapping[bytes, bytes]) -> str | None:
    """The key a caller shows: in `X-Watchkeeper-Key`, or as bearer token, `api-key` or `x-api-key` like ours."""
    own = headers.get(b"x-watchkeeper-key")
    if own is not None:
        return own.decode("latin-1").strip()
    token = bearer(headers)
    if token is not None and token.startswith(("wk-", OWNER)):
        return token
    for name in (b"api-key", b"x-api-key"):
        other = headers.get(name, b"").decode("latin-1").strip()
        if other.startswith(("wk-", OWNER)):
            return other
    return None


def holds_key(value: bytes) -> bool:
    """Whether a text holds a Watchkeeper key, or the owner's token, anywhere."""
    return b"wk" in value and _HELD.search(value) is not None


def bearer(headers: Mapping[bytes, bytes]) -> str | None:
    """The token of an `Authorization: Bearer` header."""
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return token.strip().decode("latin-1") if scheme.lower() == b"bearer" and token.strip() else None


def key_required() -> Refusal:
    """The answer to a caller without a key where keys are required."""
    return _unauthorized(
        "key_required",
        "This gateway asks for a key. Send one in the header X-Watchkeeper-Key or as the API key of your client.",
    )


def _unauthorized(code: str, sentence: str) -> Refusal:
    return Refusal(401, code, sentence, kind="authentication", headers=((b"www-authenticate", b"Bearer"),))
