"""Prepares what a search found for reading: hits with their link, and what was and was not looked at, in sentences."""

from __future__ import annotations

from collections.abc import Iterable

from watchkeeper.engines.recorder.search import Coverage, Hit
from watchkeeper.records.record import Record
from watchkeeper.server.views.wording import count_of
from watchkeeper.server.visible import visible

WHERE = {
    "record": "in the span's record",
    "export": "in the export",
    "request": "in the request",
    "sent": "in what was sent on",
    "reply": "in the reply",
}


class FoundRow(Record):
    """One hit: its span, where the text stands, and the text around it."""

    href: str
    start_ns: int
    name: str
    status: str
    where: str
    before: str
    match: str
    after: str
    model: str
    who: str


def hit_rows(hits: Iterable[Hit]) -> list[FoundRow]:
    """The lines of the search page."""
    return [
        FoundRow(
            href=f"/ui/traces/{hit.trace_id}?span={hit.span_id}",
            start_ns=hit.start_ns,
            name=visible(hit.name),
            status=hit.status,
            where=WHERE.get(hit.where, f"in {visible(hit.where)}"),
            before=visible(hit.before),
            match=visible(hit.match),
            after=visible(hit.after),
            model=visible(hit.model or ""),
            who=visible(hit.session or hit.user or ""),
        )
        for hit in hits
    ]


def coverage_lines(coverage: Coverage) -> list[str]:
    """What a search looked at, what it could leave out, and what it could not read."""
    lines = [
        f"Searched {megabytes(coverage.searched_bytes)} in {count_of(coverage.segments, 'segment')}; "
        f"{megabytes(coverage.spared_bytes)} more cannot hold the text and were left out."
    ]
    if coverage.stopped == "deadline":
        lines.append(f"The time ran out: {count_of(coverage.remaining_segments, 'older segment')} still to look at.")
    elif coverage.stopped == "limit":
        lines.append(
            f"There are enough hits here: {count_of(coverage.remaining_segments, 'older segment')} not looked at."
        )
    if coverage.unindexed_segments:
        lines.append(
            f"{count_of(coverage.unindexed_segments, 'segment')} had no search file yet and were read whole; "
            "the files are made in the background."
        )
    if coverage.erased:
        lines.append(f"{count_of(coverage.erased, 'payload')} in them were erased and cannot be searched.")
    if coverage.sealed:
        lines.append(f"{count_of(coverage.sealed, 'payload')} are encrypted under a key that is not here.")
    lines += [f"Damaged, and searched up to the damage: {visible(each)}" for each in coverage.damaged]
    return lines


def megabytes(size_bytes: int) -> str:
    """A number of bytes in MB."""
    return f"{size_bytes / 1e6:,.1f} MB"
