"""The windows of a cap begin where a UTC clock says."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from watchkeeper.records.window import window_start

AT = datetime(2026, 11, 28, 13, 37, 59, 999_999, tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "begins"),
    [
        ("minute", datetime(2026, 11, 28, 13, 37, tzinfo=UTC)),
        ("hour", datetime(2026, 11, 28, 13, tzinfo=UTC)),
        ("day", datetime(2026, 11, 28, tzinfo=UTC)),
        ("month", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_a_window_begins_at_the_full_minute_hour_day_or_month(window: str, begins: datetime) -> None:
    assert window_start(window, int(AT.timestamp() * 1e6) * 1_000) == str(int(begins.timestamp()))


def test_all_time_has_no_beginning() -> None:
    assert window_start("total", 1) == "total"
