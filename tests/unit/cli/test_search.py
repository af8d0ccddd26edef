"""What the parts of one search found together: each span once, newest first, with one account of what was covered."""

from __future__ import annotations

from watchkeeper.cli.search import Gathered, told


def part(*starts: int, after: str | None = None, stopped: str = "", searched: int = 10) -> dict:
    return {
        "items": [
            {"trace_id": "t", "span_id": str(start), "start_ns": start, "revision": 1} for start in starts
        ],
        "coverage": {
            "segments": 1, "searched_bytes": searched, "spared_bytes": 5, "unindexed_segments": 0, "erased": 1,
            "sealed": 0, "damaged": [], "stopped": stopped, "remaining_segments": 2, "segments_in_range": 3,
        },
        "after": after,
    }  # fmt: skip


def test_parts_add_up_and_hits_are_in_order() -> None:
    gathered = Gathered(10)
    gathered.add(part(5, 3, after="x", stopped="deadline"))
    gathered.add(part(9, 3))
    answer = gathered.answer("text")
    assert [item["start_ns"] for item in answer["items"]] == [9, 5, 3]
    assert (answer["coverage"]["searched_bytes"], answer["coverage"]["erased"]) == (20, 2)
    assert (answer["complete"], gathered.enough) == (True, True)


def test_enough_hits_end_it_and_are_said() -> None:
    gathered = Gathered(2)
    gathered.add(part(5, 4, after="x", stopped="deadline"))
    assert gathered.enough
    answer = gathered.answer("text")
    assert (answer["complete"], answer["coverage"]["stopped"]) == (False, "limit")
    assert "enough hits" in told(answer["coverage"])[1]


def test_an_interrupted_search_says_how_far_it_came() -> None:
    gathered = Gathered(2)
    gathered.add(part(after="x", stopped="deadline"))
    gathered.coverage["stopped"] = "interrupted"
    answer = gathered.answer("text")
    assert not answer["complete"]
    assert told(answer["coverage"]) == ["Stopped by Ctrl-C; 0.0 MB were searched until then."]
