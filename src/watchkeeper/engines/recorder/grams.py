"""A small file beside each sealed segment that says which of its blocks cannot hold a text, without holding any text.

Method. A segment is cut into blocks of frames with about `BLOCK_BYTES` of plain payload. For each block there is a
bitmap with a bit for every run of four bytes (of the folded text, see `analysis.typed`), chosen by a hash under a key
of this data directory; a block in which one of a needle's bits is not set cannot hold the needle. A second, smaller
bitmap holds the digests of the chunks that the block's spans refer to, so that the spans of a chunk are found in the
same way. One hash for each gram is enough (a Bloom filter with k = 1), since a needle has several.

The files hold no text and no digest in the clear; they can be deleted at any time and are made again. A match is always
verified in the payload itself, so a block from which payloads were erased since is searched in vain and not wrongly.
What is encrypted at rest does not go into them: a block with such a payload counts as one that may hold anything.

Limits. Needles of fewer than four bytes are not helped. Somebody who has the key could ask a bitmap whether a text of
their choice may be in a block; the key lies with the other secrets of the directory.
"""

from __future__ import annotations

import hashlib
import re
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from watchkeeper.analysis.typed import folded_text
from watchkeeper.engines.recorder.frames import SEGMENT_HEAD, FrameKind
from watchkeeper.engines.recorder.segments import Frame, read_frames, segment_path, segments_of, writers_of

BLOCK_BYTES = 512 << 10
GRAM = 4
TEXT_BITS, REFERENCE_BITS = 1 << 16, 1 << 15
TEXT_KINDS = frozenset({FrameKind.CHUNK, FrameKind.SPAN, FrameKind.OTLP, FrameKind.OTLP_LOGS})
_MAGIC = b"WKGRAM\x00\x01"
_HEAD = struct.Struct("<8sQI")
_BLOCK = struct.Struct("<QQQQQ")
_ENTRY_BYTES = _BLOCK.size + (TEXT_BITS + REFERENCE_BITS) // 8
_KEPT_HASHES = 1 << 20
_DIGEST = re.compile(rb"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")

Pause = Callable[[float], None]
"""Called after each block with the seconds that it took, so that whoever builds can rest."""


class Block(NamedTuple):
    """One block: where its frames begin and end, when they were written, and their plain bytes; and its bitmaps."""

    begin: int
    end: int
    first_ns: int
    last_ns: int
    plain_bytes: int
    texts: bytes
    references: bytes


class Grams:
    """Makes and reads these files, in a folder that can be thrown away."""

    def __init__(self, folder: Path, journal: Path, key: bytes) -> None:
        """`folder` is for the files, `journal` the journals' folder, `key` a secret of the data directory."""
        self._folder, self._journal, self._key = folder, journal, key
        self._hashes: dict[bytes | int, int] = {}

    def blocks(self, writer: str, segment: int) -> list[Block] | None:
        """The blocks of a segment; None where there is no file for it, or one that does not fit."""
        try:
            data = self._path(writer, segment).read_bytes()
            magic, size, count = _HEAD.unpack_from(data)
        except (OSError, struct.error):
            return None
        if magic != _MAGIC or len(data) != _HEAD.size + count * _ENTRY_BYTES:
            return None
        found = []
        for at in range(_HEAD.size, len(data), _ENTRY_BYTES):
            texts = at + _BLOCK.size
            references = texts + TEXT_BITS // 8
            parts = data[texts:references], data[references : at + _ENTRY_BYTES]
            begin, end, first_ns, last_ns, plain = _BLOCK.unpack_from(data, at)
            found.append(Block(begin, end, first_ns, last_ns, plain, *parts))
        return found if found and found[-1].end == size else None

    def missing(self) -> list[tuple[str, int]]:
        """The sealed segments that have no file yet, newest first."""
        found = []
        for writer in writers_of(self._journal):
            for segment in segments_of(self._journal / writer)[:-1]:
                if not self._path(writer, segment).exists():
                    path = segment_path(self._journal / writer, segment)
                    found.append((path.stat().st_mtime_ns, writer, segment))
        return [(writer, segment) for _, writer, segment in sorted(found, reverse=True)]

    def tidy(self) -> int:
        """Remove the files of segments that are no more; returns how many."""
        removed = 0
        for path in self._folder.glob("*/*.wkg"):
            if not segment_path(self._journal / path.parent.name, int(path.stem)).exists():
                path.unlink(missing_ok=True)
                removed += 1
        return removed

    def build(self, writer: str, segment: int, pause: Pause = lambda _: None) -> int:
        """Make the file of a sealed segment; returns its plain bytes. Raises `Corrupt` where the segment is damaged."""
        blocks, end = [], SEGMENT_HEAD.size
        began = time.perf_counter()
        for frames in _cut(self._frames(writer, segment)):
            blocks.append(self._block(frames))
            end = frames[-1].next_offset
            pause(time.perf_counter() - began)
            began = time.perf_counter()
        path = self._path(writer, segment)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(".making")
        draft.touch(mode=0o600)
        with draft.open("wb") as file:
            file.write(_HEAD.pack(_MAGIC, end, len(blocks)))
            for block in blocks:
                file.write(_BLOCK.pack(*block[:5]) + block.texts + block.references)
        draft.replace(path)
        return sum(block.plain_bytes for block in blocks)

    def may_hold(self, block: Block, folded: str) -> bool:
        """Whether a block's payloads may hold a folded text."""
        return all(_has(block.texts, self._bit(gram, TEXT_BITS)) for gram in _grams(folded.encode()))

    def may_refer(self, block: Block, digests: Iterable[str]) -> bool:
        """Whether one of a block's spans may refer to one of some chunks."""
        return any(_has(block.references, self._bit(digest.encode(), REFERENCE_BITS)) for digest in digests)

    def _path(self, writer: str, segment: int) -> Path:
        return self._folder / writer / f"{segment:08d}.wkg"

    def _frames(self, writer: str, segment: int) -> Iterator[Frame]:
        for frame in read_frames(self._journal / writer, segment, erased=True):
            if frame.segment != segment:
                return
            yield frame

    def _block(self, frames: list[Frame]) -> Block:
        texts, references = bytearray(TEXT_BITS // 8), bytearray(REFERENCE_BITS // 8)
        folded: list[bytes] = []
        for frame in frames:
            if frame.head.sealed and frame.head.kind in TEXT_KINDS:
                texts, references = bytearray(b"\xff" * len(texts)), bytearray(b"\xff" * len(references))
                break
            if frame.head.kind in TEXT_KINDS:
                folded.append(folded_text(frame.payload).encode("utf-8", "replace"))
            if frame.head.kind == FrameKind.SPAN:
                for digest in digests_in(frame.payload):
                    _set(references, self._bit(digest, REFERENCE_BITS))
        for gram in _grams(b"\n".join(folded)):
            _set(texts, self._bit(gram, TEXT_BITS))
        times = [frame.head.at_ns for frame in frames]
        plain = sum(len(frame.payload) for frame in frames)
        begin, end = frames[0].offset, frames[-1].next_offset
        return Block(begin, end, min(times), max(times), plain, bytes(texts), bytes(references))

    def _bit(self, gram: bytes | int, bits: int) -> int:
        kept = self._hashes.get(gram)
        if kept is None:
            if len(self._hashes) >= _KEPT_HASHES:
                self._hashes.clear()
            data = gram if isinstance(gram, bytes) else gram.to_bytes(GRAM, "little")
            digest = hashlib.blake2b(data, digest_size=4, key=self._key).digest()
            kept = self._hashes[gram] = int.from_bytes(digest, "little")
        return kept % bits


def digests_in(payload: bytes) -> set[bytes]:
    """What may be digests of chunks in the record of a span: its texts of 32 hexadecimal digits."""
    return set(_DIGEST.findall(payload))


def _cut(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    block: list[Frame] = []
    size = 0
    for frame in frames:
        block.append(frame)
        size += len(frame.payload)
        if size >= BLOCK_BYTES:
            yield block
            block, size = [], 0
    if block:
        yield block


def _grams(text: bytes) -> set[int]:
    """All runs of four bytes, as numbers."""
    grams: set[int] = set()
    for shift in range(GRAM):
        part = text[shift : len(text) - (len(text) - shift) % GRAM]
        if part:
            grams.update(memoryview(part).cast("I"))
    return grams


def _set(bitmap: bytearray, bit: int) -> None:
    bitmap[bit >> 3] |= 1 << (bit & 7)


def _has(bitmap: bytes, bit: int) -> bool:
    return bool(bitmap[bit >> 3] & 1 << (bit & 7))
