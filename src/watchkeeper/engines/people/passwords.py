"""Passwords, hashed with scrypt (RFC 7914), slowly enough that a stolen list is of little use."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from watchkeeper.records.record import Record

SHORTEST, LONGEST = 12, 1_000
N, R, P = 1 << 15, 8, 1
_MEMORY = 96 * 1024 * 1024


class Hashed(Record):
    """A password as it is kept: salt, scrypt's parameters, and 32 bytes of hash."""

    salt: bytes
    hash: bytes
    n: int = N
    r: int = R
    p: int = P


def check_password(password: str) -> None:
    """Raise `ValueError` for a password that is too short or too long; the message does not repeat it."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ValueError(
            f"The password has {len(password)} characters, and {SHORTEST} to {LONGEST} are taken. "
            "Choose a longer one, or let one be made."
        )


def hash_password(password: str, n: int = N) -> Hashed:
    """Hash a password with a new salt; takes some 50 to 100 ms and 32 MiB at the default `n`."""
    salt = secrets.token_bytes(16)
    return Hashed(salt=salt, hash=_scrypt(password, salt, n, R, P), n=n)


def is_right(password: str, kept: Hashed) -> bool:
    """Whether a password is the one that was hashed, compared in constant time."""
    given = _scrypt(password[:LONGEST], kept.salt, kept.n, kept.r, kept.p)
    return hmac.compare_digest(given, kept.hash)


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    data = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(data, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=32)
