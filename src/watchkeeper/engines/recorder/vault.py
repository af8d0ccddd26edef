"""Reading what was kept: payloads by address and whole spans by origin, each checked against its commitment."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path

from watchkeeper.engines.recorder import sealing
from watchkeeper.engines.recorder.erased import Place, pointed
from watchkeeper.engines.recorder.frames import HEAD, RECORD_KINDS, SALT_BYTES, Corrupt, Erased, FrameKind, read_head
from watchkeeper.engines.recorder.packed import pread
from watchkeeper.engines.recorder.segments import read_frame_at, segment_path
from watchkeeper.records.body import Address, Body
from watchkeeper.records.record import unpack
from watchkeeper.records.span import Origin, Span

__all__ = ["Erased", "SpanDecoder", "Vault"]

_OPEN_FILES = 32
_MOST_MOVES = 64
"""An export from which person after person is erased moves on each time; a longer way is a circle."""

SpanDecoder = Callable[[bytes, Origin], Span]
"""Builds the span that is item `origin.item` of a frame's payload."""


class Vault:
    """Reads any writer's segments under one journal folder. Thread-safe."""

    def __init__(self, folder: Path, decoders: Mapping[FrameKind, SpanDecoder] | None = None) -> None:
        self._folder = folder
        self._decoders = dict(decoders or {})
        self._files: OrderedDict[tuple[str, int], int] = OrderedDict()
        self._lock = threading.Lock()

    def chunk(self, address: Address) -> bytes:
        """The bytes of one chunk; raises `Erased` or `Corrupt`."""
        kind, payload, digest = self._read(address.writer, address.segment, address.offset)
        if kind != FrameKind.CHUNK or digest.hex() != address.digest:
            raise Corrupt(
                f"at byte {address.offset} of segment {address.segment} lies another frame than the address names"
            )
        return payload

    def body(self, body: Body) -> bytes:
        """The exact bytes of a payload; raises `Erased` or `Corrupt`."""
        if body.size_bytes and not body.chunks:
            raise Erased(f"the payload {body.name!r} was not kept: the disk cap left no room for it")
        data = b"".join(self.chunk(address) for address in body.chunks)
        if len(data) != body.size_bytes:
            raise Corrupt(f"the payload {body.name!r} should have {body.size_bytes} bytes, its chunks give {len(data)}")
        return data

    def payload(self, origin: Origin) -> tuple[FrameKind, bytes]:
        """The kind and plain payload of the frame that holds a record."""
        kind, payload, _ = self._read(origin.writer, origin.segment, origin.offset)
        return FrameKind(kind), payload

    def span(self, origin: Origin) -> Span:
        """A whole span, with its bodies and events, from the frame that holds it."""
        kind, payload = self.payload(origin)
        if kind == FrameKind.SPAN:
            span = unpack(RECORD_KINDS[kind], payload)
            assert isinstance(span, Span)
            return span
        decoder = self._decoders.get(kind)
        if decoder is None:
            raise Corrupt(f"the frame at byte {origin.offset} of segment {origin.segment} holds no span ({kind.name})")
        return decoder(payload, origin)

    def place(self, origin: Origin) -> Place:
        """Where the content of a frame lies now: there, or where it went on to when part of it was erased."""
        place = Place(origin.writer, origin.segment, origin.offset)
        with self._lock:
            for _ in range(_MOST_MOVES):
                file = self._file(place.writer, place.segment)
                try:
                    read_frame_at(file, place.offset)
                except sealing.NoKey:
                    return place
                except Erased:
                    on = _moved(file, place.offset)
                    if on is None:
                        return place
                    place = on
                    continue
                return place
        return place

    def close(self) -> None:
        """Close the files held open."""
        with self._lock:
            for file in self._files.values():
                os.close(file)
            self._files.clear()

    def _read(self, writer: str, segment: int, offset: int) -> tuple[int, bytes, bytes]:
        place = Place(writer, segment, offset)
        with self._lock:
            for _ in range(_MOST_MOVES):
                file = self._file(place.writer, place.segment)
                try:
                    head, payload = read_frame_at(file, place.offset)
                except sealing.NoKey as error:
                    raise Erased(str(error.args[0])) from None
                except Erased:
                    on = _moved(file, place.offset)
                    if on is None:
                        raise
                    place = on
                    continue
                return head.kind, payload, head.address
        raise Corrupt(f"the erased frame at byte {offset} of segment {segment} points on for ever")

    def _file(self, writer: str, segment: int) -> int:
        if "/" in writer or writer in ("", ".", ".."):
            raise Erased(f"no journal has a writer called {writer!r}")
        path = segment_path(self._folder / writer, segment)
        known = self._files.get((writer, segment))
        try:
            if known is not None:
                if os.fstat(known).st_ino == path.stat().st_ino:
                    self._files.move_to_end((writer, segment))
                    return known
                # The segment was packed: what is erased from now on would still be in the old file.
                os.close(self._files.pop((writer, segment)))
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise Erased(f"segment {segment} of writer {writer!r} is not in the journal any more") from error
        self._files[(writer, segment)] = file
        if len(self._files) > _OPEN_FILES:
            os.close(self._files.popitem(last=False)[1])
        return file


def _moved(file: int, offset: int) -> Place | None:
    """Where an erased frame says that its kept content lies, or None."""
    head = read_head(pread(file, HEAD.size, offset))
    return pointed(pread(file, head.stored_bytes, offset + HEAD.size + SALT_BYTES))
