"""What a URL asks a search for, and what is refused."""

from __future__ import annotations

import pytest

from watchkeeper.queries.timespan import DAY_NS, FAR_NS
from watchkeeper.server.searching import DEADLINE_S, LONGEST_S, sought_from

NOW_NS = 1_780_000_000_000_000_000


def test_a_text_alone_is_looked_for_in_the_last_day() -> None:
    sought, seconds = sought_from({"text": "x"}, NOW_NS)
    assert (sought.since_ns, sought.until_ns, sought.limit, sought.after) == (NOW_NS - DAY_NS, FAR_NS, 50, None)
    assert seconds == DEADLINE_S


def test_everything_can_be_given() -> None:
    words = {"text": "x", "since": "2d", "until": "1d", "limit": "7", "deadline": "500ms", "model": "m", "service": ""}
    sought, seconds = sought_from(words, NOW_NS)
    assert (sought.since_ns, sought.until_ns) == (NOW_NS - 2 * DAY_NS, NOW_NS - DAY_NS)
    assert (sought.limit, sought.fields, seconds) == (7, {"model": "m"}, 0.5)
    assert sought_from({"text": "x", "deadline": "9999"}, NOW_NS)[1] == LONGEST_S


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({}, "needs `text`"),
        ({"text": " "}, "needs `text`"),
        ({"text": "x" * 1001}, "at most 1,000 characters"),
        ({"text": "x", "limit": "0"}, "limit='0'"),
        ({"text": "x", "limit": "many"}, "limit='many'"),
        ({"text": "x", "colour": "red"}, "no parameter 'colour'"),
        ({"text": "x", "since": "yesterdayish"}, "not a time"),
        ({"text": "x", "deadline": "soon"}, "not a length of time"),
    ],
)
def test_what_cannot_be_asked_is_said(words: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("(", "\\(")):
        sought_from(words, NOW_NS)
