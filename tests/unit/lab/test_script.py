"""Scripts: which rule answers, what it says, and how a wrong script is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from watchkeeper.lab.script import Asked, Script, ScriptError, parse_script, sandbox_rules

LOOK_UP = {"type": "function", "function": {"name": "look_up"}}


def asked(
    *messages: tuple[str, str], model: str = "lab-small", tools: tuple[Any, ...] = (), run: str | None = None
) -> Asked:
    return Asked(model=model, messages=[{"role": r, "content": c} for r, c in messages], tools=tools, run=run)


@pytest.mark.parametrize(
    ("when", "matches"),
    [
        ("{}", True),
        ("{model: 'lab-*'}", True),
        ("{model: 'other*'}", False),
        ("{system: BE KIND}", True),
        ("{system: be rude}", False),
        ("{last_user: second}", True),
        ("{last_user: first}", False),
        ("{tool: look_up}", True),
        ("{tool: delete}", False),
        ("{last_role: user}", True),
        ("{last_role: tool}", False),
        ("{last: '^the sec'}", True),
        ("{last: '^sec'}", False),
        ("{model: 'lab-*', last_user: first}", False),
    ],
)
def test_all_conditions_of_a_rule_must_hold(when: str, matches: bool) -> None:
    script = Script(parse_script(f"- {{name: r, when: {when}, answer: yes it is}}", "test"))
    question = asked(
        ("system", "Be kind."), ("user", "the first"), ("assistant", "x"), ("user", "the second"), tools=(LOOK_UP,)
    )
    assert (script.answer(question) is not None) is matches


def test_the_first_rule_that_matches_answers() -> None:
    script = Script(parse_script("- {name: a, when: {last: b}, answer: A}\n- {name: z, answer: Z}", "test"))
    assert script.answer(asked(("user", "b")))[0] == "a"  # type: ignore[index]
    assert script.answer(asked(("user", "c")))[0] == "z"  # type: ignore[index]


def test_places_are_filled_from_the_request_and_the_count_of_answers() -> None:
    rule = "- {name: r, when: {last: 'go to (?P<where>\\w+)'}, answer: '$turn $results $model $run $where $count $$'}"
    script = Script(parse_script(rule, "test"))
    question = asked(("user", "x"), ("assistant", "y"), ("tool", "z"), ("user", "go to Rome"), run="r1")
    said = [script.answer(question) for _ in range(2)]
    assert [reply.content for _, reply in said if reply] == [  # type: ignore[misc]
        "1 1 lab-small r1 Rome 0 $",
        "1 1 lab-small r1 Rome 1 $",
    ]


def test_arguments_are_filled_however_deep_and_other_values_stay() -> None:
    rule = "- {name: r, calls: [{tool: f, arguments: {a: [$last, 3], b: {c: $last}, d: true}}]}"
    answered = Script(parse_script(rule, "test")).answer(asked(("user", 'say "hi"')))
    assert answered is not None
    call = answered[1].tool_calls[0]
    assert json.loads(call.arguments) == {"a": ['say "hi"', 3], "b": {"c": 'say "hi"'}, "d": True}


def test_the_same_request_gets_the_same_call_id_and_a_later_turn_another() -> None:
    script = Script(parse_script("- {name: r, calls: [{tool: f}]}", "test"))
    ids = [
        script.answer(asked(*messages))[1].tool_calls[0].id  # type: ignore[index]
        for messages in ([("user", "x")], [("user", "x")], [("user", "x"), ("assistant", "y"), ("user", "x")])
    ]
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("- {name: r}", "says nothing"),
        ("- {name: r, answer: $nobody}", r"\$nobody"),
        ("- {name: r, answer: cost 5 $}", r"lone \$"),
        ("- {name: r, when: {last: '('}, answer: x}", "no regular expression"),
        ("- {name: r, when: {lst: x}, answer: x}", "lst"),
        ("- {answer: x}", "name"),
        ("name: r", "Expected `array`"),
        ("- {name: r, calls: [{tool: f, arguments: {a: [$b]}}]}", r"\$b"),
        ("[", "not YAML"),
    ],
)
def test_a_wrong_script_is_refused_by_name_and_reason(text: str, complaint: str) -> None:
    with pytest.raises(ScriptError, match=f"(?s)scene.yaml.*{complaint}"):
        parse_script(text, "scene.yaml")


def test_the_sandbox_script_is_a_good_script() -> None:
    assert len(Script(sandbox_rules())._rules) == len(sandbox_rules()) > 5


def test_chances_are_drawn_by_weight_and_always_in_the_same_order() -> None:
    rule = "- {name: r, chances: [{weight: 3, answer: often}, {weight: 1, answer: seldom}]}"
    first, second = (Script(parse_script(rule, "test")) for _ in range(2))
    drawn = [[script.answer(asked(("user", "x")))[1].content for _ in range(400)] for script in (first, second)]  # type: ignore[index]
    assert drawn[0] == drawn[1]
    assert 250 < drawn[0].count("often") < 350


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("{name: r, answer: a, chances: [{weight: 1, answer: b}]}", "one or the other"),
        ("{name: r, chances: [{weight: 0, answer: b}]}", "above 0"),
        ("{name: r, chances: [{weight: 1}]}", "says nothing"),
        ("{name: r, chances: [{weight: 1, answer: $nowhere}]}", "no meaning"),
    ],
)
def test_wrong_chances_are_refused(rule: str, says: str) -> None:
    with pytest.raises(ScriptError, match=says):
        parse_script(f"- {rule}", "test")
