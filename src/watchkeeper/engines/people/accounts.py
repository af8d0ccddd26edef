"""The accounts of people: made by an admin or by an issuer's word, with one role, for one tenant or all."""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable

import msgspec

from watchkeeper.engines.people.passwords import Hashed, N, check_password, hash_password, is_right
from watchkeeper.engines.people.throttle import Throttle
from watchkeeper.kinds.ports import Applied, Cells, Delete, Put, Swap
from watchkeeper.records.audit import Audit
from watchkeeper.records.ids import new_id
from watchkeeper.records.record import Record, pack, unpack

ROLES = ("viewer", "operator", "admin")
_PREFIX = "person/"
_ENDED = "ended/"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}\Z")
_SUBJECT = re.compile(r"[\x21-\x7e]{1,180}\Z")
_ANY_S = 1.0
_AT_ONCE = 2
ISSUED = "sso:"
"""How the names of people begin whom an issuer vouches for; no local name can."""


class Person(Record):
    """Somebody who may sign in. `tenant` None reads all tenants. A removed person is kept, and lets nobody in.

    `epoch` grows whenever sessions that were begun before must end: a new password, role or tenant, a removal.
    """

    name: str
    role: str
    created_ns: int
    tenant: str | None = None
    password: Hashed | None = None
    issuer: str | None = None
    shown: str | None = None
    epoch: int = 0
    removed_ns: int | None = None
    signed_in_ns: int | None = None


class Refused(Exception):
    """Signing in was refused; the message is for the person, and does not say whether the name exists."""


class Accounts:
    """People in Cells, under `person/<name>`; sessions that were ended before their time under `ended/<nonce>`."""

    def __init__(
        self,
        cells: Cells,
        clock: Callable[[], int] = time.time_ns,
        record: Callable[[Audit], object] | None = None,
        throttle: Throttle | None = None,
        n: int = N,
    ) -> None:
        """`record` keeps an audit of who was added, changed or removed; `n` is what new passwords cost (scrypt's N)."""
        self._n = n
        self._cells, self._clock, self._record = cells, clock, record
        self._throttle = throttle or Throttle()
        self._any: tuple[float, bool] | None = None
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._nobody = Hashed(salt=secrets.token_bytes(16), hash=b"\0" * 32, n=n)

    async def any(self) -> bool:
        """Whether somebody may sign in with a name, so that pages ask for it; asked of the cells once a second."""
        now_s = time.monotonic()
        if self._any is None or now_s - self._any[0] > _ANY_S:
            self._any = (now_s, any(person.removed_ns is None for person in await self.list()))
        return self._any[1]

    async def list(self) -> tuple[Person, ...]:
        """Everybody, removed ones too, by name."""
        found: list[Person] = []
        cursor: str | None = None
        while True:
            page = await self._cells.scan(_PREFIX, cursor)
            found += [unpack(Person, value) for _, value in page.items if isinstance(value, bytes)]
            cursor = page.cursor
            if cursor is None:
                return tuple(sorted(found, key=lambda person: person.name))

    async def find(self, name: str) -> Person | None:
        """Somebody by name, removed or not."""
        value = await self._cells.get(_PREFIX + name)
        return unpack(Person, value) if isinstance(value, bytes) else None

    async def add(self, name: str, role: str, password: str, tenant: str | None = None, actor: str = "owner") -> Person:
        """Add somebody; raises `ValueError` for a name that is taken or cannot be, a role, a password."""
        _check(name, role, tenant)
        check_password(password)
        hashed = await self._hash(password)

        def added(before: Person | None) -> Person:
            if before is not None and before.removed_ns is None:
                raise ValueError(f"There is a person called {name!r} already. Change their role, or choose a name.")
            return Person(
                name=name, role=role, tenant=tenant, password=hashed, created_ns=self._clock(),
                epoch=0 if before is None else before.epoch + 1,
            )  # fmt: skip

        person = await self._change(name, added)
        self._audit("person.added", person, actor, _is(person))
        return person

    async def set_role(self, name: str, role: str, tenant: str | None, actor: str = "owner") -> Person:
        """Give somebody another role or tenant; their sessions end. Raises `KeyError`, `ValueError`."""
        _check_role(role, tenant)
        was: list[str] = []

        def changed(before: Person | None) -> Person:
            person = _there(name, before)
            was.append(_is(person))
            return msgspec.structs.replace(person, role=role, tenant=tenant, epoch=person.epoch + 1)

        await self._keep_an_admin(name, role)
        person = await self._change(name, changed)
        self._audit("person.role_changed", person, actor, f"was {was[-1]}; is {_is(person)}")
        return person

    async def set_password(self, name: str, password: str, actor: str = "owner") -> Person:
        """Give somebody a new password; their sessions end. Raises `KeyError`, `ValueError`."""
        check_password(password)
        hashed = await self._hash(password)

        def changed(before: Person | None) -> Person:
            person = _there(name, before)
            if person.issuer is not None:
                raise ValueError(f"{name!r} signs in with {person.issuer}, and has no password here.")
            return msgspec.structs.replace(person, password=hashed, epoch=person.epoch + 1)

        person = await self._change(name, changed)
        self._audit("person.password_changed", person, actor, None)
        return person

    async def remove(self, name: str, actor: str = "owner") -> Person:
        """Remove somebody; their sessions end, and an issuer's word does not bring them back. Raises `KeyError`."""

        def removed(before: Person | None) -> Person:
            person = _there(name, before)
            return msgspec.structs.replace(person, password=None, removed_ns=self._clock(), epoch=person.epoch + 1)

        await self._keep_an_admin(name, None)
        person = await self._change(name, removed)
        self._audit("person.removed", person, actor, _is(person))
        return person

    async def sign_in(self, name: str, password: str, address: str) -> Person:
        """Somebody by name and password; raises `Refused`. A name that is not there takes as long as one that is."""
        wait_s = self._throttle.wait_s(name, address)
        if wait_s > 0:
            raise Refused(f"There were too many wrong attempts. Try again in {wait_s:.0f} seconds.")
        # Counted before it is known: attempts that are made at once must not all be let through.
        self._throttle.failed(name, address)
        found = await self.find(name) if _NAME.match(name) else None
        kept = None if found is None or found.removed_ns is not None else found.password
        async with self._turn:
            right = await asyncio.to_thread(is_right, password, kept or self._nobody)
        if found is None or kept is None or not right:
            raise Refused("This name and password do not belong together.")
        self._throttle.succeeded(name, address)
        return await self._signed(name)

    async def vouched(self, subject: str, issuer: str, role: str, tenant: str | None, shown: str | None) -> Person:
        """Somebody whom an issuer vouches for, with the role that its claims give; raises `Refused` when removed."""
        if not _SUBJECT.match(subject):
            raise Refused("The issuer names a subject that cannot be a name here.")
        _check_role(role, tenant)
        name = ISSUED + subject

        def vouched(before: Person | None) -> Person:
            if before is not None and before.removed_ns is not None:
                raise Refused("This account was removed here. Ask an admin.")
            same = before is not None and (before.role, before.tenant, before.issuer) == (role, tenant, issuer)
            epoch = 0 if before is None else before.epoch + (0 if same else 1)
            created = self._clock() if before is None else before.created_ns
            return Person(
                name=name, role=role, tenant=tenant, issuer=issuer, shown=shown, created_ns=created, epoch=epoch,
                signed_in_ns=self._clock(),
            )  # fmt: skip

        was = await self.find(name)
        person = await self._change(name, vouched)
        if was is None or _is(was) != _is(person):
            self._audit("person.vouched", person, f"issuer:{issuer}", _is(person))
        return person

    async def alive(self, name: str, epoch: int, nonce: str) -> Person | None:
        """The person of a session, unless it has ended: signed out, or begun before what made it end."""
        person = await self.find(name)
        if person is None or person.removed_ns is not None or person.epoch != epoch:
            return None
        return None if await self.ended(nonce) else person

    async def end(self, nonce: str, until_ns: int) -> None:
        """End one session before its time; it is remembered until then."""
        await self._cells.apply([Put(key=_ENDED + nonce, value=str(until_ns).encode()), *await self._over()])

    async def _over(self) -> tuple[Delete, ...]:
        """Take away what need not be remembered any more, some of it at a time."""
        now_ns = self._clock()
        page = await self._cells.scan(_ENDED, None)
        return tuple(Delete(key=key) for key, value in page.items if int(value) < now_ns)

    async def ended(self, nonce: str) -> bool:
        """Whether a session, or a one-time request, was ended."""
        return await self._cells.get(_ENDED + nonce) is not None

    async def use_once(self, nonce: str, until_ns: int) -> bool:
        """Whether this is the first use of a nonce; of several at once only one is."""
        swap = Swap(key=_ENDED + nonce, expected=None, value=str(until_ns).encode())
        return isinstance(await self._cells.apply([swap]), Applied)

    async def _signed(self, name: str) -> Person:
        return await self._change(
            name, lambda before: msgspec.structs.replace(_there(name, before), signed_in_ns=self._clock())
        )

    async def _hash(self, password: str) -> Hashed:
        async with self._turn:
            return await asyncio.to_thread(hash_password, password, self._n)

    async def _keep_an_admin(self, name: str, role: str | None) -> None:
        """Refuse to take away the last admin, after whom nobody could manage people through the pages."""
        admins = [p.name for p in await self.list() if p.removed_ns is None and p.role == "admin"]
        others = [p for p in await self.list() if p.removed_ns is None and p.name != name]
        if admins == [name] and role != "admin" and others:
            raise ValueError(f"{name!r} is the only admin. Make somebody else one first.")

    async def _change(self, name: str, change: Callable[[Person | None], Person]) -> Person:
        while True:
            value = await self._cells.get(_PREFIX + name)
            kept = value if isinstance(value, bytes) else None
            person = change(None if kept is None else unpack(Person, kept))
            swap = Swap(key=_PREFIX + name, expected=kept, value=pack(person))
            if isinstance(await self._cells.apply([swap]), Applied):
                self._any = None
                return person

    def _audit(self, act: str, person: Person, actor: str, detail: str | None) -> None:
        if self._record is not None:
            now = self._clock()
            self._record(
                Audit(
                    audit_id=new_id("aud", now), at_ns=now, act=act, actor=actor, subject=f"person:{person.name}",
                    detail=detail,
                )
            )  # fmt: skip


def _is(person: Person) -> str:
    return f"{person.role} of {'all tenants' if person.tenant is None else f'tenant {person.tenant}'}"


def _there(name: str, person: Person | None) -> Person:
    if person is None or person.removed_ns is not None:
        raise KeyError(f"There is no person {name!r}. See the list of people for their names.")
    return person


def _check(name: str, role: str, tenant: str | None) -> None:
    if not _NAME.match(name):
        raise ValueError(
            f"{name[:60]!r} cannot be a person's name; use 1 to 100 letters, digits and . _ @ + -, "
            "a letter or digit first."
        )
    _check_role(role, tenant)


def _check_role(role: str, tenant: str | None) -> None:
    if role not in ROLES:
        raise ValueError(f"{role[:40]!r} is no role; the roles are {', '.join(ROLES)}.")
    if tenant is not None and not (0 < len(tenant) <= 200 and tenant.isprintable()):
        raise ValueError("A tenant is 1 to 200 printable characters.")
    if role == "admin" and tenant is not None:
        raise ValueError(
            "An admin acts on the whole house, and cannot be bound to a tenant. Choose operator or viewer."
        )
