"""The clock windows of a cap: UTC minutes, hours, days and calendar months, and all time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

Window = Literal["total", "month", "day", "hour", "minute"]

NANO = 1_000_000_000
_WIDTH_S = {"minute": 60, "hour": 3_600, "day": 86_400}
A: dict[str, str] = {
    "total": "",
    "month": " a month",
    "day": " a day",
    "hour": " an hour",
    "minute": " a minute",
}
"""A window as it follows an amount in a sentence."""
WAIT: dict[str, str] = {
    "total": "",
    "month": "wait for the first of the month (UTC), ",
    "day": "wait for midnight UTC, ",
    "hour": "wait for the next full hour (UTC), ",
    "minute": "wait for the next full minute, ",
}
"""What waiting for the next window means, as one of the things that a refusal proposes."""


def window_start(window: str, at_ns: int) -> str:
    """When the window that holds `at_ns` (unix nanoseconds) began: unix seconds as text, "total" for all time."""
    if window == "total":
        return "total"
    width = _WIDTH_S.get(window)
    if width is not None:
        at_s = at_ns // NANO
        return str(at_s - at_s % width)
    at = datetime.fromtimestamp(at_ns // NANO, UTC)
    return str(int(datetime(at.year, at.month, 1, tzinfo=UTC).timestamp()))
