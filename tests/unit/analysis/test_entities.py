"""What an answer names is found, and what the source does not hold is told."""

import pytest

from watchkeeper.analysis.entities import entities, ungrounded


@pytest.mark.parametrize(
    ("answer", "source", "missing"),
    [
        ("Order A-18 costs 1,200.0 euros.", "A-18: 1200 euros", ()),
        ("Order A-19 costs 1,200 euros.", "A-18: 1200 euros", ("A-19",)),
        ("It takes 3 days.", "It takes 30 days.", ("3",)),
        ("Ask Maria Santos about it.", "maria santos is in", ()),
        ("Ask Maria Gomez about it.", "maria santos is in", ("Maria Gomez",)),
        ("See https://a.example/x.", "see https://a.example/x for more", ()),
        ("Write to a@b.example now", "", ("a@b.example",)),
        ("Yes. Sure it is.", "", ()),
        ("", "", ()),
    ],
)
def test_what_the_source_does_not_hold_is_told(answer: str, source: str, missing: tuple[str, ...]) -> None:
    assert ungrounded(answer, source) == missing


def test_each_entity_is_told_once() -> None:
    assert entities("7 and 7 and A-7") == ("A-7", "7")
