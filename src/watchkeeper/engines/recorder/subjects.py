"""The keys of subjects: which tag, address key and data key belong to whom.

A subject is a tenant's user, or a tenant where no user is known. Its tag stands in the head of its frames, its address
key names its chunks, and with encryption at rest its data key seals its payloads. All three are random and lie only in
one small file, wrapped by the master key where there is one; who is who is kept as a keyed digest. To destroy a row is
to erase all that was sealed under it, in every copy of the journal, and leaves nothing to test a guess against.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from watchkeeper.engines.recorder import sealing
from watchkeeper.kinds.ports import KeyFile, KeyRow

HOUSE = "\x1e"
"""The owner of records that belong to no subject."""
_CACHED = 20_000
_CHECK_NAME, _CHECK = b"check", b"watchkeeper master key"
_ADDRESS_KEY_BYTES = 32
_LIKE_A_KEY = re.compile(r"[0-9A-Fa-f]{32,}|[0-9A-Za-z+_-]{40,}={0,2}")


class KeysError(RuntimeError):
    """The keys of the subjects cannot be used; the message says why and what to do."""


class Subject(NamedTuple):
    """A subject's tag (8 bytes), the key of its addresses and, where its payloads are sealed, its data key."""

    tag: bytes
    address_key: bytes
    data_key: bytes | None


class Subjects:
    """The keys of one data directory. Thread-safe; several processes may share the file behind it."""

    def __init__(self, file: KeyFile, locator: bytes, master: bytes | None = None, seal: bool = False) -> None:
        """`locator` keys the digests of names, `master` (32 bytes) wraps keys; with `seal` new payloads are sealed.

        Raises `KeysError` when the master key is missing or another one than the keys were wrapped with.
        """
        if seal and master is None:
            raise KeysError("payloads are to be encrypted and there is no master key; set `recording.master_key`.")
        self.sealing = seal
        self._file, self._locator, self._master = file, locator, master
        self._lock = threading.RLock()
        self._known: OrderedDict[str, Subject] = OrderedDict()
        self._tags: OrderedDict[bytes, bytes | None] = OrderedDict()
        self._check_master()

    def of(self, owner: str) -> Subject:
        """The keys of an owner, made when there are none."""
        known = self._known.get(owner)
        if known is None:
            with self._lock:
                known = self._known[owner] = self.find(owner) or self._make(owner)
                if len(self._known) > _CACHED:
                    self._known.popitem(last=False)
        return known

    def find(self, owner: str) -> Subject | None:
        """The keys of an owner; None when it has none."""
        with self._lock:
            row = self._file.by_name(self._who(owner))
            if row is None:
                return None
            address_key, data_key = self._open(row)
            if self.sealing and data_key is None:
                data_key = sealing.fresh_key()
                if not self._file.replace(self._wrapped(row, address_key + data_key), row.secret):
                    return self.find(owner)  # another process gave it one, and may have sealed under it already
            return Subject(row.tag, address_key, data_key if self.sealing else None)

    def data_key(self, tag: bytes) -> bytes | None:
        """The data key with a tag; None when it was destroyed or never was here."""
        with self._lock:
            if tag not in self._tags:
                row = self._file.by_tag(tag)
                self._tags[tag] = None if row is None else self._open(row)[1]
                if len(self._tags) > _CACHED:
                    self._tags.popitem(last=False)
            return self._tags[tag]

    def retire(self, owner: str) -> None:
        """Let what an owner writes from now on have keys of its own; the old ones stay until they are destroyed."""
        with self._lock:
            self._file.retire(self._who(owner))
            self._known.pop(owner, None)

    def destroy(self, tag: bytes) -> None:
        """Destroy the keys with a tag for good."""
        with self._lock:
            self._file.destroy(tag)
            self.forget()

    def forget(self) -> None:
        """Read what is asked next from the file again: another process may have destroyed keys."""
        with self._lock:
            self._known.clear()
            self._tags.clear()

    def rotate(self, master: bytes) -> int:
        """Wrap all keys with another master key, in one transaction; returns how many."""
        with self._lock:
            opened = [(row, b"".join(part or b"" for part in self._open(row))) for row in self._file.rows()]
            before, self._master = self._master, master
            try:
                rows = [self._wrapped(row, secret) for row, secret in opened]
                self._file.rewrite(rows, self._wrap(_CHECK_NAME, _CHECK))
            except BaseException:
                self._master = before
                raise
            return len(opened)

    def counts(self) -> dict[str, int]:
        """How many subjects have keys, how many of them wrapped ones, and how many were destroyed."""
        return dict(self._file.counts())

    def close(self) -> None:
        """Let go of the file and of the keys."""
        sealing.leave(self)
        self.forget()
        self._file.close()

    def _make(self, owner: str) -> Subject:
        fresh = Subject(os.urandom(8), os.urandom(_ADDRESS_KEY_BYTES), sealing.fresh_key() if self.sealing else None)
        row = KeyRow(tag=fresh.tag, who=self._who(owner), wrapped=False, secret=fresh.address_key)
        if fresh.data_key is not None:
            row = self._wrapped(row, fresh.address_key + fresh.data_key)
        if self._file.add(row):
            return fresh
        found = self.find(owner)
        assert found is not None, "a subject that could not be added is there"
        return found

    def _who(self, owner: str) -> bytes:
        return hashlib.blake2b(owner.encode(), key=self._locator, digest_size=16, person=b"wk-subject").digest()

    def _wrapped(self, row: KeyRow, secret: bytes) -> KeyRow:
        return KeyRow(tag=row.tag, who=row.who, wrapped=True, secret=self._wrap(row.tag, secret))

    def _wrap(self, name: bytes, secret: bytes) -> bytes:
        assert self._master is not None, "only what has a master key is wrapped"
        outer = os.urandom(sealing.NONCE_BYTES)
        return outer + sealing.seal(self._master, outer, name.ljust(sealing.INNER_SALT_BYTES, b"\x00"), secret)

    def _open(self, row: KeyRow) -> tuple[bytes, bytes | None]:
        """The address key and data key of a row."""
        secret = self._unwrap(row.tag, row.secret) if row.wrapped else row.secret
        return secret[:_ADDRESS_KEY_BYTES], secret[_ADDRESS_KEY_BYTES:] or None

    def _unwrap(self, name: bytes, secret: bytes) -> bytes:
        if self._master is None:
            raise KeysError(
                f"the keys in {self._file.path} are wrapped by a master key and none is set. Set "
                "`recording.master_key` to the one they were made with."
            )
        outer, sealed = secret[: sealing.NONCE_BYTES], secret[sealing.NONCE_BYTES :]
        try:
            said, plain = sealing.unseal_with(self._master, outer, sealed)
        except ValueError as error:
            raise KeysError(
                f"the master key is not the one that the keys in {self._file.path} were wrapped with. Set "
                "`recording.master_key` to that one; nothing was changed."
            ) from error
        if said != name.ljust(sealing.INNER_SALT_BYTES, b"\x00"):
            raise KeysError(f"the key file {self._file.path} was changed: a key stands at another one's place.")
        return plain

    def _check_master(self) -> None:
        check = self._file.check()
        if check is not None:
            self._unwrap(_CHECK_NAME, check)
        elif self._master is not None:
            self._file.rewrite([], self._wrap(_CHECK_NAME, _CHECK))


def read_master(setting: str, environ: Mapping[str, str] | None = None) -> bytes:
    """The master key that a setting names: `env:NAME` or a file; 32 bytes as 64 hex digits. Raises `KeysError`."""
    if setting.startswith("env:"):
        name = setting.removeprefix("env:")
        text = (os.environ if environ is None else environ).get(name) or ""
        if not text:
            raise KeysError(f"the master key is to be in the environment variable {name}, which is not set.")
        where = f"the environment variable {name}"
    else:
        if _LIKE_A_KEY.fullmatch(setting.strip()):
            raise KeysError(
                "the master key itself stands in the settings (it is not shown here), where it may be read with them. "
                "Put it into a variable and write env:NAME, or into a file outside the data directory and write that."
            )
        where = f"the file {setting}"
        try:
            text = Path(setting).expanduser().read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise KeysError(f"the master key cannot be read from {where}: {error}.") from error
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise KeysError(
            f"{where} holds no master key: expected 64 hex digits (32 bytes), found {len(text.strip())} characters. "
            "Make one with: openssl rand -hex 32"
        )
    return key
