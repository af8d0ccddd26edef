"""The drop ledger before it is written: losses add up, wait for the journal, and are written once."""

from __future__ import annotations

import errno

from watchkeeper.engines.recorder.ledger import MOST_KINDS, DropLedger, reason_of
from watchkeeper.engines.recorder.redaction import RedactionFailed
from watchkeeper.records.drop import Drop


def test_losses_of_one_kind_add_up_with_the_first_and_the_last_time() -> None:
    times, written = iter((10, 20, 30)), list[Drop]()
    ledger = DropLedger(lambda: next(times))
    for _ in range(2):
        ledger.lost("body", "disk_full", "gateway")
    ledger.lost("span", "disk_full", "gateway", 5, "an example")
    assert ledger.waiting == 7
    assert ledger.write(written.append)
    body, span = written
    assert (body.what, body.count, body.first_ns, body.last_ns) == ("body", 2, 10, 20)
    assert (span.what, span.count, span.detail) == ("span", 5, "an example")
    assert ledger.waiting == 0 and ledger.write(written.append) and len(written) == 2
    assert sum(ledger.totals().values()) == 7


def test_what_cannot_be_written_waits_and_adds_up_with_what_comes_after() -> None:
    ledger, written = DropLedger(lambda: 1), list[Drop]()

    def full(drop: Drop) -> None:
        ledger.lost("body", "disk_full", "gateway")  # lost while it is being written
        raise OSError(errno.ENOSPC, "full")

    ledger.lost("body", "disk_full", "gateway", 3)
    assert not ledger.write(full)
    assert ledger.waiting == 4
    assert ledger.write(written.append)
    assert [drop.count for drop in written] == [4]


def test_kinds_are_bounded() -> None:
    ledger = DropLedger(lambda: 1)
    for number in range(MOST_KINDS + 50):
        ledger.lost("span", f"reason {number}", "otlp")
    assert len(ledger.totals()) <= MOST_KINDS + 1 and ledger.waiting == MOST_KINDS + 50


def test_reasons_have_names() -> None:
    assert reason_of(OSError(errno.ENOSPC, "")) == "disk_full"
    assert reason_of(OSError(errno.EIO, "")) == "journal_unwritable"
    assert reason_of(RedactionFailed("")) == "redaction_failed"
    assert reason_of(OverflowError()) == "unencodable"
