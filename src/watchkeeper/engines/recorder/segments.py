"""Reading segment files: where they lie, how they end, and the frames in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from watchkeeper.engines.recorder import sealing
from watchkeeper.engines.recorder.frames import (
    HEAD,
    NO_DIGEST,
    SEGMENT_HEAD,
    Corrupt,
    Erased,
    Head,
    Torn,
    read_head,
    read_payload,
    read_segment_head,
)
from watchkeeper.engines.recorder.packed import open_segment, pread, segment_size

SUFFIX = ".wkj"
_BLOCK_BYTES = 4 << 20


class Frame(NamedTuple):
    """A frame as read: where it begins, where the next one begins, its head and its plain payload.

    An erased frame has no payload, nor has one that is sealed under a key that is not there.
    """

    segment: int
    offset: int
    next_offset: int
    head: Head
    payload: bytes
    erased: bool = False


def writers_of(folder: Path) -> list[str]:
    """The writers that have a journal in `folder`, sorted."""
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def segments_of(folder: Path) -> list[int]:
    """The numbers of a writer's segments, in order."""
    return sorted(int(entry.stem) for entry in folder.glob("*" + SUFFIX) if entry.stem.isdigit())


def segment_path(folder: Path, segment: int) -> Path:
    """The file of a writer's segment."""
    return folder / f"{segment:08d}{SUFFIX}"


def heads(path: Path) -> Iterator[tuple[int, Head]]:
    """The offset and head of every frame of a segment; raises `Torn` or `Corrupt` where the file does not go on."""
    size = segment_size(path)
    with open_segment(path) as file:
        read_segment_head(file.read(SEGMENT_HEAD.size))
        offset = SEGMENT_HEAD.size
        while offset < size:
            file.seek(offset)
            head = read_head(file.read(HEAD.size))
            if offset + head.size > size:
                raise Torn("the file ends within a frame's payload")
            yield offset, head
            offset += head.size


def torn_tail(path: Path) -> int | None:
    """Where an unfinished last frame begins (0: the header itself is unfinished), or None if the file ends well.

    Damage further up is left as it is, for `verify` to report: only a tail that nobody was told of may be cut.
    """
    end, last = 0, None
    try:
        for offset, head in heads(path):
            last = (offset, head)
            end = offset + head.size
    except Torn:
        return end if last is not None else _after_header(path)
    except Corrupt:
        return None
    if last is None:
        return None
    offset, head = last
    with open_segment(path) as file:
        file.seek(offset)
        try:
            read_payload(file.read(head.size), head)
        except (Erased, sealing.NoKey):
            return None
        except Corrupt:
            return None if _was_synced_whole(path, offset, head) else offset
    return None


def _after_header(path: Path) -> int:
    return SEGMENT_HEAD.size if path.stat().st_size >= SEGMENT_HEAD.size else 0


def _was_synced_whole(path: Path, offset: int, head: Head) -> bool:
    """A bad last frame without trailing zeros was changed after it was written: that is damage, not a torn write."""
    with path.open("rb") as file:
        file.seek(offset + head.size - min(head.stored_bytes, 8))
        return any(file.read(8))


def last_link(folder: Path) -> tuple[int, int, bytes]:
    """(next segment number, next sequence number, digest of the last frame) of a writer's journal."""
    segments = segments_of(folder)
    for segment in reversed(segments):
        path = segment_path(folder, segment)
        last: Head | None = None
        try:
            for _, head in heads(path):
                last = head
        except Corrupt:
            pass  # the frames before the damage still give the link; `verify` names the damage
        if last is not None:
            return segments[-1] + 1, last.seq + 1, last.digest
        if path.stat().st_size >= SEGMENT_HEAD.size:
            with open_segment(path) as file:
                header = read_segment_head(file.read(SEGMENT_HEAD.size))
            return segments[-1] + 1, header.first_seq, header.previous
    return (segments[-1] + 1 if segments else 1), 1, NO_DIGEST


def read_frames(
    folder: Path, segment: int = 0, offset: int = 0, check: bool = False, erased: bool = False
) -> Iterator[Frame]:
    """The frames of a writer's journal from a place onward, up to the last complete one.

    `segment` 0 is the beginning. A frame that is still being written ends the iteration; damage raises `Corrupt`,
    naming segment and offset. Erased frames are left out unless `erased` asks for them.
    """
    numbers = [n for n in segments_of(folder) if n >= segment]
    for position, number in enumerate(numbers):
        start = offset if number == segment else 0
        newer_exists = position + 1 < len(numbers)
        path = segment_path(folder, number)
        for frame in _read_segment(path, number, max(start, SEGMENT_HEAD.size), check, newer_exists):
            if erased or not frame.erased:
                yield frame


def _read_segment(path: Path, number: int, offset: int, check: bool, sealed: bool) -> Iterator[Frame]:
    """The frames of one segment; in a sealed one an incomplete frame is damage."""
    with open_segment(path) as file:
        file.seek(offset)
        block = file.read(_BLOCK_BYTES)
        at = 0
        while True:
            try:
                head = read_head(block, at)
                if len(block) - at < head.size:
                    raise Torn("the file ends within a frame's payload")
            except Torn:
                more = file.read(max(_BLOCK_BYTES, _missing(block, at)))
                if not more:
                    if sealed and at < len(block):
                        raise Corrupt(f"segment {number} ends within a frame at byte {offset}") from None
                    return
                block, at = block[at:] + more, 0
                continue
            except Corrupt as error:
                raise Corrupt(f"segment {number} at byte {offset}: {error}") from error
            gone = False
            try:
                payload = read_payload(block, head, at, check)
            except (Erased, sealing.NoKey):
                payload, gone = b"", True
            except Corrupt as error:
                raise Corrupt(f"segment {number} at byte {offset}: {error}") from error
            yield Frame(number, offset, offset + head.size, head, payload, gone)
            at += head.size
            offset += head.size


def _missing(block: bytes, at: int) -> int:
    try:
        return max(0, read_head(block, at).size - (len(block) - at))
    except Torn:
        return 0


def read_frame_at(file: int, offset: int) -> tuple[Head, bytes]:
    """One frame by its place in an open file: head and plain payload, its commitment verified.

    Raises `Erased` when it was erased and `Corrupt` when it is not what was written.
    """
    head = read_head(pread(file, HEAD.size, offset))
    return head, read_payload(pread(file, head.size, offset), head)
