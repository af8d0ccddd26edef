"""Takes records out of the journal with what proves them: the frame's head, the salt, and the payload as committed to.

Whoever has an excerpt can check by themselves that the payload is the one that the head commits to, and what the head's
digest in the chain is; whoever has the journal too can check that this head stands in it.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.engines.recorder import sealing
from watchkeeper.engines.recorder.frames import (
    HEAD,
    RECORD_KINDS,
    SALT_BYTES,
    Corrupt,
    Erased,
    FrameKind,
    Head,
    commit,
    read_head,
    read_payload,
)
from watchkeeper.engines.recorder.segments import heads, segment_path, segments_of, writers_of
from watchkeeper.records.record import Record, unpack


class Excerpt(Record):
    """One record out of the journal: its place, its head and salt in hex, the payload in base64, and it as JSON."""

    kind: str
    writer: str
    segment: int
    offset: int
    seq: int
    at_ns: int
    head: str
    salt: str
    payload: str
    record: dict[str, Any]


class Missing(Record):
    """A frame whose payload could not be taken along, and why: it was erased, or its key is not at hand."""

    kind: str
    writer: str
    segment: int
    offset: int
    seq: int
    why: str


def excerpts(folder: Path, kinds: Collection[FrameKind], since_ns: int, until_ns: int) -> Iterator[Excerpt | Missing]:
    """The frames of some kinds that were written in a time range, in each writer's order."""
    for writer in sorted(writers_of(folder)):
        for segment in segments_of(folder / writer):
            path = segment_path(folder / writer, segment)
            try:
                for offset, head in heads(path):
                    if head.kind in kinds and since_ns <= head.at_ns < until_ns:
                        yield _taken(path, writer, segment, offset)
            except Corrupt:
                continue  # `verify` names the damage; the pack says whether the journal holds


def _taken(path: Path, writer: str, segment: int, offset: int) -> Excerpt | Missing:
    with path.open("rb") as file:
        file.seek(offset)
        raw = file.read(HEAD.size)
        head = read_head(raw)
        data = raw + file.read(head.size - HEAD.size)
    kind = FrameKind(head.kind)
    place: dict[str, Any] = {"kind": kind.name.lower(), "writer": writer, "segment": segment, "offset": offset}
    place["seq"] = head.seq
    try:
        plain = read_payload(data, head)
        salt = _salt(data, head)
    except (Erased, sealing.NoKey, Corrupt) as error:
        return Missing(**place, why=str(error.args[0]) if error.args else type(error).__name__)
    return Excerpt(
        **place,
        at_ns=head.at_ns,
        head=raw.hex(),
        salt=salt.hex(),
        payload=base64.b64encode(plain).decode(),
        record=_plain(kind, plain),
    )


def _salt(data: bytes, head: Head) -> bytes:
    """The salt of the commitment; that of a sealed frame is sealed with its payload."""
    outer = data[HEAD.size : HEAD.size + SALT_BYTES]
    return sealing.unseal(head.owner, outer, data[HEAD.size + SALT_BYTES : head.size])[0] if head.sealed else outer


def _plain(kind: FrameKind, payload: bytes) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(unpack(RECORD_KINDS[kind], payload))
    return found


def problem(excerpt: Mapping[str, Any]) -> str | None:
    """What does not hold of an excerpt as it was read from a file; None when everything does."""
    try:
        head = read_head(bytes.fromhex(excerpt["head"]))
        payload = base64.b64decode(excerpt["payload"], validate=True)
        if commit(bytes.fromhex(excerpt["salt"]), payload) != head.commitment:
            return "its payload is not the one that was committed to"
        if (head.seq, head.at_ns) != (excerpt["seq"], excerpt["at_ns"]):
            return "its place is not the one in its head"
        kind = FrameKind[str(excerpt["kind"]).upper()]
        if kind != head.kind or msgspec.json.encode(_plain(kind, payload)) != msgspec.json.encode(excerpt["record"]):
            return "what it shows is not what its payload says"
    except (Corrupt, KeyError, ValueError, TypeError, msgspec.MsgspecError) as error:
        return f"it cannot be read ({type(error).__name__}: {error})"
    return None


def stands_in(folder: Path, excerpt: Mapping[str, Any]) -> bool:
    """Whether the head of an excerpt stands at its place in a journal."""
    writer = str(excerpt["writer"])
    if "/" in writer or writer in ("", ".", ".."):
        return False
    try:
        with segment_path(folder / writer, int(excerpt["segment"])).open("rb") as file:
            file.seek(int(excerpt["offset"]))
            return file.read(HEAD.size).hex() == str(excerpt["head"])
    except (OSError, ValueError):
        return False
