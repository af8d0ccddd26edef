"""Brings a file of recorded traffic into a journal: the importer's rows in, frames out, refused rows told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from watchkeeper.adapters.formats.detect import FORMATS, UnknownFormat, read
from watchkeeper.adapters.formats.imported import Imported, ImportedExport, ImportedSpan, Rejected
from watchkeeper.engines.recorder.capture import Capture
from watchkeeper.engines.recorder.frames import FrameKind
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.redaction import RedactionFailed
from watchkeeper.kinds.ports import Pricer
from watchkeeper.records.drop import Drop
from watchkeeper.records.ids import new_id
from watchkeeper.records.span import Span, Usage

TOLD_EVERY_ROWS = 200


def import_file(
    path: Path, form: str, journal: Journal | Capture, pricer: Pricer, told: Callable[[int], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Read one file into the journal; yields (what, detail) for each row: spans, scores, sessions or rejected.

    Rejected rows are counted in the drop ledger too, under the file's name.
    """
    rejected = 0
    for what, detail in _rows(path, form, journal, pricer, told):
        rejected += what == "rejected"
        yield what, detail
    if rejected:
        now_ns = time.time_ns()
        journal.append(
            Drop(
                what="row",
                reason="rejected_by_import",
                count=rejected,
                first_ns=now_ns,
                last_ns=now_ns,
                door="import",
                detail=path.name[:200],
                drop_id=new_id("drp", now_ns),
            )
        )


def _rows(
    path: Path, form: str, journal: Journal | Capture, pricer: Pricer, told: Callable[[int], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """As `import_file`, without the count.

    `told` is given the bytes of the file read so far, now and then. Raises `JournalFull`. A file that cannot be
    read as a whole yields one rejected row that says why.
    """
    chosen = next((each for each in FORMATS if each == form), None)
    if chosen is None:
        yield "rejected", {"line": 0, "reason": f"there is no format {form!r}; it is one of {', '.join(FORMATS)}"}
        return
    try:
        with path.open("rb") as file:
            for number, row in enumerate(read(file, chosen, path.stat().st_mtime_ns)):
                yield from _keep(row, journal, pricer)
                if number % TOLD_EVERY_ROWS == 0:
                    told(file.tell())
    except (UnknownFormat, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.filename is None:
            raise  # the journal's own failure, not the file's
        yield "rejected", {"line": 0, "reason": str(error)}
    told(path.stat().st_size)


def _keep(row: Imported, journal: Journal | Capture, pricer: Pricer) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        yield from _kept(row, journal, pricer)
    except RedactionFailed as error:
        yield "rejected", {"line": 0, "reason": f"a row was not kept: {error}"}


def _kept(row: Imported, journal: Journal | Capture, pricer: Pricer) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(row, Rejected):
        yield "rejected", {"line": row.line, "reason": row.reason}
    elif isinstance(row, ImportedSpan):
        bodies = tuple(journal.put(data, name, owner=row.span.identity.owner) for name, data in row.bodies)
        try:
            journal.append(priced(msgspec.structs.replace(row.span, bodies=bodies), pricer))
        except OverflowError:
            yield "rejected", {"line": 0, "reason": f"span {row.span.span_id} holds a number of more than 64 bits"}
            return
        yield "spans", {}
    elif isinstance(row, ImportedExport):
        journal.append_raw(FrameKind.OTLP, row.payload)
        for _ in range(row.spans):
            yield "spans", {}
    else:
        journal.append(row)
        yield f"{type(row).__name__.lower()}s", {}


def priced(span: Span, pricer: Pricer) -> Span:
    """A cost where the file states none and the price is known; what the file says itself is kept."""
    if span.cost is not None or span.usage == Usage():
        return span
    tier = span.attributes.get("openai.response.service_tier")
    named = tier if isinstance(tier, str) else None
    return msgspec.structs.replace(span, cost=pricer.cost(span.provider, span.model, span.usage, span.start_ns, named))
