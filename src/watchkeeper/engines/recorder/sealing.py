"""Seals payloads with AES-256-GCM, and opens them with the keys of whoever has any in this process.

A sealed frame names its key by a tag. On the disk stand a nonce where the salt would be, and the sealed salt and
payload: without the key not even a guess can be tested. Readers need not be handed keys: a process that may read puts
its keyring to `use`, once, and tags are random, so that the keyrings of two data directories do not meet.
"""

from __future__ import annotations

import os
from typing import Protocol

NONCE_BYTES = 12
INNER_SALT_BYTES = 16
OVERHEAD_BYTES = INNER_SALT_BYTES + 16
MISSING = (
    "encryption at rest needs the package 'cryptography', which is not installed: pip install 'watchkeeper[crypt]'"
)


class Unsealable(RuntimeError):
    """Sealing cannot be done here; the message says what is missing."""


class NoKey(KeyError):
    """The key of a sealed payload was destroyed, or is not at hand; the message says which frame."""


class Keyring(Protocol):
    """Who has data keys."""

    def data_key(self, tag: bytes) -> bytes | None:
        """The key with this tag; None when it was destroyed or never was here."""
        ...


_in_use: list[Keyring] = []


def use(keyring: Keyring) -> None:
    """Let every reader of this process open what these keys sealed."""
    if keyring not in _in_use:
        _in_use.append(keyring)


def leave(keyring: Keyring) -> None:
    """Take a keyring out of use."""
    if keyring in _in_use:
        _in_use.remove(keyring)


def in_use() -> bool:
    """Whether any keyring is in use in this process."""
    return bool(_in_use)


def seal(key: bytes, outer: bytes, salt: bytes, data: bytes) -> bytes:
    """Salt and data, sealed; the nonce is the beginning of `outer`, which must never be used twice with one key."""
    return _cipher(key).encrypt(outer[:NONCE_BYTES], salt + data, None)


def unseal(tag: bytes, outer: bytes, sealed: bytes) -> tuple[bytes, bytes]:
    """Salt and data; raises `NoKey`, and `ValueError` when the bytes are not what was sealed."""
    key = key_of(tag)
    if key is None:
        raise NoKey(f"its key {tag.hex()} was destroyed or is not at hand")
    return unseal_with(key, outer, sealed)


def unseal_with(key: bytes, outer: bytes, sealed: bytes) -> tuple[bytes, bytes]:
    """Salt and data, opened with a key; raises `ValueError` when the bytes are not what was sealed."""
    from cryptography.exceptions import InvalidTag

    try:
        plain = _cipher(key).decrypt(outer[:NONCE_BYTES], sealed, None)
    except (InvalidTag, ValueError) as error:
        raise ValueError("it cannot be opened with its key") from error
    return plain[:INNER_SALT_BYTES], plain[INNER_SALT_BYTES:]


def key_of(tag: bytes) -> bytes | None:
    """The data key with a tag, from any keyring in use."""
    for keyring in _in_use:
        key = keyring.data_key(tag)
        if key is not None:
            return key
    return None


def fresh_key() -> bytes:
    """A new random data key of 256 bits."""
    return os.urandom(32)


def available() -> bool:
    """Whether the package that does it is installed."""
    try:
        import cryptography  # noqa: F401
    except ImportError:
        return False
    return True


def _cipher(key: bytes) -> _Cipher:
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise Unsealable(MISSING) from error
    return AESGCM(key)


class _Cipher(Protocol):
    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...
