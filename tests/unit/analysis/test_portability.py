"""What hangs on one model is found, and a request that hangs on none is clean."""

from __future__ import annotations

from typing import Any

import pytest

from watchkeeper.analysis.portability import habits

STRICT = {"response_format": {"type": "json_schema", "json_schema": {"strict": True, "schema": {}}}}


def system(text: str) -> list[dict[str, Any]]:
    return [{"role": "system", "content": text}, {"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("text", "parameters", "kind"),
    [
        ("Wrap the code in triple backticks.", {}, "fence"),
        ("Begin your answer with 'FINAL:' and nothing else.", {}, "matched phrase"),
        ("Thought: what to do\nAction: the tool", {}, "matched phrase"),
        ("Be kind.", {"stop": ["\n\n"]}, "stop string"),
        ("Reply with JSON.", {}, "lenient schema"),
        ("Be kind.", {"response_format": {"type": "json_object"}}, "lenient schema"),
        ("Be kind.", {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}, "lenient schema"),
        ("Be kind.", {"tools": [{"type": "function", "function": {"name": "find"}}]}, "lenient schema"),
        ("You are ChatGPT.", {}, "model's own"),
        ("<|im_start|>system", {}, "model's own"),
        ("Be kind.", {"logit_bias": {"50256": -100}}, "model's own"),
    ],
)
def test_a_habit_is_found(text: str, parameters: dict[str, Any], kind: str) -> None:
    assert [habit.kind for habit in habits(system(text), parameters)] == [kind]


def test_a_begun_answer_and_a_parser_that_unfences_are_found() -> None:
    begun = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "{"}]
    assert [habit.kind for habit in habits(begun, {})] == ["model's own"]
    assert [habit.kind for habit in habits(system("Be kind."), {}, unfences=True)] == ["fence"]


def test_a_request_that_hangs_on_no_model_is_clean() -> None:
    assert habits(system("You are the desk. Reply with JSON that fits the schema."), STRICT) == ()
    assert habits([{"role": "user", "content": [{"type": "image_url"}]}], {}) == ()
