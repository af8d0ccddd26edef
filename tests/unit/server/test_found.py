"""What a search covered is said in sentences, and what models wrote is shown as text."""

from __future__ import annotations

import pytest

from watchkeeper.engines.recorder.search import Coverage, Hit
from watchkeeper.server.views.found import coverage_lines, hit_rows


def test_a_whole_search_says_what_it_read_and_what_it_left_out() -> None:
    (line,) = coverage_lines(Coverage(segments=3, searched_bytes=2_500_000, spared_bytes=80_000_000))
    assert line == "Searched 2.5 MB in 3 segments; 80.0 MB more cannot hold the text and were left out."


@pytest.mark.parametrize(
    ("coverage", "says"),
    [
        (Coverage(stopped="deadline", remaining_segments=4), "The time ran out: 4 older segments still to look at."),
        (Coverage(stopped="limit", remaining_segments=1), "There are enough hits here: 1 older segment not looked at."),
        (Coverage(unindexed_segments=2), "2 segments had no search file yet"),
        (Coverage(erased=1), "1 payload in them were erased"),
        (Coverage(sealed=5), "5 payloads are encrypted"),
        (Coverage(damaged=("w, segment 1",)), "Damaged, and searched up to the damage: w, segment 1"),
    ],
)
def test_what_was_not_looked_at_is_said(coverage: Coverage, says: str) -> None:
    assert any(line.startswith(says) for line in coverage_lines(coverage))


def test_a_hit_leads_to_its_span() -> None:
    hit = Hit(
        trace_id="a" * 32, span_id="b" * 16, start_ns=1, name="chat", status="ok", where="reply", before="x", match="y",
        after="z\x00", session="s",
    )  # fmt: skip
    (row,) = hit_rows([hit])
    assert row.href == f"/ui/traces/{'a' * 32}?span={'b' * 16}"
    assert (row.where, row.who) == ("in the reply", "s")
    assert "\x00" not in row.after
