"""What can still become a JSON object."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchkeeper.analysis.json_prefix import beginning

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), st.booleans(), st.sampled_from((None, 0, 2)))
def test_every_beginning_of_an_object_can_go_on_and_only_the_whole_is_complete(
    value: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    at = beginning()
    for char in text:
        assert not at.complete
        following = at.after(char)
        assert following is not None
        at = following
    assert at.complete
    assert at == beginning().after(text)


@given(st.text(alphabet='{}[]",:\\ \nutrefalsn0123456789eE+-.', max_size=12))
def test_what_is_complete_parses_and_what_parses_is_complete(text: str) -> None:
    try:
        parses = isinstance(json.loads(text), dict)
    except ValueError:
        parses = False
    found = beginning().after(text)
    assert (found is not None and found.complete) == parses


@pytest.mark.parametrize(
    "text",
    ["[", "4", "{a", '{"a"}', '{"a":1,}', '{"a":[1,]}', '{"a":01', '{"a":1.}', '{"a":"\n', '{"a":"\\x', '{"a":"\\u12g',
     '{"a":tru3', '{"a":-}', '{"a":1e}', '{"a":1]', "{}x", '{"a":[}', "```"],
)  # fmt: skip
def test_what_can_become_no_object_is_told_at_once(text: str) -> None:
    assert beginning().after(text) is None
    assert beginning().after(text[:-1]) is not None or len(text) > 1


@pytest.mark.parametrize(
    ("text", "goes_on"),
    [
        ('{"answer": "4', True),
        ('{"answer": "4"}', True),
        ('{"an', True),
        ('{ "answer"', True),
        ('{"ao', False),
        ('{"other"', False),
        ('{"answer": 4', False),
        ('{"answer": "4",', False),
        ('{"ans"', False),
        ("{}", False),
        ('{"\\u0061nswer": 4', True),
    ],
)
def test_with_keys_the_object_has_just_these_and_texts(text: str, goes_on: bool) -> None:
    assert (beginning(("answer",)).after(text) is not None) == goes_on


def test_keys_come_in_any_order_and_once() -> None:
    both = beginning(("reasoning", "answer"))
    assert both.after('{"answer": "1", "reasoning": "x"}') is not None
    assert both.after('{"answer": "1", "a') is None
    assert both.after('{"answer": "1"}') is None
