"""The journal's writer: appends records and payloads to segment files, chained, committed and synced in groups.

A frame is handed to the operating system before `append` returns, so it survives the death of this process (kill -9);
it survives a power cut once `synced` has returned. The two promises are tested apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from watchkeeper.engines.recorder.chunking import cut
from watchkeeper.engines.recorder.forgetting import Forgetting
from watchkeeper.engines.recorder.frames import (
    KIND_OF,
    NO_ADDRESS,
    NOT_A_CHUNK,
    SEGMENT_HEAD,
    Chunk,
    FrameCodec,
    FrameKind,
    Strip,
    segment_head,
)
from watchkeeper.engines.recorder.refusing import Refusing
from watchkeeper.engines.recorder.segments import last_link, segment_path, segments_of, torn_tail
from watchkeeper.engines.recorder.subjects import HOUSE, Subject, Subjects
from watchkeeper.records.body import Address, Body
from watchkeeper.records.drop import Drop
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, pack
from watchkeeper.records.span import Origin

SEGMENT_BYTES = 64 << 20
SEGMENT_AGE_NS = 24 * 3600 * 1_000_000_000
"""A segment that is older is sealed, however little it holds: retention works on sealed segments."""
REMEMBERED_CHUNKS = 50_000
REMEMBERED_OWNERS = 20_000
LOW_SPACE_BYTES = 16 << 20
_log = logging.getLogger("watchkeeper.journal")


Payload = tuple[bytes, str, str, str]
"""A payload to keep: its bytes, name, media type and owner."""

_blake2b = hashlib.blake2b
CUT = frozenset({"request", "sent", "messages.input"})
_NEVER_SEALED = frozenset({FrameKind.ERASURE, FrameKind.CHECKPOINT, FrameKind.KEPT})


class JournalFull(OSError):
    """A frame could not be written (disk full, quota, read-only); nothing of it was left behind."""


class JournalLocked(RuntimeError):
    """Another process writes to this journal."""


class Piece(NamedTuple):
    """A part of a payload that becomes a chunk, with the digest that names it and its owner's tag."""

    data: bytes
    digest: bytes
    owner: bytes
    key: bytes | None


class Journal:
    """One writer's journal. Thread-safe; every call that writes may raise `JournalFull`."""

    def __init__(
        self, folder: Path, writer: str, key: bytes, sync_every_s: float = 0.2, subjects: Subjects | None = None
    ) -> None:
        """Open `folder/writer` for appending, recover from a torn tail, and go on with its chain.

        `key` is the secret under which chunks are addressed where no `subjects` say whose keys are to be used and
        whether payloads are sealed. `writer` is at most 32 ASCII characters.
        """
        self.writer = writer
        self._folder = folder / writer
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = threading.Lock()
        self._key = key
        self._subjects = subjects
        self._sealing = subjects is not None and subjects.sealing
        self._owner_keys: OrderedDict[str, Subject] = OrderedDict()
        self._chunks: OrderedDict[bytes, Address] = OrderedDict()
        self._codec = FrameCodec()
        self._forgetting = Forgetting(folder)
        self._refusing = Refusing(folder)
        self.thin: Callable[[FrameKind, bytes], bytes] | None = None
        self._claim = self._lock_folder()
        lost = self._recover()
        self._segment, self._seq, self._previous = last_link(self._folder)
        self._file = -1
        self._offset = 0
        self._unsynced: list[int] = []
        self._syncing = threading.Lock()
        self._open_segment()
        self._failing: str | None = None
        self._dirty = False
        self._appended = self._durable = 0
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._wake = threading.Event()
        self._closing = False
        self._sync_every_s = sync_every_s
        self._syncer = threading.Thread(target=self._sync_loop, name=f"journal-{writer}", daemon=True)
        self._syncer.start()
        if lost:
            now = time.time_ns()
            self.append(Drop(what="frame", reason="torn_tail", count=1, first_ns=now, last_ns=now, door="journal"))

    def append(self, record: Record) -> Origin:
        """Write one record of the loop; returns where it lies."""
        kind = KIND_OF[type(record)]
        return self.append_raw(kind, pack(record), _owner_of(record) if self._sealing else HOUSE)

    def append_raw(self, kind: FrameKind, payload: bytes, owner: str = HOUSE) -> Origin:
        """Write a payload as it is under a kind of frame; returns where it lies."""
        mark = self._mark(kind, owner)
        if self._refusing.active and self.thin is not None:
            payload = self._thinned(kind, payload)
        with self._lock:
            strip = self._strip()
            offset = strip.add(kind, payload, mark)
            self._write(strip)
            return Origin(writer=self.writer, segment=self._segment, offset=offset)

    def put(self, data: bytes, name: str, media: str = "application/json", owner: str = "default") -> Body:
        """Keep a payload in chunks; a chunk this writer remembers for the same owner is not written again."""
        (body,) = self.write(((data, name, media, owner),), _nothing)
        return body

    def write(
        self,
        payloads: Sequence[Payload],
        records_of: Callable[[tuple[Body, ...]], Iterable[Record]],
        cuts: Sequence[list[Piece] | None] | None = None,
    ) -> tuple[Body, ...]:
        """Keep payloads, and the records that are made of their bodies, in one write: all of it or nothing.

        A chunk this writer remembers for the same owner is not written again. `cuts` are the pieces of each payload
        where somebody has cut it already.
        """
        refused = self._refusing.active
        given = cuts or (None,) * len(payloads)
        parts = [
            [] if refused else self.pieces(payload) if known is None else known
            for payload, known in zip(payloads, given, strict=True)
        ]
        with self._lock:
            if self._forgotten() and not refused:
                parts = [self.pieces(payload) for payload in payloads]
            strip = self._strip()
            fresh: dict[bytes, Address] = {}
            bodies = tuple(
                Body(
                    name=name,
                    size_bytes=len(data),
                    chunks=tuple([self._chunk(piece, strip, fresh) for piece in pieces]),
                    media=media,
                )
                for (data, name, media, _), pieces in zip(payloads, parts, strict=True)
            )
            for record in records_of(bodies):
                kind = KIND_OF[type(record)]
                mark = self._mark(kind, _owner_of(record)) if self._sealing else NOT_A_CHUNK
                strip.add(kind, pack(record), mark)
            if len(strip):
                self._write(strip)
            if fresh:
                self._remember(fresh)
            if refused:
                for body in bodies:
                    self._refusing.left_out(body.size_bytes)
        return bodies

    async def synced(self) -> None:
        """Wait until everything appended so far is on the disk; raises `JournalFull` when syncing fails."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if self._durable >= self._appended:
                return
            self._waiters.append((self._appended, loop, waiter))
        self._wake.set()
        await waiter

    def sync(self) -> None:
        """Put everything appended so far on the disk; blocks, and raises `JournalFull` when syncing fails."""
        with self._lock:
            goal, file = self._appended, os.dup(self._file)
        failure = self._to_disk(file)
        if failure is not None:
            raise failure
        with self._lock:
            self._durable = max(self._durable, goal)

    def _to_disk(self, file: int) -> JournalFull | None:
        """Sync the open segment, and before it what was sealed or made since; never called on the way of a write."""
        try:
            with self._syncing:
                while self._unsynced:
                    os.fsync(self._unsynced[0])
                    with self._lock:
                        os.close(self._unsynced.pop(0))
            os.fdatasync(file)
        except OSError as error:
            return JournalFull(error.errno, f"the journal could not be synced: {error.strerror}")
        finally:
            os.close(file)
        return None

    def close(self) -> None:
        """Sync and let go of the files; appending afterwards fails. A second time it does nothing."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        self._syncer.join(timeout=30)
        with self._lock:
            for each in self._unsynced:
                os.fsync(each)
                os.close(each)
            self._unsynced = []
            if self._file >= 0:
                os.fsync(self._file)
                os.close(self._file)
                self._file = -1
        os.close(self._claim)
        self._forgetting.close()

    def probe(self) -> None:
        """Raise `JournalFull` when the last write failed or hardly any space is left; writes nothing."""
        if self._file < 0:
            raise JournalFull(errno.EBADF, "the journal is closed; nothing more can be recorded by this process")
        if self._failing is not None:
            raise JournalFull(errno.EIO, self._failing)
        space = os.statvfs(self._folder)
        if space.f_bavail * space.f_frsize < LOW_SPACE_BYTES:
            raise JournalFull(errno.ENOSPC, f"less than {LOW_SPACE_BYTES >> 20} MiB are free where the journal lies")

    @property
    def bytes_in_segment(self) -> int:
        """How much the open segment holds, for metrics."""
        return self._offset

    def _owner(self, owner: str) -> Subject:
        known = self._owner_keys.get(owner)
        if known is None:
            if self._subjects is not None:
                known = self._subjects.of(owner)
            else:
                key = hashlib.blake2b(owner.encode(), key=self._key, digest_size=32, person=b"wk-owner").digest()
                known = Subject(derived_tag(owner, self._key), key, None)
            self._owner_keys[owner] = known
            if len(self._owner_keys) > REMEMBERED_OWNERS:
                self._owner_keys.popitem(last=False)
        return known

    def _mark(self, kind: FrameKind, owner: str) -> Chunk:
        """What stands in the head of a frame that is no chunk; what proves the journal is never sealed."""
        if not self._sealing or kind in _NEVER_SEALED:
            return NOT_A_CHUNK
        subject = self._owner(owner)
        return Chunk(NO_ADDRESS, subject.tag, subject.data_key)

    def pieces(self, payload: Payload) -> list[Piece]:
        """A payload cut into the pieces that become chunks."""
        data, name, _, owner = payload
        tag, key, data_key = self._owner(owner)
        pieces = cut(data) if name in CUT else [data]
        return [Piece(each, _blake2b(each, key=key, digest_size=16).digest(), tag, data_key) for each in pieces if each]

    def remembers(self, piece: Piece) -> bool:
        """Whether a piece, byte for byte and of the same owner, is in this writer's journal already."""
        return piece.digest in self._chunks

    def _chunk(self, piece: Piece, strip: Strip, fresh: dict[bytes, Address]) -> Address:
        """Where a piece lies: where it was written before, or at the end of the strip."""
        digest = piece.digest
        known = self._chunks.get(digest)
        if known is not None:
            self._chunks.move_to_end(digest)
            return known
        address = fresh.get(digest)
        if address is None:
            offset = strip.add(FrameKind.CHUNK, piece.data, Chunk(digest, piece.owner, piece.key))
            address = Address(digest=digest.hex(), writer=self.writer, segment=self._segment, offset=offset)
            fresh[digest] = address
        return address

    def _remember(self, fresh: dict[bytes, Address]) -> None:
        self._chunks.update(fresh)
        while len(self._chunks) > REMEMBERED_CHUNKS:
            self._chunks.popitem(last=False)

    def _strip(self) -> Strip:
        """An empty strip at the end of the open segment; the caller holds the lock."""
        if self._file < 0:
            raise JournalFull("the journal is closed; nothing more can be recorded by this process")
        now_ns = time.time_ns()
        if self._offset >= SEGMENT_BYTES or self._aged(now_ns):
            self._roll()
        self._forgotten()
        return Strip(self._codec, (self._seq, now_ns, self._previous), self._offset)

    def _aged(self, now_ns: int) -> bool:
        return now_ns - self._opened_ns > SEGMENT_AGE_NS and self._offset > SEGMENT_HEAD.size

    def _thinned(self, kind: FrameKind, payload: bytes) -> bytes:
        """A payload less its content, while bodies are not kept."""
        assert self.thin is not None
        thin = self.thin(kind, payload)
        if thin is not payload:
            with self._lock:
                self._refusing.left_out(len(payload) - len(thin))
        return thin

    def _tend(self, ending: bool = False) -> None:
        """Seal a segment that is old, see whether bodies are kept, and tell the ledger what was not."""
        self._refusing.look()
        with self._lock:
            drop = self._refusing.due(ending)
            if self._file >= 0 and self._aged(time.time_ns()):
                with contextlib.suppress(JournalFull):
                    self._roll()
        if drop is None:
            return
        try:
            self.append(drop)
        except OSError as error:
            _log.error("journal %s: %d bodies left out could not be counted: %s", self.writer, drop.count, error)

    def _forgotten(self) -> bool:
        """Forget chunks and keys when something was erased; returns whether that was so. The caller holds the lock."""
        if not self._forgetting.due():
            return False
        self._chunks.clear()
        self._owner_keys.clear()
        if self._subjects is not None:
            self._subjects.forget()
        return True

    def _write(self, strip: Strip) -> None:
        """Append the frames of a strip in one write; the caller holds the lock."""
        self._put_bytes(strip.bytes())
        self._seq, self._previous = strip.seq, strip.previous
        self._appended += len(strip)
        self._dirty = True

    def _put_bytes(self, data: bytes) -> None:
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:] if written else data, self._offset + written)
        except OSError as error:
            os.ftruncate(self._file, self._offset)
            self._failing = f"the journal could not be written: {error.strerror}"
            raise JournalFull(error.errno, self._failing) from error
        self._offset += len(data)
        self._failing = None

    def _roll(self) -> None:
        """Seal the open segment and go on in the next one; if that cannot be made, stay where we are."""
        sealed, self._segment = self._file, self._segment + 1
        try:
            self._open_segment()
        except OSError as error:
            self._segment -= 1
            raise JournalFull(error.errno, f"the journal could not begin a new segment: {error.strerror}") from error
        self._unsynced.append(sealed)
        self._dirty = True

    def _open_segment(self) -> None:
        """Create the next free segment; an existing one is never written again by a later process."""
        path = segment_path(self._folder, self._segment)
        file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        self._opened_ns = time.time_ns()
        header = segment_head(self.writer, self._segment, self._seq, self._opened_ns, self._previous)
        try:
            if os.pwrite(file, header, 0) != len(header):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.close(file)
            path.unlink()
            raise
        self._file, self._offset = file, SEGMENT_HEAD.size
        self._unsynced.append(os.open(self._folder, os.O_RDONLY))

    def _lock_folder(self) -> int:
        claim = os.open(self._folder / "writer.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(claim)
            raise JournalLocked(
                f"another process writes the journal of {self.writer!r} in {self._folder.parent}; "
                "stop it, or use another data directory (--data)"
            ) from error
        return claim

    def _recover(self) -> bool:
        """Cut off a frame that was being written when the last process died; it was never acknowledged."""
        segments = segments_of(self._folder)
        if not segments:
            return False
        path = segment_path(self._folder, segments[-1])
        end = torn_tail(path)
        if end is None:
            return False
        _log.warning("journal %s: cutting an unfinished frame at byte %d of segment %d", self.writer, end, segments[-1])
        os.truncate(path, end)
        if end == 0:
            path.unlink()
            return False
        return True

    def _sync_loop(self) -> None:
        while not self._closing:
            self._wake.wait(self._sync_every_s)
            self._wake.clear()
            self._tend()
            self._sync_once()
        self._tend(ending=True)
        self._sync_once()

    def _sync_once(self) -> None:
        with self._lock:
            if not self._dirty:
                self._release(self._appended, None)
                return
            goal, file = self._appended, os.dup(self._file)
            self._dirty = False
        failure = self._to_disk(file)
        if failure is not None:
            _log.error("journal %s: %s", self.writer, failure)
        with self._lock:
            if failure is None:
                self._durable = max(self._durable, goal)
            else:
                self._dirty = True
            self._release(goal, failure)

    def _release(self, goal: int, failure: OSError | None) -> None:
        ready = [w for w in self._waiters if w[0] <= goal]
        self._waiters = [w for w in self._waiters if w[0] > goal]
        for _, loop, waiter in ready:
            loop.call_soon_threadsafe(_resolve, waiter, failure)


def derived_tag(owner: str, key: bytes) -> bytes:
    """The tag of an owner's frames where no subjects' keys are kept."""
    return hashlib.blake2b(owner.encode(), key=key, digest_size=8, person=b"wk-tag").digest()


def _nothing(bodies: tuple[Body, ...]) -> tuple[Record, ...]:
    return ()


def _owner_of(record: Record) -> str:
    identity = getattr(record, "identity", None)
    return identity.owner if isinstance(identity, Identity) else HOUSE


def _resolve(waiter: asyncio.Future[None], failure: OSError | None) -> None:
    if waiter.done():
        return
    if failure is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(failure)
