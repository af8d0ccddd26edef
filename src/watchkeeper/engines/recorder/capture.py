"""Everything that is recorded goes through here: sensitive values are taken out first, and what cannot be kept counts.

It stands before the journal and offers what the journal offers, so a door that writes cannot pass it by. A payload
that cannot be searched is not kept (`on_error` "closed") and stands in the drop ledger; the call it belongs to goes on.
"""

from __future__ import annotations

import errno
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeVar

import msgspec

from watchkeeper.engines.recorder.frames import RECORD_KINDS, FrameKind
from watchkeeper.engines.recorder.journal import CUT, Journal, JournalFull, Payload, Piece
from watchkeeper.engines.recorder.ledger import DropLedger
from watchkeeper.engines.recorder.private_records import PrivateRecords
from watchkeeper.engines.recorder.redaction import NOTHING_TAKEN, Redaction, RedactionFailed, Redactor, place_of
from watchkeeper.records.body import Body
from watchkeeper.records.identity import Identity
from watchkeeper.records.record import Record, unpack
from watchkeeper.records.span import Origin

_log = logging.getLogger("watchkeeper.capture")
R = TypeVar("R", bound=Record)
G = TypeVar("G")

ExportRedactor = Callable[[bytes, Redactor, PrivateRecords], tuple[bytes, Counter[str]]]
"""Takes sensitive values out of a foreign payload (an OTLP export) and gives it back in its own form."""
OnError = Literal["closed", "open"]
_LONG_CONVERSATION = 4096


class Private(NamedTuple):
    """What a redactor is told to do where it fails, and how it reads foreign payloads."""

    redactor: Redactor
    exports: Mapping[FrameKind, ExportRedactor] = {}
    on_error: OnError = "closed"


class Capture:
    """A journal behind redaction and the drop ledger. Thread-safe.

    What writes raises as the journal does, and `RedactionFailed` where a payload was given up; that is counted already.
    `counts` tells how many values were taken out, by rule.
    """

    def __init__(self, journal: Journal, private: Private, ledger: DropLedger, door: str) -> None:
        """`door` is where a failed redaction is said to have happened."""
        self._journal, self._private, self._ledger, self._door = journal, private, ledger, door
        self._redactor = private.redactor
        self._records = PrivateRecords(private.redactor)
        self.counts: Counter[str] = Counter()

    @property
    def writer(self) -> str:
        """The journal's writer."""
        return self._journal.writer

    def identity(self, identity: Identity) -> Identity:
        """Whom something belongs to, with names that a rule is about as tokens."""
        return self._guarded("identity", identity, lambda: self._records.identity(identity))

    def append(self, record: Record) -> Origin:
        """Keep one record."""
        said = self._record(record)
        with _written():
            origin = self._journal.append(said)
        self._tell()
        return origin

    def append_all(self, records: Sequence[Record]) -> None:
        """Keep several records in one write, all of them or none."""
        self.write((), lambda _: records)

    def append_raw(self, kind: FrameKind, payload: bytes, owner: str | None = None) -> Origin:
        """Keep a payload as it is, less what the rules take out."""
        payload = self._guarded("export", payload, lambda: self._raw(kind, payload))
        with _written():
            origin = self._journal.append_raw(kind, payload, *(() if owner is None else (owner,)))
        self._tell()
        return origin

    def put(self, data: bytes, name: str, media: str = "application/json", owner: str = "default") -> Body:
        """Keep a payload of an owner."""
        (body,) = self.write(((data, name, media, owner),), _nothing)
        return body

    def write(
        self, payloads: Sequence[Payload], records_of: Callable[[tuple[Body, ...]], Iterable[Record]]
    ) -> tuple[Body, ...]:
        """Keep payloads, and the records that are made of their bodies, all or nothing."""
        cuts = [self._cut_if_clean(payload) for payload in payloads]
        done = [
            self._payload(payload) if cut is None else Redaction(payload[0], 0, NOTHING_TAKEN)
            for payload, cut in zip(payloads, cuts, strict=True)
        ]
        marked: tuple[Body, ...] = ()

        def private_of(bodies: tuple[Body, ...]) -> Iterable[Record]:
            nonlocal marked
            marked = tuple(_marked(body, each) for body, each in zip(bodies, done, strict=True))
            return [self._record(record) for record in records_of(marked)]

        plain = [(each.data, *payload[1:]) for each, payload in zip(done, payloads, strict=True)]
        with _written():
            self._journal.write(plain, private_of, cuts)
        self._tell()
        return marked

    async def synced(self) -> None:
        """Return when everything appended so far is on the disk."""
        await self._journal.synced()

    def probe(self) -> None:
        """Raise `JournalFull` when nothing can be written."""
        self._journal.probe()

    def close(self) -> None:
        """Write what the ledger still holds, and close the journal."""
        self._ledger.write(self._journal.append)
        if self._ledger.waiting:
            _log.error("%d losses are counted in no file: the journal could not be written", self._ledger.waiting)
        self._journal.close()

    def settle(self) -> None:
        """Write what the ledger holds, if it is time to."""
        self._tell()

    def _tell(self) -> None:
        if self._ledger.due():
            self._ledger.write(self._journal.append)

    def _record(self, record: R) -> R:
        as_it_is: tuple[R, Counter[str]] = (record, NOTHING_TAKEN)
        said, by = self._guarded(type(record).__name__.lower(), as_it_is, lambda: self._records.record(record))
        if by:
            self.counts.update(by)
        return said

    def _cut_if_clean(self, payload: Payload) -> list[Piece] | None:
        """The pieces of a conversation in which nothing is to be replaced; None where all of it has to be searched.

        A piece that is in the journal already, byte for byte, was searched when it came there: only the new ones are
        searched, so that a history that is sent again with every turn costs its search once. Pieces end where messages
        end, which no value that a detector finds crosses; patterns and fields may, and then all is searched.
        """
        data, name, _, _ = payload
        if name not in CUT or len(data) < _LONG_CONVERSATION or not self._redactor.local:
            return None
        with _written():
            pieces = self._journal.pieces(payload)
        fresh = [piece.data for piece in pieces if not self._journal.remembers(piece)]
        try:
            clean = not self._redactor.may_change(b"\n".join(fresh))
        except Exception:  # noqa: BLE001 - the search of the whole says what to do about that
            return None
        return pieces if clean else None

    def _payload(self, payload: Payload) -> Redaction:
        data, name, media, owner = payload
        tenant = owner.partition("\x1f")[0]
        done = self._guarded(
            "body",
            Redaction(data, 0, NOTHING_TAKEN),
            lambda: self._redactor.redact(data, media, place_of(name), tenant),
        )
        if done.total:
            self.counts.update(done.by)
        return done

    def _raw(self, kind: FrameKind, payload: bytes) -> bytes:
        if not self._redactor.rules or not self._redactor.may_change(payload):
            return payload
        read = self._private.exports.get(kind)
        if read is not None:
            payload, by = read(payload, self._redactor, self._records)
            self.counts.update(by)
            return payload
        if kind in RECORD_KINDS:
            return msgspec.msgpack.encode(self._record(unpack(RECORD_KINDS[kind], payload)))
        raise RedactionFailed(f"nothing is known of how {kind.name} is to be searched")

    def _guarded(self, what: str, as_it_is: G, redact: Callable[[], G]) -> G:
        """The result of a redaction; one that fails is counted, and fails closed unless the owner says otherwise."""
        try:
            return redact()
        except OverflowError:
            raise  # a number of more than 64 bits: nothing of the redactor's, and refused by name further out
        except Exception as error:
            _log.error("a %s could not be searched for sensitive values (%s)", what, type(error).__name__)
            if self._private.on_error == "open":
                self._ledger.lost("redaction", "kept_unredacted", self._door)
                return as_it_is
            self._ledger.lost(what, "redaction_failed", self._door)
            raise error if isinstance(error, RedactionFailed) else RedactionFailed("the redactor failed") from error


@contextmanager
def _written() -> Iterator[None]:
    """Whatever keeps the journal from writing is one kind of failure, so that no call fails for it.

    A store of keys on a full disk, for example, has errors of its own.
    """
    try:
        yield
    except (OSError, ValueError, TypeError, OverflowError):
        raise
    except Exception as error:
        raise JournalFull(errno.EIO, f"the journal could not be written: {type(error).__name__}: {error}") from error


def _marked(body: Body, done: Redaction) -> Body:
    if not done.total:
        return body
    return msgspec.structs.replace(body, redactions=done.total, redacted_by=tuple(sorted(done.by)))


def _nothing(bodies: tuple[Body, ...]) -> tuple[Record, ...]:
    return ()


__all__ = ["Capture", "ExportRedactor", "OnError", "Private"]
