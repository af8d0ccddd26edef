"""The exercise's agent answers in whatever spelling comes close, and asks back where it cannot know."""

from __future__ import annotations

import pytest

from watchkeeper.lab.parcel_desk import target


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("When does parcel 1 arrive?", "Parcel 1 arrives on 2026-03-03."),
        ("  WHEN does   parcel 1 arive?!", "Parcel 1 arrives on 2026-03-03."),
        ("Hello, when will parcel 1 be delivered", "Parcel 1 arrives on 2026-03-03."),
        ("How heavy is parcel 2?", "Parcel 2 weighs 4 kg."),
        ("How far does parcel 3 have to go?", "Parcel 3 has 79 km to go."),
        ("What does it cost to send parcel 4?", "Sending parcel 4 costs 9 EUR."),
        ("Can I return parcel 5?", "Parcel 5 can be returned within 28 days."),
        ("Where is it?", "Which parcel do you mean?"),
        ("", "Which parcel do you mean?"),
    ],
)
def test_each_question_has_its_answer(text: str, answer: str) -> None:
    assert target([{"role": "user", "content": text}]) == answer
