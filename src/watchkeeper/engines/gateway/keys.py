"""The keys that let callers in: made once, shown once, hashed at rest, and gone within a second of being revoked."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Mapping

import msgspec

from watchkeeper.engines.gateway.errors import Refusal
from watchkeeper.kinds.ports import Cells, Put
from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import Record, pack, unpack

OWNER = "wko-"
"""How the owner's token begins: it lies in the data directory's lock file, for the commands of whoever owns that."""
CACHED_S = 0.5
_MOST_CACHED = 10_000
_MOST_HELD = 256
_PREFIX = "key/"
_SHAPE = re.compile(r"wk-([0-9a-f]{10})-([0-9a-f]{48})\Z")
_LONGEST_NAME = 200


class Key(Record):
    """A key as it is kept: whom it is bound to and the salted BLAKE2b-256 of its secret, never the secret.

    Times are unix nanoseconds; `expires_ns` None is for ever. A revoked key is kept so that it stays in the list.
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

    def valid_at(self, at_ns: int) -> bool:
        """Whether the key lets anybody in at that time."""
        return self.revoked_ns is None and (self.expires_ns is None or at_ns < self.expires_ns)


class Made(Record):
    """A new key and its secret: the only time that anybody sees it."""

    key: Key
    secret: str


class KeyRing:
    """The keys in Cells, under `key/<id>`. A key that was looked up is remembered for half a second."""

    def __init__(
        self,
        cells: Cells,
        clock: Callable[[], int] = time.time_ns,
        record: Callable[[Audit], object] | None = None,
    ) -> None:
        """`clock` gives unix nanoseconds; `record` keeps an audit of each key made or revoked."""
        self._cells, self._clock, self._record = cells, clock, record
        self._cached: dict[str, tuple[float, Key | None]] = {}
        self._held: dict[str, tuple[float, Key]] = {}

    async def create(
        self,
        name: str,
        tenant: str = "default",
        user: str | None = None,
        expires_ns: int | None = None,
        actor: str = "owner",
    ) -> Made:
        """Make a key; raises `ValueError` when a name, tenant or user is empty, too long or not printable."""
        for what, value in (("name", name), ("tenant", tenant), ("user", user)):
            if value is not None and not (0 < len(value) <= _LONGEST_NAME and value.isprintable()):
                raise ValueError(
                    f"The key's {what} should be 1 to {_LONGEST_NAME} printable characters, it is {value[:50]!r}."
                )
        key_id, secret, salt = secrets.token_hex(5), secrets.token_hex(24), secrets.token_bytes(16)
        key = Key(
            key_id=key_id,
            name=name,
            tenant=tenant,
            user=user,
            salt=salt,
            hash=_hashed(secret, salt),
            created_ns=self._clock(),
            expires_ns=expires_ns,
        )
        await self._write(key)
        self._audit("key.created", key, actor)
        return Made(key=key, secret=f"wk-{key_id}-{secret}")

    async def list(self) -> tuple[Key, ...]:
        """All keys, revoked and expired ones too, oldest first."""
        keys: list[Key] = []
        cursor: str | None = None
        while True:
            page = await self._cells.scan(_PREFIX, cursor)
            keys += [unpack(Key, value) for _, value in page.items if isinstance(value, bytes)]
            cursor = page.cursor
            if cursor is None:
                return tuple(sorted(keys, key=lambda key: key.created_ns))

    async def revoke(self, key_id: str, actor: str = "owner") -> Key:
        """Revoke a key; raises `KeyError` when there is none with that id. Revoking twice changes nothing."""
        key = await self._read(key_id)
        if key is None:
            raise KeyError(f"There is no key {key_id!r}. See the list of keys for their ids.")
        if key.revoked_ns is None:
            key = msgspec.structs.replace(key, revoked_ns=self._clock())
            await self._write(key)
            self._audit("key.revoked", key, actor)
        return key

    async def check(self, secret: str) -> Key:
        """The key that a secret belongs to; raises a 401 that says what is wrong without saying which part."""
        held = self._held.get(secret)
        if held is not None and time.monotonic() < held[0] and held[1].valid_at(self._clock()):
            return held[1]
        shape = _SHAPE.match(secret)
        if shape is None:
            raise _unauthorized("key_malformed", "The Watchkeeper key is not one: it should read wk-<id>-<secret>.")
        key = await self._lookup(shape.group(1))
        if key is None or not hmac.compare_digest(_hashed(shape.group(2), key.salt), key.hash):
            raise _unauthorized("key_unknown", "The Watchkeeper key is not known here. Ask the owner for one.")
        if not key.valid_at(self._clock()):
            ended = "revoked" if key.revoked_ns is not None else "expired"
            raise _unauthorized(
                f"key_{ended}", f"The Watchkeeper key {key.key_id} has {_HOW[ended]}. Ask the owner for a new one."
            )
        self._hold(secret, key)
        return key

    def _hold(self, secret: str, key: Key) -> None:
        """Remember a secret that was found right, for as long as its key is."""
        if len(self._held) >= _MOST_HELD:
            self._held.clear()
        self._held[secret] = (self._cached[key.key_id][0] + CACHED_S, key)

    async def alive(self, key_id: str) -> bool:
        """Whether a key with that id lets anybody in at this moment."""
        key = await self._lookup(key_id)
        return key is not None and key.valid_at(self._clock())

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

    async def _write(self, key: Key) -> None:
        await self._cells.apply([Put(key=_PREFIX + key.key_id, value=pack(key))])
        self._cached.pop(key.key_id, None)
        self._held.clear()

    def _audit(self, act: str, key: Key, actor: str) -> None:
        if self._record is not None:
            now = self._clock()
            self._record(
                Audit(
                    audit_id=new_id("aud", now),
                    at_ns=now,
                    act=act,
                    actor=actor,
                    subject=f"key:{key.key_id}",
                    detail=key.name,
                )
            )


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


def _hashed(secret: str, salt: bytes) -> bytes:
    return hashlib.blake2b(secret.encode(), salt=salt, digest_size=32).digest()
