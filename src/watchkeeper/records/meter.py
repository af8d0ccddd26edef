"""The names of meters: what a budget counts on, as one key, and what such a key says."""

from __future__ import annotations

from functools import lru_cache

from watchkeeper.records.ids import digest
from watchkeeper.records.record import Record

PREFIX = "meter/"
SCOPE = "scope"
"""The book in which budgets without a name of their own count together."""
KEY_LIMIT = "key_limit"
"""The book of the limits that keys carry themselves."""
_OF_BUDGETS, _OF_COUNTS = 7, 5


class Meter(Record):
    """What a meter counts: whose use (`owner`, None for those who name none), in which unit, from when.

    `book` is "scope", a budget's `meter_name`, or the policy whose count it is, whose owner is a digest. `start` is
    unix seconds as text, or "total". `key` is the key of those who name no owner. `window` is that of a key's own
    limit, whose owner is the key.
    """

    book: str
    level: str
    start: str
    unit: str
    tenant: str | None = None
    owner: str | None = None
    key: str | None = None
    window: str | None = None


@lru_cache(maxsize=4096)  # asked twice for each call
def meter_key(book: str, level: str, tenant: str, owner: str | None, key: str | None, start: str) -> str:
    """The key of a meter, without its unit. No name in it can reach another meter."""
    if owner is not None:
        whose = f"={_plain(owner)}"
    else:
        whose = "unattributed" if key is None else f"unattributed={_plain(key)}"
    return f"{PREFIX}{_plain(book) if book else SCOPE}/{level}/{_plain(tenant)}/{whose}/{start}"


@lru_cache(maxsize=4096)  # asked twice for each call
def key_limit_meter(key: str, window: str, start: str, unit: str) -> str:
    """The key of the meter of a key's own limit, with its unit; `start` is as in `Meter`."""
    return f"{PREFIX}{KEY_LIMIT}/{key}/{window if start == 'total' else f'{window}-{start}'}/{unit}"


def read_meter(name: str) -> Meter | None:
    """What a meter's key says; None where it is none that is known here."""
    parts = name.split("/")
    if len(parts) == _OF_COUNTS:
        _, book, level, owner, start = parts
        if book == KEY_LIMIT:
            window, _, began = owner.partition("-")
            return Meter(book=book, level="key", start=began or "total", unit=start, owner=level, window=window)
        return Meter(book=book, level=level, start=start, unit="calls", owner=owner)
    if len(parts) != _OF_BUDGETS:
        return None
    _, book, level, tenant, whose, start, unit = parts
    named = whose.startswith("=")
    key = None if named or "=" not in whose else _read(whose.partition("=")[2])
    return Meter(
        book=_read(book),
        level=level,
        start=start,
        unit=unit,
        tenant=_read(tenant),
        owner=_read(whose[1:]) if named else None,
        key=key,
    )


def scope_of(name: str) -> str:
    """A meter's scope: its key without the start of its window, which goes on into the next one."""
    parts = name.split("/")
    if len(parts) == _OF_BUDGETS:
        return "/".join((*parts[:5], parts[6]))
    if len(parts) == _OF_COUNTS and parts[1] == KEY_LIMIT:
        return "/".join((*parts[:3], parts[3].partition("-")[0], parts[4]))
    return "/".join(parts[:4]) if len(parts) == _OF_COUNTS else name


def _plain(name: str) -> str:
    """A name as one part of a meter's key: no separator in it, and never longer than 100 characters."""
    name = name.encode("utf-8", "backslashreplace").decode().replace("%", "%25").replace("/", "%2F")
    return name if len(name) <= 100 else f"%{digest(name.encode())}"


def _read(part: str) -> str:
    return part.replace("%2F", "/").replace("%25", "%")
