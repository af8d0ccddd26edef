"""Hazards in prompts: each is found where it is, and plain prompts have none."""

from __future__ import annotations

import pytest

from watchkeeper.analysis.prefix import Part
from watchkeeper.analysis.prompt_lint import hazards


@pytest.mark.parametrize(
    ("role", "text", "kinds"),
    [
        ("user", "Why is the sky blue?", []),
        ("user", "Why ", ["trailing space"]),
        ("system", "Be brief.\n", ["trailing space"]),
        ("system", "It is 2026-11-20T12:00.", ["volatile head"]),
        ("system", "Be brief, it is 2026.", []),
        ("user", "It is 2026-11-20T12:00.", []),
        ("user", '{"a":1,"b":2}', []),
        ("user", '{ "a" : 1, "b" : 2 }', ["loose JSON"]),
        ("user", '{"b":2,"a":1}', ["loose JSON"]),
        ("user", "{braces} are no JSON", []),
        ("user", "caf\u00e9", []),
        ("user", "cafe\u0301", ["odd characters"]),
        ("user", "a\u200bb", ["odd characters"]),
    ],
)
def test_hazards(role: str, text: str, kinds: list[str]) -> None:
    found = hazards([Part(path="messages[0].content", role=role, text=text)])
    assert [each.kind for each in found] == kinds
    assert all(each.path == "messages[0].content" and each.text for each in found)


def test_a_space_within_a_conversation_is_no_hazard() -> None:
    parts = [Part(path="a", role="user", text="Hello "), Part(path="b", role="assistant", text="Hi.")]
    assert hazards(parts) == ()
