"""Where every journal stood at one moment: what an anchor outside this machine keeps."""

from __future__ import annotations

from watchkeeper.records.record import Record


class Reached(Record, array_like=True, omit_defaults=False):
    """How far one writer's chain had come: its last frame's place, sequence number and digest (hex).

    `root` (hex) is the root of a Merkle tree whose leaves are the digests of the frames from `first_seq` to `seq`,
    those that came since the checkpoint before; with it one frame can be proved without all the others.
    """

    writer: str
    segment: int
    offset: int
    seq: int
    digest: str
    first_seq: int
    root: str


class Checkpoint(Record):
    """The ends of all chains at `at_ns`, and the digest over them.

    `number` counts the checkpoints of a data directory, and `previous` is the digest of the one before ("" for the
    first), so that anchored checkpoints form a chain of their own. `digest` is computed by `engines/recorder/
    checkpoints.digest_of` over number, previous, time and ends.
    """

    checkpoint_id: str
    at_ns: int
    number: int
    previous: str
    digest: str
    reached: tuple[Reached, ...]
