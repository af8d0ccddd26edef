"""That payloads were taken out of the journal: who did it, when, why, and which frames."""

from __future__ import annotations

from watchkeeper.records.record import Record


class Emptied(Record, array_like=True, omit_defaults=False):
    """The frames of one segment that were erased, as runs of sequence numbers.

    `runs` are variable-length integers: by turns the gap since the last run's end, and the length of the next.
    """

    writer: str
    segment: int
    runs: bytes


class Moved(Record, array_like=True, omit_defaults=False):
    """An erased frame whose content, less what was erased, lies elsewhere: its place, and where to read on."""

    writer: str
    segment: int
    seq: int
    to_writer: str
    to_segment: int
    to_offset: int


class Erasure(Record):
    """An erasure, written before it is carried out. It names no person: `subject` is a pseudonym.

    `reason` is a code: subject, retention, sampling, redaction, disk_cap. `payload_bytes` is what the erased payloads
    took on the disk. `keys` are the tags (hex) of data keys that were destroyed with it.
    """

    erasure_id: str
    at_ns: int
    reason: str
    actor: str
    frames: int
    payload_bytes: int = 0
    subject: str | None = None
    detail: str | None = None
    emptied: tuple[Emptied, ...] = ()
    moved: tuple[Moved, ...] = ()
    keys: tuple[str, ...] = ()
