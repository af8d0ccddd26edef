"""The on-disk form of the journal: versioned frames in segment files, each bound to the one before it.

A segment is a header and frames up to a size. A frame is a fixed head, a salt and a payload. The head carries the
digest of the previous frame's head and a salted commitment to its payload, so the heads alone form the chain: a
payload can be erased (salt and bytes overwritten) without breaking it, and nobody can guess an erased payload from
its commitment.

    head = magic, version, kind, codec, flags, owner tag, seq, unix ns, previous digest, commitment, address,
           lengths, crcs
    digest(frame) = BLAKE2b-256(head without crcs)          commitment = BLAKE2b-256(salt || plain payload)
    address(chunk) = BLAKE2b-128 keyed with the owner's key, zero for other kinds
"""

from __future__ import annotations

import hashlib
import os
import struct
import sys
import zlib
from enum import IntEnum
from typing import NamedTuple

from watchkeeper.engines.recorder import sealing
from watchkeeper.records.audit import Audit
from watchkeeper.records.case import Case
from watchkeeper.records.checkpoint import Checkpoint
from watchkeeper.records.decision import Decision
from watchkeeper.records.drop import Drop
from watchkeeper.records.effect import Effect
from watchkeeper.records.erasure import Erasure
from watchkeeper.records.experiment import Experiment
from watchkeeper.records.finding import Finding
from watchkeeper.records.incident import Incident
from watchkeeper.records.job import Job
from watchkeeper.records.kept import Kept
from watchkeeper.records.manifest import Manifest
from watchkeeper.records.record import Record
from watchkeeper.records.score import Score
from watchkeeper.records.session import Session
from watchkeeper.records.source import Source
from watchkeeper.records.span import Span

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_blake2b, _crc32 = hashlib.blake2b, zlib.crc32

FRAME_VERSION = 1
FRAME_MAGIC = b"WF"
SEGMENT_MAGIC = b"WKJRNL\x00\x01"
SALT_BYTES = 16
NO_ADDRESS = bytes(16)
NO_DIGEST = bytes(32)
ERASED_SALT = hashlib.blake2b(b"watchkeeper: erased", digest_size=SALT_BYTES).digest()
"""Stands where the salt of an erased frame was. No frame is ever salted with it: salts are random."""
MAX_PAYLOAD_BYTES = 1 << 30

HEAD = struct.Struct("<2sBBBB8sQQ32s32s16sIIII")
_COVER = struct.Struct("<2sBBBB8sQQ32s32s16sII")
SEGMENT_HEAD = struct.Struct("<8s32sIQQ32sI")
_COVERED = HEAD.size - 8
_CODEC_RAW, _CODEC_ZSTD = 0, 1
_PLAIN, _SEALED = 0, 1
_COMPRESS_CHUNKS_ABOVE_BYTES = 512
_COMPRESS_ABOVE_BYTES = 2048
"""A record below keeps its few hundred bytes: compressing it takes longer than all the rest of its frame."""
_LARGE_BYTES = 32 << 10
_QUICK: dict[int, int] = {zstd.CompressionParameter.compression_level: 1, zstd.CompressionParameter.hash_log: 12}
"""For small payloads: tables that fit the processor's cache, at the price of nothing for such short inputs."""
_SALTS_AT_ONCE = 32


class FrameKind(IntEnum):
    """What a frame's payload is."""

    CHUNK = 1
    SPAN = 2
    OTLP = 3
    DECISION = 4
    SCORE = 5
    MANIFEST = 6
    FINDING = 7
    INCIDENT = 8
    CASE = 9
    EXPERIMENT = 10
    DROP = 11
    EFFECT = 12
    SESSION = 13
    JOB = 14
    AUDIT = 15
    SOURCE = 16
    ERASURE = 17
    CHECKPOINT = 18
    KEPT = 20
    OTLP_LOGS = 19


RECORD_KINDS: dict[FrameKind, type[Record]] = {
    FrameKind.SPAN: Span,
    FrameKind.DECISION: Decision,
    FrameKind.SCORE: Score,
    FrameKind.MANIFEST: Manifest,
    FrameKind.FINDING: Finding,
    FrameKind.INCIDENT: Incident,
    FrameKind.CASE: Case,
    FrameKind.EXPERIMENT: Experiment,
    FrameKind.DROP: Drop,
    FrameKind.EFFECT: Effect,
    FrameKind.SESSION: Session,
    FrameKind.JOB: Job,
    FrameKind.AUDIT: Audit,
    FrameKind.SOURCE: Source,
    FrameKind.ERASURE: Erasure,
    FrameKind.CHECKPOINT: Checkpoint,
    FrameKind.KEPT: Kept,
}
KIND_OF: dict[type[Record], FrameKind] = {record: kind for kind, record in RECORD_KINDS.items()}


class Corrupt(ValueError):
    """Bytes in the journal are not what was written there; the message says where and what."""


class Torn(Corrupt):
    """The last frame of a file is incomplete: the writer was stopped in the middle of it."""


class Erased(KeyError):
    """The payload is not there any more, or never was; the message says which."""


class Head(NamedTuple):
    """A frame's fixed part, as read from disk."""

    kind: int
    codec: int
    owner: bytes
    seq: int
    at_ns: int
    previous: bytes
    commitment: bytes
    address: bytes
    plain_bytes: int
    stored_bytes: int
    crc: int
    digest: bytes
    sealed: bool = False

    @property
    def size(self) -> int:
        """The frame's length on disk: head, salt and stored payload."""
        return HEAD.size + SALT_BYTES + self.stored_bytes


class SegmentHead(NamedTuple):
    """A segment file's header."""

    writer: str
    segment: int
    first_seq: int
    created_ns: int
    previous: bytes


class Chunk(NamedTuple):
    """What identifies a content-addressed payload: its keyed digest and its owner's tag.

    With a `key` the frame is sealed; records have no address then, and their owner's tag.
    """

    address: bytes
    owner: bytes
    key: bytes | None = None


NOT_A_CHUNK = Chunk(NO_ADDRESS, bytes(8))


class FrameCodec:
    """Builds frames. Holds a compression context and a supply of salts, so one codec serves one thread at a time."""

    def __init__(self) -> None:
        self._quick = zstd.ZstdCompressor(options=_QUICK)
        self._thorough = zstd.ZstdCompressor(3)
        self._salts = b""
        self._salted = 0

    def salt(self) -> bytes:
        """Fresh random bytes for one frame."""
        at = self._salted
        if at >= len(self._salts):
            self._salts, at = os.urandom(SALT_BYTES * _SALTS_AT_ONCE), 0
        self._salted = at + SALT_BYTES
        return self._salts[at : at + SALT_BYTES]

    def build(self, kind: FrameKind, link: tuple[int, int, bytes], payload: bytes, salt: bytes, chunk: Chunk) -> bytes:
        """A whole frame as bytes; `link` is (seq, unix ns, previous digest)."""
        return b"".join(self.parts(kind, link, payload, salt, chunk))

    def parts(
        self, kind: FrameKind, link: tuple[int, int, bytes], payload: bytes, salt: bytes, chunk: Chunk
    ) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """A frame in parts: the head without its checksums, the two checksums, salt and stored payload."""
        codec, stored = _CODEC_RAW, payload
        size = len(payload)
        if size > (_COMPRESS_CHUNKS_ABOVE_BYTES if kind is FrameKind.CHUNK else _COMPRESS_ABOVE_BYTES):
            compressor = self._quick if size < _LARGE_BYTES else self._thorough
            squeezed = compressor.compress(payload, zstd.ZstdCompressor.FLUSH_FRAME)
            if len(squeezed) < size:
                codec, stored = _CODEC_ZSTD, squeezed
        seq, at_ns, previous = link
        address, owner, key = chunk
        commitment = _blake2b(payload, digest_size=32, salt=salt).digest()
        if key is not None:
            outer = self.salt()
            stored, salt = sealing.seal(key, outer, salt, stored), outer
        covered = _COVER.pack(
            FRAME_MAGIC, FRAME_VERSION, kind, codec, _PLAIN if key is None else _SEALED, owner, seq, at_ns, previous,
            commitment, address, size, len(stored),
        )  # fmt: skip
        crc = _crc32(stored, _crc32(salt)).to_bytes(4, "little")
        return covered, crc, _crc32(crc, _crc32(covered)).to_bytes(4, "little"), salt, stored


class Strip:
    """Frames that follow on one another and are written at once; `offset` is where the next one will lie."""

    __slots__ = ("_at_ns", "_codec", "_frames", "_parts", "offset", "previous", "seq")

    def __init__(self, codec: FrameCodec, link: tuple[int, int, bytes], offset: int) -> None:
        """`link` is (seq of the first frame, unix ns, digest of the frame before it)."""
        self.seq, self._at_ns, self.previous = link
        self.offset = offset
        self._codec = codec
        self._frames = 0
        self._parts: list[bytes] = []

    def add(self, kind: FrameKind, payload: bytes, chunk: Chunk = NOT_A_CHUNK) -> int:
        """Append a frame; returns the offset at which it will lie."""
        codec = self._codec
        parts = codec.parts(kind, (self.seq, self._at_ns, self.previous), payload, codec.salt(), chunk)
        self._parts += parts
        self.previous = _blake2b(parts[0], digest_size=32).digest()
        self.seq += 1
        self._frames += 1
        offset = self.offset
        self.offset = offset + HEAD.size + SALT_BYTES + len(parts[4])
        return offset

    def __len__(self) -> int:
        return self._frames

    def bytes(self) -> bytes:
        """All frames, joined."""
        return b"".join(self._parts)


def commit(salt: bytes, payload: bytes) -> bytes:
    """The salted commitment to a payload: BLAKE2b-256 over salt and bytes."""
    return _blake2b(payload, digest_size=32, salt=salt).digest()


def read_head(data: bytes | memoryview, at: int = 0) -> Head:
    """Parse a frame's head; raises `Torn` when the bytes end within it and `Corrupt` when they are not a head."""
    if len(data) - at < HEAD.size:
        raise Torn("the file ends within a frame's head")
    raw = bytes(data[at : at + HEAD.size])
    fields = HEAD.unpack(raw)
    magic, version, kind, codec, flags, owner, seq, at_ns, previous, commitment, address, plain, stored = fields[:13]
    if magic != FRAME_MAGIC:
        raise Corrupt(f"a frame should begin with {FRAME_MAGIC!r}, found {magic!r}")
    if version > FRAME_VERSION:
        raise Corrupt(
            f"frame version {version} is newer than this program reads ({FRAME_VERSION}); upgrade watchkeeper"
        )
    if zlib.crc32(raw[:-4]) != fields[14]:
        raise Corrupt("the checksum of a frame's head does not hold")
    if stored > MAX_PAYLOAD_BYTES or plain > MAX_PAYLOAD_BYTES:
        raise Corrupt(f"a frame claims {stored} stored bytes, more than any frame may have")
    digest = hashlib.blake2b(raw[:_COVERED], digest_size=32).digest()
    sealed = bool(flags & _SEALED)
    crc = fields[13]
    return Head(kind, codec, owner, seq, at_ns, previous, commitment, address, plain, stored, crc, digest, sealed)


def read_payload(data: bytes | memoryview, head: Head, at: int = 0, check: bool = True) -> bytes:
    """The plain payload of the frame at `at`; with `check`, its commitment is verified too.

    Raises `Torn` when the bytes end within it, `Erased` when it was erased, `sealing.NoKey` when it is sealed and its
    key is not at hand, and `Corrupt` when checksum, compression or commitment do not hold.
    """
    begin = at + HEAD.size
    end = begin + SALT_BYTES + head.stored_bytes
    if len(data) < end:
        raise Torn("the file ends within a frame's payload")
    rest = bytes(data[begin:end])
    if rest[:SALT_BYTES] == ERASED_SALT:
        raise Erased(f"the payload of frame {head.seq} was erased")
    if zlib.crc32(rest) != head.crc:
        raise Corrupt(f"the checksum of frame {head.seq} does not hold")
    salt, stored = rest[:SALT_BYTES], rest[SALT_BYTES:]
    if head.sealed:
        salt, stored = _unseal(head, salt, stored)
    plain = stored if head.codec == _CODEC_RAW else _decompress(stored, head)
    if check and commit(salt, plain) != head.commitment:
        raise Corrupt(f"the payload of frame {head.seq} is not the one that was committed to")
    return plain


def _unseal(head: Head, outer: bytes, sealed: bytes) -> tuple[bytes, bytes]:
    try:
        return sealing.unseal(head.owner, outer, sealed)
    except sealing.NoKey as error:
        raise sealing.NoKey(f"the payload of frame {head.seq} is sealed: {error.args[0]}") from None
    except ValueError as error:
        raise Corrupt(f"the payload of frame {head.seq} is not what was sealed: {error}") from error


def _decompress(stored: bytes, head: Head) -> bytes:
    try:
        return zstd.ZstdDecompressor().decompress(stored, max_length=head.plain_bytes)
    except zstd.ZstdError as error:
        raise Corrupt(f"the payload of frame {head.seq} cannot be decompressed: {error}") from error


def segment_head(writer: str, segment: int, first_seq: int, created_ns: int, previous: bytes) -> bytes:
    """A segment file's header as bytes."""
    body = SEGMENT_HEAD.pack(SEGMENT_MAGIC, writer.encode(), segment, first_seq, created_ns, previous, 0)[:-4]
    return body + struct.pack("<I", zlib.crc32(body))


def read_segment_head(data: bytes) -> SegmentHead:
    """Parse a segment's header; raises `Torn` when it is incomplete and `Corrupt` when it does not hold."""
    if len(data) < SEGMENT_HEAD.size:
        raise Torn("the file ends within the segment's header")
    magic, writer, segment, first_seq, created_ns, previous, crc = SEGMENT_HEAD.unpack(data[: SEGMENT_HEAD.size])
    if magic[:6] != SEGMENT_MAGIC[:6]:
        raise Corrupt("this file is not a journal segment")
    if magic != SEGMENT_MAGIC:
        raise Corrupt(f"segment format {magic[7]} is not one this program reads (1); upgrade watchkeeper")
    if zlib.crc32(data[: SEGMENT_HEAD.size - 4]) != crc:
        raise Corrupt("the checksum of the segment's header does not hold")
    return SegmentHead(writer.rstrip(b"\x00").decode(), segment, first_seq, created_ns, previous)
