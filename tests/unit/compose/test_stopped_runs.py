"""Rulings are folded into one row for each run, and never across tenants."""

from __future__ import annotations

from typing import Any

from watchkeeper.compose.stopped_runs import stopped_runs


def ruling(at_ns: int, run: str | None, verdict: str = "deny", **more: Any) -> dict[str, Any]:
    row = {
        "at_ns": at_ns,
        "run": run,
        "session": None,
        "tenant": "default",
        "verdict": verdict,
        "reason": "loop_repeat",
    }
    return {**row, "sentence": f"at {at_ns}", "policy": "loop", **more}


def test_a_run_has_its_latest_ruling_and_how_often_it_was_stopped() -> None:
    (row,) = stopped_runs([ruling(2, "a"), ruling(5, "a", "hold"), ruling(1, "a")])
    assert (row["run"], row["stops"], row["verdict"], row["sentence"]) == ("a", 3, "hold", "at 5")


def test_the_latest_comes_first_and_a_session_stands_in_for_a_run() -> None:
    rows = stopped_runs([ruling(1, "a"), ruling(9, None, session="s"), ruling(10, None)])
    assert [row["run"] for row in rows] == ["s", "a"]


def test_runs_of_two_tenants_with_one_name_are_two() -> None:
    rows = stopped_runs([ruling(1, "a"), ruling(2, "a", tenant="shop"), ruling(3, "a", tenant=None)])
    assert [(row["tenant"], row["stops"]) for row in rows] == [("default", 2), ("shop", 1)]


def test_what_stopped_nothing_is_left_out() -> None:
    assert stopped_runs([ruling(1, "a", "allow"), ruling(2, "a", "amend")]) == []
