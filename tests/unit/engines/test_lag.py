"""How far the index is behind, in frames, bytes and seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchkeeper.engines.recorder import lag
from watchkeeper.engines.recorder.journal import Journal
from watchkeeper.engines.recorder.lag import Lag, lag_of
from watchkeeper.engines.recorder.segments import read_frames
from watchkeeper.kinds.ports import Watermark
from watchkeeper.records.session import Session


def marks_of(folder: Path) -> list[tuple[Watermark, int, int]]:
    """The mark behind each frame, with when it was recorded and where the next one begins."""
    return [
        (Watermark(writer="w", segment=each.segment, offset=each.next_offset), each.head.at_ns, each.next_offset)
        for each in read_frames(folder / "w")
    ]


@pytest.mark.parametrize("most", [2_000, 2])
def test_it_counts_what_lies_behind_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(lag, "MOST_COUNTED", most)
    journal = Journal(tmp_path, "w", bytes(32))
    for number in range(5):
        journal.append(Session(session_id=f"s{number}", at_ns=5))
    journal.close()
    marks = marks_of(tmp_path)
    whole = lag_of(tmp_path, {}, marks[0][1] + 2_000_000_000)
    assert (whole.frames, whole.seconds) == (5, 2.0)
    found = lag_of(tmp_path, {"w": marks[1][0]}, marks[2][1] + 3_000_000_000)
    assert (found.frames, found.seconds) == (3, 3.0)
    assert found.size_bytes == marks[-1][2] - marks[1][2]
    assert lag_of(tmp_path, {"w": marks[-1][0]}) == Lag(0, 0, 0.0)


def test_it_is_said_in_words() -> None:
    assert Lag(0, 0, 0.0).sentence() == "the index is up to date"
    assert Lag(1_200, 34_500_000, 12.34).sentence() == "the index is 12.3 s behind (1,200 frames, 34.5 MB)"


def test_a_folder_without_journals_is_up_to_date(tmp_path: Path) -> None:
    assert lag_of(tmp_path / "none", {}) == Lag(0, 0, 0.0)
